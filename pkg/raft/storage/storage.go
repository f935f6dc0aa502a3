package storage

import (
	"errors"

	"github.com/coordd/coordd/pkg/raft"
)

// State is what a log knows when it has been opened.
type State struct {
	HardState raft.HardState
	First     uint64 // index of the first entry; Last + 1 for an empty log
	Last      uint64
	LastTerm  uint64
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
	// Mark returns the sidecar's latest slot number and mark, to be told to peers. Slot 0: none.
	Mark() (slot uint64, mark raft.Mark)
	// Close syncs what lags and releases the directory. It is safe to call twice.
	Close() error
}

// The errors of logs.
var (
	ErrCompacted   = errors.New("storage: entries compacted")
	ErrUnavailable = errors.New("storage: entries unavailable")
	ErrClosed      = errors.New("storage: log closed")
	ErrNoSpace     = errors.New("storage: not enough free space")
	ErrTooLarge    = errors.New("storage: batch too large")
)
