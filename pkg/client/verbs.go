package client

import (
	"context"
	"errors"
	"fmt"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// caller is what calls go through: a session, or a client with its default one.
type caller interface {
	// through runs f in a session. f says whether its call had a place in a queue.
	through(ctx context.Context, w *want, f func(*Session) (stood bool, err error)) error
	home() (*Client, config)
}

func (s *Session) through(_ context.Context, _ *want, f func(*Session) (bool, error)) error {
	_, err := f(s)
	return err
}

func (s *Session) home() (*Client, config) { return s.c, s.cfg }

// through replaces a session, once, that turned out to have ended before the call had got anything.
func (c *Client) through(ctx context.Context, w *want, f func(*Session) (bool, error)) error {
	for again := false; ; again = true {
		s, err := c.session(ctx)
		if err != nil {
			return fmt.Errorf("%v: %w", w, err)
		}
		stood, err := f(s)
		if errors.Is(err, ErrSessionExpired) && !stood && !again {
			continue
		}
		return err
	}
}

func (c *Client) home() (*Client, config) { return c, c.cfg }

// obtain has a wait begun and ended in a session of the caller's.
func obtain(ctx context.Context, by caller, w *want) (t *ticket, err error) {
	err = by.through(ctx, w, func(s *Session) (stood bool, err error) {
		t, stood, err = s.obtain(ctx, w)
		return stood, err
	})
	return t, err
}

// lockBy takes one lock.
func lockBy(ctx context.Context, by caller, name string, mode coorddv1.Mode, try bool, opts []LockOption) (*Lock, error) {
	o, err := lockOptionsOf(mode, try, opts)
	if err != nil {
		return nil, err
	}
	w, err := lockWant("lock", name, &o)
	if err != nil {
		return nil, err
	}
	t, err := obtain(ctx, by, w)
	if err != nil {
		return nil, err
	}
	return t.lock, nil
}

// Lock takes a lock, and waits for it in the order of arrival. ctx bounds the wait alone; the lock outlives it.
// If ctx ends first the client takes its ticket back and returns ctx's error; should that not be confirmed
// within a second the error also matches [ErrOutcomeUnknown], and the client goes on taking it back.
func (s *Session) Lock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, s, name, coorddv1.Mode_EXCLUSIVE, false, opts)
}

// TryLock takes a lock if it is free. If it is not the error is a *[LockedError].
func (s *Session) TryLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, s, name, coorddv1.Mode_EXCLUSIVE, true, opts)
}

// RLock takes a lock for reading: it is shared with others who read, and keeps out those who [Session.Lock] it. All stand
// in one queue, in the order of arrival, so that a waiting writer stops later readers. The rest is as for Lock.
func (s *Session) RLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, s, name, coorddv1.Mode_SHARED, false, opts)
}

// TryRLock takes a lock for reading if that can be had at once. If not the error is a *[LockedError].
func (s *Session) TryRLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, s, name, coorddv1.Mode_SHARED, true, opts)
}

// Lock takes a lock in the client's default session; see [Session.Lock].
func (c *Client) Lock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, c, name, coorddv1.Mode_EXCLUSIVE, false, opts)
}

// TryLock takes a lock in the client's default session if it is free; see [Session.TryLock].
func (c *Client) TryLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, c, name, coorddv1.Mode_EXCLUSIVE, true, opts)
}

// RLock takes a lock for reading in the client's default session; see [Session.RLock].
func (c *Client) RLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, c, name, coorddv1.Mode_SHARED, false, opts)
}

// TryRLock takes a lock for reading in the client's default session if that can be had at once; see [Session.TryRLock].
func (c *Client) TryRLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return lockBy(ctx, c, name, coorddv1.Mode_SHARED, true, opts)
}

// Do runs f under a lock of the client's default session; see [Session.Do].
func (c *Client) Do(ctx context.Context, name string, f func(context.Context, *Lock) error, opts ...LockOption) error {
	l, err := c.Lock(ctx, name, opts...)
	if err != nil {
		return err
	}
	return l.do(ctx, f)
}

// Do takes a lock, runs f and gives the lock back, also if f panics. f's context is the lock's, and ends with
// ctx as well. Do returns f's error. If the lock was lost while f ran the error also matches the cause, even
// if f itself returned nil.
func (s *Session) Do(ctx context.Context, name string, f func(context.Context, *Lock) error, opts ...LockOption) error {
	l, err := s.Lock(ctx, name, opts...)
	if err != nil {
		return err
	}
	return l.do(ctx, f)
}

func (l *Lock) do(ctx context.Context, f func(context.Context, *Lock) error) (err error) {
	inner, cancel := context.WithCancelCause(l.Context())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer func() {
		stop()
		cancel(nil)
		lost := l.Valid()
		uerr := l.Unlock(context.WithoutCancel(ctx))
		switch {
		case errors.Is(lost, ErrReleased): // by f itself
		case lost != nil:
			err = errors.Join(err, fmt.Errorf("lock %q: %w", l.name, lost))
		case uerr != nil: // the client goes on releasing it; f's work was done under the lock
			l.s.cfg.log.Warn("release a lock", "lock", l.name, "fence", l.fence, "error", uerr)
		}
	}()
	return f(inner, l)
}
