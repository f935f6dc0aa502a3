package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// later runs f and returns where its lock will come.
func later(t *testing.T, f func() (*Lock, error)) <-chan *Lock {
	got := make(chan *Lock, 1)
	go func() {
		l, err := f()
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	return got
}

// taken waits for a lock of later.
func taken(t *testing.T, got <-chan *Lock) *Lock {
	t.Helper()
	select {
	case l := <-got:
		if l == nil {
			t.FailNow()
		}
		return l
	case <-time.After(waitLimit):
		t.Fatal("the lock did not come")
		return nil
	}
}

func unlock(t *testing.T, locks ...*Lock) {
	t.Helper()
	for _, l := range locks {
		if err := l.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestReadersShareAndAWaitingWriterStopsLaterOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, w := r.connect(t), r.connect(t), r.connect(t, WithOwner("writer"))
	one, err := a.RLock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.TryRLock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.TryLock(t.Context(), "x"); !isLocked(err) {
		t.Errorf("a writer beside readers: %v", err)
	}
	writes := later(t, func() (*Lock, error) { return w.Lock(context.Background(), "x") })
	r.until(t, "the writer waits", func() bool { return queueLength(t, a, "x") == 1 })
	if _, err := a.TryRLock(t.Context(), "x"); !isLocked(err) {
		t.Errorf("a reader past a waiting writer: %v", err)
	}
	unlock(t, one, two)
	l := taken(t, writes)
	if l.Fence() <= max(one.Fence(), two.Fence()) || l.Verify(t.Context()) != nil {
		t.Errorf("fence %d after %d and %d", l.Fence(), one.Fence(), two.Fence())
	}
	unlock(t, l)
	up, err := a.RLock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Lock(up.Context(), "x", Reentrant()); !errors.Is(err, ErrBadRequest) {
		t.Errorf("an upgrade: %v", err)
	}
}

func isLocked(err error) bool {
	var l *LockedError
	return errors.As(err, &l)
}

func TestSemaphoreGivesOutItsPermits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, d := r.connect(t), r.connect(t)
	m := c.Semaphore("pool", 5)
	three, err := m.Acquire(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	two, err := d.Semaphore("pool", 5).TryAcquire(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.TryAcquire(t.Context(), 1); !isLocked(err) {
		t.Errorf("a sixth permit: %v", err)
	}
	if _, err := d.Semaphore("pool", 6).Acquire(t.Context(), 1); codeOf(err) != coorddv1.CodeLimitMismatch {
		t.Errorf("another limit: %v", err)
	}
	for _, n := range []int{-1, 0, 6} {
		if _, err := m.Acquire(t.Context(), n); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%d permits: %v", n, err)
		}
	}
	if _, err := c.Semaphore("pool", 0).Acquire(t.Context(), 1); !errors.Is(err, ErrBadRequest) {
		t.Errorf("limit 0: %v", err)
	}
	info, err := c.LockInfo(t.Context(), "pool")
	if err != nil || info.Limit != 5 || info.InUse != 5 || len(info.Holders) != 2 || info.Holders[0].Mode != Permits {
		t.Errorf("%+v, %v", info, err)
	}
	next := later(t, func() (*Lock, error) { return m.Acquire(context.Background(), 3) })
	r.until(t, "it waits", func() bool { return queueLength(t, c, "pool") == 1 })
	unlock(t, two)
	unlock(t, three)
	unlock(t, taken(t, next))
}

func TestLockAllTakesAllOrWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	one, err := a.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *LockSet, 1)
	go func() {
		x, err := b.LockAll(context.Background(), "a", "b", "c")
		if err != nil {
			t.Error(err)
		}
		got <- x
	}()
	r.until(t, "it waits for b", func() bool { return queueLength(t, a, "b") == 1 })
	if info, err := a.LockInfo(t.Context(), "a"); err != nil || info.State != "FREE" && len(info.Holders) > 0 {
		t.Errorf("it holds a while it waits for b: %+v, %v", info, err)
	}
	unlock(t, one)
	x := <-got
	if x == nil {
		t.FailNow()
	}
	if !slices.Equal(x.Names(), []string{"a", "b", "c"}) || x.Fence("a") == 0 || x.Fence("b") <= one.Fence() || x.Valid() != nil {
		t.Errorf("%v with fences %d %d %d: %v", x.Names(), x.Fence("a"), x.Fence("b"), x.Fence("c"), x.Valid())
	}
	if _, err := a.TryLock(t.Context(), "c"); !isLocked(err) {
		t.Errorf("c is to be held: %v", err)
	}
	for range 2 {
		if err := x.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if !errors.Is(x.Valid(), ErrReleased) || context.Cause(x.Context()) != ErrReleased {
		t.Errorf("after Unlock: %v", x.Valid())
	}
	y, err := a.LockAll(t.Context(), "c", "a") // in another order
	if err != nil {
		t.Fatal(err)
	}
	if err := y.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{nil, {"a", "a"}, {"a", ""}} {
		if _, err := a.LockAll(t.Context(), names...); err == nil {
			t.Errorf("%q were locked", names)
		}
	}
}

// A caller that gives up leaves none of several locks held, whether they were granted at the last moment or not.
func TestLockAllThatGivesUpLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(Message) Fate{
		"in the queue": nil,
		"granted, but the news are lost": func(m Message) Fate {
			return Fate{DropReply: m.Verb == "lock.acquire-all", DropRequest: m.Verb == "evt" || m.Verb == "session.keepalive"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a, b := r.connect(t), r.connect(t)
			one, err := a.Lock(t.Context(), "b")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.session(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.Script(script)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := b.LockAll(ctx, "a", "b")
				done <- err
			}()
			r.until(t, "it waits", func() bool { return queueLength(t, a, "b") == 1 })
			if script != nil {
				unlock(t, one)
				r.until(t, "it is granted", func() bool { return lookAt(t, a, "a").GetState() == coorddv1.Lock_HELD })
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			r.Script(nil)
			if script == nil {
				unlock(t, one)
			}
			r.until(t, "nothing is held or waited for", func() bool {
				return lookAt(t, a, "a").GetState() == coorddv1.Lock_FREE && lookAt(t, a, "b").GetState() == coorddv1.Lock_FREE && queueLength(t, a, "b") == 0
			})
		})
	}
}

func TestAReentrantLockIsEnteredByWhoHoldsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	err := a.Do(t.Context(), "x", func(ctx context.Context, outer *Lock) error {
		inner, err := a.Lock(ctx, "x", Reentrant())
		if err != nil {
			return err
		}
		if inner.Fence() != outer.Fence() {
			t.Errorf("fences %d and %d", outer.Fence(), inner.Fence())
		}
		if _, err := a.TryLock(t.Context(), "x", Reentrant()); !isLocked(err) { // not under the lock
			t.Errorf("whoever shares the session enters: %v", err)
		}
		unlock(t, inner)
		if outer.Verify(t.Context()) != nil {
			t.Errorf("the first entry went with the second: %v", outer.Valid())
		}
		if _, err := b.TryLock(t.Context(), "x"); !isLocked(err) {
			t.Errorf("it is free: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.TryLock(t.Context(), "x")
	if err != nil {
		t.Fatalf("after the last entry: %v", err)
	}
	unlock(t, l)
}

func TestADeadlockIsRefusedWithItsCycle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t, WithOwner("alice")), r.connect(t, WithOwner("bob"))
	x, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Lock(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	got := later(t, func() (*Lock, error) { return a.Lock(x.Context(), "y") })
	r.until(t, "alice waits for y", func() bool { return queueLength(t, a, "y") == 1 })
	_, err = b.Lock(y.Context(), "x")
	var dead *DeadlockError
	var coded *Error
	if !errors.As(err, &dead) || dead.Name != "x" || len(dead.Cycle) == 0 || !errors.As(err, &coded) || coded.Code != coorddv1.CodeDeadlock {
		t.Fatalf("got %v", err)
	}
	unlock(t, y)
	unlock(t, taken(t, got), x)
}

func TestMaxHoldFreesALockOfALivingHolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	l, err := a.Lock(t.Context(), "x", MaxHold(1500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if left := l.Remaining(); left <= 0 || left > 1500*time.Millisecond {
		t.Errorf("remaining %v", left)
	}
	next := later(t, func() (*Lock, error) { return b.Lock(context.Background(), "x") })
	select {
	case <-l.Context().Done():
	case <-time.After(waitLimit):
		t.Fatal("it has no end")
	}
	if cause := context.Cause(l.Context()); cause != ErrLockLost {
		t.Errorf("it ended by %v", cause)
	}
	m := taken(t, next)
	if err := a.default_(t).Err(); err != nil {
		t.Errorf("its session: %v", err)
	}
	if err := l.Unlock(t.Context()); !errors.Is(err, ErrLockLost) {
		t.Errorf("unlock of the lost one: %v", err)
	}
	if m.Verify(t.Context()) != nil {
		t.Error("the old holder's Unlock freed the new one's hold")
	}
	for _, o := range []LockOption{Delay(-1), MaxHold(-1)} {
		if _, err := a.Lock(t.Context(), "y", o); !errors.Is(err, ErrBadRequest) {
			t.Errorf("a negative duration: %v", err)
		}
	}
}

func (c *Client) default_(t *testing.T) *Session {
	t.Helper()
	s, err := c.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRWLockerExcludes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lockers := []*RWLocker{r.connect(t).RWLocker("m"), r.connect(t).RWLocker("m")}
	var readers, writers atomic.Int32
	var wg sync.WaitGroup
	writes := 0
	for i := range 8 {
		k := lockers[i%2]
		wg.Go(func() {
			for j := range 6 {
				if (i+j)%3 == 0 {
					k.Lock()
					if writers.Add(1) != 1 || readers.Load() != 0 {
						t.Error("a writer is not alone")
					}
					writes++
					writers.Add(-1)
					k.Unlock()
					continue
				}
				k.RLock()
				readers.Add(1)
				if writers.Load() != 0 {
					t.Error("a reader beside a writer")
				}
				readers.Add(-1)
				k.RUnlock()
			}
		})
	}
	wg.Wait()
	if writes != 16 {
		t.Errorf("%d writes", writes)
	}
	k := lockers[0]
	if !k.TryRLock() || k.TryLock() || !k.TryRLock() {
		t.Error("readers share, and keep writers out")
	}
	k.RLocker().Unlock()
	k.RUnlock()
	if !k.TryLock() || k.TryLock() || lockers[1].TryRLock() {
		t.Error("a writer keeps all out")
	}
	k.Unlock()
	for name, f := range map[string]func(){"Unlock": k.Unlock, "RUnlock": k.RUnlock, "bad name": r.connect(t).RWLocker("").Lock} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			f()
		}()
	}
}
