package coorddtest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
	"github.com/coordd/coordd/pkg/client/fence"
)

// TestADroppedReply takes the lock once, and the client's second question gets the first one's answer.
func TestADroppedReply(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	c := s.Client()
	before := lock(t, c, "before")
	s.DropReply(2, coorddtest.Verb("lock.acquire"), coorddtest.Named("lost"))
	l := lock(t, c, "lost")
	if l.Fence() != before.Fence()+1 {
		t.Errorf("the fence is %d after %d: it was taken more than once", l.Fence(), before.Fence())
	}
	if now := s.Now(); now < 300*time.Millisecond || now > 2*time.Second {
		t.Errorf("after two lost answers it is %v", now)
	}
	if l.Valid() != nil || l.Verify(t.Context()) != nil {
		t.Error("it is not held")
	}
	now := s.Now()
	lock(t, c, "after")
	if s.Now() != now {
		t.Error("time moves on although nothing is dropped any more")
	}
}

// TestADroppedRenewal loses no session as long as another one is answered.
func TestADroppedRenewal(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	l := lock(t, s.Client(), "held")
	s.DropReply(5, coorddtest.Verb("session.keepalive"))
	s.Advance(20 * time.Second)
	if err := l.Valid(); err != nil {
		t.Error(err)
	}
	s.DropReply(1000, coorddtest.Verb("session.keepalive"))
	s.Advance(20 * time.Second)
	if cause := context.Cause(l.Context()); !errors.Is(cause, client.ErrSessionExpired) {
		t.Errorf("after 20 s without an answer: %v", cause)
	}
}

// TestADuplicatedRequest is executed once.
func TestADuplicatedRequest(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	c := s.Client()
	before := lock(t, c, "before")
	s.DuplicateRequest(1, coorddtest.Verb("lock.acquire"))
	s.DuplicateRequest(1, coorddtest.Verb("lock.release"))
	l := lock(t, c, "twice")
	if err := l.Unlock(t.Context()); err != nil {
		t.Errorf("a release that came twice: %v", err)
	}
	if after := lock(t, c, "after"); l.Fence() != before.Fence()+1 || after.Fence() != l.Fence()+1 {
		t.Errorf("fences %d, %d, %d", before.Fence(), l.Fence(), after.Fence())
	}
}

