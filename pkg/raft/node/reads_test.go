package node

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

func TestReadsSeeWhatWasAcknowledgedBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		// Slow and unequal links, so that a follower is behind when it is asked.
		for _, f := range c.others(l) {
			c.net.SetDelay(l.id, f.id, time.Duration(f.id)*7*time.Millisecond)
		}
		var acknowledged atomic.Int64
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := l.Propose(c.ctx(), []byte("x"))
				if err != nil {
					t.Error(err)
					return
				}
				acknowledged.Store(int64(r.Value.(int)))
			}
		})
		var readers sync.WaitGroup
		for _, m := range c.running() {
			readers.Go(func() {
				for range 50 {
					before := acknowledged.Load()
					got := make(chan int, 1)
					m.SubmitRead(func(_ uint64, err error) {
						if err != nil {
							t.Error(err)
						}
						got <- m.machine.count()
					})
					if seen := <-got; int64(seen) < before {
						t.Errorf("node %d shows %d, %d were acknowledged before", m.id, seen, before)
					}
				}
			})
		}
		readers.Wait()
		close(stop)
		done.Wait()
	})
}

func TestReadsFailWithoutAMajority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		c.net.Isolate(l.id)
		start := time.Now()
		_, err := l.ReadBarrier(c.ctx())
		if !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) {
			t.Errorf("a read without a majority gave %v", err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("after %v", took)
		}
		next := c.leader(c.others(l)...)
		c.propose(next, "x")
		c.net.HealAll()
		c.barrier(l)
		if l.machine.count() != 1 {
			t.Errorf("%d commands behind a barrier, want 1", l.machine.count())
		}
	})
}

func TestFollowerReadDuringAnElectionIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		l.kill()
		for _, f := range c.others(l) {
			if _, err := f.ReadBarrier(c.ctx()); err != nil && !retryable(err) {
				t.Errorf("node %d: %v", f.id, err)
			}
		}
	})
}

func TestInspectRunsBetweenEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1).start()
		defer c.stop()
		n := c.leader()
		r := c.propose(n, "x")
		got := make(chan uint64, 1)
		if !n.Inspect(func(applied uint64) { got <- applied }) {
			t.Fatal("refused")
		}
		if applied := <-got; applied != r.Index {
			t.Errorf("applied %d, want %d", applied, r.Index)
		}
	})
}

func TestReadsAndInspectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.change = func(cfg *Config) { cfg.Limits.Reads, cfg.Limits.Inspects = 10, 10 }
		c.start()
		n := c.leader()
		<-n.Ready()
		hold := make(chan struct{})
		n.machine.mu.Lock()
		n.machine.hold = hold
		n.machine.mu.Unlock()
		n.Submit([]byte("x"), func(Result, error) {})
		synctest.Wait() // the applier holds the entry
		results := make(chan error, 30)
		refused := 0
		for range 30 {
			n.SubmitRead(func(_ uint64, err error) { results <- err })
			if !n.Inspect(func(uint64) {}) {
				refused++
			}
		}
		synctest.Wait()
		if len(results) != 20 || refused != 20 {
			t.Errorf("%d reads and %d inspections were refused, want 20", len(results), refused)
		}
		for range 20 {
			if err := <-results; !errors.Is(err, raft.ErrBusy) {
				t.Errorf("at the bound: %v", err)
			}
		}
		n.machine.mu.Lock()
		n.machine.hold = nil
		n.machine.mu.Unlock()
		close(hold)
		for range 10 {
			if err := <-results; err != nil {
				t.Errorf("below the bound: %v", err)
			}
		}
		c.barrier(n)
		c.stop()
	})
}
