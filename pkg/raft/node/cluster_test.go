package node

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport/inmem"
)

// recorder is a state machine that remembers what it was given and returns the number of commands so far.
type recorder struct {
	mu       sync.Mutex
	entries  []raft.Entry
	commands int
	failAt   uint64
	hold     chan struct{} // Apply of a command waits for it; nil: not
}

func (r *recorder) Apply(e raft.Entry) (any, error) {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil && e.Kind == raft.EntryCommand {
		<-hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failAt != 0 && e.Index >= r.failAt {
		return nil, fmt.Errorf("told to fail at %d", e.Index)
	}
	if n := len(r.entries); n > 0 && r.entries[n-1].Index+1 != e.Index {
		return nil, fmt.Errorf("entry %d behind %d", e.Index, r.entries[n-1].Index)
	}
	r.entries = append(r.entries, e)
	if e.Kind == raft.EntryCommand {
		r.commands++
	}
	return r.commands, nil
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commands
}

func (r *recorder) all() []raft.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]raft.Entry(nil), r.entries...)
}

// member is one node of a test's cluster and what it runs on.
type member struct {
	*Node
	id      raft.MemberID
	log     storage.Log
	machine *recorder
}

// cluster runs nodes in one process, on memory logs and an in-memory network.
type cluster struct {
	t       testing.TB
	net     *inmem.Network
	members []raft.Member
	nodes   map[raft.MemberID]*member
	change  func(*Config) // alters each node's configuration
	wrap    func(raft.MemberID, storage.Log) storage.Log
}

func newCluster(t testing.TB, size int) *cluster {
	c := &cluster{t: t, net: inmem.NewNetwork(), nodes: make(map[raft.MemberID]*member)}
	for i := 1; i <= size; i++ {
		c.members = append(c.members, raft.Member{ID: raft.MemberID(i), Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("host%d", i)})
	}
	return c
}

func (c *cluster) start() *cluster {
	c.t.Helper()
	for _, m := range c.members {
		c.startOne(m.ID, storage.NewMemory())
	}
	return c
}

func (c *cluster) startOne(id raft.MemberID, log storage.Log) *member {
	c.t.Helper()
	if c.wrap != nil {
		log = c.wrap(id, log)
	}
	m := &member{id: id, log: log, machine: &recorder{}}
	cfg := Config{ID: id, Name: fmt.Sprintf("n%d", id), Members: c.members, Log: log, StateMachine: m.machine, CheckQuorum: true,
		Transport: c.net.New(inmem.Config{Address: fmt.Sprintf("host%d", id)})}
	if testing.Verbose() {
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: cfg.Name, Level: hclog.Debug, Output: testWriter{c.t}})
	}
	if c.change != nil {
		c.change(&cfg)
	}
	n, err := Start(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	m.Node = n
	c.nodes[id] = m
	return m
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	fmt.Printf("%s %s", time.Now().Format("05.000000"), p)
	return len(p), nil
}

// stop ends what still runs, at once.
func (c *cluster) stop() {
	for _, m := range c.nodes {
		m.kill()
	}
}

// kill ends a node without a handover.
func (m *member) kill() {
	m.halt(ErrStopped)
	<-m.Done()
}

// patience bounds every wait of a test; in virtual time it costs nothing.
const patience = 2 * time.Minute

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// waitAny waits until one of the nodes has an event that suits and returns that node.
func (c *cluster) waitAny(what string, nodes []*member, suits func(*member, Event) bool) *member {
	c.t.Helper()
	var cases []reflect.SelectCase
	for _, m := range nodes {
		events, cancel := m.Events()
		defer cancel()
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(events)})
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(timeout.C)})
	for {
		i, v, ok := reflect.Select(cases)
		switch {
		case i == len(nodes):
			for _, m := range nodes {
				c.t.Logf("node %d: %+v", m.id, m.Status())
			}
			c.t.Fatalf("no %s within %v", what, patience)
		case !ok:
			cases[i].Chan = reflect.ValueOf((chan Event)(nil))
		case suits(nodes[i], v.Interface().(Event)):
			return nodes[i]
		}
	}
}

func (c *cluster) running() (out []*member) {
	for _, m := range c.members {
		if n := c.nodes[m.ID]; n != nil && n.Err() == nil {
			out = append(out, n)
		}
	}
	return out
}

// leader waits until one of the nodes leads; none given: of all that run.
func (c *cluster) leader(among ...*member) *member {
	c.t.Helper()
	if len(among) == 0 {
		among = c.running()
	}
	return c.waitAny("leader", among, func(_ *member, e Event) bool { return e.Leading })
}

func (c *cluster) others(than *member) (out []*member) {
	for _, m := range c.running() {
		if m != than {
			out = append(out, m)
		}
	}
	return out
}

func (c *cluster) propose(m *member, data string) Result {
	c.t.Helper()
	r, err := m.Propose(c.ctx(), []byte(data))
	if err != nil {
		c.t.Fatalf("proposing %.20q to %d: %v", data, m.id, err)
	}
	return r
}

// barrier waits until a node has applied all that is committed.
func (c *cluster) barrier(m *member) uint64 {
	c.t.Helper()
	for {
		index, err := m.ReadBarrier(c.ctx())
		if err == nil {
			return index
		}
		if !retryable(err) {
			c.t.Fatalf("read barrier on %d: %v", m.id, err)
		}
		c.waitAny("contact with a leader", []*member{m}, func(_ *member, e Event) bool { return e.Leader != 0 })
	}
}

// same checks that all running nodes have applied the same entries, after a barrier on each.
func (c *cluster) same() []raft.Entry {
	c.t.Helper()
	var first []raft.Entry
	for i, m := range c.running() {
		c.barrier(m)
		es := m.machine.all()
		if i == 0 {
			first = es
			continue
		}
		n := min(len(first), len(es))
		if !reflect.DeepEqual(first[:n], es[:n]) {
			c.t.Fatalf("node %d applied something else", m.id)
		}
		if len(es) > len(first) {
			first = es
		}
	}
	return first
}
