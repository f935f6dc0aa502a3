package node

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// faultyLog is a log whose disk fails or stalls on demand.
type faultyLog struct {
	storage.Log
	mu      sync.Mutex
	err     error
	hold    chan struct{} // Append waits for it; nil: not
	delay   time.Duration // of each Append
	appends int           // calls after the error was set
	states  []raft.HardState
}

func (f *faultyLog) Append(b storage.Batch) error {
	f.mu.Lock()
	hold, err, delay := f.hold, f.err, f.delay
	f.states = append(f.states, b.HardState)
	if err != nil {
		f.appends++
	}
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	time.Sleep(delay) // what a slow disk does
	if err != nil {
		return err
	}
	return f.Log.Append(b)
}

func (f *faultyLog) stall() (resume func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hold := make(chan struct{})
	f.hold = hold
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hold = nil
		close(hold)
	}
}

func (f *faultyLog) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func newFaultyCluster(t *testing.T, size int) *cluster {
	c := newCluster(t, size)
	c.wrap = func(_ raft.MemberID, l storage.Log) storage.Log { return &faultyLog{Log: l} }
	return c
}

var errDisk = errors.New("input/output error")

func TestStorageErrorStopsTheNodeWithItsCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		c.propose(l, "before")
		disk := l.log.(*faultyLog)
		disk.fail(errDisk)
		lead := l.LeadershipContext()
		answered := make(chan error, 10)
		for range cap(answered) {
			l.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		}
		<-l.Done()
		<-lead.Done()
		if !errors.Is(l.Err(), errDisk) {
			t.Errorf("cause %v", l.Err())
		}
		if err := l.Stop(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Stop of a failed node gave %v", err)
		}
		for range cap(answered) {
			// The followers may have committed it: a success or an unknown outcome, never a certain no.
			if err := <-answered; err != nil && !errors.Is(err, raft.ErrLeadershipLost) {
				t.Errorf("a proposal before the failure: %v", err)
			}
		}
		if disk.appends != 1 {
			t.Errorf("the failed disk was written to %d times", disk.appends)
		}
		if _, err := l.Propose(c.ctx(), []byte("x")); !errors.Is(err, ErrStopped) {
			t.Errorf("proposal to a failed node: %v", err)
		}
		if _, err := l.ReadBarrier(c.ctx()); !errors.Is(err, ErrStopped) {
			t.Errorf("read on a failed node: %v", err)
		}
		if l.Inspect(func(uint64) {}) {
			t.Error("Inspect on a failed node")
		}
		c.propose(c.leader(), "after")
	})
}

func TestApplyErrorStopsTheNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		r := c.propose(l, "before")
		f := c.others(l)[0]
		f.machine.mu.Lock()
		f.machine.failAt = r.Index + 2
		f.machine.mu.Unlock()
		for range 5 {
			c.propose(l, "x")
		}
		<-f.Done()
		if f.Err() == nil || errors.Is(f.Err(), ErrStopped) {
			t.Errorf("cause %v", f.Err())
		}
		if n := len(f.machine.all()); n != int(r.Index)+1 {
			t.Errorf("%d entries applied, the machine failed at %d", n, r.Index+2)
		}
	})
}

func TestApplyErrorAnswersEverybody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1).start()
		n := c.leader()
		r := c.propose(n, "before")
		hold := make(chan struct{})
		n.machine.mu.Lock()
		n.machine.hold, n.machine.failAt = hold, r.Index+3
		n.machine.mu.Unlock()
		var answers []error // by the applier and, for the last, by the loop
		var mu sync.Mutex
		submit := func(count int) {
			for range count {
				n.Submit([]byte("x"), func(_ Result, err error) {
					mu.Lock()
					defer mu.Unlock()
					answers = append(answers, err)
				})
			}
			synctest.Wait()
		}
		submit(1) // being applied
		submit(5) // one job behind it
		submit(5)
		inspected := n.Inspect(func(uint64) { t.Error("a machine that failed is looked at") })
		close(hold)
		<-n.Done()
		if len(answers) != 11 || !inspected {
			t.Fatalf("%d answers to 11 proposals", len(answers))
		}
		for i, err := range answers {
			if i < 2 && err != nil || i >= 2 && !errors.Is(err, raft.ErrLeadershipLost) {
				t.Errorf("answer %d: %v", i, err)
			}
		}
	})
}

func TestLeadershipWaitsUntilItsFirstEntryIsApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1).start()
		n := c.leader()
		c.propose(n, "x")
		n.kill()
		hold := make(chan struct{})
		c.change = func(cfg *Config) { cfg.StateMachine.(*recorder).hold = hold }
		n = c.startOne(1, n.log.(*storage.Memory).Reopen())
		defer c.stop()
		time.Sleep(2 * time.Second) // virtual: elected long since
		if s := n.Status(); s.Role != raft.Leader || s.Commit != s.Last || s.Leading || s.Ready || n.LeadershipContext().Err() == nil {
			t.Errorf("while the replay stands still: %+v", s)
		}
		close(hold)
		c.leader()
		if n.LeadershipContext().Err() != nil {
			t.Error("not live although a leader")
		}
	})
}

