package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// silent returns a session of a client without a connection, with a lease of 10 s by a clock that the test sets.
func silent(t *testing.T) (*Session, *handClock) {
	t.Helper()
	h := &handClock{Clock: clock.System()}
	cfg := config{clock: h, log: hclog.NewNullLogger(), timeout: time.Minute}
	s := newClient(cfg).newSession(cfg, 1, nil, 0, 10*time.Second, newWindow(1))
	if !s.lease.renew(h.now, 0, int64(10*time.Second)) {
		t.Fatal("a new lease is over")
	}
	s.flights = maxFlights // nothing is sent
	s.expiry = h.AfterFunc(time.Hour, func() {})
	t.Cleanup(func() { s.expiry.Stop() })
	return s, h
}

// sent puts a ticket into a session as if its request was sent.
func (s *Session) sent(seq uint64, w *want, ctx context.Context) *ticket {
	t := newTicket(s, w, ctx)
	t.seq = seq
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets[seq] = t
	return t
}

func (s *Session) told(t *testing.T, e *coorddv1.Event) {
	t.Helper()
	s.mu.Lock()
	e.EventSeq = s.eventsSeen + 1
	s.mu.Unlock()
	data, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	s.receive(&nats.Msg{Data: data})
}

func settled(k *ticket) bool {
	select {
	case <-k.settled:
		return true
	default:
		return false
	}
}

// The grants of several locks may be told one by one, twice, and by others that are not meant.
func TestASetIsHeldWhenAllItsGrantsAreKnown(t *testing.T) {
	t.Parallel()
	s, _ := silent(t)
	k := s.sent(3, &want{noun: "locks", names: []string{"a", "b", "c"}}, t.Context())
	for _, e := range []*coorddv1.Event{{Name: "b", Fence: 11}, {Name: "b", Fence: 11}, {Name: "z", Fence: 99}, {Name: "a", Fence: 10}} {
		e.Kind, e.Ticket = coorddv1.Event_GRANTED, 3
		s.told(t, e)
		if settled(k) {
			t.Fatalf("two of three are enough: %v", k.got)
		}
	}
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_GRANTED, Ticket: 3, Name: "c", Fence: 12})
	if !settled(k) || k.set == nil {
		t.Fatal("all three grants are known, and it is not held")
	}
	x := k.set
	if !slices.Equal(x.Names(), []string{"a", "b", "c"}) || x.Fence("a") != 10 || x.Fence("b") != 11 || x.Fence("c") != 12 || x.Fence("z") != 0 || x.Valid() != nil || x.Remaining() <= 0 {
		t.Errorf("names %v, fences %d %d %d, %v", x.Names(), x.Fence("a"), x.Fence("b"), x.Fence("c"), x.Valid())
	}
	if got := fencesOf(heldUnder(x.Context())); !slices.Equal(got, []uint64{10, 11, 12}) {
		t.Errorf("work under it declares %v", got)
	}
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_LOST, Ticket: 3, Name: "b", Fence: 11, Reason: "forced: maintenance"})
	select {
	case <-x.Context().Done():
	default:
		t.Error("one was lost, and whoever waits for the end of the set's context does not hear of it")
	}
	if x.Valid() != ErrForced || context.Cause(x.Context()) != ErrForced || x.Context().Err() == nil || x.Remaining() != 0 {
		t.Errorf("one was lost, and the set is %v, its context %v", x.Valid(), context.Cause(x.Context()))
	}
	if len(s.holds) != 2 {
		t.Errorf("%d of the other two are left to be given back", len(s.holds))
	}
}

