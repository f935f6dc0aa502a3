package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// only returns a script that gives the fates, in order, to the messages of a verb and passes all others.
func only(verb string, fates ...Fate) func(Message) Fate {
	var n atomic.Int64
	return func(m Message) Fate {
		if m.Verb != verb {
			return Fate{}
		}
		if i := int(n.Add(1)) - 1; i < len(fates) {
			return fates[i]
		}
		return Fate{}
	}
}

func seqOf(t *testing.T, m Message) uint64 {
	t.Helper()
	var e coorddv1.SequenceRequest // the envelope that all commands share; the rest stays unknown
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		t.Fatal(err)
	}
	return e.GetSeq()
}

// Whatever happens to an acquire and its answer on the way, it is executed once.
func TestARequestIsExecutedOnce(t *testing.T) {
	t.Parallel()
	for name, fates := range map[string][]Fate{
		"request lost":        {{DropRequest: true}},
		"answer lost":         {{DropReply: true}},
		"answer lost twice":   {{DropReply: true}, {DropReply: true}},
		"both twice":          {{Twice: true}},
		"answer late":         {{Delay: 400 * time.Millisecond}},
		"nobody there":        {{NoResponders: true}, {NoResponders: true}, {NoResponders: true}},
		"busy":                {{Refuse: "BUSY"}, {Refuse: "NOT_LEADER"}},
		"executed, then busy": {{DropReply: true}, {Refuse: "BUSY"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.connect(t)
			first, err := c.Lock(t.Context(), "first")
			if err != nil {
				t.Fatal(err)
			}
			r.Script(only("lock.acquire", fates...))
			l, err := c.Lock(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if l.Fence() != first.Fence()+1 {
				t.Errorf("fence %d after %d: it was granted more than once", l.Fence(), first.Fence())
			}
			seen := r.Seen("lock.acquire")[1:]
			for _, m := range seen {
				if seqOf(t, m) != seqOf(t, seen[0]) {
					t.Error("a repeat had another seq")
				}
			}
			if err := l.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A grant may be told by an event, by a keepalive or by the answer; before, after or without the others.
func TestAGrantIsTakenHoweverItIsTold(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(Message) Fate{
		"event":                    nil,
		"event twice":              only("evt", Fate{Twice: true}),
		"no event":                 only("evt", Fate{DropRequest: true}),
		"late event":               only("evt", Fate{Delay: 1500 * time.Millisecond}),
		"event before the answer":  only("lock.acquire", Fate{Delay: 700 * time.Millisecond}),
		"answer lost, event comes": only("lock.acquire", Fate{DropReply: true}, Fate{DropReply: true}, Fate{DropReply: true}),
		"only renewals": func(m Message) Fate {
			return Fate{DropReply: m.Verb == "lock.acquire", DropRequest: m.Verb == "evt"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a, b := r.connect(t), r.connect(t, WithTTL(10*time.Second))
			l, err := a.Lock(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.session(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.Script(script)
			got := make(chan *Lock, 1)
			go func() {
				l, err := b.Lock(context.Background(), "x")
				if err != nil {
					t.Error(err)
				}
				got <- l
			}()
			r.until(t, "b waits", func() bool { return queueLength(t, a, "x") == 1 })
			start := time.Now()
			if err := l.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			m := <-got
			if m == nil {
				return
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("the grant was noticed after %v", d)
			}
			if m.Fence() != l.Fence()+1 || m.Valid() != nil {
				t.Errorf("fence %d after %d, valid: %v", m.Fence(), l.Fence(), m.Valid())
			}
			r.Script(nil)
			if err := m.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if err := m.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// An answer to a keepalive that was sent before a grant does not list the hold; it must not count as its loss.
func TestAnOldAnswerDoesNotLoseAFreshHold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	s, err := b.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	let := make(chan struct{})
	r.Script(func(m Message) Fate {
		switch m.Verb {
		case "session.keepalive":
			return Fate{Hold: let}
		case "lock.acquire":
			return Fate{DropReply: true} // so that only the event tells of the grant, without an index
		}
		return Fate{}
	})
	s.soon()
	r.until(t, "the keepalive is answered, on paper", func() bool { return len(r.Seen("session.keepalive")) > 0 })
	got := make(chan *Lock, 1)
	go func() {
		l, err := b.Lock(context.Background(), "x")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	r.until(t, "b waits", func() bool { return queueLength(t, a, "x") == 1 })
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := <-got
	close(let)
	r.Script(nil)
	before := len(r.Seen("session.keepalive"))
	s.soon()
	r.until(t, "another keepalive", func() bool { return len(r.Seen("session.keepalive")) > before })
	if err := m.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Valid(); err != nil {
		t.Error(err)
	}
}

// A hold that the service does not list any more is lost, even if its event never came.
func TestALossIsNoticedWithoutItsEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t, WithTTL(10*time.Second))
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r.Script(only("evt", Fate{DropRequest: true}))
	r.force(t, "x", l.Fence(), "test", true)
	select {
	case <-l.Context().Done():
	case <-time.After(waitLimit):
		t.Fatal("the loss was never noticed")
	}
	if cause := context.Cause(l.Context()); cause != ErrLockLost || l.Valid() != ErrLockLost {
		t.Errorf("cause %v, valid %v", cause, l.Valid())
	}
	if err := l.Unlock(t.Context()); !errors.Is(err, ErrLockLost) {
		t.Errorf("unlock of a lost lock: %v", err)
	}
}

func TestAForcedReleaseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	events := l.s.Events()
	r.force(t, "x", l.Fence(), "maintenance", false)
	<-l.Context().Done()
	if cause := context.Cause(l.Context()); cause != ErrForced || l.Valid() != ErrForced {
		t.Errorf("cause %v", cause)
	}
	if got := lookAt(t, c, "x").GetState(); got != coorddv1.Lock_DELAYED {
		t.Errorf("before the holder agrees it is %v", got)
	}
	if err := l.Unlock(t.Context()); !errors.Is(err, ErrForced) {
		t.Errorf("unlock: %v", err)
	}
	r.until(t, "the delay ends when the holder agrees", func() bool { return lookAt(t, c, "x").GetState() == coorddv1.Lock_FREE })
	if e := <-events; e.Kind != EventLost || e.Lock != "x" || e.Fence != l.Fence() || e.Reason != "forced: maintenance" {
		t.Errorf("event %+v", e)
	}
	err = c.Do(t.Context(), "y", func(ctx context.Context, l *Lock) error {
		r.force(t, "y", l.Fence(), "", true)
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, ErrForced) {
		t.Errorf("Do under a lock that was taken away: %v", err)
	}
}

func TestAGapInTheEventsAsksAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t, WithTTL(12*time.Hour)) // the next renewal is hours away
	x, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	y, err := a.Lock(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	took := make(map[string]time.Duration)
	var mu sync.Mutex
	var start time.Time
	for _, n := range []string{"x", "y"} {
		wg.Go(func() {
			if _, err := s.Lock(context.Background(), n); err != nil {
				t.Error(err)
			}
			mu.Lock()
			took[n] = time.Since(start)
			mu.Unlock()
		})
	}
	r.until(t, "b waits", func() bool { return queueLength(t, a, "x") == 1 && queueLength(t, a, "y") == 1 })
	r.Script(only("evt", Fate{DropRequest: true}))
	mu.Lock()
	start = time.Now()
	mu.Unlock()
	_ = x.Unlock(t.Context())
	_ = y.Unlock(t.Context())
	wg.Wait()
	if took["x"] > waitLimit {
		t.Errorf("x was noticed after %v, later than the gap told", took["x"])
	}
}

// A session that had ended before this very seq could have been executed earlier: its outcome is unknown.
func TestExpiredAfterARepeatIsUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	if _, err := c.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Script(only("id.create", Fate{DropReply: true}, Fate{Refuse: "SESSION_EXPIRED"}))
	_, err := c.Sequence(t.Context(), "s")
	if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrSessionExpired) {
		t.Errorf("got %v, want ErrOutcomeUnknown and ErrSessionExpired", err)
	}
	// Sent once: surely not executed, so the call goes on in a new session.
	r.Script(only("id.create", Fate{Refuse: "SESSION_EXPIRED"}))
	if _, err := c.Sequence(t.Context(), "s2"); err != nil {
		t.Error(err)
	}
}

func TestNoLeaderAndTimeOutAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t, WithTimeout(2*time.Second))
	if err := r.Silence(); err != nil {
		t.Fatal(err)
	}
	_, err := c.Lock(t.Context(), "x")
	if !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("without a leader: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended context: %v", err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	var l *Lock
	r.until(t, "service again", func() bool {
		l, err = c.Lock(t.Context(), "x")
		return err == nil
	})
	r.Script(func(m Message) Fate { return Fate{DropRequest: m.Verb == "lock.get"} })
	if err := l.Verify(t.Context()); !errors.Is(err, ErrTimeout) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a read without an answer: %v", err)
	}
	r.Script(func(m Message) Fate { return Fate{DropRequest: m.Verb == "id.create"} })
	if _, err := c.Sequence(t.Context(), "s"); !errors.Is(err, ErrTimeout) || !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("a command without an answer: %v", err)
	}
}

// The caller's context ends while nobody answers: it is told that the outcome is unknown, and when the service
// is back nothing is held or queued.
func TestAnUnconfirmedWithdrawalGoesOnInTheBackground(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	if _, err := b.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	var cut atomic.Bool
	r.Script(func(m Message) Fate {
		if m.Verb == "lock.acquire" && !cut.Swap(true) {
			return Fate{DropReply: true} // granted, and nobody hears of it
		}
		return Fate{DropRequest: cut.Load() && m.Verb != "lock.get"}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	_, err := b.Lock(ctx, "x")
	if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrOutcomeUnknown and DeadlineExceeded", err)
	}
	if d := time.Since(start); d < 2900*time.Millisecond || d > time.Minute {
		t.Errorf("it took %v, want 2 s and 1 s for the confirmation", d)
	}
	if got := lookAt(t, a, "x").GetState(); got != coorddv1.Lock_HELD {
		t.Fatalf("the ghost is not there: %v", got)
	}
	r.Script(nil)
	r.until(t, "the ghost is gone", func() bool {
		l := lookAt(t, a, "x")
		return l.GetState() == coorddv1.Lock_FREE && len(l.GetQueue()) == 0
	})
}

// Where a wait can't be cancelled (it is not permitted) its grant is given back as soon as it is known.
func TestWithoutCancellationTheGrantIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, acquire := range map[string]Fate{"granted, answer lost": {DropReply: true}, "queued": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a, b := r.connect(t), r.connect(t)
			if _, err := b.session(t.Context()); err != nil {
				t.Fatal(err)
			}
			var l *Lock
			if name == "queued" {
				var err error
				if l, err = a.Lock(t.Context(), "x"); err != nil {
					t.Fatal(err)
				}
			}
			lost := only("lock.acquire", acquire)
			r.Script(func(m Message) Fate {
				if m.Verb == "lock.cancel" {
					return Fate{Refuse: "DENIED"}
				}
				return lost(m)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := b.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if l != nil {
				if err := l.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			}
			r.until(t, "x is free", func() bool { return lookAt(t, a, "x").GetState() == coorddv1.Lock_FREE })
		})
	}
}

func TestUnlockGoesOnInTheBackground(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	l, err := b.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r.Script(func(m Message) Fate {
		if m.Verb == "lock.release" && l.Context().Err() == nil {
			t.Error("the release was sent before the context ended")
		}
		return Fate{DropRequest: m.Verb == "lock.release"}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := l.Unlock(ctx); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if l.Valid() != ErrReleased {
		t.Errorf("valid: %v", l.Valid())
	}
	if got := lookAt(t, a, "x").GetState(); got != coorddv1.Lock_HELD {
		t.Fatalf("state %v", got)
	}
	r.Script(nil)
	r.until(t, "it is released", func() bool { return lookAt(t, a, "x").GetState() == coorddv1.Lock_FREE })
	if err := l.Unlock(t.Context()); err != nil {
		t.Errorf("unlock again, now that it is known: %v", err)
	}
}

// What an early refusal leaves open is repeated as a new command.
func TestAReleaseIsRepeatedUntilItIsKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	for _, code := range []string{"INTERNAL", "QUOTA", "DEADLINE_EXCEEDED"} {
		l, err := c.Lock(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		r.Script(only("lock.release", Fate{Refuse: code}))
		if err := l.Unlock(t.Context()); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		if got := lookAt(t, c, "x").GetState(); got != coorddv1.Lock_FREE {
			t.Errorf("%s: state %v", code, got)
		}
		r.Script(nil)
	}
}

// force takes a lock away as an operator does.
func (r *Rig) force(t *testing.T, name string, fence uint64, reason string, now bool) {
	t.Helper()
	body, err := proto.Marshal(&coorddv1.LockForceReleaseRequest{Fence: fence, Reason: reason, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.in.Request("coord.admin.v1.lock.force-release.default."+encodeName(name), body, waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	if e := replyError(m); e != nil {
		t.Fatal(fmt.Errorf("force-release: %s", e.GetMessage()))
	}
}
