package client

import (
	"context"
	"errors"
	"fmt"
)

// Lock takes a lock in the client's default session; see [Session.Lock].
func (c *Client) Lock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return c.acquire(ctx, name, false, opts)
}

// TryLock takes a lock in the client's default session if it is free; see [Session.TryLock].
func (c *Client) TryLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	return c.acquire(ctx, name, true, opts)
}

func (c *Client) acquire(ctx context.Context, name string, try bool, opts []LockOption) (*Lock, error) {
	o, err := checkLock(name, try, opts)
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		s, err := c.session(ctx)
		if err != nil {
			return nil, fmt.Errorf("lock %q: %w", name, err)
		}
		l, stood, err := s.acquire(ctx, name, o)
		// A session that turned out to have ended before the call had got anything is replaced, once.
		if errors.Is(err, ErrSessionExpired) && !stood && !again {
			continue
		}
		return l, err
	}
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