// One of several locks may be lost before the grants of the others are known: nobody gets the set, and what is held of it is
// given back when a renewal's answer names it.
func TestASetThatIsLostInPartIsGivenBack(t *testing.T) {
	t.Parallel()
	s, h := silent(t)
	k := s.sent(3, &want{noun: "locks", names: []string{"a", "b"}}, t.Context())
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_GRANTED, Ticket: 3, Name: "a", Fence: 10})
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_LOST, Ticket: 3, Name: "a", Fence: 10, Reason: "max_hold"})
	if !settled(k) || !errors.Is(k.err, ErrLockLost) || k.set != nil {
		t.Fatalf("it ended with %v", k.err)
	}
	h.pass(time.Second)
	now := &coorddv1.SessionReply{Index: 20, Now: int64(time.Second), Deadline: int64(11 * time.Second),
		Holds: []*coorddv1.Hold{{Name: "b", Fence: 11, Ticket: 3, Mode: coorddv1.Mode_EXCLUSIVE}}}
	s.renewed(h.now, now)
	if len(s.queue) != 1 || s.queue[0].verb != "lock.release" || s.queue[0].name != "b" {
		t.Fatalf("nothing gives b back: %v", s.queue)
	}
	now.Holds = nil
	s.renewed(h.now, now)
	if len(s.strays) != 0 {
		t.Error("it is given back, and still looked for")
	}
}

// Valid, Remaining and the context look at the end that the hold has of its own, by the client's clock.
func TestMaxHoldEndsTheLockByTheClientsClock(t *testing.T) {
	t.Parallel()
	s, h := silent(t)
	h.pass(time.Second)
	k := s.sent(3, &want{noun: "lock", name: "x"}, t.Context())
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_GRANTED, Ticket: 3, Name: "x", Fence: 10, Until: int64(5 * time.Second)})
	l := k.lock
	// Nothing ties the clocks together later than the opening, a second ago.
	if got, want := l.Remaining(), 4*time.Second-50*time.Millisecond; got != want {
		t.Errorf("remaining %v, want %v", got, want)
	}
	h.pass(3 * time.Second)
	s.renewed(h.now, &coorddv1.SessionReply{Index: 20, Now: int64(3900 * time.Millisecond), Deadline: int64(14 * time.Second), // it knows better
		Holds: []*coorddv1.Hold{{Name: "x", Fence: 10, Ticket: 3, Until: int64(5 * time.Second)}}})
	if got, want := l.Remaining(), 1100*time.Millisecond-50*time.Millisecond; got != want {
		t.Errorf("remaining %v after a renewal, want %v", got, want)
	}
	h.pass(1050 * time.Millisecond)
	if l.Context().Err() == nil || context.Cause(l.Context()) != ErrLockLost || l.Valid() != ErrLockLost || l.Remaining() != 0 {
		t.Errorf("past its end: %v, %v", l.Valid(), context.Cause(l.Context()))
	}
	if s.Err() != nil {
		t.Errorf("the session ended with it: %v", s.Err())
	}
	s.renewed(h.now, &coorddv1.SessionReply{Index: 21, Now: int64(4 * time.Second), Deadline: int64(15 * time.Second),
		Holds: []*coorddv1.Hold{{Name: "x", Fence: 10, Ticket: 3, Until: int64(9 * time.Second)}}})
	if l.Valid() == nil {
		t.Error("it came back")
	}
}

