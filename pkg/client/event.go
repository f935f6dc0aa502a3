package client

import (
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
)

// EventKind says what happened to a session.
type EventKind string

// The kinds of events.
const (
	EventGranted        EventKind = "GRANTED"         // a lock that was waited for
	EventLost           EventKind = "LOST"            // a lock, while it was held; Reason tells why if the service did
	EventTimedOut       EventKind = "TIMED_OUT"       // a wait
	EventHandOverAsked  EventKind = "HANDOVER_ASKED"  // a waiter asks for a lock that this session holds; Reason tells which
	EventSessionExpired EventKind = "SESSION_EXPIRED" // the last event of a session that was lost
)

// Event is something that happened to a session.
type Event struct {
	Kind   EventKind
	Lock   string // name
	Fence  uint64
	Reason string
}

// Events returns what happens to the session, for display and logs; decisions belong to contexts and errors.
// The channel is bounded: of a reader that doesn't keep up the oldest events are dropped. It is closed after
// the session's end.
func (s *Session) Events() <-chan Event { return s.events.ch }

type eventQueue struct {
	mu     sync.Mutex
	ch     chan Event
	closed bool
}

func newEventQueue() *eventQueue { return &eventQueue{ch: make(chan Event, 128)} }

func (q *eventQueue) put(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.putLocked(e)
}

func (q *eventQueue) putLocked(e Event) {
	for !q.closed {
		select {
		case q.ch <- e:
			return
		default:
		}
		select {
		case <-q.ch:
		default:
		}
	}
}

// close closes the channel, after the event e if last is true.
func (q *eventQueue) close(e Event, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if last {
		q.putLocked(e)
	}
	q.closed = true
	close(q.ch)
}

// receive takes an event from the service. It runs on the subscription's goroutine.
func (s *Session) receive(m *nats.Msg) {
	var e coorddv1.Event
	if err := unmarshal(m.Data, &e); err != nil {
		s.cfg.log.Warn("an event can't be read", "session", s.id, "error", err)
		return
	}
	switch g := e.GetGeneration(); {
	case g > s.generation:
		s.end(fmt.Errorf("resumed elsewhere: %w", ErrSessionExpired), true)
		return
	case g < s.generation && !canary.Broken(canary.EventOfOwnGeneration):
		return
	case e.GetKind() == coorddv1.Event_SESSION_EXPIRED:
		s.end(fmt.Errorf("the service says so: %w", ErrSessionExpired), true)
		return
	}
	s.mu.Lock()
	gap := e.GetEventSeq() > s.eventsSeen+1
	if !gap {
		s.eventsSeen = max(s.eventsSeen, e.GetEventSeq())
	}
	t := s.tickets[e.GetTicket()]
	show, broken := true, false
	switch e.GetKind() {
	case coorddv1.Event_GRANTED:
		if show = t != nil && !t.withdrawn; t != nil {
			t.grantLocked(grant{e.GetName(), e.GetFence(), e.GetUntil()}, 0)
		}
	case coorddv1.Event_TIMED_OUT:
		if show = t != nil; t != nil {
			t.endLocked(localError(coorddv1.CodeWaitTimeout, ""))
		}
	case coorddv1.Event_LOST:
		if show = false; t != nil { // the loss came before the news of the grant
			broken = t.names != nil // one of several; the others may be held
			t.endLocked(lossOf(e.GetReason()))
		}
	}
	s.mu.Unlock()
	if broken {
		s.returnSet(t, func() {})
	}
	if e.GetKind() == coorddv1.Event_LOST {
		s.drop(e.GetFence(), lossOf(e.GetReason()), e.GetReason())
	}
	if show {
		s.events.put(Event{Kind: EventKind(e.GetKind().String()), Lock: e.GetName(), Fence: e.GetFence(), Reason: e.GetReason()})
	}
	if gap {
		s.soon() // the answer tells what the missing events did
	}
}

// lossOf returns the cause that a reason of the service stands for.
func lossOf(reason string) error {
	if strings.HasPrefix(strings.ToLower(reason), "forced") {
		return ErrForced
	}
	return ErrLockLost
}
