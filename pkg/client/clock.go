package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/internal/clock"
	terms "github.com/coordd/coordd/pkg/client/lease"
)

// instant is one reading of both clocks, counted from the clock's start.
type instant = terms.Instant

// lease is the client's knowledge of how long its session surely lives. It is lost once and for all when the
// clock has passed its end, whoever looks first (coordination.md, "Replicated time").
type lease struct {
	clock clock.Clock
	drift float64

	lost atomic.Pointer[error]
	mu   sync.Mutex // held to move term forward
	term atomic.Pointer[terms.Term]
	now  int64 // cluster time in the answer that term is of
}

// renew takes the answer to a message sent at sent: cluster time now and the session's deadline. It returns
// false, and changes nothing, if the lease was lost before.
func (l *lease) renew(sent instant, now, deadline int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := terms.NewTerm(sent, l.clock.Now(), now, deadline, l.drift)
	old := l.term.Load()
	if old == nil {
		l.now = now
		l.term.Store(&next)
		return l.remaining() > 0
	}
	if l.remaining() <= 0 {
		if !canary.Broken(canary.LostSessionStaysLost) {
			return false
		}
		l.lost.Store(nil)
	}
	if next.Outlasts(*old) {
		l.now = now
		l.term.Store(&next)
	}
	return true
}

// heard returns what ties this clock to the cluster's: when a message was sent, and cluster time, no earlier, when it was
// executed. There must have been a renewal.
func (l *lease) heard() (sent instant, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term.Load().Sent, l.now
}

// remaining returns how long the session surely lives yet; 0 for good once it was 0.
func (l *lease) remaining() time.Duration {
	if l.lost.Load() != nil {
		return 0
	}
	t, now := l.term.Load(), l.clock.Now()
	left, jumped := t.Left(now)
	if left > 0 {
		return left
	}
	if mono, wall := t.Passed(now); jumped {
		l.lose(fmt.Errorf("the machine slept or its clock was set (wall time moved by %v, monotonic time by %v): %w", wall, mono, ErrSessionExpired))
	} else {
		l.lose(fmt.Errorf("no renewal was answered for %v: %w", max(mono, wall).Round(time.Millisecond), ErrSessionExpired))
	}
	return 0
}

func (l *lease) lose(why error) { l.lost.CompareAndSwap(nil, &why) }

// reason returns why the lease was lost, nil while it is not.
func (l *lease) reason() error {
	if e := l.lost.Load(); e != nil {
		return *e
	}
	return nil
}
