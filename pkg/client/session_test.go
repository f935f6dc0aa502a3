package client

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// skewed is the system's clock with a wall clock that a test sets.
type skewed struct {
	clock.Clock
	mu   sync.Mutex
	skew time.Duration
}

func (k *skewed) Now() instant {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Clock.Now()
	now.Wall += k.skew
	return now
}

func (k *skewed) sleep(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.skew += d
}

// connectSkewed returns a client whose machine a test can suspend.
func (r *Rig) connectSkewed(t testing.TB, opts ...Option) (*Client, *skewed) {
	t.Helper()
	k := &skewed{Clock: clock.System()}
	return r.connect(t, append(opts, clock.Option(k).(Option))...), k
}

// When nobody answers, the lock ends by the client's clock before the service would give it to another.
func TestASilentServiceEndsTheLockInTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t, WithTTL(10*time.Second)), r.connect(t)
	start := time.Now()
	l, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	s := l.s
	r.Script(func(m Message) Fate {
		return Fate{DropRequest: m.Verb == "session.keepalive" || m.Verb == "session.close" || m.Verb == "evt"}
	})
	granted := make(chan *Lock, 1)
	go func() {
		l, err := b.Lock(context.Background(), "x")
		if err != nil {
			t.Error(err)
		}
		granted <- l
	}()
	r.until(t, "b waits", func() bool { return queueLength(t, b, "x") == 1 })
	select {
	case <-l.Context().Done():
	case next := <-granted: // Valid looks at the clock; what ends the context may have to wait for a processor
		if l.Valid() == nil {
			t.Fatal("the next holder came before the lock had ended")
		}
		granted <- next
		<-l.Context().Done()
	}
	if d := time.Since(start); d < 9*time.Second {
		t.Errorf("it ended after %v, too early", d)
	}
	if cause := context.Cause(l.Context()); cause != ErrSessionExpired || l.Valid() != ErrSessionExpired || !errors.Is(s.Err(), ErrSessionExpired) {
		t.Errorf("cause %v, valid %v, session %v", cause, l.Valid(), s.Err())
	}
	<-s.Done()
	var last Event
	for e := range s.Events() {
		last = e
	}
	if last.Kind != EventSessionExpired {
		t.Errorf("last event %+v", last)
	}
	// The lost session is never used again; the client has another one at the next use.
	kept := len(r.Seen("session.keepalive"))
	r.Script(func(m Message) Fate { return Fate{DropRequest: m.Verb == "evt"} })
	l2, err := a.Lock(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if l2.s == s || l2.s.ID() == s.ID() {
		t.Error("the lost session was used again")
	}
	m := <-granted
	if m.Fence() <= l.Fence() {
		t.Errorf("fence %d after %d", m.Fence(), l.Fence())
	}
	for _, m := range r.Seen("session.keepalive")[kept:] {
		var k coorddv1.SessionKeepaliveRequest
		if err := unmarshal(m.Body, &k); err != nil || k.GetSession() == s.ID() {
			t.Errorf("the lost session was renewed (%v)", err)
		}
	}
	if err := l.Unlock(t.Context()); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("unlock of a lost lock: %v", err)
	}
}

// A suspended machine finds its locks lost at the first look, whatever its timers think.
func TestASuspendedMachineLosesItsLocks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, k := r.connectSkewed(t)
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx := l.Context()
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	k.sleep(time.Minute)
	if err := ctx.Err(); err == nil {
		t.Error("the context did not look at the clock")
	}
	if context.Cause(ctx) != ErrSessionExpired || l.Valid() != ErrSessionExpired {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	<-child.Done()
	k.sleep(-time.Minute)
	if l.Valid() == nil || ctx.Err() == nil {
		t.Error("it came back")
	}
	// The session is closed, so the lock is free at once for the next one.
	l2, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if l2.Fence() <= l.Fence() {
		t.Errorf("fence %d after %d", l2.Fence(), l.Fence())
	}
}

// However late an answer comes, the lease counts from the sending of the message that it answers.
func TestALateAnswerGivesAShorterLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	r.Script(func(m Message) Fate {
		if m.Verb == "session.open" || m.Verb == "session.keepalive" {
			return Fate{Delay: 800 * time.Millisecond}
		}
		return Fate{}
	})
	s, err := c.NewSession(t.Context(), WithTTL(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Remaining(); left > 4100*time.Millisecond { // 4.9 s without the delay
		t.Errorf("%v left after an answer that was 800 ms late", left)
	}
	before := s.lease.term.Load()
	s.soon()
	r.until(t, "it is renewed", func() bool { return s.lease.term.Load() != before })
	if left := s.Remaining(); left > 4150*time.Millisecond {
		t.Errorf("%v left after a renewal that was 800 ms late", left)
	}
}

func TestRenewalsKeepASession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t, WithTTL(5*time.Second))
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r.Script(only("session.keepalive", Fate{}, Fate{DropReply: true}, Fate{}, Fate{NoResponders: true}, Fate{}, Fate{DropRequest: true}, Fate{Twice: true}))
	r.until(t, "many renewals", func() bool {
		if err := l.Valid(); err != nil {
			t.Fatal(err)
		}
		l.s.soon()
		return len(r.Seen("session.keepalive")) > 20
	})
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAWaiterIsWokenWhenItsSessionDies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	if _, err := a.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	s, err := b.NewSession(t.Context(), WithTTL(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() {
		_, err := s.Lock(context.Background(), "x")
		errs <- err
	}()
	r.until(t, "b waits", func() bool { return queueLength(t, a, "x") == 1 })
	r.Script(func(m Message) Fate { return Fate{DropRequest: m.Verb == "session.keepalive"} })
	if err := <-errs; !errors.Is(err, ErrSessionExpired) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Lock(t.Context(), "y"); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("a dead session took a lock: %v", err)
	}
}

