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
	base    raft.Mark
	cluster raft.ClusterID // as of the base
	entries []raft.Entry   // entries[i].Index == base.Last + 1 + i
	hashes  []Hash         // of the first len(hashes) entries; the others' are made when somebody asks
	bytes   int64          // of entries
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
	n := &Memory{hs: m.hs, base: m.base, cluster: m.cluster, bytes: m.bytes,
		entries: append([]raft.Entry(nil), m.entries...), hashes: append([]Hash(nil), m.hashes...)}
	n.state = State{HardState: m.hs, Base: m.base, First: m.base.Last + 1, Last: n.last(), LastTerm: n.termAt(n.last()),
		Incarnation: m.state.Incarnation, ClusterID: m.cluster}
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

func (m *Memory) last() uint64 { return m.base.Last + uint64(len(m.entries)) }

// termAt is the term of the entry at index, 0 where it isn't known.
func (m *Memory) termAt(index uint64) uint64 {
	switch {
	case index == m.base.Last:
		return m.base.LastTerm
	case index < m.base.Last || index > m.last():
		return 0
	}
	return m.entries[index-m.base.Last-1].Term
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
	if err := b.Check(m.base.Last+1, m.last(), m.hs.Commit, m.termAt(b.TruncateAfter)); err != nil {
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
	if b.Base != nil {
		b.HardState.Commit = max(b.HardState.Commit, b.Base.Last)
		m.base, m.cluster = *b.Base, b.ClusterID
		m.entries, m.hashes, m.bytes = nil, nil, 0
	}
	m.hs = b.HardState
	keep := int(b.TruncateAfter - m.base.Last)
	for i := range m.entries[keep:] {
		m.bytes -= int64(m.entries[keep+i].Size())
	}
	for i := range b.Entries {
		m.bytes += int64(b.Entries[i].Size())
	}
	// Readers get copies, so what lies behind the cut can be overwritten in place.
	m.entries = append(m.entries[:keep], b.Entries...)
	m.hashes = m.hashes[:min(keep, len(m.hashes))]
	return nil
}

// Entries implements Log.
func (m *Memory) Entries(lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, ErrClosed
	}
	switch last := m.last(); {
	case lo <= m.base.Last:
		return nil, fmt.Errorf("reading %d of a log that begins at %d: %w", lo, m.base.Last+1, ErrCompacted)
	case lo > last || lo >= hi:
		return nil, fmt.Errorf("reading %d to %d of a log that ends at %d: %w", lo, hi, last, ErrUnavailable)
	case hi > last+1:
		hi = last + 1
	}
	window := m.entries[lo-m.base.Last-1 : hi-m.base.Last-1]
	bytes := window[0].Size()
	n := 1
	for ; n < len(window); n++ {
		if bytes += window[n].Size(); bytes > maxBytes {
			break
		}
	}
	return append([]raft.Entry(nil), window[:n]...), nil
}

// Position implements Log.
func (m *Memory) Position(index uint64) (raft.Mark, error) {
	for {
		m.mu.Lock()
		mark, done, err := m.position(index)
		m.mu.Unlock()
		if done || err != nil {
			return mark, err
		}
	}
}

// hashesAtOnce bounds for how long position keeps others waiting.
const hashesAtOnce = 1000

// position is Position's next step; not done: there is more to hash.
func (m *Memory) position(index uint64) (mark raft.Mark, done bool, err error) {
	switch {
	case m.closed:
		return mark, false, ErrClosed
	case index < m.base.Last:
		return mark, false, fmt.Errorf("position of %d in a log that begins at %d: %w", index, m.base.Last+1, ErrCompacted)
	case index > m.last():
		return mark, false, fmt.Errorf("position of %d in a log that ends at %d: %w", index, m.last(), ErrUnavailable)
	case index == m.base.Last:
		return m.base, true, nil
	}
	want := int(index - m.base.Last)
	prev := m.base.Hash
	if n := len(m.hashes); n > 0 {
		prev = m.hashes[n-1]
	}
	var link []byte
	for n := 0; len(m.hashes) < want && n < hashesAtOnce; n++ {
		link = AppendLink(link[:0], prev, &m.entries[len(m.hashes)])
		prev = HashLink(link)
		m.hashes = append(m.hashes, prev)
	}
	if len(m.hashes) < want {
		return mark, false, nil
	}
	return raft.Mark{LastTerm: m.termAt(index), Last: index, Hash: m.hashes[want-1]}, true, nil
}

// Compact implements Log.
func (m *Memory) Compact(index uint64) error {
	m.mu.Lock()
	todo, err := m.compactable(index)
	m.mu.Unlock()
	if !todo || err != nil {
		return err
	}
	base, err := m.Position(index) // takes a while, beside Append: what is committed stays as it is
	if err != nil && !errors.Is(err, ErrCompacted) {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if todo, err := m.compactable(index); !todo || err != nil {
		return err // an install came between, or Close
	}
	gone := m.entries[:index-m.base.Last]
	for i := range gone {
		e := &gone[i]
		if e.Kind == raft.EntryConfig {
			c, _ := raft.DecodeConfiguration(e.Data) // Append let no other in
			m.cluster = c.ClusterID
		}
		m.bytes -= int64(e.Size())
	}
	clear(gone) // the array stays until the log outgrows it; the data goes now
	m.entries, m.hashes = m.entries[len(gone):], m.hashes[len(gone):]
	m.base = base
	return nil
}

// compactable reports whether there is something to remove up to index.
func (m *Memory) compactable(index uint64) (bool, error) {
	switch {
	case m.closed:
		return false, ErrClosed
	case index <= m.base.Last:
		return false, nil
	}
	return true, CheckCompact(index, m.last(), m.hs.Commit)
}

// Bytes implements Sizer.
func (m *Memory) Bytes() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.bytes
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
