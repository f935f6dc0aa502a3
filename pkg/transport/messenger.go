package transport

import (
	"context"
	"errors"

	"github.com/coordd/coordd/pkg/raft"
)

// The largest bodies, in bytes. What is larger than MaxBodyBytes is cut into several requests: a snapshot goes in
// chunks of 256 KiB.
const (
	MaxBodyBytes     = 1 << 20 // of requests, answers and notifications
	MaxAnnounceBytes = 8 << 10 // of what a stranger announces; its answer is a body like others
)

// The errors of a Messenger. Each is wrapped with the member or address that was meant.
var (
	// ErrUnknownPeer: the member is not in the list of peers, or left it meanwhile. This node itself is none.
	ErrUnknownPeer = errors.New("transport: unknown peer")
	// ErrTooLarge: the body is beyond its bound.
	ErrTooLarge = errors.New("transport: message too large")
	// ErrBusy: a notification did not fit in the queue of its peer and was dropped.
	ErrBusy = errors.New("transport: too many messages wait")
	// ErrClosed: the transport is closed. Whether a request that was under way was carried out is unknown.
	ErrClosed = errors.New("transport: closed")
	// ErrNoHandler is for handlers that take no messages of a kind.
	ErrNoHandler = errors.New("transport: no handler for messages")
)

// RemoteError is the error of the handler that a request or an announcement reached, as its text.
type RemoteError struct{ Text string }

// Error returns the text.
func (e *RemoteError) Error() string { return e.Text }

// RequestID names a request: eight random bytes that its sender drew when it started, and a counter. A repeat goes
// under the ID of the first attempt.
type RequestID [16]byte

// Messenger carries requests, answers and one-way messages between the programs that run on the members, beside the
// cores' own messages and never in their way. Each transport is one.
type Messenger interface {
	// Request sends body to a member and returns its answer, or the *RemoteError of its handler. It goes again, under
	// the same ID, after a broken connection or a silence, until ctx ends; the receiver's journal answers a repeat
	// without running the handler again. A member that is not among the peers is ErrUnknownPeer.
	//
	// So a request is carried out once, as long as the receiver neither restarts nor forgets it (Journal) between the
	// first attempt and the last. When ctx ends first, or the transport is closed, it is unknown whether it was.
	// The body may be changed once Request has returned.
	Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error)
	// Notify sends a one-way message once. It does not wait and may be lost; it never arrives twice. Notifications
	// are handled at the same time, and so in any order.
	Notify(to raft.MemberID, body []byte) error
	// Announce asks whatever node listens at an address, of which the caller knows nothing else and which may not
	// know the caller: how a node joins. The two must agree on the cluster as far as both know it: a *Refusal says
	// where they do not. Connecting has its deadline; how long the answer may take is for ctx to say. It is one attempt, repeated only where the other side was too busy to begin; what a broken
	// connection leaves unknown the caller sorts out by announcing itself again.
	Announce(ctx context.Context, address string, body []byte) ([]byte, error)
}

// MessageHandler receives what a Messenger carries. Requested, Notified and Announced are called on goroutines of their
// own, of which there is a bounded number, so they may block; they have to return when their context ends, as it does
// when the transport is closed, and Close waits for them. An error is sent back as its text. The handler owns the body; its answer must not be changed afterwards.
type MessageHandler interface {
	// Requested answers a request of a member. Beyond the bound of those that run, a request is sent back and comes
	// again later.
	Requested(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error)
	// Notified takes a one-way message of a member. Beyond the bound of those that run it is lost.
	Notified(from raft.MemberID, body []byte)
	// Announced answers somebody who may be no member, and whose identity nothing but the network vouches for. The
	// clusters agree as far as both sides know theirs. The context also ends when the caller has gone.
	Announced(ctx context.Context, from Identity, body []byte) ([]byte, error)
	// Refused is told that a peer refused this node's handshake, at every attempt. It must not block.
	Refused(by raft.MemberID, r *Refusal)
	// TurnedAway is told that this node refused a caller that meant it: one that was looking for this very member.
	TurnedAway(caller Identity, r *Refusal)
}
