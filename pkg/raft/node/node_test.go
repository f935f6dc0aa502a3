package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

func retryable(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrBusy)
}

func TestAloneWithoutATransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.change = func(cfg *Config) { cfg.Transport = nil }
		c.start()
		n := c.nodes[1]
		<-n.Ready()
		c.leader(n)
		for i := 1; i <= 100; i++ {
			if r := c.propose(n, "x"); r.Value != i {
				t.Fatalf("result %v, want %d", r.Value, i)
			}
		}
		if index := c.barrier(n); index < 100 {
			t.Errorf("read index %d", index)
		}
		before, ok := n.ClusterTime()
		time.Sleep(time.Second) // virtual: the clock is what is tested
		after, ok2 := n.ClusterTime()
		if !ok || !ok2 || after-before != int64(time.Second) {
			t.Errorf("cluster time went from %d (%v) to %d (%v) in a second", before, ok, after, ok2)
		}
		s := n.Status()
		if s.Role != raft.Leader || s.LeaderName != "n1" || !s.Ready || !s.Leading || s.ClusterID.IsZero() || s.Applied != s.Last || s.Commit != s.Last {
			t.Errorf("status %+v", s)
		}
		if err := n.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Status(); s.Leading || s.Lease || s.Role == raft.Leader {
			t.Errorf("status after the end: %+v", s)
		}
		if !errors.Is(n.Err(), ErrStopped) {
			t.Errorf("Err after Stop: %v", n.Err())
		}
	})
}

func TestThreeElectAndCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		for range 50 {
			c.propose(l, "x")
		}
		es := c.same()
		if l.machine.count() != 50 || es[len(es)-1].Term != l.Status().Term {
			t.Errorf("%d commands applied", l.machine.count())
		}
		for _, f := range c.others(l) {
			s := f.Status()
			if s.Role != raft.Follower || s.Leader != l.id || s.LeaderName != l.cfg.Name || s.LeaderContact > time.Second {
				t.Errorf("follower's status %+v", s)
			}
			if _, ok := f.ClusterTime(); ok || f.Lease() || f.LeadershipContext().Err() == nil {
				t.Error("a follower has cluster time, lease or leadership")
			}
			if f.ConsensusContext().Err() != nil {
				t.Error("a follower in contact has no consensus")
			}
		}
		time.Sleep(2 * statusPeriod) // virtual: how old a status may be
		s := l.Status()
		if len(s.Peers) != 2 || s.Peers[0].Match == 0 || s.Peers[0].LastContact < 0 || !s.Lease {
			t.Errorf("leader's status %+v", s)
		}
	})
}

func TestLeaderDiesAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		first := c.leader()
		c.propose(first, "before")
		lead := first.LeadershipContext()
		start := time.Now()
		first.kill()
		if cause := context.Cause(lead); !errors.Is(cause, ErrStopped) {
			t.Errorf("leadership ended with %v", cause)
		}
		second := c.leader()
		if took := time.Since(start); took > 2*300*time.Millisecond {
			t.Errorf("a new leader after %v", took)
		}
		c.propose(second, "after")
		if got := second.machine.count(); got != 2 {
			t.Errorf("%d commands, want 2", got)
		}
		// The first comes back on its own log and follows.
		back := c.startOne(first.id, first.log.(*storage.Memory).Reopen())
		<-back.Ready()
		c.same()
		if back.machine.count() != 2 {
			t.Errorf("%d commands replayed, want 2", back.machine.count())
		}
	})
}

func TestPartitionedLeaderStepsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		old := c.leader()
		c.propose(old, "before")
		lead, consensus := old.LeadershipContext(), old.ConsensusContext()
		c.net.Isolate(old.id)
		lost := make(chan error, 1)
		old.Submit([]byte("cut off"), func(_ Result, err error) { lost <- err })
		next := c.leader(c.others(old)...)
		<-lead.Done()
		<-consensus.Done()
		if err := <-lost; !errors.Is(err, raft.ErrLeadershipLost) {
			t.Errorf("a proposal without a majority gave %v", err)
		}
		if old.Lease() {
			t.Error("lease without a majority")
		}
		_, err := old.Propose(c.ctx(), []byte("y"))
		var not *NotLeaderError
		if !errors.As(err, &not) || not.Leader != 0 {
			t.Errorf("proposal to a leader that stepped down gave %v", err)
		}
		c.propose(next, "after")
		c.net.HealAll()
		c.waitAny("contact", []*member{old}, func(_ *member, e Event) bool { return e.Leader == next.id })
		if _, err = old.Propose(c.ctx(), []byte("z")); !errors.As(err, &not) || not.Leader != next.id || not.LeaderName != next.cfg.Name {
			t.Errorf("proposal to a follower gave %v", err)
		}
		for _, e := range c.same() {
			if string(e.Data) == "y" || string(e.Data) == "z" {
				t.Errorf("a proposal that was certainly not done was applied: %q", e.Data)
			}
		}
	})
}

func TestBusyIsRefusedBeforeAppend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.change = func(cfg *Config) { cfg.Limits.MaxUncommittedBytes = 4 << 10 }
		c.start()
		defer c.stop()
		l := c.leader()
		for _, f := range c.others(l) {
			c.net.SetDrop(l.id, f.id, func(m raft.Message) bool { return m.Type == raft.MsgAppend && len(m.Entries) > 0 })
		}
		errs := make(chan error, 100)
		for range cap(errs) {
			l.Submit(make([]byte, 100), func(_ Result, err error) { errs <- err })
		}
		busy := 0
		synctest.Wait()
		for len(errs) > 0 {
			if err := <-errs; !errors.Is(err, raft.ErrBusy) {
				t.Fatalf("at the bound: %v", err)
			}
			busy++
		}
		if in := cap(errs) - busy; in < 20 || in > 40 { // 148 bytes each
			t.Errorf("%d of %d proposals fit into 4 KiB", in, cap(errs))
		}
		c.net.HealAll()
		for range cap(errs) - busy {
			if err := <-errs; err != nil {
				t.Errorf("a proposal that was taken: %v", err)
			}
		}
		if got := l.machine.count(); got != cap(errs)-busy {
			t.Errorf("%d applied, %d taken", got, cap(errs)-busy)
		}
		if _, err := l.Propose(c.ctx(), make([]byte, 1<<20)); !errors.Is(err, raft.ErrTooLarge) {
			t.Errorf("1 MiB: %v", err)
		}
	})
}

func TestRestartReplaysCommittedEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		l := c.leader()
		for range 500 { // more than one chunk of the tail
			c.propose(l, "x")
		}
		logs := make(map[raft.MemberID]*storage.Memory)
		term := l.Status().Term
		c.stop()
		for id, m := range c.nodes {
			logs[id] = m.log.(*storage.Memory).Reopen()
		}
		for id, log := range logs {
			c.startOne(id, log)
		}
		defer c.stop()
		l = c.leader()
		if now := l.Status().Term; now <= term {
			t.Errorf("term %d after %d", now, term)
		}
		c.same()
		if l.machine.count() != 500 {
			t.Errorf("%d commands replayed, want 500", l.machine.count())
		}
	})
}
