package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/coordd/coordd/pkg/client"
)

// shared lets readers in together and a writer alone.
func shared(ctx context.Context, c *client.Client, out io.Writer) error {
	one, err := c.RLock(ctx, "examples/catalogue")
	if err != nil {
		return err
	}
	two, err := c.RLock(ctx, "examples/catalogue")
	if err != nil {
		return err
	}
	_, err = c.TryLock(ctx, "examples/catalogue")
	var locked *client.LockedError
	fmt.Fprintln(out, "two read, a writer has to wait:", errors.As(err, &locked))
	if err := errors.Join(one.Unlock(ctx), two.Unlock(ctx)); err != nil {
		return err
	}
	w, err := c.Lock(ctx, "examples/catalogue")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "now it writes")
	return w.Unlock(ctx)
}

// semaphore lets three units be used at once.
func semaphore(ctx context.Context, c *client.Client, out io.Writer) error {
	pool := c.Semaphore("examples/licences", 3) // the limit is stored: another one is refused
	two, err := pool.Acquire(ctx, 2)
	if err != nil {
		return err
	}
	_, err = pool.TryAcquire(ctx, 2)
	var locked *client.LockedError
	fmt.Fprintln(out, "two of three are taken, two more are not to be had:", errors.As(err, &locked))
	one, err := pool.TryAcquire(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "one is")
	return errors.Join(one.Unlock(ctx), two.Unlock(ctx))
}

// election lets one of two candidates lead, and hands over.
func election(ctx context.Context, c *client.Client, out io.Writer) error {
	other, err := c.NewSession(ctx)
	if err != nil {
		return err
	}
	defer other.Close(ctx)
	e := c.Election("examples/scheduler")
	lead, err := e.Campaign(ctx, []byte("10.0.0.1:8080"))
	if err != nil {
		return err
	}
	next := make(chan error, 1)
	go func() {
		second, err := other.Election("examples/scheduler").Campaign(ctx, []byte("10.0.0.2:8080"))
		if err == nil {
			err = second.Proclaim(ctx, []byte("10.0.0.2:9090"))
		}
		next <- err
	}()
	if err := queued(ctx, c, "examples/scheduler", 1); err != nil {
		return err
	}
	now, err := e.Leader(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s leads\n", now.Value)
	if err := lead.HandOver(ctx, fmt.Sprint(other.ID())); err != nil {
		return err
	}
	if err := <-next; err != nil {
		return err
	}
	if now, err = e.Leader(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s leads\n", now.Value)
	return nil
}

// barrier lets three wait for each other.
func barrier(ctx context.Context, c *client.Client, out io.Writer) error {
	errs := make([]error, 3)
	var parties sync.WaitGroup
	for i := range errs {
		parties.Go(func() { errs[i] = c.Barrier("examples/start", 3).Wait(ctx) })
	}
	parties.Wait()
	fmt.Fprintln(out, "all three passed:", errors.Join(errs...) == nil)
	return errors.Join(errs...)
}

// latch lets one wait for two others.
func latch(ctx context.Context, c *client.Client, out io.Writer) error {
	l := c.Latch("examples/ready")
	if err := l.Set(ctx, 2); err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- l.Wait(ctx) }()
	for range 2 {
		if err := l.CountDown(ctx, 1); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "open:", <-opened == nil)
	return l.Set(ctx, 0) // forgets it
}
