package machine

import "github.com/coordd/coordd/pkg/locks"

// barrierWait brings a ticket to a barrier; the last one lets all of them pass. It reports whether a ticket was made:
// one that passes at once needs none, since it holds nothing.
func (m *Machine) barrierWait(s *session, c *Command, hash uint64) (Reply, bool) {
	if r, bad := m.badName(c); bad {
		return r, false
	}
	w := c.BarrierWait
	if w.Parties == 0 || w.Parties > MaxParties {
		return m.fail(CodeBadRequest, "a barrier has 1 to %d parties, not %d", MaxParties, w.Parties), false
	}
	if code, bad := checkWait(w.Wait, 0, 0, nil, nil); bad != "" {
		return m.fail(code, "%s", bad), false
	}
	key := keyOf(c.Namespace, c.Name)
	there := uint64(0)
	b, ok := m.barriers.Get(key)
	if ok {
		there = uint64(b.Waiting)
	} else if r, ok := m.gateRoom(s); !ok {
		return r, false
	}
	if r, ok := m.room(s, 1); !ok {
		return r, false
	}
	if w.Wait == 0 && there+1 < w.Parties && (!ok || b.Parties == w.Parties) {
		return m.fail(CodeWaitTimeout, "%d of the barrier's %d parties are there", there, w.Parties), false
	}
	before, until := m.barriers.Len(), m.waitEnd(w.Wait)
	state, arrival, passed := m.barriers.Wait(key, w.Parties, locks.Party{Session: s.id, Ticket: c.Seq, Since: m.now, Until: until})
	s.in.gates += m.barriers.Len() - before
	switch state {
	case locks.BarrierMismatch:
		return m.fail(CodeLimitMismatch, "those who wait at barrier %q wait for %d parties, not for %d", c.Name, b.Parties, w.Parties), false
	case locks.BarrierPassed:
		m.pass(passed)
		return m.passed(), false
	}
	return m.waitAt(s, &ticket{session: s.id, seq: c.Seq, hash: hash, key: key, errand: forBarrier, arrival: arrival, until: until}), true
}

// latchWait brings a ticket to a latch.
func (m *Machine) latchWait(s *session, c *Command, hash uint64) (Reply, bool) {
	if r, bad := m.badName(c); bad {
		return r, false
	}
	if code, bad := checkWait(c.LatchWait.Wait, 0, 0, nil, nil); bad != "" {
		return m.fail(code, "%s", bad), false
	}
	key := keyOf(c.Namespace, c.Name)
	l, ok := m.latches.Get(key)
	switch {
	case ok && l.Open():
		return m.passed(), false
	case c.LatchWait.Wait == 0:
		return m.fail(CodeWaitTimeout, "the latch is not open"), false
	case !ok:
		if r, ok := m.gateRoom(s); !ok {
			return r, false
		}
	}
	if r, ok := m.room(s, 1); !ok {
		return r, false
	}
	before, until := m.latches.Len(), m.waitEnd(c.LatchWait.Wait)
	arrival, _ := m.latches.Wait(key, locks.Party{Session: s.id, Ticket: c.Seq, Since: m.now, Until: until})
	s.in.gates += m.latches.Len() - before
	return m.waitAt(s, &ticket{session: s.id, seq: c.Seq, hash: hash, key: key, errand: forLatch, arrival: arrival, until: until}), true
}

// waitAt completes the ticket of who waits at a barrier or a latch.
func (m *Machine) waitAt(s *session, t *ticket) Reply {
	t.state = TicketQueued
	s.queued(1)
	if t.until != locks.Forever {
		m.due.Set(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
	}
	m.tickets.Set(t)
	return m.ticketReply(t)
}

// passed is the answer to who passed a barrier or a latch at once.
func (m *Machine) passed() Reply {
	return Reply{Index: m.index, Lock: &LockReply{State: StateGranted}}
}

// pass tells the tickets that a barrier or a latch let through.
func (m *Machine) pass(ps []*locks.Party) {
	for _, p := range ps {
		t, ok := m.ticket(p.Session, p.Ticket)
		if !ok {
			continue // the dead were counted: only where a guard is taken out
		}
		old, _ := m.sessions.Get(p.Session)
		s := m.edit(old)
		told := m.emit(s, Event{Kind: EventGranted, Name: t.name(), Ticket: t.seq, Generation: s.generation})
		m.endTicket(s, t, TicketGranted, "", 0, told)
	}
}

// latchSet makes a latch, or sets its count.
func (m *Machine) latchSet(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	key := keyOf(c.Namespace, c.Name)
	if _, ok := m.latches.Get(key); !ok && c.LatchSet.Count > 0 {
		if r, ok := m.gateRoom(s); !ok {
			return r
		}
	}
	before := m.latches.Len()
	passed := m.latches.Set(key, c.LatchSet.Count)
	s.in.gates += m.latches.Len() - before
	m.pass(passed)
	return Reply{Index: m.index, Latch: c.LatchSet.Count}
}

// latchCountDown takes from a latch's count.
func (m *Machine) latchCountDown(c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	count, passed, ok := m.latches.CountDown(keyOf(c.Namespace, c.Name), max(c.LatchCountDown.N, 1))
	if !ok {
		return m.fail(CodeNotFound, "nobody has set latch %q", c.Name)
	}
	m.pass(passed)
	return Reply{Index: m.index, Latch: count}
}
