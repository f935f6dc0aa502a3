package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func TestBarrierLetsAllPassAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	for round := range 2 {
		passed := make(chan error, 3)
		for i, c := range []*Client{a, b, a} {
			if i == 2 {
				r.until(t, "two wait", func() bool { return a.waiting()+b.waiting() == 2 })
				select {
				case err := <-passed:
					t.Fatalf("one of three passed: %v", err)
				default:
				}
				if _, err := a.TryLock(t.Context(), "x"); err != nil && round == 0 {
					t.Fatal(err) // a barrier is in nobody's way
				}
			}
			go func() { passed <- c.Barrier("start", 3).Wait(context.Background()) }()
		}
		for range 3 {
			if err := <-passed; err != nil {
				t.Error(err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- a.Barrier("start", 2).Wait(ctx) }()
	r.until(t, "it waits", func() bool { return a.waiting() == 1 })
	if err := b.Barrier("start", 3).Wait(t.Context()); codeOf(err) != coorddv1.CodeLimitMismatch {
		t.Errorf("another number of parties: %v", err)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || isUnknown(err) {
		t.Errorf("got %v", err)
	}
	if err := a.Barrier("start", 0).Wait(t.Context()); !errors.Is(err, ErrBadRequest) {
		t.Errorf("no parties: %v", err)
	}
}

// waiting returns how many tickets of the client's default session wait.
func (c *Client) waiting() (n int) {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.tickets {
		if k.state == ticketQueued {
			n++
		}
	}
	return n
}

func TestLatchOpensWhenItIsCountedDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	done := make(chan error, 2)
	for _, c := range []*Client{a, b} { // before anybody has set it
		go func() { done <- c.Latch("ready").Wait(context.Background()) }()
	}
	r.until(t, "both wait", func() bool { return a.waiting()+b.waiting() == 2 })
	l := a.Latch("ready")
	if err := l.Set(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Latch("ready").CountDown(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("it opened at 1: %v", err)
	default:
	}
	if err := l.CountDown(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Errorf("it is open: %v", err)
	}
	if err := errors.Join(l.Set(t.Context(), -1), l.CountDown(t.Context(), 0)); !errors.Is(err, ErrBadRequest) {
		t.Errorf("bad counts: %v", err)
	}
	if err := l.Set(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// A passage may be told by an event, a renewal or the answer.
func TestAPassageIsTakenHoweverItIsTold(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(Message) Fate{
		"events twice": only("evt", Fate{Twice: true}, Fate{Twice: true}),
		"no events":    func(m Message) Fate { return Fate{DropRequest: m.Verb == "evt"} },
		"answer lost":  only("barrier.wait", Fate{DropReply: true}, Fate{DropReply: true}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a, b := r.connect(t), r.connect(t)
			r.Script(script)
			var wg sync.WaitGroup
			for i, c := range []*Client{a, b} {
				wg.Go(func() {
					if err := c.Barrier("x", 2).Wait(t.Context()); err != nil {
						t.Error(fmt.Errorf("%d: %w", i, err))
					}
				})
			}
			wg.Wait()
		})
	}
}
