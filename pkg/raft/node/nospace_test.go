package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// lines is what the nodes of a cluster have logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// count is how many lines of a node contain a text.
func (l *lines) count(m *member, text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, fmt.Sprintf(" n%d: ", m.id)) && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// newFullCluster is a cluster whose disks can be filled, and its log lines.
func newFullCluster(t *testing.T, size int) (*cluster, *lines) {
	c, out := newFaultyCluster(t, size), &lines{}
	c.change = func(cfg *Config) {
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Name: cfg.Name, Level: hclog.Info, Output: out})
	}
	return c.start(), out
}

var errFull = fmt.Errorf("%w: 0 bytes free", storage.ErrNoSpace)

func fill(ms ...*member) {
	for _, m := range ms {
		m.log.(*faultyLog).fail(errFull)
	}
}

func empty(ms ...*member) {
	for _, m := range ms {
		m.log.(*faultyLog).fail(nil)
	}
}

// wantLines checks that a node has said once that its disk was full and, with again, that it has room; and
// never that it has stalled.
func wantLines(t *testing.T, out *lines, m *member, again int) {
	t.Helper()
	for text, want := range map[string]int{"the disk is full": 1, "the disk has room again": again, "stalled": 0, "answers again": 0} {
		if got := out.count(m, text); got != want {
			t.Errorf("node %d has logged %q %d times, want %d", m.id, text, got, want)
		}
	}
}

func TestALeaderWithAFullDiskHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, out := newFullCluster(t, 3)
		defer c.stop()
		old := c.leader()
		c.propose(old, "before")
		term, leadership := old.Status().Term, old.LeadershipContext()
		fill(old)
		c.propose(old, "during") // the others have room
		next := c.leader(c.others(old)...)
		if got := next.Status().Term; got != term+1 {
			t.Errorf("term %d, want %d: it was no handover", got, term+1)
		}
		if cause := context.Cause(leadership); !errors.Is(cause, ErrDiskFull) || errors.Is(cause, ErrDiskStalled) {
			t.Errorf("the leadership ended for %v, want %v", cause, ErrDiskFull)
		}
		c.propose(next, "after")
		time.Sleep(10 * time.Second) // virtual: long enough to stand, if it were to
		s := old.Status()
		if old.Err() != nil || s.Role == raft.Leader || s.Term != term+1 && s.Term != term || !s.Stalled || !s.Full {
			t.Errorf("with a full disk (%v): %+v", old.Err(), s)
		}
		durable := s.Durable
		if n := next.Status().Commit; durable >= n {
			t.Errorf("durable to %d of %d on a full disk", durable, n)
		}
		wantLines(t, out, old, 0)

		empty(old)
		c.barrier(old)
		time.Sleep(time.Second) // virtual
		if s := old.Status(); s.Stalled || s.Full || s.Durable <= durable {
			t.Errorf("with room: %+v", s)
		}
		wantLines(t, out, old, 1)
		c.same()
		if err := next.TransferLeadership(c.ctx(), old.id); err != nil {
			t.Errorf("handing back: %v", err)
		}
	})
}

func TestAFollowerWithAFullDiskStaysAndCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, out := newFullCluster(t, 3)
		defer c.stop()
		l := c.leader()
		r := c.propose(l, "before")
		f := c.others(l)[0]
		c.barrier(f)
		fill(f)
		for range 100 {
			c.propose(l, "during")
		}
		time.Sleep(10 * time.Second) // virtual: the limit passes
		read := make(chan uint64, 1)
		if !f.Inspect(func(applied uint64) { read <- applied }) {
			t.Fatalf("no stale read: %v", f.Err())
		}
		if applied := <-read; applied < r.Index {
			t.Errorf("a stale read sees %d, %d was applied", applied, r.Index)
		}
		if s := f.Status(); s.Durable > r.Index || s.Leader != l.id || !s.Stalled {
			t.Errorf("with a full disk: %+v", s)
		}
		if s := l.Status(); s.Role != raft.Leader || l.LeadershipContext().Err() != nil {
			t.Errorf("the leader: %+v", s)
		}
		empty(f)
		c.barrier(f)
		time.Sleep(time.Second) // virtual
		if s := f.Status(); s.Stalled || s.Durable != l.Status().Last || f.machine.count() != 101 {
			t.Errorf("with room, %d commands: %+v", f.machine.count(), s)
		}
		wantLines(t, out, f, 1)
		c.same()
	})
}

