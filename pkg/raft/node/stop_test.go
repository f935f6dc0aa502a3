package node

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		old := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		term := old.Status().Term
		answered := make(chan error, 200)
		for range cap(answered) {
			old.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		}
		start := time.Now()
		if err := old.Stop(c.ctx()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
		for range cap(answered) {
			if err := <-answered; err != nil {
				t.Errorf("a proposal before Stop: %v", err)
			}
		}
		next := c.leader()
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the next leader came after %v: by an election time-out", took)
		}
		if got := next.Status().Term; got != term+1 {
			t.Errorf("term %d, want %d", got, term+1)
		}
		if _, err := old.Propose(c.ctx(), []byte("late")); !errors.Is(err, ErrStopped) {
			t.Errorf("a proposal after Stop: %v", err)
		}
		if r := c.propose(next, "y"); r.Value != cap(answered)+1 {
			t.Errorf("%v commands, want %d", r.Value, cap(answered)+1)
		}
	})
}

func TestStopWithoutAMajorityIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.change = func(cfg *Config) { cfg.CheckQuorum = false }
		c.start()
		defer c.stop()
		l := c.leader()
		for _, f := range c.others(l) {
			f.kill()
		}
		answered := make(chan error, 1)
		l.Submit([]byte("x"), func(_ Result, err error) { answered <- err })
		start := time.Now()
		if err := l.Stop(c.ctx()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*l.cfg.ElectionTimeoutMax+closeTimeout {
			t.Errorf("Stop took %v", took)
		}
		if err := <-answered; !errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, ErrStopped) {
			t.Errorf("a proposal of unknown outcome: %v", err)
		}
	})
}

// spy looks at messages before they are sent.
type spy struct {
	transport.Transport
	mu     sync.Mutex
	before func(raft.Message)
}

func (s *spy) set(before func(raft.Message)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *spy) Send(ms []raft.Message) {
	s.mu.Lock()
	for _, m := range ms {
		s.before(m)
	}
	s.mu.Unlock()
	s.Transport.Send(ms)
}

func TestTransferGoesWhereItIsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		spies := make(map[raft.MemberID]*spy)
		c.change = func(cfg *Config) {
			s := &spy{Transport: cfg.Transport, before: func(raft.Message) {}}
			cfg.Transport, spies[cfg.ID] = s, s
		}
		c.start()
		defer c.stop()
		l := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		for _, f := range c.others(l) {
			c.propose(l, "x")
			time.Sleep(100 * time.Millisecond) // virtual: a round of heartbeats renews the lease
			if !l.Lease() {
				t.Error("no lease before the transfer")
			}
			asked := false
			spies[l.id].set(func(m raft.Message) {
				if m.Type == raft.MsgTimeoutNow {
					if asked = true; l.Lease() {
						t.Error("the lease is still seen when another member is told to stand")
					}
				}
			})
			start := time.Now()
			if err := l.TransferLeadership(c.ctx(), f.id); err != nil {
				t.Fatalf("to %d: %v", f.id, err)
			}
			if took := time.Since(start); took > 100*time.Millisecond {
				t.Errorf("the transfer took %v", took)
			}
			spies[l.id].set(func(raft.Message) {})
			if l.Lease() || !asked {
				t.Errorf("after the transfer: lease %v, asked %v", l.Lease(), asked)
			}
			c.leader(f)
			var not *NotLeaderError
			if err := l.TransferLeadership(c.ctx(), l.id); !errors.As(err, &not) || not.Leader != f.id {
				t.Errorf("asked of a follower: %v", err)
			}
			c.propose(f, "x")
			l = f
		}
	})
}

func TestTransferToADeadMemberIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		dead := c.others(l)[0]
		dead.kill()
		c.propose(l, "x")
		if err := l.TransferLeadership(c.ctx(), dead.id); !errors.Is(err, ErrTransferFailed) {
			t.Errorf("to a dead member: %v", err)
		}
		if l.LeadershipContext().Err() != nil {
			t.Error("the leader does not lead any more")
		}
		c.propose(l, "y")
	})
}
