package machine

import (
	"unicode/utf8"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/locks"
)

// badName returns the refusal of a lock's or sequence's name, if there is one.
func (m *Machine) badName(c *Command) (Reply, bool) {
	bad := checkNamespace(c.Namespace)
	if bad == "" {
		bad = checkName(c.Name)
	}
	if bad == "" {
		return Reply{}, false
	}
	return m.fail(CodeBadName, "%s", bad), true
}

// acquire grants, queues or refuses. It reports whether a ticket was made.
func (m *Machine) acquire(s *session, c *Command, hash uint64) (Reply, bool) {
	if r, bad := m.badName(c); bad {
		return r, false
	}
	a := c.Acquire
	if bad := checkAcquire(a); bad != "" {
		return m.fail(CodeBadRequest, "%s", bad), false
	}
	if s.liveCount >= MaxTicketsPerSession {
		return m.fail(CodeQuota, "the session has %d holds and waiters", s.liveCount), false
	}
	if m.locks.Len()+m.locks.Waiting() >= MaxTickets {
		return m.fail(CodeQuota, "the cluster has %d holds and waiters", MaxTickets), false
	}
	t := &ticket{session: s.id, seq: c.Seq, hash: hash, key: keyOf(c.Namespace, c.Name)}
	until := m.waitEnd(a.Wait)
	o := m.locks.Acquire(locks.Request{Keys: []string{t.key}, Session: s.id, Ticket: c.Seq, Now: m.now, Try: a.Wait == 0, Until: until,
		Mode: locks.Exclusive, Permits: 1, Metadata: a.Metadata})
	switch o.State {
	case locks.NoFences:
		return m.fail(CodeInternal, "the fence counter is at its end"), false
	case locks.Refused:
		return m.locked(t.key), false
	case locks.Granted:
		t.state, t.fence = TicketGranted, o.Holds[0].Fence
		m.totals.grants++
		m.waited = append(m.waited, 0)
	default:
		t.state, t.arrival, t.until = TicketQueued, o.Arrival, until
		if until != locks.Forever {
			m.due.Set(due{at: until, kind: dueWait, a: s.id, b: c.Seq})
		}
	}
	s.liveCount++
	m.tickets.Set(t)
	return m.ticketReply(t), true
}

// locked tells who is in the way.
func (m *Machine) locked(key string) Reply {
	r := m.fail(CodeLocked, "the lock is held")
	l, _ := m.locks.Get(key)
	h := l.Holds[0]
	info := m.holderInfo(h)
	if !h.Live() {
		r.Detail.Text = "the lock was taken away by force and is delayed"
	}
	r.Detail.Holder, r.Detail.HolderID, r.Detail.Fence = info.Owner, h.Session, h.Fence
	r.Detail.Queue = uint64(l.Waiters)
	r.Detail.ExpiresIn = max(0, info.Deadline-m.now)
	return r
}

// cancel ends the wait of a ticket, or makes sure that an acquire which hasn't come yet is never executed.
func (m *Machine) cancel(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	seq := c.Cancel.Ticket
	if seq == 0 || seq == c.Seq {
		return m.fail(CodeBadRequest, "the ticket to cancel is the seq of an acquire, not %d", seq)
	}
	cancelled := Reply{Index: m.index, Lock: &LockReply{State: StateCancelled}}
	if t, ok := m.ticket(s.id, seq); ok {
		if t.key != keyOf(c.Namespace, c.Name) {
			return m.fail(CodeBadRequest, "ticket %d is for another lock", seq)
		}
		switch t.state {
		case TicketGranted:
			return Reply{Index: m.index, Lock: &LockReply{State: StateAlreadyGranted, Fence: t.fence}}
		case TicketQueued:
			m.locks.Leave(t.key, t.arrival)
			m.endTicket(s, t, TicketCancelled, "cancelled", c.Seq, 0)
		}
		return cancelled // whatever its end was, it holds nothing
	}
	if old := s.replies.find(seq); old != nil {
		if old.kind != KindLockAcquire {
			return m.fail(CodeBadRequest, "seq %d is not an acquire", seq)
		}
		return cancelled // it was refused
	}
	if seq < s.floor {
		return cancelled // a repeat of it would be stale, and it holds nothing
	}
	if !canary.Broken(canary.CancelLeavesTombstone) {
		s.highest = max(s.highest, seq)
		s.replies = s.replies.with(&stored{seq: seq, kind: KindLockAcquire, tombstone: true, reply: cancelled})
	}
	return cancelled
}

// hold returns the hold of a lock with a fence.
func (m *Machine) hold(key string, fence uint64) (locks.Hold, bool) {
	if l, ok := m.locks.Get(key); ok && canary.Broken(canary.ReleaseNamesFence) {
		return *l.Holds[0], true
	}
	return m.locks.Hold(key, fence)
}

