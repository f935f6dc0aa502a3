package main

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/tidwall/btree"

	"github.com/coordd/coordd/pkg/raft"
)

// command is what an entry of the log holds.
type command struct {
	Op    string `json:"op"` // put or delete
	Key   string `json:"key"`
	Value []byte `json:"value,omitempty"`
	// Client and Sequence name a client's write, so that a repeat is not executed again. A client counts its writes
	// and has one under way at a time. No client: each command is executed.
	Client   string `json:"client,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
}

// outcome is what became of a command, on each member the same.
type outcome struct {
	Index   uint64 `json:"index"`   // of the entry that was executed
	Existed bool   `json:"existed"` // the key had a value before
	Stale   bool   `json:"-"`       // the client has written something newer: not executed
}

// lastWrite is what is remembered of a client.
type lastWrite struct {
	Sequence uint64  `json:"sequence"`
	Outcome  outcome `json:"outcome"`
}

// maxClients is how many clients are remembered: those that wrote last. The bound has to be the same on each member,
// because what is forgotten is part of the state.
const maxClients = 10_000

// Map is the state machine. Each member applies the same entries in the same order, so all it does follows from the
// entries alone: no clock, no random number, no iteration in the order of a Go map.
type Map struct {
	mu sync.RWMutex // Apply writes on the node's goroutine, HTTP handlers read on theirs
	contents
}

// contents is all of the state. The trees are copied in O(1): copies share what neither of them changes.
type contents struct {
	pairs   *btree.Map[string, []byte]
	clients *btree.Map[string, lastWrite]
	recent  *btree.Map[uint64, string] // the clients by the index of what they wrote last
}

// NewMap returns an empty one.
func NewMap() *Map { return &Map{contents: newContents()} }

func newContents() contents {
	return contents{pairs: btree.NewMap[string, []byte](0), clients: btree.NewMap[string, lastWrite](0), recent: btree.NewMap[uint64, string](0)}
}

// Apply implements node.StateMachine. The outcome goes to who proposed the entry. An error would stop the node, which
// is right for an entry that this program does not understand: to skip it would let the members' states diverge.
func (m *Map) Apply(e raft.Entry) (any, error) {
	if e.Kind != raft.EntryCommand {
		return nil, nil // a leader's first entry, or a configuration
	}
	var c command
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return nil, fmt.Errorf("reading the command at index %d: %w", e.Index, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Client == "" {
		return m.execute(&c, e.Index)
	}
	last, known := m.clients.Get(c.Client)
	switch {
	case known && c.Sequence == last.Sequence:
		return last.Outcome, nil
	case known && c.Sequence < last.Sequence:
		return outcome{Stale: true}, nil
	}
	o, err := m.execute(&c, e.Index)
	if err == nil {
		m.remember(c.Client, lastWrite{c.Sequence, o})
	}
	return o, err
}

func (m *Map) execute(c *command, index uint64) (o outcome, err error) {
	o.Index = index
	switch c.Op {
	case "put":
		_, o.Existed = m.pairs.Set(c.Key, c.Value)
	case "delete":
		_, o.Existed = m.pairs.Delete(c.Key)
	default:
		return o, fmt.Errorf("the command at index %d is %q, which this version does not know", index, c.Op)
	}
	return o, nil
}

func (c *contents) remember(client string, w lastWrite) {
	if old, known := c.clients.Set(client, w); known {
		c.recent.Delete(old.Outcome.Index)
	}
	c.recent.Set(w.Outcome.Index, client)
	if c.clients.Len() > maxClients {
		_, oldest, _ := c.recent.PopMin()
		c.clients.Delete(oldest)
	}
}

// Get returns the value of a key, as of the last entry that was applied here. The value must not be changed.
func (m *Map) Get(key string) (value []byte, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pairs.Get(key)
}

// Len returns the number of keys.
func (m *Map) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pairs.Len()
}
