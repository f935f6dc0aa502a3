package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coordd/coordd/pkg/client"
)

// exclusive takes a lock that one holder has at a time.
func exclusive(ctx context.Context, c *client.Client, out io.Writer) error {
	other, err := c.NewSession(ctx, client.WithOwner("the other one"))
	if err != nil {
		return err
	}
	defer other.Close(ctx)

	l, err := other.Lock(ctx, "examples/invoices") // waits in line; ctx bounds the wait alone
	if err != nil {
		return err
	}
	_, err = c.TryLock(ctx, "examples/invoices") // does not wait
	var locked *client.LockedError
	if errors.As(err, &locked) {
		fmt.Fprintln(out, "it is held by", locked.Holder)
	}
	if err := l.Unlock(ctx); err != nil {
		return err
	}
	return c.Do(ctx, "examples/invoices", func(ctx context.Context, l *client.Lock) error {
		fmt.Fprintln(out, "now it is ours, until this returns; ctx ends sooner if the lock is lost:", ctx.Err())
		return nil
	})
}

// reentrant enters a lock again from code that does not know that it is held.
func reentrant(ctx context.Context, c *client.Client, out io.Writer) error {
	outer, err := c.Lock(ctx, "examples/ledger", client.Reentrant())
	if err != nil {
		return err
	}
	defer outer.Unlock(ctx)
	// The context of the lock says that it is held: not the goroutine, and not the session.
	inner, err := c.Lock(outer.Context(), "examples/ledger", client.Reentrant())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "entered twice, with one fence:", inner.Fence() == outer.Fence())
	if err := inner.Unlock(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "left once, still held:", outer.Valid() == nil)
	return nil
}

// all takes several locks in one step.
func all(ctx context.Context, c *client.Client, out io.Writer) error {
	set, err := c.LockAll(ctx, "examples/account/1", "examples/account/2") // in any order: no deadlock with others
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "both are held, with fences of their own:", set.Fence("examples/account/1") != set.Fence("examples/account/2"))
	return set.Unlock(ctx)
}

// deadlock lets two wait for each other.
func deadlock(ctx context.Context, c *client.Client, out io.Writer) error {
	a, err := c.Lock(ctx, "examples/a")
	if err != nil {
		return err
	}
	b, err := c.Lock(ctx, "examples/b")
	if err != nil {
		return err
	}
	first := make(chan error, 1)
	go func() { // holds a, wants b
		l, err := c.Lock(a.Context(), "examples/b")
		if err == nil {
			err = l.Unlock(ctx)
		}
		first <- err
	}()
	if err := queued(ctx, c, "examples/b", 1); err != nil {
		return err
	}
	_, err = c.Lock(b.Context(), "examples/a") // holds b, wants a
	var cycle *client.DeadlockError
	fmt.Fprintln(out, "the second one is told at once:", errors.As(err, &cycle))
	if err := b.Unlock(ctx); err != nil { // and makes room
		return err
	}
	fmt.Fprintln(out, "the first one goes on:", <-first)
	return a.Unlock(ctx)
}
