package machine

import (
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/locks"
)

// free takes a hold that is there, and belongs to no ticket any more, out of its lock, and hands the lock on.
func (m *Machine) free(sp *space, key string, h *locks.Hold) {
	m.held = append(m.held, m.now-h.Since)
	if sp.holds--; sp.sessions == 0 {
		m.tidy(sp)
	}
	before := m.locks.Len()
	_, grants, _ := m.locks.Release(key, h.Fence, m.now, m.grants[:0])
	if m.locks.Len() < before {
		m.freed(key)
		return
	}
	m.handOver(grants)
}

// delay leaves a hold, which belongs to no ticket any more, in the way until a later instant.
func (m *Machine) delay(key string, h *locks.Hold, until int64) locks.Hold {
	delayed, _ := m.locks.Delay(key, h.Fence, until)
	m.due.Set(due{at: until, kind: dueDelay, a: h.Fence, key: key})
	k := ofHold(TransitionDelayed, m.owner(h.Session), h, "")
	k.Until = until
	m.note(key, k, nil)
	return delayed
}

// hasEnd notes the end of a hold that has one of its own.
func (m *Machine) hasEnd(key string, h *locks.Hold) {
	if h.Until != 0 && !canary.Broken(canary.MaxHoldEnds) {
		m.due.Set(due{at: h.Until, kind: dueHold, a: h.Fence, key: key})
	}
}

// handOver tells the waiters that a change of the lock table served. It takes the table's scratch slice back.
func (m *Machine) handOver(grants []locks.Grant) {
	for i := 0; i < len(grants); {
		w := grants[i].Waiter
		n := max(1, len(w.Keys))
		m.grantTo(grants[i : i+n])
		i += n
	}
	clear(grants)
	m.grants = grants[:0]
}

// grantTo turns a ticket that waited into its holds, one for each of the grants.
func (m *Machine) grantTo(grants []locks.Grant) {
	w := grants[0].Waiter
	t, _ := m.ticket(w.Session, w.Ticket)
	m.forgetWait(t)
	old, _ := m.sessions.Get(t.session)
	s := m.edit(old)
	s.left(len(grants))
	s.took(len(grants))
	next := &ticket{session: t.session, seq: t.seq, hash: t.hash, state: TicketGranted, key: t.key, fence: grants[0].Hold.Fence,
		until: grants[0].Hold.Until, errand: t.errand, mode: t.mode, count: t.count}
	if t.several != nil {
		next.several = &several{keys: t.several.keys, fences: make([]uint64, len(grants))}
	}
	for i := range grants {
		g := &grants[i]
		if next.several != nil {
			next.several.fences[i] = g.Hold.Fence
		}
		m.totals.grants++
		m.waited = append(m.waited, m.now-w.Since)
		m.hasEnd(g.Key, g.Hold)
		m.note(g.Key, ofHold(TransitionGranted, s.owner, g.Hold, ""), w.Value)
		m.emit(s, Event{Kind: EventGranted, Name: keyName(g.Key), Ticket: t.seq, Generation: s.generation, Fence: g.Hold.Fence, Until: g.Hold.Until})
	}
	m.tickets.Set(next)
}

// leave takes a waiting ticket out of its queues, or away from its barrier or latch. It grants nothing: settleTouched
// does, when all that have to leave have left. The ticket itself is the caller's to end.
func (m *Machine) leave(s *session, t *ticket, why string) bool {
	switch before := m.barriers.Len() + m.latches.Len(); t.errand {
	case forBarrier:
		if canary.Broken(canary.DeadDoNotCount) {
			return true
		}
		_, ok := m.barriers.Leave(t.key, t.arrival)
		s.in.gates += m.barriers.Len() + m.latches.Len() - before
		return ok
	case forLatch:
		_, ok := m.latches.Leave(t.key, t.arrival)
		s.in.gates += m.barriers.Len() + m.latches.Len() - before
		return ok
	}
	if _, ok := m.locks.Leave(t.key, t.arrival); !ok {
		return false
	}
	for i := range t.places() {
		key, _ := t.place(i)
		m.note(key, ofTicket(TransitionLeft, s, t, why), nil)
		m.touched = append(m.touched, key)
	}
	return true
}

