package machine

import (
	"sort"
	"strings"

	"github.com/coordd/coordd/pkg/locks"
)

// errand is what a ticket was made for.
type errand uint8

const (
	forLock    errand = 0 // acquire, of one lock
	forAll     errand = 1 // acquire-all
	forBarrier errand = 2
	forLatch   errand = 3
)

// ticket is what a request became that was granted something or waits. It is never changed in place.
type ticket struct {
	session, seq uint64
	hash         uint64 // of the request
	key          string // of the lock, shared with the lock table; of several the first one
	fence        uint64 // granted: of the hold now. ended: the last one
	arrival      uint64 // queued: place
	until        int64  // queued: end of the wait. granted: end of the hold, 0 for none
	reason       string // ended: why
	several      *several
	count        uint32 // permits
	state        TicketState
	errand       errand
	mode         Mode
}

// several are the locks of an acquire-all. It is never changed.
type several struct {
	keys   []string // queued: all, in the order of the request. granted: those that are held
	fences []uint64 // granted: of the holds
}

// endedTicket tells when the end of a ticket counts as acknowledged: by an ack beyond bySeq, or by
// events_seen from byEvent on, whichever is set.
type endedTicket struct{ seq, bySeq, byEvent uint64 }

func ticketOrder(a, b *ticket) bool {
	if a.session != b.session {
		return a.session < b.session
	}
	return a.seq < b.seq
}

// name is the lock's name without its namespace.
func (t *ticket) name() string { return keyName(t.key) }

// names are those of an acquire-all, nil for any other ticket.
func (t *ticket) names() []string {
	if t.several == nil {
		return nil
	}
	return namesOf(t.several.keys)
}

func namesOf(keys []string) []string {
	if keys == nil {
		return nil
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = keyName(key)
	}
	return names
}

// isGate reports whether the ticket is one of a barrier or a latch: it never holds anything.
func (t *ticket) isGate() bool { return t.errand == forBarrier || t.errand == forLatch }

// holds reports whether the ticket has holds.
func (t *ticket) holds() bool { return t.state == TicketGranted && !t.isGate() }

// ended reports whether the ticket neither holds nor waits.
func (t *ticket) ended() bool { return t.state != TicketQueued && !t.holds() }

// places is how many holds or places in queues a live ticket has.
func (t *ticket) places() int {
	if t.several != nil {
		return len(t.several.keys)
	}
	return 1
}

// place returns one of the locks of a ticket, and the fence under which it is held, if it is.
func (t *ticket) place(i int) (key string, fence uint64) {
	switch {
	case t.several == nil:
		return t.key, t.fence
	case t.several.fences == nil:
		return t.several.keys[i], 0
	}
	return t.several.keys[i], t.several.fences[i]
}

// isFor reports whether a ticket is for a lock, barrier or latch.
func (t *ticket) isFor(key string) bool {
	for i := range t.places() {
		if k, _ := t.place(i); k == key {
			return true
		}
	}
	return t.key == key
}

// appendKey writes the key of a lock or sequence. Namespaces have no NUL, so keys are unique and sort by
// namespace, then name.
func appendKey(b []byte, ns, name string) []byte { return append(append(append(b, ns...), 0), name...) }

func keyOf(ns, name string) string {
	return string(appendKey(make([]byte, 0, len(ns)+1+len(name)), ns, name))
}

func keyName(key string) string { return key[strings.IndexByte(key, 0)+1:] }

func keyNamespace(key string) string { return key[:max(0, strings.IndexByte(key, 0))] }

// ticket returns a session's ticket.
func (m *Machine) ticket(session, seq uint64) (*ticket, bool) {
	return m.tickets.Get(m.ticketAt(session, seq))
}

// ticketAt is a lookup key that costs no allocation.
func (m *Machine) ticketAt(session, seq uint64) *ticket {
	m.pivot.session, m.pivot.seq = session, seq
	return &m.pivot
}

// ticketsOf appends the tickets of a session, by seq.
func (m *Machine) ticketsOf(session uint64, to []*ticket) []*ticket {
	m.tickets.Ascend(m.ticketAt(session, 0), func(t *ticket) bool {
		if t.session != session {
			return false
		}
		to = append(to, t)
		return true
	})
	return to
}

// forgetMine empties the scratch list, so that it keeps nothing alive.
func (m *Machine) forgetMine() {
	clear(m.mine)
	m.mine = m.mine[:0]
}

