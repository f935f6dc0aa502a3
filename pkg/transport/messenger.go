package transport

import (
	"context"

	"github.com/coordd/coordd/pkg/raft"
)

// Messenger carries requests, answers and one-way messages between the programs that run on the members, beside the
// cores' own messages and never in their way. Each transport is one.
type Messenger interface {
	// Request sends body to a member and returns its answer, or the *RemoteError of its handler. It goes again, under
	// the same ID, after a broken connection or a silence, until ctx ends; the receiver's journal answers a repeat
	// without running the handler again. A member that is not among the peers is ErrUnknownPeer.
	Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error)
	// Notify sends a one-way message once. It does not wait and may be lost.
	Notify(to raft.MemberID, body []byte) error
	// Announce asks whatever node listens at an address, of which the caller knows nothing else and which may not
	// know the caller: how a node joins. The two must agree on the cluster as far as both know it.
	Announce(ctx context.Context, address string, body []byte) ([]byte, error)
}

// MessageHandler receives what a Messenger carries. The methods are called on goroutines of their own, of which there is
// a bounded number; an error is sent back as its text.
type MessageHandler interface {
	Requested(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error)
	Notified(from raft.MemberID, body []byte)
	Announced(ctx context.Context, from Identity, body []byte) ([]byte, error)
	// Refused is told that a peer refused this node's handshake.
	Refused(by raft.MemberID, r *Refusal)
}
