//go:build load

// The runs of the load_ files are three members in this process, as the daemon makes them but for NATS: real nodes over
// TCP on loopback, Badger logs and snapshot files on the disk, the replicated machine. Each prints its figures in one
// block, and fails if anything was lost on the way.

package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

var (
	flagLocks     = flag.Int("load.locks", 1_000_000, "locks that are held while snapshots are taken")
	flagSessions  = flag.Int("load.sessions", 10_000, "sessions that hold them")
	flagRounds    = flag.Int("load.rounds", 3, "rounds of snapshots, of which medians are printed")
	flagCommands  = flag.Int("load.commands", 10_000_000, "commands that are written while one member is away")
	flagBehind    = flag.Int("load.behind", 1_000_000, "entries that a follower is behind")
	flagProposers = flag.Int("load.proposers", 64, "proposers that keep the leader busy, each with one command under way")
)

// loadPatience bounds each wait for something that is a matter of seconds.
const loadPatience = 2 * time.Minute

// loadCluster is three members and what is known of their load.
type loadCluster struct {
	t       *testing.T
	list    []raft.Member
	members []*loadMember
	tune    func(*node.Config)
	meter   *meter
	ctx     context.Context // ends with the test

	leading atomic.Pointer[loadMember] // the last that was found
	retried retries
	granted atomic.Uint64 // acquires that were answered, of all clients
	given   atomic.Uint64 // releases
}

// loadMember is one of them; its directory and its counters outlive its restarts.
type loadMember struct {
	c       *loadCluster
	place   int // in members
	id      raft.MemberID
	name    string
	dir     string
	machine *timedMachine
	running atomic.Pointer[node.Node] // nil: none
	seen    observed
}

// startLoad starts three members whose configuration tune changes, and waits for a leader.
func startLoad(t *testing.T, tune func(*node.Config)) *loadCluster {
	t.Helper()
	old := debug.SetGCPercent(75) // as the daemon has it
	t.Cleanup(func() { debug.SetGCPercent(old) })
	ctx, cancel := context.WithCancel(context.Background())
	c := &loadCluster{t: t, tune: tune, meter: newMeter(), ctx: ctx}
	listeners := make([]net.Listener, loadMembers)
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		m := raft.Member{ID: raft.MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()}
		c.list = append(c.list, m)
		c.members = append(c.members, &loadMember{c: c, place: i, id: m.ID, name: m.Name, dir: t.TempDir(),
			seen: observed{meter: c.meter, member: i}})
	}
	t.Cleanup(c.stop)
	t.Cleanup(cancel) // clients first
	for i, m := range c.members {
		m.start(tcp.Config{Listener: listeners[i]})
	}
	c.leader()
	return c
}

// start opens the member's directory and runs a node on it.
func (m *loadMember) start(way tcp.Config) {
	t := m.c.t
	t.Helper()
	log, err := badgerlog.Open(badgerlog.Options{Dir: m.dir, ClusterName: "load", Member: m.id, MemberName: m.name})
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := snapstore.Open(snapstore.Options{Dir: filepath.Join(m.dir, "snapshots")})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := tcp.New(way)
	if err != nil {
		t.Fatal(err)
	}
	m.machine = &timedMachine{StateMachine: NewStateMachine(machine.New()), meter: m.c.meter, member: m.place}
	cfg := node.Config{ID: m.id, Name: m.name, Members: m.c.list, Log: log, Snapshots: snaps, Transport: transport,
		StateMachine: m.machine, CheckQuorum: true, ClusterHash: [16]byte{1}, Observer: &m.seen, Logger: loadLogger(m.name)}
	if m.c.tune != nil {
		m.c.tune(&cfg)
	}
	n, err := node.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.running.Store(n)
}

// leads reports whether the member serves as the leader.
func (m *loadMember) leads() bool {
	n := m.node()
	return n != nil && n.LeadershipContext().Err() == nil
}

// node is the one that runs; nil: none.
func (m *loadMember) node() *node.Node { return m.running.Load() }

func loadLogger(name string) hclog.Logger {
	if os.Getenv("COORDD_TEST_LOG") == "" {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: os.Stderr})
}

