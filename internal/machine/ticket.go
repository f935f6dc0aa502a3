package machine

import (
	"sort"
	"strings"

	"github.com/coordd/coordd/pkg/locks"
)

// ticket is what an acquire became that was granted or queued. It is never changed in place.
type ticket struct {
	session, seq uint64
	hash         uint64 // of the acquire
	state        TicketState
	key          string // of the lock; shared with the lock table
	fence        uint64 // granted: of the hold now. ended: the last one
	arrival      uint64 // queued: place
	until        int64  // queued: end of the wait
	reason       string // ended: why
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

// ended reports whether the ticket neither holds nor waits.
func (t *ticket) ended() bool { return t.state != TicketQueued && t.state != TicketGranted }

// appendKey writes the key of a lock or sequence. Namespaces have no NUL, so keys are unique and sort by
// namespace, then name.
func appendKey(b []byte, ns, name string) []byte { return append(append(append(b, ns...), 0), name...) }

func keyOf(ns, name string) string {
	return string(appendKey(make([]byte, 0, len(ns)+1+len(name)), ns, name))
}

func keyName(key string) string { return key[strings.IndexByte(key, 0)+1:] }

func keyNamespace(key string) string { return key[:max(0, strings.IndexByte(key, 0))] }

func (s *state) ticket(session, seq uint64) (*ticket, bool) {
	return s.tickets.Get(&ticket{session: session, seq: seq})
}

// ticketsOf appends the tickets of a session, by seq.
func (s *state) ticketsOf(session uint64, to []*ticket) []*ticket {
	s.tickets.Ascend(&ticket{session: session}, func(t *ticket) bool {
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

// ticketReply answers an acquire by what its ticket is now.
func (m *Machine) ticketReply(t *ticket) Reply {
	r := Reply{Index: m.index}
	switch t.state {
	case TicketQueued:
		r.Lock = &LockReply{State: StateQueued, Position: m.locks.Position(t.key, t.arrival), Holders: m.holders(t.key)}
	case TicketGranted:
		r.Lock = &LockReply{State: StateGranted, Fence: t.fence}
	case TicketCancelled:
		r.Lock = &LockReply{State: StateCancelled}
	case TicketTimedOut:
		r = m.fail(CodeWaitTimeout, "the wait ended before the lock was free")
	default:
		r = m.fail(CodeNotHeld, "the lock was granted and is over: %s", t.reason)
		r.Detail.Fence = t.fence
	}
	return r
}

// endTicket moves a live ticket to one of its ends. bySeq or byEvent, whichever isn't 0, is what acknowledges it.
func (m *Machine) endTicket(s *session, t *ticket, end TicketState, reason string, bySeq, byEvent uint64) {
	m.tickets.Set(&ticket{session: t.session, seq: t.seq, hash: t.hash, state: end, key: t.key, fence: t.fence, reason: reason})
	if t.until != 0 && t.until != locks.Forever {
		m.due.Delete(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
	}
	s.liveCount--
	e := endedTicket{t.seq, bySeq, byEvent}
	if n := len(s.ended); n == 0 || s.ended[n-1].seq < t.seq {
		s.ended = append(s.ended, e)
	} else {
		i := sort.Search(n, func(i int) bool { return s.ended[i].seq >= t.seq })
		s.ended = append(append(append(make([]endedTicket, 0, n+1), s.ended[:i]...), e), s.ended[i:]...)
	}
	m.forgetEnded(s)
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
		m.tickets.Delete(&ticket{session: s.id, seq: s.ended[front].seq})
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
				m.tickets.Delete(&ticket{session: s.id, seq: s.ended[i].seq})
			} else {
				kept = append(kept, s.ended[i])
			}
		}
		rest = kept
	}
	s.ended = rest
}