func TestWithAllDisksFullNothingIsAcknowledged(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c, out := newFullCluster(t, size)
			defer c.stop()
			l := c.leader()
			c.propose(l, "before")
			all := c.running()
			for _, m := range all {
				c.barrier(m)
			}
			fill(all...)
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if r, err := l.Propose(ctx, []byte("x")); err == nil {
					t.Errorf("acknowledged at %d", r.Index)
				}
				<-ctx.Done()
				cancel()
			}
			for _, m := range all {
				if s := m.Status(); m.Err() != nil || s.Leading || !s.Stalled {
					t.Errorf("with a full disk (%v): %+v", m.Err(), s)
				}
				if n := m.machine.count(); n != 1 {
					t.Errorf("%d commands applied on node %d", n, m.id)
				}
			}
			empty(all...)
			c.propose(c.leader(), "after")
			c.same()
			time.Sleep(time.Second) // virtual
			for _, m := range all {
				wantLines(t, out, m, 1)
			}
		})
	}
}

func TestAProbeWaitsForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, out := newFullCluster(t, 1)
		defer c.stop()
		n := c.leader()
		disk := n.log.(*faultyLog)
		resume := disk.stall()
		if _, err := n.Propose(c.ctx(), []byte("x")); !errors.Is(err, raft.ErrLeadershipLost) {
			t.Fatalf("a proposal on a stalled disk gave %v", err)
		}
		disk.mu.Lock()
		disk.delay = 2 * n.cfg.AppendStallLimit // until it is quick there are probes, and no other writes
		disk.mu.Unlock()
		resume()
		time.Sleep(5 * n.cfg.AppendStallLimit) // virtual
		fill(n)
		disk.mu.Lock()
		disk.delay = 0
		disk.mu.Unlock()
		time.Sleep(10 * time.Second) // virtual
		if s := n.Status(); n.Err() != nil || !s.Stalled || s.Role == raft.Leader || out.count(n, "the disk is full") != 1 {
			t.Errorf("while the probe waits (%v): %+v", n.Err(), s)
		}
		empty(n)
		c.propose(c.leader(), "y")
	})
}

func TestStopDoesNotWaitForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFullCluster(t, 1)
		n := c.leader()
		fill(n)
		answered := make(chan error, 1)
		n.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		start := time.Now()
		if err := n.Stop(c.ctx()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*n.cfg.ElectionTimeoutMax+retryFull {
			t.Errorf("Stop took %v", took)
		}
		if err := <-answered; !errors.Is(err, raft.ErrLeadershipLost) {
			t.Errorf("a proposal on a full disk: %v", err)
		}
	})
}

func TestAProcessThatStoodStillDoesNotBlameTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, out := newFullCluster(t, 1)
		defer c.stop()
		n := c.leader()
		// Both the loop and the disk stand still, and go on at once, the loop first: it sees an append of that age.
		resume := n.log.(*faultyLog).stall()
		answered := make(chan error, 1)
		n.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		synctest.Wait()
		n.in.call(func(time.Duration) { time.Sleep(4 * n.cfg.AppendStallLimit) })
		time.Sleep(4*n.cfg.AppendStallLimit + time.Millisecond) // virtual
		synctest.Wait()
		resume()
		if err := <-answered; err != nil {
			t.Errorf("the proposal: %v", err)
		}
		if got := out.count(n, "stalled"); got != 0 || n.Status().Stalled {
			t.Errorf("the disk was blamed %d times", got)
		}
		// A disk that stalls without the process is seen as late as ever.
		resume = n.log.(*faultyLog).stall()
		start, lead := time.Now(), n.LeadershipContext()
		n.Submit([]byte("y"), func(Result, error) {})
		<-lead.Done()
		if took := time.Since(start); took < n.cfg.AppendStallLimit || took > n.cfg.AppendStallLimit+10*time.Millisecond {
			t.Errorf("the stall was acted on after %v", took)
		}
		resume()
	})
}