// ticketReply answers a request by what its ticket is now.
func (m *Machine) ticketReply(t *ticket) Reply {
	r := Reply{Index: m.index}
	switch t.state {
	case TicketQueued:
		r.Lock = &LockReply{State: StateQueued}
		if !t.isGate() {
			r.Lock.Position, r.Lock.Holders = m.locks.Position(t.key, t.arrival), m.holders(t.key)
		}
	case TicketGranted:
		r.Lock = &LockReply{State: StateGranted, Fence: t.fence, Until: t.until, Fences: t.fences()}
	case TicketCancelled:
		r.Lock = &LockReply{State: StateCancelled}
	case TicketTimedOut:
		text := "the wait ended before the lock was free"
		switch t.errand {
		case forBarrier:
			text = "the wait ended before all parties were at the barrier"
		case forLatch:
			text = "the wait ended before the latch was open"
		}
		r = m.fail(CodeWaitTimeout, "%s", text)
	default:
		r = m.fail(CodeNotHeld, "the lock was granted and is over: %s", t.reason)
		r.Detail.Fence = t.fence
	}
	return r
}

// fences are the holds of a granted acquire-all that are still there.
func (t *ticket) fences() []NamedFence {
	if t.several == nil {
		return nil
	}
	fs := make([]NamedFence, len(t.several.keys))
	for i, key := range t.several.keys {
		fs[i] = NamedFence{Name: keyName(key), Fence: t.several.fences[i], Until: t.until}
	}
	return fs
}

// endTicket moves a live ticket, which has no more than one hold, to one of its ends; for one of a barrier or a latch
// that is TicketGranted. bySeq or byEvent, whichever isn't 0, is what acknowledges it.
func (m *Machine) endTicket(s *session, t *ticket, end TicketState, reason string, bySeq, byEvent uint64) {
	m.tickets.Set(&ticket{session: t.session, seq: t.seq, hash: t.hash, state: end, key: t.key, fence: t.fence, reason: reason, errand: t.errand,
		mode: t.mode, count: t.count})
	if t.state == TicketQueued {
		m.forgetWait(t)
		s.left(t.places())
	} else {
		s.holds--
	}
	e := endedTicket{t.seq, bySeq, byEvent}
	if n := len(s.ended); n == 0 || s.ended[n-1].seq < t.seq {
		s.ended = append(s.ended, e)
	} else {
		i := sort.Search(n, func(i int) bool { return s.ended[i].seq >= t.seq })
		s.ended = append(append(append(make([]endedTicket, 0, n+1), s.ended[:i]...), e), s.ended[i:]...)
	}
	m.forgetEnded(s)
}

// forgetWait takes the end of a ticket's wait out of the deadlines.
func (m *Machine) forgetWait(t *ticket) {
	if t.until != locks.Forever {
		m.due.Delete(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
	}
}

// endHold takes a live hold off its ticket, which ends with its last one. The hold itself is the caller's to free, or
// to delay.
func (m *Machine) endHold(s *session, key string, h *locks.Hold, reason string, bySeq, byEvent uint64) {
	if h.Until != 0 {
		m.due.Delete(due{at: h.Until, kind: dueHold, a: h.Fence})
	}
	t, _ := m.ticket(s.id, h.Ticket)
	if t.places() == 1 {
		m.endTicket(s, t, TicketEnded, reason, bySeq, byEvent)
		return
	}
	rest := &several{}
	for i, k := range t.several.keys {
		if k != key {
			rest.keys, rest.fences = append(rest.keys, k), append(rest.fences, t.several.fences[i])
		}
	}
	next := *t
	next.several, next.key, next.fence = rest, rest.keys[0], rest.fences[0]
	m.tickets.Set(&next)
	s.holds--
}

// forgetEnded drops the tickets whose end was acknowledged, and the lowest ones where a client never
// acknowledges any. It never drops one at or above the floor: its seq could be executed again.
func (m *Machine) forgetEnded(s *session) {
	excess := len(s.ended) - MaxEndedTickets
	forget := func(i int) bool {
		e := s.ended[i]
		return e.seq < s.floor && (i < excess || (e.bySeq != 0 && e.bySeq < s.floor) ||
			(e.byEvent != 0 && e.byEvent <= s.eventsSeen))
	}
	front := 0
	for front < len(s.ended) && forget(front) {
		m.tickets.Delete(m.ticketAt(s.id, s.ended[front].seq))
		front++
	}
	rest := s.ended[front:]
	for i := front; i < len(s.ended); i++ {
		if !forget(i) {
			continue
		}
		// Somewhere in the middle: the rest goes to a new array, since views share this one.
		kept := append(make([]endedTicket, 0, len(s.ended)-i), s.ended[front:i]...)
		for ; i < len(s.ended); i++ {
			if forget(i) {
				m.tickets.Delete(m.ticketAt(s.id, s.ended[i].seq))
			} else {
				kept = append(kept, s.ended[i])
			}
		}
		rest = kept
	}
	s.ended = rest
}