// release gives a hold back. A delayed hold may still be given back by the session that it was taken from:
// then nobody believes in it any more.
func (m *Machine) release(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	key := keyOf(c.Namespace, c.Name)
	h, ok := m.hold(key, c.Release.Fence)
	if !ok || h.Session != s.id {
		r := m.fail(CodeNotHeld, "session %d doesn't hold this lock under fence %d", s.id, c.Release.Fence)
		r.Detail.Fence = c.Release.Fence
		return r
	}
	if h.Live() {
		t, _ := m.ticket(s.id, h.Ticket)
		m.endTicket(s, t, TicketEnded, "released", c.Seq, 0)
	} else {
		m.due.Delete(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence})
	}
	m.totals.releases++
	m.free(key, h)
	return Reply{Index: m.index, Lock: &LockReply{State: StateReleased}}
}

// forceRelease takes a hold away at an operator's wish.
func (m *Machine) forceRelease(c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	f := c.Force
	if len(f.Reason) > MaxReasonBytes || !utf8.ValidString(f.Reason) {
		return m.fail(CodeBadRequest, "a reason has at most %d bytes of UTF-8", MaxReasonBytes)
	}
	if m.tooLate(c) {
		return m.deadlineExceeded()
	}
	key := keyOf(c.Namespace, c.Name)
	h, ok := m.hold(key, f.Fence)
	if !ok {
		r := m.fail(CodeNotHeld, "nobody holds this lock under fence %d", f.Fence)
		r.Detail.Fence = f.Fence
		return r
	}
	now := f.Now || canary.Broken(canary.ForcedHoldBlocks)
	if h.Live() {
		m.totals.forced++
		old, _ := m.sessions.Get(h.Session)
		s := m.edit(old)
		reason := "forced"
		if f.Reason != "" {
			reason += ": " + f.Reason
		}
		t, _ := m.ticket(s.id, h.Ticket)
		// The holder may believe in its hold until the last deadline that it was told.
		e := Event{Kind: EventLost, Name: t.name(), Ticket: t.seq, Generation: s.generation, Fence: h.Fence, Reason: reason}
		if !f.Now {
			e.Until = s.deadline
		}
		m.endTicket(s, t, TicketEnded, reason, 0, m.emit(s, e))
		if !now {
			h, _ = m.locks.Delay(key, h.Fence, s.deadline)
			m.due.Set(due{at: s.deadline, kind: dueDelay, a: h.Fence, key: t.key})
		}
	} else if now {
		m.due.Delete(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence})
	}
	if !now {
		return Reply{Index: m.index, Lock: &LockReply{State: StateDelayed, Fence: h.Fence, Until: h.DelayedUntil}}
	}
	m.free(key, h)
	return Reply{Index: m.index, Lock: &LockReply{State: StateReleased, Fence: h.Fence}}
}

// free takes a hold that is there out of its lock, and hands the lock on.
func (m *Machine) free(key string, h locks.Hold) {
	m.held = append(m.held, m.now-h.Since)
	_, grants, _ := m.locks.Release(key, h.Fence, m.now, m.grants[:0])
	m.handOver(grants)
}

// handOver tells the waiters that a change of the lock table served. It takes the table's scratch slice back.
func (m *Machine) handOver(grants []locks.Grant) {
	for i := range grants {
		g := &grants[i]
		t, _ := m.ticket(g.Hold.Session, g.Hold.Ticket)
		m.tickets.Set(&ticket{session: t.session, seq: t.seq, hash: t.hash, state: TicketGranted, key: t.key, fence: g.Hold.Fence})
		if t.until != locks.Forever {
			m.due.Delete(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
		}
		m.totals.grants++
		m.waited = append(m.waited, m.now-g.Waiter.Since)
		old, _ := m.sessions.Get(t.session)
		s := m.edit(old)
		m.emit(s, Event{Kind: EventGranted, Name: t.name(), Ticket: t.seq, Generation: s.generation, Fence: g.Hold.Fence})
	}
	clear(grants)
	m.grants = grants[:0]
}

// leaveQueues takes the tickets of a dying session out of their queues.
func (m *Machine) leaveQueues(ts []*ticket) {
	for _, t := range ts {
		if t.state != TicketQueued {
			continue
		}
		m.locks.Leave(t.key, t.arrival)
		if t.until != locks.Forever {
			m.due.Delete(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
		}
	}
}

// releaseAll frees what the tickets of a dying session hold, and returns how many holds that were. A
// delayed hold is not among them: it stays until its own end, because it protects from a process, not for it.
func (m *Machine) releaseAll(ts []*ticket) uint64 {
	n := uint64(0)
	for _, t := range ts {
		if t.state == TicketGranted {
			h, _ := m.locks.Hold(t.key, t.fence)
			m.free(t.key, h)
			n++
		}
	}
	return n
}
