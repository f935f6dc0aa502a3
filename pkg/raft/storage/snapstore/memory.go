package snapstore

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Memory is a storage.Snapshots in memory, for tests and for clusters that keep nothing but their consensus. Its
// snapshots have the bytes that files have, so members may send them to each other whatever they keep them in.
type Memory struct {
	mu        sync.Mutex
	files     map[id][]byte
	list      []storage.SnapshotInfo // newest first
	damaged   map[id]error           // in files and not listed
	writers   map[*writer]bool
	receiving *receiver
	part      *memorySink // of receiving, also when it is over
	closed    bool
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{files: map[id][]byte{}, damaged: map[id]error{}, writers: map[*writer]bool{}}
}

// Reopen closes m and returns a store with the same snapshots: what a restart on a disk would find.
func (m *Memory) Reopen() *Memory {
	m.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := NewMemory()
	for i, b := range m.files {
		n.files[i] = b
	}
	for i, why := range m.damaged {
		n.damaged[i] = why
	}
	n.list, n.part = slices.Clone(m.list), m.part
	return n
}

// memorySink is a file in memory. It belongs to one writer or receiver at a time.
type memorySink struct {
	to   *Memory
	id   id
	meta []byte // of a part: what it is
	size int64  // of a part: what it is going to have
	buf  bytes.Buffer
}

// Write implements sink.
func (s *memorySink) Write(b []byte) (int, error) { return s.buf.Write(b) }

// commit implements sink.
func (s *memorySink) commit(info storage.SnapshotInfo) error {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.to.files[s.id] = s.buf.Bytes()
	s.to.list = insert(s.to.list, info)
	delete(s.to.damaged, s.id)
	for old := range s.to.damaged {
		if old.index <= s.id.index {
			delete(s.to.damaged, old)
			delete(s.to.files, old)
		}
	}
	s.to.dropPart(s)
	return nil
}

// keep implements sink.
func (s *memorySink) keep() error { return nil }

// discard implements sink.
func (s *memorySink) discard() {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.to.dropPart(s)
}

func (m *Memory) dropPart(s *memorySink) {
	if m.part == s {
		m.part = nil
	}
}

// List implements storage.Snapshots.
func (m *Memory) List() []storage.SnapshotInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// Create implements storage.Snapshots.
func (m *Memory) Create(meta raft.SnapshotMeta) (storage.SnapshotWriter, error) {
	w, err := newWriter(meta, &memorySink{to: m, id: id{meta.Index, meta.Term}})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, storage.ErrClosed
	}
	w.over = m.forget
	m.writers[w] = true
	return w, nil
}

func (m *Memory) forget(w *writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.writers, w)
}

// content is what is read of a snapshot in memory.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

// Open implements storage.Snapshots.
func (m *Memory) Open(index, term uint64) (storage.SnapshotReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, storage.ErrClosed
	}
	if err := m.damaged[id{index, term}]; err != nil {
		return nil, err
	}
	b, ok := m.files[id{index, term}]
	if !ok {
		return nil, fmt.Errorf("index %d, term %d: %w", index, term, storage.ErrNoSnapshot)
	}
	r, err := newReader(content{bytes.NewReader(b)}, int64(len(b)), "")
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Receive implements storage.Snapshots. A receiver that is still there of an earlier call is over.
func (m *Memory) Receive(meta raft.SnapshotMeta, size int64) (storage.SnapshotReceiver, error) {
	if err := m.endReceiving(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	part := m.part
	if part == nil || part.size != size || !bytes.Equal(part.meta, meta.Encode()) {
		part = &memorySink{id: id{meta.Index, meta.Term}, size: size, meta: meta.Encode()}
	}
	r, have, err := newReceiver(&meta, size, bytes.NewReader(part.buf.Bytes()), "")
	if err != nil {
		return nil, err
	}
	part.to = m
	part.buf.Truncate(int(have))
	r.sink = part
	m.part, m.receiving = part, r
	return r, nil
}

// endReceiving ends the receiver that was there; an error says that the store is closed.
func (m *Memory) endReceiving() error {
	m.mu.Lock()
	closed, old := m.closed, m.receiving
	m.receiving = nil
	m.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	if closed {
		return storage.ErrClosed
	}
	return nil
}

// SetAside implements storage.Snapshots.
func (m *Memory) SetAside(index, term uint64, why error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return storage.ErrClosed
	}
	if i := (id{index, term}); has(m.list, i) {
		m.list = without(m.list, i)
		m.damaged[i] = why
	}
	return nil
}

// Remove implements storage.Snapshots.
func (m *Memory) Remove(index, term uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return storage.ErrClosed
	}
	delete(m.files, id{index, term})
	delete(m.damaged, id{index, term})
	m.list = without(m.list, id{index, term})
	return nil
}

// Close implements storage.Snapshots.
func (m *Memory) Close() error {
	m.mu.Lock()
	m.closed = true
	writers := m.writers
	m.writers = map[*writer]bool{}
	m.mu.Unlock()
	for w := range writers {
		w.Abort()
	}
	_ = m.endReceiving()
	return nil
}

var _ storage.Snapshots = (*Memory)(nil)
