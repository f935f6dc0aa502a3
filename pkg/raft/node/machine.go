package node

import (
	"io"

	"github.com/coordd/coordd/pkg/raft"
)

// StateMachine is what the cluster replicates. One that is a [Snapshotter] too lets the log be cut; one that is
// [Durable] keeps its own state. All methods are called by one goroutine at a time.
type StateMachine interface {
	// Apply executes one committed entry, of any kind (no-ops and configurations too), on the applier
	// goroutine and in log order. The result goes to the proposal that the entry came from, where that is
	// still waiting here. An error stops the node with that cause.
	Apply(e raft.Entry) (result any, err error)
}

// Snapshotter is implemented by state machines of which snapshots can be taken. Without it the log is kept whole,
// and a member that lost it can't be brought back by a snapshot.
type Snapshotter interface {
	// Snapshot returns a view of the state after the entry that was applied last. It is called on the applier
	// goroutine, between two entries, and nothing is applied before it returns: it has to take a time that does not
	// grow with the state. An error stops the node.
	Snapshot() (SnapshotView, error)
	// Restore puts what a view saved in the place of the whole state. Its bytes are verified; the reader gives io.EOF
	// at their end. It is called before anything is applied, or between two entries. An error stops the node.
	Restore(r io.Reader) error
}

// SnapshotView is a state that no longer changes, whatever is applied meanwhile.
type SnapshotView interface {
	// Save writes the state, on some goroutine of the node. The same state is saved as the same bytes.
	Save(w io.Writer) error
	// Release is called once, when the view is not needed any more, whether it was saved or not.
	Release()
}

// Durable is implemented by state machines that keep their own state over a restart. They are given an entry only
// once this member's log has it durably, so that their state is never ahead of the log.
type Durable interface {
	// LastApplied returns the index of the last entry, or of the snapshot, that the state holds; 0: none. It is
	// called once, at start. What follows it is applied again.
	LastApplied() (index uint64)
}

// ConsensusOnly is a state machine that holds nothing: for clusters that want the consensus alone, that is leader,
// membership and events. Its snapshots are empty, so the log stays short.
type ConsensusOnly struct{}

var (
	_ StateMachine = ConsensusOnly{}
	_ Snapshotter  = ConsensusOnly{}
)

// Apply does nothing.
func (ConsensusOnly) Apply(raft.Entry) (any, error) { return nil, nil }

// Snapshot returns a view of nothing.
func (ConsensusOnly) Snapshot() (SnapshotView, error) { return emptyView{}, nil }

// Restore takes nothing from a snapshot, which holds nothing.
func (ConsensusOnly) Restore(io.Reader) error { return nil }

type emptyView struct{}

func (emptyView) Save(io.Writer) error { return nil }

func (emptyView) Release() {}
