package storage

import (
	"errors"

	"github.com/coordd/coordd/pkg/raft"
)

// State is what a log knows when it has been opened.
type State struct {
	HardState raft.HardState
	// Base is the position before First: zero, or that up to which entries were removed because a snapshot has
	// them.
	Base     raft.Mark
	First    uint64 // index of the first entry, Base.Last + 1
	Last     uint64
	LastTerm uint64
	// Runs lists the terms of all entries between First and Last, in order.
	Runs []raft.TermRun
	// Config is the last EntryConfig at or below Last; nil: none. ConfigPrev is the one before it.
	Config, ConfigPrev *raft.Entry
	// Recovering is the mark that the log must reach before this member may trust itself; nil: it may.
	Recovering *raft.Mark

	Incarnation raft.Incarnation
	ClusterID   raft.ClusterID // zero until a configuration with one was stored
}

// Batch is one durable write: all of it or nothing.
type Batch struct {
	HardState     raft.HardState
	TruncateAfter uint64 // last index that stays; Entries begin behind it
	Entries       []raft.Entry
	// Base is set where a snapshot takes the place of the whole log: nothing of it stays, and Entries begin behind
	// Base.Last, which TruncateAfter equals. The snapshot is durable already. What it holds is committed: a lower
	// HardState.Commit is raised to Base.Last, and a Base below the stored commit index is ErrBadBatch.
	Base *raft.Mark
	// ClusterID is that of the snapshot's configuration; read with Base alone.
	ClusterID raft.ClusterID
}

// Log stores a member's hard state and entries. Append is called by one goroutine; Entries, State and
// Mark may be called at any time beside it.
type Log interface {
	// State returns what was found at open.
	State() State
	// Append makes a batch durable and returns when it is. Any error is final: the caller ends the process
	// (a failed sync is never tried again).
	Append(Batch) error
	// Entries returns entries lo ≤ index < hi, at least one, and no more than maxBytes beyond the first.
	// ErrCompacted below First, ErrUnavailable above Last.
	Entries(lo, hi uint64, maxBytes int) ([]raft.Entry, error)
	// Position returns the mark (term, index, chain hash) of the entry at index, for the header of a snapshot:
	// from the base, First − 1, up to Last. ErrCompacted below, ErrUnavailable above.
	Position(index uint64) (raft.Mark, error)
	// Compact removes the entries up to index, because a snapshot that is durable has them; the base is then that
	// of index. What is removed already is no error; what lies above the stored commit index is ErrBadBatch, and so
	// is the last entry, which stays. It may be called beside Append and Entries, by one goroutine, and returns when
	// the new base is durable; the space comes back later. Any other error but ErrNoSpace is final.
	Compact(index uint64) error
	// Mark returns the sidecar's latest slot number and mark, to be told to peers. Slot 0: none.
	Mark() (slot uint64, mark raft.Mark)
	// Close syncs what lags and releases the directory. It is safe to call twice.
	Close() error
}

// Witness is implemented by logs that can be told what a peer saw of them: the mark beside the highest slot
// number. It reports whether this log lacks something that it once acknowledged; the log then keeps the mark
// durably, so that a restart does not forget it.
type Witness interface {
	Witnessed(slot uint64, mark raft.Mark) (recovering bool, err error)
}

// Sizer is implemented by logs that know how much they hold: the bytes of the entries First to Last as Entry.Size
// counts them. It is cheap, may be called at any time, and is what a policy of compaction looks at.
type Sizer interface {
	Bytes() int64
}

// Observer is told what a log does. Its methods are called on the appending goroutine and must not block.
type Observer interface {
	// LogSync is called after each durable write: how long it took, its bytes and its entries.
	LogSync(seconds float64, bytes, entries int)
	// DBSize is the space that the log takes on disk, in bytes; it is measured now and then.
	DBSize(bytes int64)
	// Recovering tells whether the log is behind a mark that it once acknowledged: at open, and at each change.
	Recovering(bool)
}

// The errors of logs.
var (
	ErrCompacted   = errors.New("storage: entries compacted")
	ErrUnavailable = errors.New("storage: entries unavailable")
	ErrClosed      = errors.New("storage: log closed")
	ErrNoSpace     = errors.New("storage: not enough free space")
	ErrTooLarge    = errors.New("storage: batch too large")
	ErrBadBatch    = errors.New("storage: batch does not continue the log")
)