func TestAFailedLogIsNotWrittenToAgain(t *testing.T) {
	t.Parallel()
	disk := &faultyLog{Log: storage.NewMemory(), err: errDisk}
	var cause error
	var sent int
	a := &appender{log: disk, queue: newQueue[pipeline.Item](), writer: pipeline.NewWriter(raft.HardState{}, 0, 1), observer: NoObserver{}, now: func() time.Duration { return 0 },
		send: func([]raft.Message) { sent++ }, report: func(written) { sent++ }, fail: func(err error) { cause = err }}
	for i := range uint64(5) {
		a.queue.push(pipeline.Item{Batch: raft.AppendBatch{Seq: i + 1, TruncateAfter: i, Entries: []raft.Entry{{Index: i + 1, Term: 1}},
			Last: i + 1, LastTerm: 1, MustWrite: true, ThenSend: []raft.Message{{Type: raft.MsgAppendResp}}}})
	}
	a.queue.close()
	a.run()
	if !errors.Is(cause, errDisk) || disk.appends != 1 || sent != 0 {
		t.Errorf("cause %v, %d writes, %d messages or reports", cause, disk.appends, sent)
	}
}

func TestStalledDiskHandsOverWhileHeartbeatsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 3).start()
		defer c.stop()
		old := c.leader()
		c.propose(old, "before")
		term := old.Status().Term
		resume := old.log.(*faultyLog).stall()

		// Within the limit nothing happens: the others commit without this disk, and hear from their leader.
		r := c.propose(old, "during")
		if r.Term != term {
			t.Errorf("term %d, want %d", r.Term, term)
		}
		limit := old.cfg.AppendStallLimit
		time.Sleep(limit - 10*time.Millisecond) // virtual: the age of the append is what is tested
		for _, f := range c.others(old) {
			if s := f.Status(); s.Leader != old.id || s.Term != term || s.LeaderContact > 100*time.Millisecond {
				t.Errorf("before the limit: %+v", s)
			}
		}
		start := time.Now()
		next := c.leader(c.others(old)...)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the handover took %v: it was an election by time-out", took)
		}
		if got := next.Status().Term; got != term+1 {
			t.Errorf("term %d, want %d", got, term+1)
		}
		if s := old.Status(); !s.Stalled || s.Role == raft.Leader {
			t.Errorf("status while stalled: %+v", s)
		}
		c.propose(next, "after")

		// A member with a stalled disk does not stand, even if nobody leads.
		next.kill()
		time.Sleep(2 * time.Second)
		if s := old.Status(); s.Term > term+1 && s.Role != raft.Follower && s.Role != raft.Standby {
			t.Errorf("a member with a stalled disk stood: %+v", s)
		}
		resume()
		third := c.leader()
		c.propose(third, "again")
		synctest.Wait()
		if s := old.Status(); s.Stalled {
			t.Errorf("still stalled: %+v", s)
		}
		c.same()
	})
}

func TestStalledDiskWithoutFollowersStepsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 1).start()
		defer c.stop()
		n := c.leader()
		lead := n.LeadershipContext()
		resume := n.log.(*faultyLog).stall()
		_, err := n.Propose(c.ctx(), []byte("x"))
		if !errors.Is(err, raft.ErrLeadershipLost) {
			t.Errorf("a proposal on a stalled disk gave %v", err)
		}
		<-lead.Done()
		if _, err := n.Propose(c.ctx(), []byte("y")); !errors.Is(err, raft.ErrNotLeader) {
			t.Errorf("a proposal behind a stalled disk gave %v", err)
		}
		resume()
		c.propose(c.leader(), "z")
	})
}

func TestASlowDiskIsProbedUntilItIsQuick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 1).start()
		defer c.stop()
		n := c.leader()
		disk := n.log.(*faultyLog)
		elections := n.Status().Core.Elections
		resume := disk.stall()
		if _, err := n.Propose(c.ctx(), []byte("x")); !errors.Is(err, raft.ErrLeadershipLost) {
			t.Fatalf("a proposal on a stalled disk gave %v", err)
		}
		disk.mu.Lock()
		disk.delay = 2 * n.cfg.AppendStallLimit
		before := len(disk.states)
		disk.mu.Unlock()
		resume()
		time.Sleep(20 * n.cfg.AppendStallLimit) // virtual: time enough to stand many times
		s := n.Status()
		if !s.Stalled || s.Role != raft.Standby || s.Core.Elections != elections {
			t.Errorf("on a slow disk: %+v", s)
		}
		disk.mu.Lock()
		disk.delay = 0
		for i := before; i < len(disk.states); i++ {
			if disk.states[i] == disk.states[i-1] {
				t.Error("a probe repeats what is stored: a log may leave it out")
			}
		}
		if n := len(disk.states) - before; n < 5 {
			t.Errorf("%d probes", n)
		}
		disk.mu.Unlock()
		c.propose(c.leader(), "y")
		if s := n.Status(); s.Stalled {
			t.Errorf("on a quick disk: %+v", s)
		}
	})
}

func TestStopReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 1).start()
		n := c.leader()
		resume := n.log.(*faultyLog).stall()
		answered := make(chan error, 1)
		n.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		ctx := c.ctx()
		err := n.Stop(ctx)
		if !errors.Is(err, ctx.Err()) || err == nil {
			t.Errorf("Stop with a held disk: %v", err)
		}
		if err := <-answered; !errors.Is(err, raft.ErrLeadershipLost) {
			t.Errorf("a proposal on a held disk: %v", err)
		}
		resume()
		<-n.Done()
	})
}

func TestNoAcknowledgementBeforeTheWriteIsDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFaultyCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		c.propose(l, "before")
		slow, away := c.others(l)[0], c.others(l)[1]
		c.net.Isolate(away.id)
		resume := slow.log.(*faultyLog).stall()
		answered := make(chan error, 1)
		l.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		time.Sleep(slow.cfg.AppendStallLimit / 2) // virtual: heartbeats and retransmits go on meanwhile
		select {
		case err := <-answered:
			t.Fatalf("a proposal that is durable on one of three was answered: %v", err)
		default:
		}
		if l.LeadershipContext().Err() != nil {
			t.Error("heartbeats wait for the disk")
		}
		resume()
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}
