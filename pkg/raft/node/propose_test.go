package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

func TestAResultIsThatOfTheProposalEvenAfterOthersGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		for _, f := range c.others(l) {
			c.net.SetDelay(l.id, f.id, 3*time.Millisecond)
		}
		var proposers sync.WaitGroup
		gaveUp := make([]int, 8)
		for p := range gaveUp {
			proposers.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(p), 3))
				for i := range 100 {
					data := fmt.Sprintf("%d of %d", i, p)
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(12))*time.Millisecond)
					r, err := l.Propose(ctx, []byte(data))
					cancel()
					switch {
					case errors.Is(err, context.DeadlineExceeded):
						gaveUp[p]++
					case err != nil:
						t.Errorf("%s: %v", data, err)
					default:
						e := l.machine.all()[r.Index-1]
						if string(e.Data) != data || e.Term != r.Term {
							t.Errorf("%s got the result of %s", data, e.Data)
						}
					}
				}
			})
		}
		proposers.Wait()
		for p, n := range gaveUp {
			if n == 0 || n == 100 {
				t.Errorf("proposer %d gave up %d of 100 times: the test shows nothing", p, n)
			}
		}
	})
}

func TestASlowStateMachineEndsInBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.change = func(cfg *Config) { cfg.Limits.MaxApplyBytes, cfg.Limits.MaxUncommittedBytes = 4<<10, 4<<10 }
		c.start()
		defer c.stop()
		n := c.leader()
		<-n.Ready()
		hold := make(chan struct{})
		n.machine.mu.Lock()
		n.machine.hold = hold
		n.machine.mu.Unlock()
		answers := make(chan error, 1000)
		for range cap(answers) {
			n.Submit(make([]byte, 100), func(_ Result, err error) { answers <- err })
			synctest.Wait()
		}
		busy := len(answers)
		for range busy {
			if err := <-answers; !errors.Is(err, raft.ErrBusy) {
				t.Fatalf("while the machine stands still: %v", err)
			}
		}
		if taken := cap(answers) - busy; taken < 20 || taken > 100 {
			t.Errorf("%d proposals of 148 bytes were taken, with bounds of 4 KiB", taken)
		}
		n.machine.mu.Lock()
		n.machine.hold = nil
		n.machine.mu.Unlock()
		close(hold)
		for range cap(answers) - busy {
			if err := <-answers; err != nil {
				t.Errorf("a proposal that was taken: %v", err)
			}
		}
		c.propose(n, "goes on")
	})
}

func TestReplayOfALongLogDoesNotWaitForTimers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.change = func(cfg *Config) {
			cfg.Limits = Limits{TailBytes: 4 << 10, MaxTailBytes: 32 << 10, MaxInflightBytes: 16 << 10, MaxApplyBytes: 64 << 10}
		}
		c.start()
		n := c.leader()
		const commands = 3000
		left := make(chan error, commands)
		for range commands {
			n.Submit(make([]byte, 1000), func(_ Result, err error) { left <- err })
			if err := <-left; err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Stop(c.ctx()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		n = c.startOne(1, n.log.(*storage.Memory).Reopen())
		defer c.stop()
		<-n.Ready()
		if took := time.Since(start); took > 2*n.cfg.ElectionTimeoutMax {
			t.Errorf("ready after %v", took)
		}
		if got := n.machine.count(); got != commands {
			t.Errorf("%d commands replayed, want %d", got, commands)
		}
	})
}

func TestStopFromManySides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		c.leader()
		var stops sync.WaitGroup
		for _, m := range c.running() {
			for range 3 {
				stops.Go(func() {
					if err := m.Stop(c.ctx()); err != nil {
						t.Error(err)
					}
					<-m.Done()
				})
			}
		}
		stops.Wait()
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	ok := Config{ID: 1, Log: storage.NewMemory(), StateMachine: nothing{}}
	for name, spoil := range map[string]func(*Config){
		"no ID":           func(c *Config) { c.ID = 0 },
		"no log":          func(c *Config) { c.Log = nil },
		"no machine":      func(c *Config) { c.StateMachine = nil },
		"no window":       func(c *Config) { c.ElectionTimeoutMin, c.ElectionTimeoutMax = time.Second, time.Millisecond },
		"threshold":       func(c *Config) { c.HeartbeatThreshold = 1 },
		"drift":           func(c *Config) { c.DriftBound = 0.5 },
		"stall":           func(c *Config) { c.AppendStallLimit = -1 },
		"twice one ID":    func(c *Config) { c.Members = []raft.Member{{ID: 1}, {ID: 1}} },
		"a window of one": func(c *Config) { c.ElectionTimeoutMin, c.ElectionTimeoutMax = time.Second, time.Second },
	} {
		cfg := ok
		spoil(&cfg)
		if n, err := Start(cfg); err == nil {
			t.Errorf("%s: started", name)
			n.halt(ErrStopped)
			<-n.Done()
		}
	}
}