// Each entry of a reentrant lock is given back by itself; a loss ends all.
func TestEntriesOfAReentrantLock(t *testing.T) {
	t.Parallel()
	s, _ := silent(t)
	enter := func(seq uint64, ctx context.Context, index uint64) *Lock {
		k := s.sent(seq, &want{noun: "lock", name: "x", reentrant: true}, ctx)
		s.mu.Lock()
		k.grantLocked(grant{"x", 10, 0}, index)
		s.mu.Unlock()
		if k.err != nil {
			t.Fatal(k.err)
		}
		return k.lock
	}
	first := enter(1, t.Context(), 5)
	second := enter(2, first.Context(), 6)
	third := enter(3, second.Context(), 7)
	if got := fencesOf(heldUnder(third.Context())); !slices.Equal(got, []uint64{10}) {
		t.Errorf("work under it declares %v", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = second.Unlock(ended) // its answer is not waited for
	if second.Valid() != ErrReleased || first.Valid() != nil || third.Valid() != nil || len(s.queue) != 1 {
		t.Errorf("after one Unlock of three: %v, %v, %v; %d releases", first.Valid(), second.Valid(), third.Valid(), len(s.queue))
	}
	if len(s.Locks()) != 2 {
		t.Errorf("%d are held", len(s.Locks()))
	}
	s.told(t, &coorddv1.Event{Kind: coorddv1.Event_LOST, Ticket: 1, Name: "x", Fence: 10, Reason: "forced"})
	if first.Valid() != ErrForced || third.Valid() != ErrForced || second.Valid() != ErrReleased || len(s.Locks()) != 0 {
		t.Errorf("after its loss: %v, %v, %v", first.Valid(), second.Valid(), third.Valid())
	}
	// The answer to one more entry, that was executed before the loss, comes late.
	k := newTicket(s, &want{noun: "lock", name: "x", reentrant: true}, t.Context())
	k.seq, k.outer = 9, []*Lock{first}
	s.mu.Lock()
	k.grantLocked(grant{"x", 10, 0}, 8)
	s.mu.Unlock()
	if !settled(k) || k.lock != nil || k.err != ErrForced {
		t.Errorf("an entry of a lost hold: %v, %v", k.lock, k.err)
	}
}

// What is told of a lock comes late and twice when leaders change. Who observes an election hears of none of that.
func TestObserveNeverGoesBack(t *testing.T) {
	t.Parallel()
	var told []uint64
	o := &observation{yield: func(l Leader, _ error) bool { told = append(told, l.Fence); return true }}
	x := &subscription{some: make(chan struct{}, 1)}
	tell := func(ts ...*coorddv1.Transition) {
		for _, m := range ts {
			body, err := protojson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			x.receive(&nats.Msg{Data: body})
		}
	}
	granted, released := coorddv1.Transition_GRANTED, coorddv1.Transition_RELEASED
	o.tell(Leader{Session: "1", Fence: 40})
	at := position{index: 100, whole: true}

	tell(&coorddv1.Transition{Number: 3, Index: 90, Kind: granted, Session: 1, Fence: 30}, // from before the read
		&coorddv1.Transition{Number: 5, Index: 100, Kind: granted, Session: 1, Fence: 40})
	at, stale, _ := catchUp(o, x, at)
	tell(&coorddv1.Transition{Number: 6, Index: 110, Kind: released, Session: 1, Fence: 40},
		&coorddv1.Transition{Number: 7, Index: 110, Kind: granted, Session: 2, Fence: 41})
	at, stale2, _ := catchUp(o, x, at)
	tell(&coorddv1.Transition{Number: 5, Index: 100, Kind: granted, Session: 1, Fence: 40}, // again, by the next leader
		&coorddv1.Transition{Number: 6, Index: 110, Kind: released, Session: 1, Fence: 40},
		&coorddv1.Transition{Number: 7, Index: 110, Kind: granted, Session: 2, Fence: 41})
	at, stale3, _ := catchUp(o, x, at)
	if !slices.Equal(told, []uint64{40, 41}) || stale || stale2 || stale3 {
		t.Errorf("told %v; must be read: %v, %v, %v", told, stale, stale2, stale3)
	}
	tell(&coorddv1.Transition{Number: 8, Index: 120, Kind: released, Session: 2, Fence: 41})
	if at, stale, _ = catchUp(o, x, at); !stale {
		t.Error("the leader is gone, and nobody asks who is next")
	}
	tell(&coorddv1.Transition{Number: 10, Index: 130, Kind: granted, Session: 3, Fence: 43})
	if _, stale, _ = catchUp(o, x, at); !stale {
		t.Error("a transition is missing, and nobody asks")
	}
	if !slices.Equal(told, []uint64{40, 41}) {
		t.Errorf("told %v", told)
	}
}