// TestAPausedHolder is the story that fences exist for.
func TestAPausedHolder(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	a, b := s.Client(client.WithOwner("a")), s.Client(client.WithOwner("b"))
	var gate fence.Gate
	first := lock(t, a, "table")
	if err := gate.Check(fence.Exclusive(first.Fence())); err != nil {
		t.Fatal(err)
	}
	next := make(chan *client.Lock, 1)
	go func() {
		l, err := b.Lock(context.Background(), "table")
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	s.AwaitQueued("table", 1)

	wake := s.Pause(a)
	s.Advance(15 * time.Second)
	second := <-next
	if err := gate.Check(fence.Exclusive(second.Fence())); err != nil {
		t.Errorf("the new holder is refused: %v", err)
	}
	// In a's own world no time has passed: it has no way to know better. The gate has.
	if err := first.Valid(); err != nil {
		t.Errorf("the paused holder knows: %v", err)
	}
	var stale *fence.StaleError
	if err := gate.Check(fence.Exclusive(first.Fence())); !errors.As(err, &stale) || stale.Seen != second.Fence() {
		t.Errorf("the paused holder's write: %v", err)
	}
	wake()
	wake()
	if cause := context.Cause(first.Context()); !errors.Is(cause, client.ErrSessionExpired) || first.Context().Err() == nil {
		t.Errorf("awake, its context says %v", cause)
	}
	if err := second.Valid(); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	// A pause that is short does no harm.
	s.PauseClient(b, 9*time.Second)
	if err := second.Verify(t.Context()); err != nil {
		t.Errorf("after nine seconds: %v", err)
	}
}

// TestFailover keeps locks, and serves what was asked for in between.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	a, b := s.Client(), s.Client()
	held := lock(t, a, "held")
	next := make(chan *client.Lock, 1)
	go func() {
		l, err := b.Lock(context.Background(), "held")
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	s.AwaitQueued("held", 1)
	for range 3 {
		s.Failover()
	}
	if err := held.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := held.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := <-next; l.Fence() != held.Fence()+1 {
		t.Errorf("the fence is %d after %d", l.Fence(), held.Fence())
	}
	if now := s.Now(); now > 15*time.Second {
		t.Errorf("three failovers took %v", now)
	}
}

// TestAnOutage is longer than the lease: the holder gives up by its own clock, and the cluster, which was not there, lets go
// only after its grace.
func TestAnOutage(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	l := lock(t, s.Client(client.WithTTL(2*time.Second)), "held")
	asked := make(chan error, 1)
	other := s.Client(client.WithTimeout(time.Minute))
	lock(t, other, "mine")
	go func() {
		_, err := other.TryLock(context.Background(), "during")
		asked <- err
	}()
	s.Outage(10 * time.Second)
	if cause := context.Cause(l.Context()); !errors.Is(cause, client.ErrSessionExpired) {
		t.Errorf("the holder's context ended by %v", cause)
	}
	if err := <-asked; err != nil {
		t.Errorf("asked during the outage: %v", err)
	}
}

// TestManyClientsInStorms runs renewals, losses and failovers of twenty clients, as a whole test suite of a user might.
func TestManyClientsInStorms(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	var clients []*client.Client
	var wg sync.WaitGroup
	locks := make([]*client.Lock, 20)
	for i := range locks {
		c := s.Client()
		clients = append(clients, c)
		wg.Go(func() { locks[i] = lock(t, c, string(rune('a'+i))) })
	}
	wg.Wait()
	s.Advance(20 * time.Second)
	s.Failover()
	s.PauseClient(clients[0], 20*time.Second)
	s.ExpireClient(clients[1])
	for i, l := range locks {
		if err := l.Valid(); (err != nil) != (i < 2) {
			t.Errorf("lock %d: %v", i, err)
		}
	}
}

func TestFlowing(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t, coorddtest.Flowing(), coorddtest.Namespace("billing"))
	lock(t, s.Client(), "taken")
	if _, err := s.Client().Lock(t.Context(), "taken", client.Wait(20*time.Millisecond)); !errors.Is(err, client.ErrWaitTimeout) {
		t.Error(err)
	}
}

// TestAProgramConnectsByItself uses the options, as a program under test does.
func TestAProgramConnectsByItself(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	c, err := client.Connect(t.Context(), coorddtest.URL, s.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := lock(t, c, "theirs")
	s.Advance(time.Minute)
	if err := l.Valid(); err != nil {
		t.Error(err)
	}
}

// TestASessionAlone expires, and another one of the same client does not.
func TestASessionAlone(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	c := s.Client()
	kept := lock(t, c, "kept")
	other, err := c.NewSession(t.Context(), client.WithTTL(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	s.ExpireSession(other.ID())
	if err := other.Err(); !errors.Is(err, client.ErrSessionExpired) {
		t.Errorf("the session that was cut off: %v", err)
	}
	if err := kept.Verify(t.Context()); err != nil {
		t.Errorf("the other one: %v", err)
	}
	if now := s.Now(); now < 29*time.Second || now > 31*time.Second {
		t.Errorf("it took %v", now)
	}
}

func TestCloseWakesAPausedClient(t *testing.T) {
	t.Parallel()
	s, err := coorddtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	lock(t, c, "held")
	s.Pause(c)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestNoRetryIsPassedOver lets a client ask again and again for four of the five seconds that its lease has. Were time to move on
// before an answer that says "not now" has reached it, its next try would be half a second late, and the lease soon over.
func TestNoRetryIsPassedOver(t *testing.T) {
	t.Parallel()
	for range 10 {
		s, err := coorddtest.Start()
		if err != nil {
			t.Fatal(err)
		}
		l := lock(t, s.Client(client.WithTTL(5*time.Second)), "held")
		s.Outage(4 * time.Second)
		if now := s.Now(); l.Valid() != nil || now > 4200*time.Millisecond {
			t.Errorf("at %v: %v", now, l.Valid())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
