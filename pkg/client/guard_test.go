package client

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// asked returns a session of a client without a connection, and a ticket that it sent.
func asked(t *testing.T, h *handClock) (*Session, *ticket) {
	t.Helper()
	s := newClient(config{clock: h}).newSession(config{}, 1, nil, 1, time.Second, newWindow(1))
	if !s.lease.renew(h.now, 0, int64(time.Second)) {
		t.Fatal("a new lease is over")
	}
	k := newTicket(s, &want{noun: "lock", name: "x"}, t.Context())
	k.seq = 7
	s.tickets[7] = k
	return s, k
}

// A timer fires late on a machine that stood still: whoever uses a session looks at the clock.
func TestUseLooksAtTheClock(t *testing.T) {
	t.Parallel()
	h := &handClock{}
	s, _ := asked(t, h)
	s.closing = true // there is nobody to tell
	if s.Err() != nil || s.Remaining() <= 0 {
		t.Fatalf("a fresh session: %v", s.Err())
	}
	h.pass(time.Hour) // no timer is running
	if s.Remaining() != 0 || !errors.Is(s.Err(), ErrSessionExpired) {
		t.Errorf("after an hour: %v more, %v", s.Remaining(), s.Err())
	}
}

// The answer to an acquire may come after the event that told its grant, and after the release of that.
func TestALateAnswerBringsNothingBack(t *testing.T) {
	t.Parallel()
	s, k := asked(t, &handClock{})
	s.mu.Lock()
	defer s.mu.Unlock()
	k.grantLocked(grant{fence: 41}, 0)
	if len(s.holds) != 1 {
		t.Fatal("the grant was not taken")
	}
	delete(s.holds, 41) // released
	k.grantLocked(grant{fence: 41}, 9)
	if len(s.holds) != 0 {
		t.Error("the released hold came back")
	}
}

// Events of the process that had the session before speak of holds by fences that are void.
func TestEventsOfAnotherGenerationAreNotOurs(t *testing.T) {
	t.Parallel()
	s, k := asked(t, &handClock{})
	s.mu.Lock()
	k.grantLocked(grant{fence: 41}, 0)
	s.mu.Unlock()
	tell := func(generation uint64) {
		data, err := proto.Marshal(&coorddv1.Event{EventSeq: 1, Kind: coorddv1.Event_SESSION_EXPIRED, Generation: generation})
		if err != nil {
			t.Fatal(err)
		}
		s.receive(&nats.Msg{Data: data})
	}
	tell(0)
	if s.Err() != nil || len(s.holds) != 1 {
		t.Fatalf("an event of the generation before ended the session: %v", s.Err())
	}
	tell(2)
	if !errors.Is(s.Err(), ErrSessionExpired) {
		t.Errorf("the next generation took over, and here it is %v", s.Err())
	}
}