// restart runs a member again that was stopped.
func (m *loadMember) restart() {
	m.c.t.Helper()
	m.start(tcp.Config{Listen: m.c.list[m.place].Address})
}

// stop ends the node and returns the last index of its log.
func (m *loadMember) stop() (last uint64) {
	n := m.running.Swap(nil)
	if n == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadPatience)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		m.c.t.Errorf("stopping %s: %v", m.name, err)
	}
	return n.Status().Last
}

func (c *loadCluster) stop() {
	for _, m := range c.members {
		_ = m.stop()
	}
}

// running returns the members that run.
func (c *loadCluster) running() (out []*loadMember) {
	for _, m := range c.members {
		if m.node() != nil {
			out = append(out, m)
		}
	}
	return out
}

// leader waits until one member leads and returns it.
func (c *loadCluster) leader() *loadMember {
	c.t.Helper()
	if m := c.leading.Load(); m != nil && m.leads() {
		return m
	}
	var found *loadMember
	c.await("a leader", func() bool {
		for _, m := range c.running() {
			if m.leads() {
				found = m
			}
		}
		return found != nil
	})
	c.leading.Store(found)
	return found
}

// follower returns a running member that does not lead.
func (c *loadCluster) follower() *loadMember {
	c.t.Helper()
	l := c.leader()
	for _, m := range c.running() {
		if m != l {
			return m
		}
	}
	c.t.Fatal("no follower runs")
	return nil
}

// leaderships is how many there were. More than one: the machine was so busy that members lost sight of each other.
func (c *loadCluster) leaderships() (n int) {
	for _, m := range c.members {
		_, _, led := m.seen.counts()
		n += led
	}
	return n
}

// await looks again and again until ok.
func (c *loadCluster) await(what string, ok func() bool) {
	c.t.Helper()
	c.awaitFor(loadPatience, what, ok)
}

func (c *loadCluster) awaitFor(patience time.Duration, what string, ok func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		for _, m := range c.running() {
			if err := m.node().Err(); err != nil {
				c.t.Fatalf("%s ended while waiting for %s: %v", m.name, what, err)
			}
		}
		select {
		case <-deadline.C:
			c.t.Fatalf("waited %v for %s", patience, what)
		case <-look.C:
		}
	}
}

// state is what a member's machine holds at an index.
type state struct {
	index  uint64
	hash   [32]byte
	counts machine.Counts
}

// state reads a member's machine. Nothing is applied meanwhile but what is under way.
func (m *loadMember) state() (s state, err error) {
	views := make(chan *machine.View, 1)
	if !m.node().Inspect(func(uint64) { views <- m.machine.Machine().View() }) {
		return s, errors.New("the node does not let its machine be inspected")
	}
	select {
	case v := <-views:
		return state{v.Index(), v.Hash(), v.Counts()}, nil
	case <-m.node().Done():
		return s, m.node().Err()
	}
}

// same waits until all members have applied the whole log, and fails unless their states have one hash and the grants
// and releases are those that clients were told, none lost and none made twice. Nobody may propose meanwhile.
func (c *loadCluster) same() state {
	c.t.Helper()
	if _, err := c.leader().node().ReadBarrier(c.ctx); err != nil {
		c.t.Fatal(err)
	}
	last := c.leader().node().Status().Last
	var first state
	for i, m := range c.members {
		c.await(m.name+" to have applied all", func() bool { return m.node().Status().Applied >= last })
		s, err := m.state()
		if err != nil {
			c.t.Fatal(err)
		}
		if i == 0 {
			first = s
		} else if s != first {
			c.t.Errorf("%s holds %x at index %d, %s %x at index %d", m.name, s.hash[:8], s.index, c.members[0].name, first.hash[:8], first.index)
		}
	}
	if granted, given := c.granted.Load(), c.given.Load(); first.counts.Grants != granted || first.counts.Releases != given {
		c.t.Errorf("%d grants and %d releases, but clients were told of %d and %d", first.counts.Grants, first.counts.Releases, granted, given)
	}
	return first
}
