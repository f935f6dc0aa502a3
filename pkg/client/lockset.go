package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// LockSet is several locks that were taken together, in one step. It is over as soon as one of them is lost.
type LockSet struct {
	locks  []*Lock // in the order of the names
	ctx    heldContext
	cancel context.CancelCauseFunc
	ended  atomic.Pointer[error] // why it ended; set once
}

// LockAll takes several locks, for its holder alone, in one step: none is held while others are waited for, so that calls
// with names in different order don't lock each other out. It keeps its place in the queue of each name meanwhile. Each name
// may be given once. For the rest it is as [Session.Lock].
func (s *Session) LockAll(ctx context.Context, names ...string) (*LockSet, error) {
	return lockAllBy(ctx, s, names)
}

// LockAll takes several locks in one step in the client's default session; see [Session.LockAll].
func (c *Client) LockAll(ctx context.Context, names ...string) (*LockSet, error) {
	return lockAllBy(ctx, c, names)
}

func lockAllBy(ctx context.Context, by caller, names []string) (*LockSet, error) {
	if len(names) == 0 {
		return nil, localError(coorddv1.CodeBadRequest, "no names of locks")
	}
	for i, name := range names {
		if err := checkName("lock", name); err != nil {
			return nil, err
		}
		if slices.Contains(names[:i], name) {
			return nil, localError(coorddv1.CodeBadRequest, "lock %q is named twice", name)
		}
	}
	names = slices.Clone(names)
	t, err := obtain(ctx, by, &want{noun: "locks", verb: "lock.acquire-all", names: names, request: func(holding []uint64) proto.Message {
		return &coorddv1.LockAcquireAllRequest{Names: names, Holding: holding}
	}})
	if err != nil {
		return nil, err
	}
	return t.set, nil
}

func newLockSet(s *Session, names []string, got []grant, ctx context.Context, outer []*Lock) *LockSet {
	x := &LockSet{}
	for _, name := range names {
		for _, g := range got {
			if g.name == name {
				l := newLock(s, g, ctx, outer)
				l.set = x
				x.locks = append(x.locks, l)
			}
		}
	}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	x.ctx, x.cancel = heldContext{inner, x}, cancel
	return x
}

// Names returns the names of the locks, in the order in which they were given.
func (x *LockSet) Names() []string {
	names := make([]string, len(x.locks))
	for i, l := range x.locks {
		names[i] = l.name
	}
	return names
}

// Fence returns the fencing token of one of the locks; 0 if it is none of them.
func (x *LockSet) Fence(name string) uint64 {
	for _, l := range x.locks {
		if l.name == name {
			return l.fence
		}
	}
	return 0
}

// Context returns a context that ends before one of the locks can be someone else's; see [Lock.Context].
func (x *LockSet) Context() context.Context { return x.ctx }

// Valid returns nil while all of the locks are surely held; see [Lock.Valid].
func (x *LockSet) Valid() error {
	if e := x.ended.Load(); e != nil {
		return *e
	}
	for _, l := range x.locks {
		if why := l.Valid(); why != nil {
			x.end(why)
			return *x.ended.Load()
		}
	}
	return nil
}

// Remaining returns for how long all locks are surely held if nothing renews their session; 0 after the end.
func (x *LockSet) Remaining() time.Duration {
	if x.Valid() != nil {
		return 0
	}
	return x.locks[0].Remaining()
}

// Unlock gives all locks back, those too that are still held after another one was lost. For the rest it is as
// [Lock.Unlock]; the error may join those of several locks.
func (x *LockSet) Unlock(ctx context.Context) error {
	lost := x.Valid()
	x.end(ErrReleased)
	var held []*Lock
	for _, l := range x.locks {
		if l.Valid() == nil && l.end(ErrReleased) {
			held = append(held, l)
		}
	}
	if len(held) > 0 {
		held[0].s.giveBack(held...)
	}
	var errs []error
	for _, l := range x.locks {
		errs = append(errs, l.awaitRelease(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if lost != nil && !errors.Is(lost, ErrReleased) {
		return fmt.Errorf("unlock %q: %w", x.Names(), lost)
	}
	return nil
}

// end ends the set on this side, once, and reports whether this call did it.
func (x *LockSet) end(why error) bool {
	first := x.ended.CompareAndSwap(nil, &why)
	x.cancel(*x.ended.Load())
	return first
}

func (x *LockSet) chain() []*Lock { return append(slices.Clone(x.locks), x.locks[0].outer...) }
