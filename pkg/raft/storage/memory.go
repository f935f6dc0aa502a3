package storage

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
)

// Memory is a log in memory, for tests and for clusters that keep nothing but their consensus. A process that
// ends takes it along: its successor has another incarnation and joins as a new member (storage.md,
// "Incarnation"). It has no sidecar, so Mark has nothing to tell.
type Memory struct {
	state State // as found at open

	mu      sync.RWMutex
	hs      raft.HardState
	entries []raft.Entry // entries[i].Index == i + 1
	closed  bool
}

// NewMemory returns an empty log with an incarnation of its own.
func NewMemory() *Memory {
	m := &Memory{}
	if _, err := rand.Read(m.state.Incarnation[:]); err != nil {
		panic("storage: no random numbers: " + err.Error()) // crypto/rand promises that this can't be
	}
	m.state.First = 1
	return m
}

// Reopen closes m and returns a log with the same content and incarnation: what a restart on a disk that kept
// everything would find.
func (m *Memory) Reopen() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	n := &Memory{hs: m.hs, entries: append([]raft.Entry(nil), m.entries...)}
	n.state = State{HardState: m.hs, First: 1, Last: uint64(len(n.entries)), Incarnation: m.state.Incarnation}
	n.state.LastTerm = n.termAt(n.state.Last)
	for i := range n.entries {
		e := &n.entries[i]
		if k := len(n.state.Runs); k == 0 || n.state.Runs[k-1].Term != e.Term {
			n.state.Runs = append(n.state.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == raft.EntryConfig {
			c := *e
			n.state.ConfigPrev, n.state.Config = n.state.Config, &c
		}
	}
	if c := n.state.Config; c != nil {
		if conf, err := raft.DecodeConfiguration(c.Data); err == nil { // Append let no other in
			n.state.ClusterID = conf.ClusterID
		}
	}
	return n
}

// termAt is the term of the entry at index, 0 where there is none.
func (m *Memory) termAt(index uint64) uint64 {
	if index == 0 || index > uint64(len(m.entries)) {
		return 0
	}
	return m.entries[index-1].Term
}

// State implements Log.
func (m *Memory) State() State { return m.state }

// Append implements Log. The data of the entries is kept, not copied.
func (m *Memory) Append(b Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if err := b.Check(1, uint64(len(m.entries)), m.hs.Commit, m.termAt(b.TruncateAfter)); err != nil {
		return err
	}
	if err := CheckHardState(m.hs, b.HardState); err != nil {
		return err
	}
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Kind == raft.EntryConfig {
			if _, err := raft.DecodeConfiguration(e.Data); err != nil {
				return fmt.Errorf("%w: configuration at %d: %w", ErrBadBatch, e.Index, err)
			}
		}
	}
	b.HardState.Commit = max(b.HardState.Commit, m.hs.Commit)
	m.hs = b.HardState
	// Readers get copies, so what lies behind the cut can be overwritten in place.
	m.entries = append(m.entries[:b.TruncateAfter], b.Entries...)
	return nil
}

// Entries implements Log.
func (m *Memory) Entries(lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	switch last := uint64(len(m.entries)); {
	case lo < 1:
		return nil, fmt.Errorf("reading %d: %w", lo, ErrCompacted)
	case lo > last || lo >= hi:
		return nil, fmt.Errorf("reading %d to %d of a log that ends at %d: %w", lo, hi, last, ErrUnavailable)
	case hi > last+1:
		hi = last + 1
	}
	window := m.entries[lo-1 : hi-1]
	bytes := window[0].Size()
	n := 1
	for ; n < len(window); n++ {
		if bytes += window[n].Size(); bytes > maxBytes {
			break
		}
	}
	return append([]raft.Entry(nil), window[:n]...), nil
}

// Mark implements Log: there is no sidecar.
func (m *Memory) Mark() (uint64, raft.Mark) { return 0, raft.Mark{} }

// Close implements Log.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// Position implements Log.
func (m *Memory) Position(index uint64) (raft.Mark, error) { return raft.Mark{}, errors.ErrUnsupported }

// Compact implements Log.
func (m *Memory) Compact(index uint64) error { return errors.ErrUnsupported }
