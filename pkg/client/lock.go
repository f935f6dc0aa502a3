package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/internal/clock"
	terms "github.com/coordd/coordd/pkg/client/lease"
)

// Lock is one hold of a lock, from its grant to its end. It ends by [Lock.Unlock], with its session, at the end that
// [MaxHold] gave it, or because it was taken away; the context's cause tells which. A lock that is taken again is
// another Lock, with another fence.
type Lock struct {
	s     *Session
	name  string
	fence uint64
	mode  Mode
	outer []*Lock  // those that it was taken under
	set   *LockSet // that it belongs to; nil: none

	ctx      heldContext
	cancel   context.CancelCauseFunc
	limit    atomic.Pointer[terms.Term] // until, by the client's clock; nil without
	ended    atomic.Pointer[error]      // why it ended; set once
	yielded  atomic.Bool                // a forced release was agreed to
	released chan struct{}              // closed when the release is known to have come to an end

	// Guarded by the session's mutex.
	until      int64         // cluster time at which the hold ends by itself; 0: never
	index      uint64        // log index of an answer that showed the hold; 0: only an event did
	learned    time.Duration // monotonic, when the grant was learned
	timer      clock.Timer   // fires at limit; nil without
	reentrant  bool          // others may stand for the same hold
	release    *call
	releaseErr error
}

func newLock(s *Session, g grant, ctx context.Context, outer []*Lock) *Lock {
	l := &Lock{s: s, name: g.name, fence: g.fence, mode: Exclusive, until: g.until, outer: outer, released: make(chan struct{})}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l.ctx, l.cancel = heldContext{inner, l}, cancel
	return l
}

// renewedLocked takes what an answer says about the end of the hold.
func (l *Lock) renewedLocked(until int64, sent instant, now int64) {
	if until != 0 {
		l.until = until
		l.boundLocked(sent, now)
	}
}

// boundLocked bounds the hold by until, as seen from a message that was sent when the cluster's time was not yet now.
// Each renewal allows for less drift between the clocks than the one before, so the bound may move on; it never moves once
// it was reached.
func (l *Lock) boundLocked(sent instant, now int64) {
	at := l.s.c.clock.Now()
	next := terms.NewTerm(sent, at, now, l.until, l.s.lease.drift)
	if old := l.limit.Load(); old != nil {
		if left, _ := old.Left(at); left == 0 || !next.Outlasts(*old) {
			return
		}
	}
	l.limit.Store(&next)
	left, _ := next.Left(at)
	if l.timer == nil {
		l.timer = l.s.c.clock.AfterFunc(left, func() { _ = l.Valid() })
	} else {
		l.timer.Reset(left)
	}
}

// Name returns the lock's name.
func (l *Lock) Name() string { return l.name }

// Fence returns the hold's fencing token. It is larger than that of every earlier hold of any lock.
func (l *Lock) Fence() uint64 { return l.fence }

// Mode returns how the lock is held. With it a lock is a hold that a fence.Gate can judge (pkg/client/fence).
func (l *Lock) Mode() Mode { return l.mode }

// Context returns a context that ends before the lock can be someone else's. It has the values of the context
// that the lock was taken with, not its end. context.Cause tells why it ended: [ErrReleased], [ErrLockLost],
// [ErrForced] or [ErrSessionExpired].
func (l *Lock) Context() context.Context { return l.ctx }

// Valid returns nil while the lock is surely held. It asks nobody: it looks at the clock and at what the
// service has told. It never goes back to nil. Otherwise it returns what the context's cause is.
func (l *Lock) Valid() error {
	if e := l.ended.Load(); e != nil {
		return *e
	}
	if err := l.s.Err(); err != nil {
		l.end(endOfHold(err))
		return *l.ended.Load()
	}
	if left, bounded := l.ownTime(); bounded && left == 0 {
		l.s.drop(l.fence, ErrLockLost, "it was held for as long as it may be")
		l.end(ErrLockLost)
		return *l.ended.Load()
	}
	return nil
}

// ownTime returns how long the hold has before the end of its own, if it has one.
func (l *Lock) ownTime() (left time.Duration, bounded bool) {
	limit := l.limit.Load()
	if limit == nil || canary.Broken(canary.MaxHoldBoundsValid) {
		return 0, false
	}
	left, _ = limit.Left(l.s.c.clock.Now())
	return left, true
}