func TestCloseReleasesEverything(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	l1, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.NewSession(t.Context(), WithOwner("second"))
	if err != nil {
		t.Fatal(err)
	}
	l2, err := s.Lock(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if context.Cause(l2.Context()) != ErrReleased || !errors.Is(s.Err(), ErrClosed) || l2.Unlock(t.Context()) != nil {
		t.Errorf("cause %v, session %v, unlock %v", context.Cause(l2.Context()), s.Err(), l2.Unlock(t.Context()))
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second close: %v", err)
	}
	if got := lookAt(t, b, "y").GetState(); got != coorddv1.Lock_FREE {
		t.Errorf("y is %v", got)
	}
	if l1.Valid() != nil {
		t.Error("another session's lock ended too")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got := lookAt(t, b, "x").GetState(); got != coorddv1.Lock_FREE || context.Cause(l1.Context()) != ErrReleased {
		t.Errorf("x is %v, cause %v", got, context.Cause(l1.Context()))
	}
	if _, err := a.Lock(t.Context(), "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed client took a lock: %v", err)
	}
	if _, err := a.NewSession(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed client opened a session: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestCloseDuringAnOutageSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.connect(t, WithTimeout(2*time.Second))
	l, err := a.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	r.Script(func(Message) Fate { return Fate{DropRequest: true} })
	if err := a.Close(); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	if l.Valid() == nil {
		t.Error("the lock outlived its client")
	}
}

// The process that resumes a session has it alone: new fences, and the other one knows that it lost.
func TestResumeTakesOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, other := r.connect(t), r.connect(t), r.connect(t)
	s, err := a.NewSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x, err := s.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	y, err := other.Lock(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Lock(context.Background(), "y")
		waiting <- err
	}()
	r.until(t, "the first process waits for y", func() bool { return queueLength(t, other, "y") == 1 })
	text, err := s.Token().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var token Token
	if err := token.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	r.Script(only("session.resume", Fate{DropReply: true}, Fate{Twice: true})) // its nonce makes repeats safe
	s2, err := b.ResumeSession(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	locks := s2.Locks()
	if len(locks) != 1 || locks[0].Name() != "x" || locks[0].Fence() <= x.Fence() {
		t.Fatalf("took over %d locks, the first with fence %d after %d", len(locks), locks[0].Fence(), x.Fence())
	}
	s.soon()
	<-x.Context().Done()
	if x.Valid() != ErrSessionExpired || !errors.Is(s.Err(), ErrSessionExpired) {
		t.Errorf("the first process: %v, %v", x.Valid(), s.Err())
	}
	if err := <-waiting; !errors.Is(err, ErrSessionExpired) {
		t.Errorf("its waiter: %v", err)
	}
	r.until(t, "its wait is cancelled", func() bool { return queueLength(t, other, "y") == 0 })
	if err := locks[0].Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if l, err := s2.Lock(t.Context(), "z"); err != nil {
		t.Error(err)
	} else if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	if err := locks[0].Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	_ = y.Unlock(t.Context())
	if _, err := b.ResumeSession(t.Context(), Token{Namespace: "default", Session: token.Session, Secret: make([]byte, 16)}); !errors.Is(err, ErrDenied) {
		t.Errorf("a wrong secret: %v", err)
	}
	if _, err := b.ResumeSession(t.Context(), Token{}); !errors.Is(err, errToken) {
		t.Errorf("an empty token: %v", err)
	}
}

// A Locker blocks through an outage and through the loss of its session.
func TestALockerBlocksThroughOutages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t, WithTTL(4*time.Second), WithTimeout(time.Second)), r.connect(t)
	k := a.Locker("x")
	k.Lock()
	first, err := a.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Script(func(Message) Fate { return Fate{DropRequest: true} })
	<-first.Done()
	k.Unlock() // of a lost one: no panic
	locked := make(chan struct{})
	go func() {
		k.Lock()
		close(locked)
	}()
	r.until(t, "it tries", func() bool { return len(r.Seen("session.open")) > 3 })
	select {
	case <-locked:
		t.Fatal("locked without a service")
	default:
	}
	r.Script(nil)
	<-locked
	if got := lookAt(t, b, "x").GetState(); got != coorddv1.Lock_HELD {
		t.Errorf("x is %v", got)
	}
	k.Unlock()

	_ = a.Close()
	defer func() {
		if recover() == nil {
			t.Error("a Locker of a closed client did not panic")
		}
	}()
	k.Lock()
}

// A session that somebody else closes ends at once, not at its next renewal, which is minutes away here.
func TestASessionThatSomebodyElseCloses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, err := r.connect(t).NewSession(t.Context(), WithTTL(30*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	body, err := json.Marshal(map[string]any{"session": strconv.FormatUint(token.Session, 10), "secret": token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if m, err := nc.Request("coord.v1.default.session.close", body, 30*time.Second); err != nil || m.Header.Get(coorddv1.ErrorHeader) != "" {
		t.Fatalf("%s, %v", m.Data, err)
	}
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("the session lives on")
	}
	if err := l.Valid(); !errors.Is(err, ErrSessionExpired) {
		t.Fatalf("its lock: %v", err)
	}
}
