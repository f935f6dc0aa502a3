package transport

import (
	"context"
	"crypto/sha256"

	"github.com/coordd/coordd/pkg/raft"
)

// Peer is a member that a transport can reach.
type Peer struct {
	ID      raft.MemberID
	Name    string
	Address string // host:port
	// Incarnation that the configuration records for it; zero: not recorded yet, any is accepted.
	Incarnation raft.Incarnation
}

// Identity is what a node says of itself in each handshake.
type Identity struct {
	Cluster     raft.ClusterID // zero: not known yet (a blank node of a static start)
	ClusterHash [16]byte       // hash of cluster name and sorted static members; zero: none, as of a node that joins
	NameHash    [16]byte       // NameHash of the cluster's name; zero: not told
	Member      raft.MemberID
	Name        string
	Incarnation raft.Incarnation
	MarkSlot    uint64 // the sidecar's latest slot; 0: none
	Mark        raft.Mark
	// ConfigIndex is the index of the configuration in effect on the node; 0: the static one, or none.
	ConfigIndex uint64
	// Address is where the node can be reached. Its transport fills it in; what a node's handler says is not looked at.
	Address string
}

// NameHash is what Identity.NameHash says of a cluster's name.
func NameHash(cluster string) (h [16]byte) {
	sum := sha256.Sum256([]byte("coordd cluster name\x00" + cluster))
	copy(h[:], sum[:])
	return h
}

// Handler receives what comes in. Its methods are called from many goroutines and, unless MessageHandler says otherwise,
// must not block.
type Handler interface {
	MessageHandler
	// Receive takes one message. The transport has checked that From is the peer of the connection and has
	// filled Message.Incarnation. The handler owns the message.
	Receive(raft.Message)
	// Identity returns the node's present identity, for a handshake.
	Identity() Identity
	// Witness returns the highest mark (by slot) that this node has seen from a member, and from which
	// incarnation of it. Slot 0: none.
	Witness(raft.MemberID) Witnessed
	// Seen is told what a peer said of itself in a handshake, and which mark of ours it has seen; one of
	// another incarnation than our Identity's is left out (Witnessed.Of). It is told again, with slot 0 for
	// ours, when a peer's mark has moved on since.
	Seen(peer Identity, ours Witnessed)
	// Unreachable is told that a message to a peer could not be delivered; at most once for each failure.
	Unreachable(raft.MemberID)
}

// Transport carries messages between cores. It may lose, repeat and reorder them; it never alters one. What the
// programs around the cores say to each other it carries beside them, by the rules of Messenger.
type Transport interface {
	Messenger
	// Start begins to listen and to serve; it returns when the listener is bound.
	Start(h Handler) error
	// Addr is the address that is listened on, after Start.
	Addr() string
	// SetPeers replaces the list of peers; connections to others are closed.
	SetPeers([]Peer)
	// Send queues messages and never blocks; what does not fit in a peer's queue is dropped and counted.
	// Heartbeats, votes and their answers have a queue of their own and do not wait behind appends.
	// The messages' entries must not be changed afterwards. A MsgSnapshot is never sent (raft.MsgSnapshot says who
	// brings it): it is dropped and counted.
	Send([]raft.Message)
	// Close ends all connections and waits until no goroutine of the transport is left.
	Close(ctx context.Context) error
}

// Rejection is why a handshake was refused; it is the label of a counter.
type Rejection string

// The kinds of rejections.
const (
	RejectProtocol    Rejection = "protocol"
	RejectCluster     Rejection = "cluster"
	RejectMember      Rejection = "member"
	RejectIncarnation Rejection = "incarnation"
	RejectFrame       Rejection = "frame"
	RejectTimeout     Rejection = "timeout"
)

// Observer is told what a transport does, for metrics. Implementations must be quick.
type Observer interface {
	PeerSent(peer, transport string, bytes int)
	PeerReceived(peer, transport string, bytes int)
	// PeerSendFailed is told of each message that is dropped on its way to a listed peer.
	PeerSendFailed(peer, transport string)
	PeerRejected(kind Rejection)
	PeerRoundTrip(peer, transport string, seconds float64)
}
