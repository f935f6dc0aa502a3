package client

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestLockUnlockAndTryLock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t, WithOwner("a")), r.connect(t, WithOwner("b"))
	l, err := a.Lock(t.Context(), "orders/42 ü", Meta(map[string]string{"k": "v"}))
	if err != nil {
		t.Fatal(err)
	}
	if l.Name() != "orders/42 ü" || l.Fence() == 0 || l.Valid() != nil || l.Context().Err() != nil || l.Remaining() < 10*time.Second || l.Remaining() > 15*time.Second {
		t.Errorf("lock %q fence %d valid %v remaining %v", l.Name(), l.Fence(), l.Valid(), l.Remaining())
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = b.TryLock(t.Context(), "orders/42 ü")
	var locked *LockedError
	var coded *Error
	if !errors.As(err, &locked) || locked.Holder != "a" || locked.Fence != l.Fence() || locked.Name != l.Name() || !errors.As(err, &coded) || coded.Number != 423 {
		t.Errorf("got %#v, want a LockedError of a's hold", err)
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Errorf("second unlock: %v", err)
	}
	if err := l.Valid(); !errors.Is(err, ErrReleased) || context.Cause(l.Context()) != ErrReleased || l.Context().Err() == nil || l.Remaining() != 0 {
		t.Errorf("after unlock: %v, cause %v", err, context.Cause(l.Context()))
	}
	l2, err := b.TryLock(t.Context(), "orders/42 ü")
	if err != nil {
		t.Fatal(err)
	}
	if l2.Fence() <= l.Fence() {
		t.Errorf("fence %d after %d", l2.Fence(), l.Fence())
	}
	if err := l.Verify(t.Context()); !errors.Is(err, ErrReleased) {
		t.Errorf("verify of a released lock: %v", err)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.connect(t), r.connect(t), r.connect(t)
	l, err := a.Lock(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *Lock, 2)
	wait := func(c *Client) {
		l, err := c.Lock(context.Background(), "q")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}
	go wait(b)
	r.until(t, "b stands in the queue", func() bool { return queueLength(t, a, "q") == 1 })
	go wait(c)
	r.until(t, "c stands in the queue", func() bool { return queueLength(t, a, "q") == 2 })
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	first := <-got
	if first.s.c != b {
		t.Error("the second waiter came first")
	}
	_ = first.Unlock(t.Context())
	second := <-got
	if second.s.c != c || second.Fence() <= first.Fence() || first.Fence() <= l.Fence() {
		t.Errorf("fences %d, %d, %d", l.Fence(), first.Fence(), second.Fence())
	}
}

func TestWaitRunsOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	if _, err := a.Lock(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := b.Lock(t.Context(), "w", Wait(100*time.Millisecond))
	if !errors.Is(err, ErrWaitTimeout) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v, want ErrWaitTimeout", err)
	}
	if d := time.Since(start); d < 100*time.Millisecond || d > time.Minute {
		t.Errorf("it took %v", d)
	}
	if n := queueLength(t, a, "w"); n != 0 {
		t.Errorf("%d ghosts in the queue", n)
	}
}

// A context that ends during the wait leaves neither a ticket nor a hold behind.
func TestAnEndedContextLeavesNoGhost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	l, err := a.Lock(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		_, err := b.Lock(ctx, "g")
		errs <- err
	}()
	r.until(t, "b waits", func() bool { return queueLength(t, a, "g") == 1 })
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v, want only context.Canceled", err)
	}
	if n := queueLength(t, a, "g"); n != 0 {
		t.Errorf("%d ghosts in the queue", n)
	}
	_ = l.Unlock(t.Context())
	if l, err := a.TryLock(t.Context(), "g"); err != nil {
		t.Error(err)
	} else {
		_ = l.Unlock(t.Context())
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	mine := errors.New("mine")
	err := c.Do(ctx, "d", func(ctx context.Context, l *Lock) error {
		if ctx.Value(key{}) != "value" || heldUnder(ctx)[0] != l || l.Valid() != nil {
			t.Error("the context is not the lock's")
		}
		cancel()
		<-ctx.Done()
		if l.Context().Err() != nil {
			t.Error("the lock's own context ended with the caller's")
		}
		return mine
	})
	if !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = c.Do(t.Context(), "d", func(context.Context, *Lock) error { panic("mine") })
	}()
	l, err := c.TryLock(t.Context(), "d")
	if err != nil {
		t.Fatalf("a Do left the lock held: %v", err)
	}
	_ = l.Unlock(t.Context())
}

func TestBadNamesAndOptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	for _, name := range []string{"", string(make([]byte, 513)), "a\x00b", "a\nb", "\xff"} {
		if _, err := c.Lock(t.Context(), name); codeOf(err) != "BAD_NAME" {
			t.Errorf("name %q: %v", name, err)
		}
		if _, err := c.Sequence(t.Context(), name); codeOf(err) != "BAD_NAME" {
			t.Errorf("sequence %q: %v", name, err)
		}
	}
	if _, err := c.Lock(t.Context(), "x", Wait(-1)); !errors.Is(err, ErrBadRequest) {
		t.Errorf("negative wait: %v", err)
	}
	for _, o := range []Option{WithNamespace("a.b"), WithNamespace(""), WithTTL(time.Millisecond), WithTTL(25 * time.Hour), WithTimeout(0), WithClockDrift(-1)} {
		if _, err := c.NewSession(t.Context(), o); err == nil {
			t.Error("a bad option was taken")
		}
	}
	if len(r.Seen("session.open"))+len(r.Seen("lock.acquire")) > 0 {
		t.Error("bad input was sent")
	}
}

func TestLockerExcludesAndPanicsWhenUnlocked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	lockers := []sync.Locker{a.Locker("m"), b.Locker("m"), a.Locker("m")}
	n, inside := 0, 0
	var wg sync.WaitGroup
	for i := range 12 {
		k := lockers[i%len(lockers)]
		wg.Go(func() {
			for range 5 {
				k.Lock()
				if inside++; inside != 1 {
					t.Error("two inside")
				}
				n++
				inside--
				k.Unlock()
			}
		})
	}
	wg.Wait()
	if n != 60 {
		t.Errorf("%d of 60", n)
	}
	defer func() {
		if recover() == nil {
			t.Error("unlock of an unlocked one does not panic")
		}
	}()
	lockers[0].Unlock()
}

// A lock with more readers than an answer shows verifies each of them.
func TestVerifyOneOfVeryManyReaders(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	c := rig.connect(t)
	var readers []*Lock
	for range 105 {
		l, err := c.RLock(t.Context(), "wide")
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, l)
	}
	for i, l := range readers {
		if err := l.Verify(t.Context()); err != nil {
			t.Fatalf("reader %d, fence %d: %v", i, l.Fence(), err)
		}
	}
	info, err := c.LockInfo(t.Context(), "wide")
	if err != nil || len(info.Holders) >= len(readers) {
		t.Fatalf("%d holders are shown, %v", len(info.Holders), err)
	}
}
