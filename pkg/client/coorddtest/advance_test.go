package coorddtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lock takes a lock.
func lock(t *testing.T, c *client.Client, name string) *client.Lock {
	t.Helper()
	l, err := c.Lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestTimeStandsStillAndSessionsAreRenewed lets ten minutes pass in front of a session of 15 seconds.
func TestTimeStandsStillAndSessionsAreRenewed(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	c := s.Client()
	l := lock(t, c, "held")
	if left := l.Remaining(); s.Now() != 0 || left < 14*time.Second || left > 15*time.Second {
		t.Fatalf("at %v the lock is held for %v", s.Now(), left)
	}
	s.Advance(4 * time.Second) // short of the first renewal
	if left := l.Remaining(); left > 11*time.Second || left < 10*time.Second {
		t.Errorf("after 4 s %v are left", left)
	}
	s.Advance(2 * time.Second)
	if left := l.Remaining(); left < 13*time.Second || left > 14*time.Second {
		t.Errorf("a second after the renewal %v are left", left)
	}
	began := time.Now()
	s.Advance(10 * time.Minute)
	if err := l.Valid(); err != nil {
		t.Errorf("after ten minutes: %v", err)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Now() != 10*time.Minute+6*time.Second {
		t.Errorf("it is %v", s.Now())
	}
	t.Logf("ten minutes took %v", time.Since(began))
}

func TestAWaitEndsAtItsTime(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	lock(t, s.Client(), "taken")
	b := s.Client()
	ended := make(chan error, 1)
	go func() {
		_, err := b.Lock(t.Context(), "taken", client.Wait(10*time.Second))
		ended <- err
	}()
	s.AwaitQueued("taken", 1)
	s.Advance(9*time.Second + 999*time.Millisecond)
	if s.Queued("taken") != 1 {
		t.Error("the wait ended before its time")
	}
	s.Advance(time.Millisecond)
	if s.Queued("taken") != 0 {
		t.Error("the wait goes on after its time")
	}
	if err := <-ended; !errors.Is(err, client.ErrWaitTimeout) {
		t.Errorf("it ended with %v", err)
	}
}

// TestAnExpiredSession ends at both ends at its time, and the next in line is served.
func TestAnExpiredSession(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	a, b := s.Client(), s.Client()
	first := lock(t, a, "orders/42")
	next := make(chan *client.Lock, 1)
	go func() {
		l, err := b.Lock(context.Background(), "orders/42")
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	s.AwaitQueued("orders/42", 1)
	s.ExpireClient(a)
	if cause := context.Cause(first.Context()); !errors.Is(cause, client.ErrSessionExpired) {
		t.Errorf("the holder's context ended by %v", cause)
	}
	second := <-next
	if second.Valid() != nil || second.Fence() <= first.Fence() {
		t.Errorf("the next holder's fence is %d after %d: %v", second.Fence(), first.Fence(), second.Valid())
	}
	if now := s.Now(); now > 15*time.Second {
		t.Errorf("it took until %v", now)
	}
	third := lock(t, a, "another") // a new session
	if err := third.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}
