//go:build load

package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// loadPause is how long a client waits before it asks again where it was refused.
const loadPause = time.Millisecond

// retries counts refusals after which a command was sent again.
type retries struct {
	busy, notLeader atomic.Int64
	lost            atomic.Int64 // the outcome was unknown; a repeat with the same seq is answered as the first one was
}

func (r *retries) String() string {
	return fmt.Sprintf("busy %d, not the leader %d, leadership lost %d", r.busy.Load(), r.notLeader.Load(), r.lost.Load())
}

// propose has one entry executed and returns what it answered. It repeats what was refused because the leader is busy or
// another one; what a repeat may execute a second time must carry a seq. Any other error is the end.
func (c *loadCluster) propose(data []byte) ([]machine.Reply, error) {
	for {
		n := c.leading.Load().node()
		if n == nil { // the test is over
			return nil, node.ErrStopped
		}
		start := time.Now()
		res, err := n.Propose(c.ctx, data)
		switch {
		case err == nil:
			c.meter.answered(time.Since(start))
			return res.Value.(*applied).Replies, nil
		case errors.Is(err, raft.ErrBusy):
			c.retried.busy.Add(1)
		case errors.Is(err, raft.ErrNotLeader):
			c.retried.notLeader.Add(1)
			c.findLeader()
		case errors.Is(err, raft.ErrLeadershipLost):
			c.retried.lost.Add(1)
			c.findLeader()
		default:
			return nil, err
		}
		pause := time.NewTimer(loadPause)
		select {
		case <-pause.C:
		case <-c.ctx.Done():
			pause.Stop()
			return nil, c.ctx.Err()
		}
	}
}

// findLeader looks once; who finds none asks again.
func (c *loadCluster) findLeader() {
	for _, m := range c.members {
		if m.leads() {
			c.leading.Store(m)
			return
		}
	}
}

// execute encodes commands into one entry and has it executed; each must succeed.
func (c *loadCluster) execute(cs ...machine.Command) ([]machine.Reply, error) {
	data, err := machine.EncodeCommands(cs)
	if err != nil {
		return nil, err
	}
	replies, err := c.propose(data)
	if err != nil {
		return nil, err
	}
	for i := range replies {
		switch r := &replies[i]; {
		case r.Code != machine.OK:
			return nil, fmt.Errorf("a command of kind %d: %v %+v", cs[i].Kind, r.Code, r.Detail)
		case cs[i].Kind == machine.KindLockAcquire && r.Lock.State == machine.StateGranted:
			c.granted.Add(1)
		case cs[i].Kind == machine.KindLockRelease && r.Lock.State == machine.StateReleased:
			c.given.Add(1)
		case cs[i].Kind == machine.KindLockAcquire || cs[i].Kind == machine.KindLockRelease:
			return nil, fmt.Errorf("%q is in state %d after a command of kind %d", cs[i].Name, r.Lock.State, cs[i].Kind)
		}
	}
	return replies, nil
}

// loadNamespace is that of all sessions.
const loadNamespace = "load"

// loadTTL is so long that no session ends because the machine was busy.
const loadTTL = time.Hour

// session is one client's.
type loadSession struct {
	c      *loadCluster
	id     uint64
	secret machine.SecretHash
	seq    uint64
}

func (c *loadCluster) openCommand(owner string) machine.Command {
	sum := sha256.Sum256([]byte(owner))
	return machine.Command{Kind: machine.KindSessionOpen, Namespace: loadNamespace, Secret: machine.SecretHash(sum[:16]),
		Open: &machine.Open{TTL: int64(loadTTL), Owner: owner, Nonce: []byte(owner)}}
}

// openSessions opens sessions, many in one entry.
func (c *loadCluster) openSessions(n int, owner string) ([]*loadSession, error) {
	var out []*loadSession
	for len(out) < n {
		var cs []machine.Command
		for i := len(out); i < n && len(cs) < 500; i++ {
			cs = append(cs, c.openCommand(fmt.Sprintf("%s-%d", owner, i)))
		}
		replies, err := c.execute(cs...)
		if err != nil {
			return nil, err
		}
		for i := range replies {
			out = append(out, &loadSession{c: c, id: replies[i].Session.ID, secret: cs[i].Secret})
		}
	}
	return out, nil
}

// serve lets sessions expire, as a leader with NATS does: what has a deadline is looked at with each entry.
func (c *loadCluster) serve() error {
	_, err := c.execute(machine.Command{Kind: machine.KindServing, Serving: &machine.Serving{ElectionTimeout: int64(300 * time.Millisecond)}})
	return err
}

// fill sets the envelope of a session's next request; all before it were answered.
func (s *loadSession) fill(c machine.Command) machine.Command {
	s.seq++
	c.Namespace, c.Session, c.Secret, c.Seq, c.Ack = loadNamespace, s.id, s.secret, s.seq, s.seq
	return c
}

func (s *loadSession) acquire(name string) machine.Command {
	return s.fill(machine.Command{Kind: machine.KindLockAcquire, Name: name, Acquire: &machine.Acquire{Mode: machine.Exclusive}})
}

func (s *loadSession) release(name string, fence uint64) machine.Command {
	return s.fill(machine.Command{Kind: machine.KindLockRelease, Name: name, Release: &machine.Release{Fence: fence}})
}

// work is the load: each proposer locks and unlocks, one command under way, until it is ended or the budget is used up.
type work struct {
	c        *loadCluster
	budget   atomic.Int64 // commands that may still be proposed
	proposed atomic.Int64
	end      context.CancelFunc
	over     sync.WaitGroup
}

// startWork starts proposers that take names from name: of the n-th lock of a proposer.
func (c *loadCluster) startWork(sessions []*loadSession, budget int64, name func(proposer, n int) string) *work {
	ctx, cancel := context.WithCancel(c.ctx)
	w := &work{c: c, end: cancel}
	w.budget.Store(budget)
	for p, s := range sessions {
		w.over.Go(func() {
			for n := 0; ctx.Err() == nil && w.budget.Add(-2) >= 0; n++ {
				if err := s.lockUnlock(name(p, n)); err != nil {
					if c.ctx.Err() != nil {
						return // the test is over
					}
					c.t.Errorf("proposer %d: %v", p, err)
					cancel()
					return
				}
				w.proposed.Add(2)
			}
		})
	}
	return w
}

func (s *loadSession) lockUnlock(name string) error {
	r, err := s.c.execute(s.acquire(name))
	if err != nil {
		return err
	}
	_, err = s.c.execute(s.release(name, r[0].Lock.Fence))
	return err
}

// stop ends the load and waits for what is under way.
func (w *work) stop() {
	w.end()
	w.over.Wait()
}

// wait lets the load use up its budget.
func (w *work) wait() {
	w.over.Wait()
	w.end()
}

// keepAlive renews all sessions every period, joined as the service joins them, until the context ends.
func (c *loadCluster) keepAlive(ctx context.Context, sessions []*loadSession, period time.Duration) {
	const join = 100 * time.Millisecond
	each := max(len(sessions)*int(join)/int(period), 1)
	tick := time.NewTicker(join)
	defer tick.Stop()
	for at := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var cs []machine.Command
		for range each {
			s := sessions[at%len(sessions)]
			cs = append(cs, machine.Command{Kind: machine.KindSessionKeepalive, Namespace: loadNamespace, Session: s.id, Secret: s.secret})
			at++
		}
		if _, err := c.execute(cs...); err != nil && ctx.Err() == nil && !errors.Is(err, node.ErrStopped) {
			c.t.Errorf("keepalive: %v", err)
			return
		}
	}
}
