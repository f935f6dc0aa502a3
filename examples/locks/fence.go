package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
	"github.com/coordd/coordd/pkg/client/fence"
)

// account is a resource that a lock protects.
type account struct {
	gate    fence.Gate
	balance int
}

func (a *account) set(l *client.Lock, balance int) error {
	return a.gate.Do(l, func() error {
		a.balance = balance
		return nil
	})
}

// paused stops the holder of a lock in the middle of its work, for longer than its lease.
func paused(ctx context.Context, out io.Writer) error {
	s, err := coorddtest.Start()
	if err != nil {
		return err
	}
	defer s.Close()
	a, b := s.Client(), s.Client()
	acc := &account{balance: 100}

	first, err := a.Lock(ctx, "account/7")
	if err != nil {
		return err
	}
	if err := acc.set(first, 90); err != nil {
		return err
	}
	fmt.Fprintf(out, "%2.0f s  a holds the lock with fence %d; balance %d\n", s.Now().Seconds(), first.Fence(), acc.balance)

	wake := s.Pause(a) // a garbage collection, a moved virtual machine, a closed lid
	fmt.Fprintf(out, "%2.0f s  a is stopped\n", s.Now().Seconds())
	s.Advance(20 * time.Second)

	second, err := b.Lock(ctx, "account/7")
	if err != nil {
		return err
	}
	if err := acc.set(second, 50); err != nil {
		return err
	}
	fmt.Fprintf(out, "%2.0f s  a's lease is over; b holds the lock with fence %d; balance %d\n", s.Now().Seconds(), second.Fence(), acc.balance)

	fmt.Fprintf(out, "%2.0f s  a, which has checked its lock just before it was stopped, writes: %v\n", s.Now().Seconds(), acc.set(first, 80))
	wake()
	fmt.Fprintf(out, "%2.0f s  a looks at its lock: %v\n", s.Now().Seconds(), first.Valid())
	fmt.Fprintf(out, "%2.0f s  balance %d\n", s.Now().Seconds(), acc.balance)
	return nil
}

// lost cuts a holder off from the cluster.
func lost(ctx context.Context, out io.Writer) error {
	s, err := coorddtest.Start()
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := s.Client().Lock(ctx, "account/7")
	if err != nil {
		return err
	}
	s.Outage(14 * time.Second) // nobody answers
	fmt.Fprintln(out, "after 14 s without an answer:", l.Valid())
	s.Outage(16 * time.Second)
	<-l.Context().Done()
	fmt.Fprintln(out, "after 16 s without one:", context.Cause(l.Context()))
	return nil
}
