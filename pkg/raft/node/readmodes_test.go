package node

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

func TestLeaseReadsWaitForNoMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		f := c.others(l)[0]
		r := c.propose(l, "x")
		for _, o := range c.others(l) {
			c.net.SetDelay(l.id, o.id, 20*time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // virtual: some rounds
		start := time.Now()
		got, err := l.Read(c.ctx(), Lease)
		if took := time.Since(start); err != nil || got.Index < r.Index || took > 0 {
			t.Errorf("a lease read on the leader: %+v, %v after %v", got, err, took)
		}
		start = time.Now()
		if got, err = l.Read(c.ctx(), Linearizable); err != nil || got.Index < r.Index || time.Since(start) < 20*time.Millisecond {
			t.Errorf("a linearizable read: %+v, %v after %v", got, err, time.Since(start))
		}
		start = time.Now()
		if got, err = f.Read(c.ctx(), Lease); err != nil || got.Index < r.Index || time.Since(start) < 20*time.Millisecond {
			t.Errorf("a lease read on a follower: %+v, %v after %v", got, err, time.Since(start))
		}
		// Without a lease a round has to prove it; without anybody who answers, there is none.
		c.net.Isolate(l.id)
		time.Sleep(150 * time.Millisecond) // virtual: the lease is over, the leader does not know yet
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got, err = l.Read(ctx, Lease); err == nil {
			t.Errorf("a lease read without a lease: %+v", got)
		}
	})
}

// A leader that has committed but not applied must not show the state before: others may have been told.
func TestALeaseReadWaitsForWhatIsCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		c.propose(l, "x")
		hold := make(chan struct{})
		l.machine.mu.Lock()
		l.machine.hold = hold
		l.machine.mu.Unlock()
		l.Submit([]byte("y"), func(Result, error) {})
		time.Sleep(100 * time.Millisecond) // virtual: it is committed, the machine holds it
		read := make(chan error, 1)
		go func() {
			_, err := l.Read(c.ctx(), Lease)
			read <- err
		}()
		synctest.Wait()
		select {
		case err := <-read:
			t.Fatalf("answered before the committed entry was applied: %v, %d", err, l.machine.count())
		default:
		}
		close(hold)
		if err := <-read; err != nil || l.machine.count() != 2 {
			t.Errorf("%v, %d commands", err, l.machine.count())
		}
	})
}

func TestStaleReadsTellTheirAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		one := c.startOne(1, storage.NewMemory())
		if got, err := one.Read(c.ctx(), Stale); err != nil || got.Age != math.MaxInt64 {
			t.Errorf("before any leader: %+v, %v", got, err)
		}
		c.startOne(2, storage.NewMemory())
		c.startOne(3, storage.NewMemory())
		defer c.stop()
		l := c.leader()
		r := c.propose(l, "x")
		f := c.others(l)[0]
		c.barrier(f)
		if got, err := f.Read(c.ctx(), Stale); err != nil || got.Index < r.Index || got.Age > 100*time.Millisecond {
			t.Errorf("in contact: %+v, %v", got, err)
		}
		if got, err := l.Read(c.ctx(), Stale); err != nil || got.Age != 0 {
			t.Errorf("on the leader: %+v, %v", got, err)
		}
		c.net.Isolate(f.id)
		time.Sleep(5 * time.Second) // virtual
		if got, err := f.Read(c.ctx(), Stale); err != nil || got.Index < r.Index || got.Age < 4900*time.Millisecond || got.Age > 5100*time.Millisecond {
			t.Errorf("cut off for five seconds: %+v, %v", got, err)
		}
		c.net.Isolate(l.id)
		time.Sleep(2 * time.Second) // virtual: it has stepped down
		if got, err := l.Read(c.ctx(), Stale); err != nil || got.Age < time.Second || got.Age > 3*time.Second {
			t.Errorf("a former leader: %+v, %v", got, err)
		}
	})
}

func TestWaitAppliedWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		f := c.others(l)[0]
		c.barrier(f)
		r := c.propose(l, "x")
		if err := f.WaitApplied(c.ctx(), r.Index); err != nil || f.machine.count() != 1 {
			t.Errorf("%v, %d commands", err, f.machine.count())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.WaitApplied(ctx, r.Index+100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an entry that does not come: %v", err)
		}
		synctest.Wait()
		if n := f.apply.open.Load(); n != 0 {
			t.Errorf("%d reads stay open", n)
		}
		f.kill()
		if err := f.WaitApplied(c.ctx(), r.Index+100); !errors.Is(err, ErrStopped) {
			t.Errorf("on a node that has ended: %v", err)
		}
	})
}

func TestForceReplicationNeedsAMajorityAndNoApply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		f := c.others(l)[0]
		c.propose(l, "x")
		c.barrier(f)
		rounds := l.loop.lastRead
		for _, m := range []*member{l, f} {
			if err := m.ForceReplication(c.ctx()); err != nil {
				t.Errorf("on node %d: %v", m.id, err)
			}
		}
		if l.loop.lastRead == rounds {
			t.Error("no round was asked for")
		}
		hold := make(chan struct{})
		l.machine.mu.Lock()
		l.machine.hold = hold
		l.machine.mu.Unlock()
		l.Submit([]byte("y"), func(Result, error) {})
		synctest.Wait()
		if err := l.ForceReplication(c.ctx()); err != nil {
			t.Errorf("while nothing is applied: %v", err)
		}
		close(hold)
		for _, o := range c.others(l) {
			c.net.Isolate(o.id)
		}
		if err := l.ForceReplication(c.ctx()); !errors.Is(err, raft.ErrLeadershipLost) && !errors.Is(err, raft.ErrNotLeader) {
			t.Errorf("without a majority: %v", err)
		}
	})
}

func TestEnsureConsistencyWaitsForALeaderOfThisTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		c.propose(l, "x")
		f := c.others(l)[0]
		l.kill()
		if err := f.EnsureConsistency(c.ctx()); err != nil {
			t.Fatal(err)
		}
		es, s := f.machine.all(), f.Status()
		if last := es[len(es)-1]; last.Term != s.Term || s.Leader == l.id || s.Leader == 0 {
			t.Errorf("last applied %+v in term %d", last, s.Term)
		}
		for _, m := range c.running() {
			c.net.Isolate(m.id)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		<-f.ConsensusContext().Done()
		if err := f.EnsureConsistency(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a leader: %v", err)
		}
	})
}
