package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// edit makes the next configuration out of the one in effect, of which it is given a copy.
type edit func(c raft.Configuration) (raft.Configuration, error)

// errNoChange is returned by an edit that finds what it wants done already.
var errNoChange = errors.New("nothing to change")

// change is a configuration change that somebody waits for.
type change struct {
	edit edit
	// operator is true for what an operator asked for. A second such change while one is not committed is refused;
	// the others wait, and an operator's waits for what a leader does by itself.
	operator bool
	given    atomic.Bool // its caller waits no more
	result   chan changed
}

// changed is how a change ended: with the index of its entry, or an error.
type changed struct {
	index uint64
	err   error
}

// change has the leader, which this member has to be, go to another configuration and returns when that is committed,
// with the index from which on it is in effect.
func (n *Node) change(ctx context.Context, operator bool, e edit) (index uint64, err error) {
	c := &change{edit: e, operator: operator, result: make(chan changed, 1)}
	if !n.in.call(func(now time.Duration) { n.loop.change(c, now) }) {
		return 0, ErrStopped
	}
	select {
	case r := <-c.result:
		return r.index, r.err
	case <-ctx.Done():
		c.given.Store(true)
		return 0, fmt.Errorf("waiting for a configuration change, outcome unknown: %w", ctx.Err())
	case <-n.halted:
		return 0, ErrStopped
	}
}

func (l *loop) change(c *change, now time.Duration) {
	if o := l.operated; c.operator && o.term == l.soft.Term && o.index > l.soft.Commit {
		c.result <- changed{err: raft.ErrChangePending}
		return
	}
	if !l.tryChange(c, now) {
		l.watch(func(now time.Duration) bool { return l.tryChange(c, now) })
	}
}

// tryChange proposes a change, if that is possible now; false: it has to wait for another one to be committed, or for
// this leader's first entry.
func (l *loop) tryChange(c *change, now time.Duration) (over bool) {
	if c.given.Load() {
		return true
	}
	core := l.core.Status()
	if core.Role != raft.Leader {
		c.result <- changed{err: l.n.notLeader()}
		return true
	}
	conf, index := l.core.Config()
	next, err := c.edit(conf)
	if err == nil {
		index, err = l.core.ProposeConfChange(next, now)
	}
	switch {
	case err == nil:
		if c.operator {
			l.operated = logPoint{index, core.Term}
		}
		wake(l.n.in.ready) // the core has something to say
		l.awaitCommit(c, logPoint{index, core.Term})
	case errors.Is(err, errNoChange):
		l.awaitCommit(c, logPoint{index, core.Term})
	case errors.Is(err, raft.ErrChangePending):
		return false
	case errors.Is(err, raft.ErrTransferring):
		c.result <- changed{err: errTransferring}
	default:
		c.result <- changed{err: err}
	}
	return true
}

// logPoint is an entry of a leader's.
type logPoint struct{ index, term uint64 }

// awaitCommit answers a change when its entry, or the one that made it unnecessary, is committed.
func (l *loop) awaitCommit(c *change, at logPoint) {
	l.watch(func(time.Duration) bool {
		switch {
		case l.soft.Term < at.term: // the loop has not published this term yet
			return false
		case l.soft.Term == at.term && l.soft.Commit >= at.index:
			c.result <- changed{index: at.index}
		case l.soft.Term > at.term || l.soft.Role != raft.Leader:
			c.result <- changed{err: raft.ErrLeadershipLost}
		default:
			return false
		}
		return true
	})
}

// await returns when a condition holds, which is looked at on the loop at the end of its turns.
func (n *Node) await(ctx context.Context, holds func() bool) error {
	done := make(chan struct{})
	var given atomic.Bool
	if !n.in.call(func(time.Duration) {
		n.loop.watch(func(time.Duration) bool {
			if given.Load() {
				return true
			}
			if !holds() {
				return false
			}
			close(done)
			return true
		})
	}) {
		return ErrStopped
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		given.Store(true)
		return ctx.Err()
	case <-n.halted:
		return ErrStopped
	}
}
