package machine

import "github.com/coordd/coordd/internal/canary"

// The kinds of things that end by themselves, in the order in which they end at the same instant: what
// frees locks comes before what gives up waiting for them.
const (
	dueSession uint8 = 1 // a: session
	dueDelay   uint8 = 2 // a: fence of the delayed hold; key: its lock
	dueHold    uint8 = 3 // a: fence of a hold with a max-hold; key: its lock
	dueWait    uint8 = 4 // a: session, b: seq of the ticket
)

// due is one deadline. Its key is not part of its order.
type due struct {
	at   int64
	kind uint8
	a, b uint64
	key  string
}

func dueOrder(x, y due) bool {
	switch {
	case x.at != y.at:
		return x.at < y.at
	case x.kind != y.kind:
		return x.kind < y.kind
	case x.a != y.a:
		return x.a < y.a
	}
	return x.b < y.b
}

// endDue moves endedUpTo to now, and ends everything whose deadline is at or before it.
//
// The dead leave their queues first, all of them, and only then are locks handed on. Going through the
// deadlines once instead would grant a lock to a waiter whose session ended a moment earlier, or whose wait
// did, and take it back in the same entry. What leaves may let in those who stand behind it: that comes last, when
// everything that blocks has ended.
func (m *Machine) endDue() {
	m.endedUpTo = m.now
	for {
		d, ok := m.due.Min()
		if !ok || d.at > m.endedUpTo {
			break
		}
		m.due.PopMin()
		m.ending = append(m.ending, d)
	}
	if len(m.ending) == 0 {
		return
	}
	for i := range m.ending {
		switch d := &m.ending[i]; d.kind {
		case dueSession:
			if canary.Broken(canary.DeadLeaveQueuesFirst) {
				continue
			}
			m.mine = m.ticketsOf(d.a, m.mine[:0])
			old, _ := m.sessions.Get(d.a)
			m.leaveQueues(m.edit(old), m.mine, "session expired")
		case dueWait:
			m.timeOut(d.a, d.b)
		}
	}
	for i := range m.ending {
		switch d := &m.ending[i]; d.kind {
		case dueSession:
			m.expire(d.a)
		case dueDelay:
			m.endDelay(d.key, d.a)
		case dueHold:
			m.endMaxHold(d.key, d.a)
		}
	}
	m.settleTouched()
	m.forgetMine()
	clear(m.ending)
	m.ending = m.ending[:0]
}

// timeOut ends a wait, unless its session ended before it.
func (m *Machine) timeOut(session, seq uint64) {
	t, _ := m.ticket(session, seq)
	old, _ := m.sessions.Get(session)
	s := m.edit(old)
	if !m.leave(s, t, "the wait ended") {
		return
	}
	m.totals.timeouts++
	told := m.emit(s, Event{Kind: EventTimedOut, Name: t.name(), Ticket: t.seq, Generation: s.generation, Reason: "the wait ended"})
	m.endTicket(s, t, TicketTimedOut, "the wait ended", 0, told)
}

// expire ends a session that nobody renewed; its waiters have left their queues already.
func (m *Machine) expire(id uint64) {
	old, _ := m.sessions.Get(id)
	s := m.edit(old)
	m.totals.expiredSessions++
	m.emit(s, Event{Kind: EventSessionExpired, Generation: s.generation, Reason: "expired"})
	m.mine = m.ticketsOf(id, m.mine[:0])
	if canary.Broken(canary.DeadLeaveQueuesFirst) {
		m.leaveQueues(s, m.mine, "session expired")
	}
	m.totals.expiredHolds += m.releaseAll(s, m.mine, s.deadline)
	if canary.Broken(canary.EndedIsRemoved) {
		return
	}
	m.removeSession(s)
}
