package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

// real is a cluster on Badger logs and TCP.
type real struct {
	tb        testing.TB
	members   []raft.Member
	listeners map[raft.MemberID]net.Listener
	dirs      map[raft.MemberID]string
	nodes     map[raft.MemberID]*member
	ways      map[raft.MemberID]*tcp.Transport
	logs      *strings.Builder // what nodes that start from now on log; nil: nowhere
	change    func(cfg *Config, dir string)
}

func startReal(tb testing.TB, size int) *real { return startRealWith(tb, size, nil) }

// startRealWith alters each node's configuration, which is told the node's directory.
func startRealWith(tb testing.TB, size int, change func(*Config, string)) *real {
	r := &real{tb: tb, change: change, listeners: make(map[raft.MemberID]net.Listener), dirs: make(map[raft.MemberID]string), nodes: make(map[raft.MemberID]*member),
		ways: make(map[raft.MemberID]*tcp.Transport)}
	for i := 1; i <= size; i++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		id := raft.MemberID(i)
		r.listeners[id], r.dirs[id] = l, tb.TempDir()
		r.members = append(r.members, raft.Member{ID: id, Name: fmt.Sprintf("n%d", i), Address: l.Addr().String()})
	}
	for _, m := range r.members {
		r.start(m.ID)
	}
	return r
}

func (r *real) start(id raft.MemberID) *member {
	r.tb.Helper()
	log, err := badgerlog.Open(badgerlog.Options{Dir: r.dirs[id], ClusterName: "test", Member: id, MemberName: fmt.Sprintf("n%d", id)})
	if err != nil {
		r.tb.Fatal(err)
	}
	cfg := tcp.Config{Listener: r.listeners[id]}
	if cfg.Listener == nil {
		cfg.Listen = r.members[id-1].Address
	}
	r.listeners[id] = nil
	t, err := tcp.New(cfg)
	if err != nil {
		r.tb.Fatal(err)
	}
	var logger hclog.Logger
	if r.logs != nil {
		logger = hclog.New(&hclog.LoggerOptions{Output: r.logs})
	}
	m := &member{id: id, log: log, machine: &recorder{}}
	nc := Config{ID: id, Name: fmt.Sprintf("n%d", id), Members: r.members, Log: log, Transport: t,
		StateMachine: m.machine, CheckQuorum: true, ClusterHash: [16]byte{1}, Logger: logger,
		ElectionTimeoutMin: 400 * time.Millisecond} // these run in real time, maybe beside much else
	if r.change != nil {
		r.change(&nc, r.dirs[id])
	}
	if m.Node, err = Start(nc); err != nil {
		r.tb.Fatal(err)
	}
	r.nodes[id], r.ways[id] = m, t
	return m
}

func (r *real) cluster() *cluster { return &cluster{t: r.tb, members: r.members, nodes: r.nodes} }

func TestThreeOverTCPOnBadger(t *testing.T) {
	t.Parallel()
	r := startReal(t, 3)
	c := r.cluster()
	defer c.stop()
	first := c.leader()
	for range 20 {
		c.propose(first, "x")
	}
	c.same()
	// The leader is killed; the others go on; it comes back on its directory and follows.
	start := time.Now()
	first.kill()
	second := c.leader()
	t.Logf("a new leader after %v", time.Since(start))
	c.propose(second, "y")
	back := r.start(first.id)
	select {
	case <-back.Ready():
	case <-time.After(patience):
		t.Fatalf("the member that came back is not ready: %+v", back.Status())
	}
	c.barrier(back)
	if got := back.machine.count(); got != 21 {
		t.Errorf("%d commands after the replay, want 21", got)
	}
	// An orderly stop hands over.
	term := second.Status().Term
	if err := second.Stop(c.ctx()); err != nil {
		t.Fatal(err)
	}
	third := c.leader()
	if s := third.Status(); s.Term <= term {
		t.Errorf("term %d after a handover from term %d", s.Term, term)
	}
	if res := c.propose(third, "z"); res.Value != 22 {
		t.Errorf("%v commands, want 22", res.Value)
	}
}

func TestAllRestartFromBadger(t *testing.T) {
	t.Parallel()
	r := startReal(t, 3)
	c := r.cluster()
	l := c.leader()
	for range 300 {
		c.propose(l, "x")
	}
	cluster := l.Status().ClusterID
	c.stop()
	for _, m := range r.members {
		r.start(m.ID)
	}
	defer c.stop()
	l = c.leader()
	c.propose(l, "y")
	c.same()
	if s := l.Status(); s.ClusterID != cluster || cluster.IsZero() {
		t.Errorf("cluster ID %s, was %s", s.ClusterID, cluster)
	}
	if l.machine.count() != 301 {
		t.Errorf("%d commands replayed, want 301", l.machine.count())
	}
}

func TestAnOldCopyOfADirectoryIsFoundOut(t *testing.T) {
	t.Parallel()
	r := startReal(t, 3)
	c := r.cluster()
	defer c.stop()
	l := c.leader()
	f := c.others(l)[0]
	c.propose(l, "x")
	c.barrier(f)
	f.kill()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(r.dirs[f.id])); err != nil {
		t.Fatal(err)
	}
	f = r.start(f.id)
	for range 20 {
		c.propose(l, "y")
	}
	c.barrier(f)
	last := f.Status().Durable
	f.kill() // its mark is told at the next handshake only, so one more life is needed
	f = r.start(f.id)
	c.barrier(f)
	f.kill()
	r.dirs[f.id] = old
	r.logs = &strings.Builder{}
	f = r.start(f.id)
	<-f.Ready()
	c.barrier(f)
	if s := f.Status(); s.Recovering || s.Last < last {
		t.Errorf("after it caught up: %+v", s)
	}
	f.kill()
	if !strings.Contains(r.logs.String(), "more of this log than there is") {
		t.Error("a directory that went back in time was not found out")
	}
}

func BenchmarkProposeThreeBadgerTCP(b *testing.B) {
	for _, proposers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			r := startReal(b, 3)
			c := r.cluster()
			l := c.leader()
			proposeFrom(b, l.Node, proposers)
			for _, m := range r.nodes {
				if err := m.Stop(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