// settleTouched grants what has become free because tickets left: those behind them may fit now.
func (m *Machine) settleTouched() {
	for _, key := range m.touched {
		if _, ok := m.locks.Get(key); !ok {
			m.freed(key)
			continue
		}
		if canary.Broken(canary.LeavingLetsIn) {
			continue
		}
		m.handOver(m.locks.Settle(key, m.now, m.grants[:0]))
	}
	clear(m.touched)
	m.touched = m.touched[:0]
}

// leaveQueues takes the tickets of a dying session out of their queues.
func (m *Machine) leaveQueues(s *session, ts []*ticket, why string) {
	for _, t := range ts {
		if t.state != TicketQueued {
			continue
		}
		m.leave(s, t, why)
		m.forgetWait(t)
		s.left(t.places())
	}
}

// releaseAll frees what the tickets of a dying session hold, and returns how many holds that were. Holds with a
// lock-delay stay in the way for so long after the instant at which the session expired; 0: it was closed. A
// hold that was delayed before is not among them: it stays until its own end, because it protects from a process, not
// for it.
func (m *Machine) releaseAll(s *session, ts []*ticket, expired int64) uint64 {
	n := uint64(0)
	for _, t := range ts {
		if !t.holds() {
			continue
		}
		for i := range t.places() {
			key, fence := t.place(i)
			h, _ := m.locks.Hold(key, fence)
			if h.Until != 0 {
				m.due.Delete(due{at: h.Until, kind: dueHold, a: fence})
			}
			s.holds--
			n++
			if expired == 0 {
				m.note(key, ofHold(TransitionReleased, s.owner, &h, "session closed"), nil)
				m.free(s.in, key, &h)
				continue
			}
			m.note(key, ofHold(TransitionExpired, s.owner, &h, "session expired"), nil)
			m.afterDelay(s.in, key, &h, expired)
		}
	}
	return n
}

// afterDelay frees a hold that ended by itself, or leaves it in the way for its lock-delay. If that is over too, since
// nothing ended for a while, nobody has to wait for it any more.
func (m *Machine) afterDelay(sp *space, key string, h *locks.Hold, ended int64) {
	if until := after(ended, h.Delay); h.Delay > 0 && until > m.endedUpTo && !canary.Broken(canary.DelayedHoldBlocks) {
		m.delay(key, h, until)
		return
	}
	m.free(sp, key, h)
}

// endDelay frees a hold that was in the way for long enough.
func (m *Machine) endDelay(key string, fence uint64) {
	h, _ := m.locks.Hold(key, fence)
	m.note(key, ofHold(TransitionReleased, m.owner(h.Session), &h, "its delay ended"), nil)
	m.free(m.space(keyNamespace(key)), key, &h)
}

// reasonMaxHold is what a holder is told whose hold ended by its own max-hold.
const reasonMaxHold = "max_hold"

// endMaxHold ends a hold whose holder kept it for too long, unless its session ended before it.
func (m *Machine) endMaxHold(key string, fence uint64) {
	h, ok := m.locks.Hold(key, fence)
	if !ok || !h.Live() {
		return
	}
	old, _ := m.sessions.Get(h.Session)
	s := m.edit(old)
	m.totals.expiredHolds++
	told := m.emit(s, Event{Kind: EventLost, Name: keyName(key), Ticket: h.Ticket, Generation: s.generation, Fence: fence, Until: h.Until,
		Reason: reasonMaxHold})
	m.endHold(s, key, &h, reasonMaxHold, 0, told)
	m.note(key, ofHold(TransitionExpired, s.owner, &h, reasonMaxHold), nil)
	m.afterDelay(s.in, key, &h, h.Until)
}
