package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Lock is one hold of a lock, from its grant to its end. It ends by [Lock.Unlock], with its session, or because
// it was taken away; the context's cause tells which.
type Lock struct {
	s     *Session
	name  string
	fence uint64
	outer *Lock // taken under it

	ctx      lockContext
	cancel   context.CancelCauseFunc
	ended    atomic.Pointer[error] // why it ended; set once
	yielded  atomic.Bool           // a forced release was agreed to
	released chan struct{}         // closed when the release is known to have come to an end

	// Guarded by the session's mutex.
	index      uint64        // log index of an answer that showed the hold; 0: only an event did
	learned    time.Duration // monotonic, when the grant was learned
	release    *call
	releaseErr error
}

func newLock(s *Session, name string, fence uint64, ctx context.Context, outer *Lock) *Lock {
	l := &Lock{s: s, name: name, fence: fence, outer: outer, released: make(chan struct{})}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l.ctx, l.cancel = lockContext{inner, l}, cancel
	return l
}

// Name returns the lock's name.
func (l *Lock) Name() string { return l.name }

// Fence returns the hold's fencing token. It is larger than that of every earlier hold of any lock.
func (l *Lock) Fence() uint64 { return l.fence }

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
	return nil
}

// Remaining returns for how long the lock is surely held if nothing renews its session; 0 after its end.
func (l *Lock) Remaining() time.Duration {
	if l.Valid() != nil {
		return 0
	}
	return l.s.Remaining()
}

// end ends the hold on this side, once, and reports whether this call did it.
func (l *Lock) end(why error) bool {
	first := l.ended.CompareAndSwap(nil, &why)
	l.cancel(*l.ended.Load())
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
	if _, err := l.s.c.ask(ctx, l.s.cfg, "lock.get", l.name, &coorddv1.LockGetRequest{Cluster: l.s.c.clusterID()}, &rep); err != nil {
		return fmt.Errorf("verify lock %q: %w", l.name, err)
	}
	held := rep.GetLock().GetState() == coorddv1.Lock_HELD && slices.ContainsFunc(rep.GetLock().GetHolders(),
		func(h *coorddv1.Holder) bool { return h.GetFence() == l.fence && h.GetSession() == l.s.id })
	if !held && l.Valid() == nil {
		l.s.drop(l, ErrLockLost, "")
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
	if cause := *l.ended.Load(); cause != ErrReleased {
		if cause == ErrForced && !l.yielded.Swap(true) {
			// The service keeps others out until this holder can't believe in its hold any more. It doesn't now.
			l.s.release(l.name, l.fence, func(error) {})
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

// lockContext looks at the clock when it is asked whether it has ended: a timer alone fires late after a pause.
type lockContext struct {
	context.Context
	l *Lock
}

func (c lockContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if c.l.Valid() != nil {
		// The goroutine that ended the lock may not have come to the context yet.
		c.l.cancel(*c.l.ended.Load())
	}
	return c.Context.Err()
}

type lockKey struct{}

func (c lockContext) Value(key any) any {
	if key == (lockKey{}) {
		return c.l
	}
	return c.Context.Value(key)
}

// heldUnder returns the lock that a context comes from, nil for none.
func heldUnder(ctx context.Context) *Lock {
	l, _ := ctx.Value(lockKey{}).(*Lock)
	return l
}

// holding returns the fences of the lock and of those that it was taken under.
func (l *Lock) holding() (fences []uint64) {
	for ; l != nil; l = l.outer {
		if l.Valid() == nil {
			fences = append(fences, l.fence)
		}
	}
	return fences
}
