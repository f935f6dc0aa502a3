package node

import (
	"fmt"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
)

// EventKind says what an event is about.
type EventKind uint8

// The kinds of events.
const (
	EventState         EventKind = iota // the state at the moment of the subscription; always the first
	EventRole                           // role or term changed
	EventLeader                         // another leader is known, or none
	EventLeading                        // LeadershipContext came to life (Leading) or ended
	EventReady                          // this member is ready
	EventMemberAdded                    // Member came into the configuration in effect
	EventMemberRemoved                  // Member left it
	EventStatus                         // Member ceased to answer this leader, or does again (Reachable)
	EventConfiguration                  // another configuration is committed
)

var eventNames = [...]string{"state", "role", "leader", "leading", "ready", "member-added", "member-removed", "status", "configuration"}

// String returns the name of the kind.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is one change. Whatever its kind, it carries the whole state after the change, so that a subscriber
// who missed some knows where the node stands.
type Event struct {
	Kind       EventKind
	Role       raft.Role
	Term       uint64
	Leader     raft.MemberID // 0: none known
	LeaderName string
	Leading    bool        // LeadershipContext is live
	Ready      bool        // Ready is closed
	Member     raft.Member // EventMemberAdded, EventMemberRemoved, EventStatus
	Reachable  bool        // EventStatus
	// ConfigIndex is the index of the last committed configuration, ClusterVersion the version that it allows.
	ConfigIndex    uint64
	ClusterVersion uint32
	Missed         int // events dropped before this one, because the subscriber was slow
}

// eventBuffer is how many events may wait for one subscriber.
const eventBuffer = 64

type subscriber struct {
	events chan Event
	missed int
}

// eventHub hands events to subscribers and never waits for one: the oldest that waits gives way.
type eventHub struct {
	mu     sync.Mutex
	state  Event // as of the last event
	subs   map[*subscriber]struct{}
	closed bool
}

func (h *eventHub) subscribe() (<-chan Event, func()) {
	s := &subscriber{events: make(chan Event, eventBuffer)}
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.state
	first.Kind, first.Member, first.Reachable = EventState, raft.Member{}, false
	s.events <- first
	if h.closed {
		close(s.events)
		return s.events, func() {}
	}
	if h.subs == nil {
		h.subs = make(map[*subscriber]struct{})
	}
	h.subs[s] = struct{}{}
	return s.events, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[s]; ok {
			delete(h.subs, s)
			close(s.events)
		}
	}
}

// publish lets change alter the state and tells everybody.
func (h *eventHub) publish(kind EventKind, change func(e *Event)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.state.Member, h.state.Reachable = raft.Member{}, false
	h.state.Kind = kind
	change(&h.state)
	for s := range h.subs {
		s.put(h.state)
	}
}

// put runs under the hub's lock, so that nobody else sends: where it made room, there is room.
func (s *subscriber) put(e Event) {
	if len(s.events) == cap(s.events) {
		select {
		case old := <-s.events:
			s.missed += 1 + old.Missed
		default: // the subscriber was faster
		}
	}
	e.Missed, s.missed = s.missed, 0
	s.events <- e
}

// close ends every subscription.
func (h *eventHub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		close(s.events)
	}
	h.subs = nil
}