// Remaining returns for how long the lock is surely held if nothing renews its session; 0 after its end.
func (l *Lock) Remaining() time.Duration {
	if l.Valid() != nil {
		return 0
	}
	left := l.s.Remaining()
	if own, bounded := l.ownTime(); bounded {
		left = min(left, own)
	}
	return left
}

// end ends the hold on this side, once, and reports whether this call did it.
func (l *Lock) end(why error) bool {
	first := l.ended.CompareAndSwap(nil, &why)
	l.cancel(*l.ended.Load())
	if l.set != nil {
		l.set.end(*l.ended.Load())
	}
	return first
}

// endOfHold returns why a session's locks end when the session ends with why.
func endOfHold(why error) error {
	if errors.Is(why, ErrClosed) {
		return ErrReleased
	}
	return ErrSessionExpired
}

// Verify asks the service whether the lock is held, by a linearizable read. nil means that it was held at a
// moment during the call, and is still valid by the clock. A lock that turns out to be lost ends.
func (l *Lock) Verify(ctx context.Context) error {
	if err := l.Valid(); err != nil {
		return fmt.Errorf("verify lock %q: %w", l.name, err)
	}
	var rep coorddv1.LockGetReply
	if _, err := l.s.c.ask(ctx, l.s.cfg, "lock.get", l.name, &coorddv1.LockGetRequest{Cluster: l.s.c.clusterID(), Fence: l.fence}, &rep); err != nil {
		return fmt.Errorf("verify lock %q: %w", l.name, err)
	}
	held := rep.GetLock().GetState() == coorddv1.Lock_HELD && slices.ContainsFunc(rep.GetLock().GetHolders(),
		func(h *coorddv1.Holder) bool {
			return h.GetFence() == l.fence && h.GetSession() == l.s.id && !h.GetDelayed()
		})
	if !held && l.Valid() == nil {
		l.s.drop(l.fence, ErrLockLost, "")
	}
	if err := l.Valid(); err != nil {
		return fmt.Errorf("verify lock %q: %w", l.name, err)
	}
	return nil
}

// Unlock gives the lock back. Its context ends first; from then on the lock is over for its holder, and the
// client repeats the release until it is known, in the background if need be. An error says what is known: the
// lock had been lost before (the context's cause), or the release is not confirmed yet ([ErrOutcomeUnknown]).
// A repeated Unlock changes nothing and returns the same.
func (l *Lock) Unlock(ctx context.Context) error {
	if l.Valid() == nil && l.end(ErrReleased) {
		l.s.giveBack(l)
	}
	return l.awaitRelease(ctx)
}

// awaitRelease says what came of the release of a lock that has ended on this side.
func (l *Lock) awaitRelease(ctx context.Context) error {
	if cause := *l.ended.Load(); cause != ErrReleased {
		if own, bounded := l.ownTime(); (cause == ErrForced || bounded && own == 0) && !l.yielded.Swap(true) {
			// The service keeps others out until this holder can't believe in its hold any more. It doesn't now.
			l.s.release(l.name, l.fence, true, func(error) {})
		}
		return fmt.Errorf("unlock %q: %w", l.name, cause)
	}
	timer := l.s.c.clock.NewTimer(l.s.cfg.timeout)
	defer timer.Stop()
	var why error
	select {
	case <-l.released:
		if l.releaseErr != nil {
			return fmt.Errorf("unlock %q: %w", l.name, l.releaseErr)
		}
		return nil
	case <-timer.C():
	case <-ctx.Done():
		why = ended(ctx)
	}
	l.s.mu.Lock()
	out := outcome{delivered: 1} // it will be executed, if it was not yet
	if l.release != nil {
		out.trouble = l.release.trouble
	}
	l.s.mu.Unlock()
	return fmt.Errorf("unlock %q: %w", l.name, l.s.c.wire.explain(out, why, true))
}

// chain is the locks that work under this one's context is done under.
func (l *Lock) chain() []*Lock { return append([]*Lock{l}, l.outer...) }
