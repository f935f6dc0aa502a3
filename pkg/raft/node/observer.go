package node

import "github.com/coordd/coordd/pkg/raft"

// Outcome is how a proposal ended; it is the label of a counter.
type Outcome string

// The outcomes of proposals.
const (
	OutcomeApplied   Outcome = "applied"
	OutcomeNotLeader Outcome = "not_leader"
	OutcomeBusy      Outcome = "busy"
	OutcomeTooLarge  Outcome = "too_large"
	OutcomeLost      Outcome = "leadership_lost"
	OutcomeStopped   Outcome = "stopped"
)

// Observer is told what a node does, for metrics. Implementations must be quick and safe for concurrent use;
// they are called on the node's own goroutines.
type Observer interface {
	// RoleChanged is told of every change of role or term.
	RoleChanged(role raft.Role, term uint64)
	// Proposals is told how many proposals have just ended in one way.
	Proposals(outcome Outcome, count int)
	// Appended is told of one durable write: how long it took, in seconds, and what it held.
	Appended(seconds float64, entries, bytes int)
	// Applied is told that entries up to index, count of them since the last call, have been applied.
	Applied(index uint64, count int)
	// LeaderContact is told of each message from the leader, with the seconds since the one before it.
	LeaderContact(leader raft.MemberID, seconds float64)
	// SendFailed is told that a message to a peer could not be delivered.
	SendFailed(peer raft.MemberID)
	// RoundTrip is told how long a peer took to answer a heartbeat, in seconds.
	RoundTrip(peer raft.MemberID, seconds float64)
	// Dropped is told that count received messages did not fit in the node's queue.
	Dropped(count int)
	// DiskStalled is told when an append passed the bound of its age (true), and when a probe write
	// succeeded after that (false).
	DiskStalled(stalled bool)
	// SnapshotSaved is told of each snapshot of this member's own: how long it took from the view to the durable
	// file, in seconds, and the file's bytes.
	SnapshotSaved(seconds float64, bytes int64)
	// SnapshotInstalled is told when a leader's snapshot took the place of the state: how long that took once its
	// file was there, in seconds, and the file's bytes.
	SnapshotInstalled(seconds float64, bytes int64)
	// SnapshotSent is told of bytes of a snapshot that a peer took.
	SnapshotSent(peer raft.MemberID, bytes int)
	// Compacted is told that the log begins behind an index now, and how many entries went.
	Compacted(index uint64, entries int)
	// MemberRemoved is told that the failure detector had this leader remove a member.
	MemberRemoved(id raft.MemberID)
}

// NoObserver is an Observer that does nothing; embed it to implement only some of the methods.
type NoObserver struct{}

var _ Observer = NoObserver{}

// RoleChanged does nothing.
func (NoObserver) RoleChanged(raft.Role, uint64) {}

// Proposals does nothing.
func (NoObserver) Proposals(Outcome, int) {}

// Appended does nothing.
func (NoObserver) Appended(float64, int, int) {}

// Applied does nothing.
func (NoObserver) Applied(uint64, int) {}

// LeaderContact does nothing.
func (NoObserver) LeaderContact(raft.MemberID, float64) {}

// SendFailed does nothing.
func (NoObserver) SendFailed(raft.MemberID) {}

// RoundTrip does nothing.
func (NoObserver) RoundTrip(raft.MemberID, float64) {}

// Dropped does nothing.
func (NoObserver) Dropped(int) {}

// DiskStalled does nothing.
func (NoObserver) DiskStalled(bool) {}

// SnapshotSaved does nothing.
func (NoObserver) SnapshotSaved(float64, int64) {}

// SnapshotInstalled does nothing.
func (NoObserver) SnapshotInstalled(float64, int64) {}

// SnapshotSent does nothing.
func (NoObserver) SnapshotSent(raft.MemberID, int) {}

// Compacted does nothing.
func (NoObserver) Compacted(uint64, int) {}

// MemberRemoved does nothing.
func (NoObserver) MemberRemoved(raft.MemberID) {}
