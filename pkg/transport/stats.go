package transport

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// PeerStats is what a transport knows of its way to one peer.
type PeerStats struct {
	Name    string
	Address string
	// Connected is true while messages of the control class can be sent to the peer.
	Connected bool
	// BulkConnected is true while appends can be sent to the peer.
	BulkConnected bool
	// MessagesConnected is true while there is a connection for requests and notifications: only while they need one.
	MessagesConnected bool
	// RoundTrip is the latest measure; 0: none yet.
	RoundTrip time.Duration
	// Incarnation is what the peer last said in a handshake that was accepted; zero: never.
	Incarnation raft.Incarnation
	// Dropped counts messages to the peer that were given up: no room in a queue, a connection that broke
	// with them under way, a message beyond the largest frame.
	Dropped uint64
	// LastError is why the way to the peer last failed; empty while it is connected.
	LastError string
}

// Statistics is implemented by transports that can tell how they reach their peers.
type Statistics interface {
	// Stats returns one item for each peer of the present list.
	Stats() map[raft.MemberID]PeerStats
}

// NopObserver is an Observer that forgets everything.
type NopObserver struct{}

// PeerSent does nothing.
func (NopObserver) PeerSent(string, string, int) {}

// PeerReceived does nothing.
func (NopObserver) PeerReceived(string, string, int) {}

// PeerSendFailed does nothing.
func (NopObserver) PeerSendFailed(string, string) {}

// PeerRejected does nothing.
func (NopObserver) PeerRejected(Rejection) {}

// PeerRoundTrip does nothing.
func (NopObserver) PeerRoundTrip(string, string, float64) {}
