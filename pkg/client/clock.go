package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/canary"
)

const (
	// clockGuard is taken off every instant that the cluster names.
	clockGuard = 50 * time.Millisecond
	// jumpLimit is how far wall and monotonic time may move apart between two renewals. Beyond it the machine
	// slept, or its clock was set, and nobody knows how much time passed. Below it the larger of the two counts.
	jumpLimit = time.Second
)

// instant is one reading of both clocks, counted from the reader's start.
type instant struct{ mono, wall time.Duration }

// systemClock returns a reader of this machine's clocks.
func systemClock() func() instant {
	base := time.Now()
	wall := base.UnixNano()
	return func() instant {
		t := time.Now()
		return instant{mono: t.Sub(base), wall: time.Duration(t.UnixNano() - wall)}
	}
}

// lease is the client's knowledge of how long its session surely lives. It is lost once and for all when the
// clock has passed its end, whoever looks first (coordination.md, "Replicated time").
type lease struct {
	clock func() instant
	drift float64

	lost atomic.Pointer[error]
	mu   sync.Mutex // held to move term forward
	term atomic.Pointer[leaseTerm]
}

// leaseTerm is what one answer of open, resume or keepalive gave.
type leaseTerm struct {
	sent   instant       // when the very message was sent that this is the answer to
	budget time.Duration // how long from then on
}

// renew takes the answer to a message sent at sent: cluster time now and the session's deadline. It returns
// false, and changes nothing, if the lease was lost before.
func (l *lease) renew(sent instant, now, deadline int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if canary.Broken(canary.ClientCountsFromSend) {
		sent = l.clock()
	}
	next := &leaseTerm{sent: sent, budget: time.Duration(float64(deadline-now)*(1-l.drift)) - clockGuard}
	if canary.Broken(canary.ClientAllowsForDrift) {
		next.budget = time.Duration(deadline - now)
	}
	old := l.term.Load()
	if old == nil {
		l.term.Store(next)
		return l.remaining() > 0
	}
	if l.remaining() <= 0 {
		if !canary.Broken(canary.LostSessionStaysLost) {
			return false
		}
		l.lost.Store(nil)
	}
	if next.sent.mono+next.budget > old.sent.mono+old.budget {
		l.term.Store(next)
	}
	return true
}

// remaining returns how long the session surely lives yet; 0 for good once it was 0.
func (l *lease) remaining() time.Duration {
	if l.lost.Load() != nil {
		return 0
	}
	t, now := l.term.Load(), l.clock()
	mono, wall := now.mono-t.sent.mono, now.wall-t.sent.wall
	if apart := wall - mono; (apart <= jumpLimit && apart >= -jumpLimit) || canary.Broken(canary.ClientSeesJumps) {
		if left := t.budget - max(mono, wall); left > 0 {
			return left
		}
		l.lose(fmt.Errorf("no renewal was answered for %v: %w", max(mono, wall).Round(time.Millisecond), ErrSessionExpired))
		return 0
	}
	l.lose(fmt.Errorf("the machine slept or its clock was set (wall time moved by %v, monotonic time by %v): %w", wall, mono, ErrSessionExpired))
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
