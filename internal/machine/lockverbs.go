package machine

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/locks"
)

// badName returns the refusal of a lock's, sequence's, barrier's or latch's name, if there is one.
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
	if code, bad := checkAcquire(a); bad != "" {
		return m.fail(code, "%s", bad), false
	}
	m.asked[0] = keyOf(c.Namespace, c.Name)
	return m.ask(s, &ticket{session: s.id, seq: c.Seq, hash: hash, key: m.asked[0], mode: a.Mode}, a.Wait, &locks.Request{
		Keys: m.asked[:], Mode: locks.Mode(a.Mode), Permits: max(a.Count, 1), Limit: a.Limit, Delay: a.Delay, MaxHold: a.MaxHold,
		Metadata: a.Metadata, Value: a.Value, Reentrant: a.Reentrant, Holding: a.Holding})
}

// acquireAll does the same for several exclusive locks at once.
func (m *Machine) acquireAll(s *session, c *Command, hash uint64) (Reply, bool) {
	a := c.AcquireAll
	if bad := checkNamespace(c.Namespace); bad != "" {
		return m.fail(CodeBadName, "%s", bad), false
	}
	if code, bad := checkNames(a.Names); bad != "" {
		return m.fail(code, "%s", bad), false
	}
	if code, bad := checkWait(a.Wait, a.Delay, a.MaxHold, a.Holding, a.Metadata); bad != "" {
		return m.fail(code, "%s", bad), false
	}
	keys := make([]string, len(a.Names))
	for i, name := range a.Names {
		keys[i] = keyOf(c.Namespace, name)
	}
	t := &ticket{session: s.id, seq: c.Seq, hash: hash, key: keys[0], mode: Exclusive, errand: forAll, several: &several{keys: keys}}
	return m.ask(s, t, a.Wait, &locks.Request{Keys: keys, Mode: locks.Exclusive, Permits: 1, Delay: a.Delay, MaxHold: a.MaxHold,
		Metadata: a.Metadata, Holding: a.Holding})
}

// ask brings a request for one lock or several to the lock table, and completes its ticket by what became of it.
func (m *Machine) ask(s *session, t *ticket, wait int64, q *locks.Request) (Reply, bool) {
	if r, ok := m.room(s, len(q.Keys)); !ok {
		return r, false
	}
	until := m.waitEnd(wait)
	q.Session, q.Ticket, q.Now, q.Try, q.Until = s.id, t.seq, m.now, wait == 0, until
	o := m.locks.Acquire(*q)
	t.count = uint32(q.Permits)
	switch o.State {
	case locks.Granted:
		m.granted(s, t, q.Keys, o.Holds, q.Value)
	case locks.Queued:
		t.state, t.arrival, t.until = TicketQueued, o.Arrival, until
		s.queued(len(q.Keys))
		if until != locks.Forever {
			m.due.Set(due{at: until, kind: dueWait, a: s.id, b: t.seq})
		}
		for _, key := range q.Keys {
			m.note(key, ofTicket(TransitionQueued, s, t, ""), nil)
		}
	case locks.Reentered:
		h := o.Holds[0]
		e := ofHold(TransitionReentered, s.owner, h, "")
		e.Ticket, e.Count = t.seq, h.Entries
		m.note(q.Keys[0], e, nil)
		return Reply{Index: m.index, Lock: &LockReply{State: StateGranted, Fence: h.Fence, Until: h.Until}}, false
	default:
		return m.notQueued(&o, q), false
	}
	m.tickets.Set(t)
	return m.ticketReply(t), true
}

// granted completes a ticket that got its holds, and counts and notes them.
func (m *Machine) granted(s *session, t *ticket, keys []string, holds []*locks.Hold, value []byte) {
	t.state, t.arrival, t.fence, t.until = TicketGranted, 0, holds[0].Fence, holds[0].Until
	if t.several != nil {
		t.several = &several{keys: t.several.keys, fences: make([]uint64, len(holds))}
	}
	s.took(len(holds))
	for i, h := range holds {
		if t.several != nil {
			t.several.fences[i] = h.Fence
		}
		m.hasEnd(keys[i], h)
		m.totals.grants++
		m.note(keys[i], ofHold(TransitionGranted, s.owner, h, ""), value)
		m.waited = append(m.waited, 0)
	}
}

// notQueued tells why a request was neither granted nor queued.
func (m *Machine) notQueued(o *locks.Outcome, q *locks.Request) Reply {
	switch o.State {
	case locks.NoFences:
		return m.fail(CodeInternal, "the fence counter is at its end")
	case locks.Refused:
		return m.locked(o.Key, q)
	case locks.Upgrade:
		return m.fail(CodeBadRequest, "a shared lock can't be upgraded: release it first")
	case locks.Mismatch:
		l, _ := m.locks.Get(o.Key)
		switch {
		case l.Limit == 0:
			return m.fail(CodeLimitMismatch, "%q is held or waited for as a lock, not as a semaphore", keyName(o.Key))
		case q.Limit == 0:
			return m.fail(CodeLimitMismatch, "%q is a semaphore with a limit of %d, not a lock", keyName(o.Key), l.Limit)
		}
		return m.fail(CodeLimitMismatch, "the limit of semaphore %q is %d, not %d", keyName(o.Key), l.Limit, q.Limit)
	}
	r := m.fail(CodeDeadlock, "the wait would never end: the request waits for what waits for it")
	for i := range o.Cycle {
		r.Detail.Cycle = append(r.Detail.Cycle, m.sentence(&o.Cycle[i]))
	}
	return r
}

// sentence says one link of a cycle.
func (m *Machine) sentence(l *locks.Link) string {
	who := m.owner(l.Session)
	if who == "" {
		who = fmt.Sprintf("session %d", l.Session)
	}
	if l.Fence == 0 {
		return fmt.Sprintf("%s waits for %q before the next one", who, keyName(l.Wants))
	}
	return fmt.Sprintf("%s holds %q under fence %d and waits for %q", who, keyName(l.Holds), l.Fence, keyName(l.Wants))
}

// locked tells who is in the way.
func (m *Machine) locked(key string, q *locks.Request) Reply {
	r := m.fail(CodeLocked, "the lock is held")
	l, _ := m.locks.Get(key)
	r.Detail.Queue = uint64(l.Waiters)
	switch {
	case q.Limit > 0:
		r.Detail.Text = fmt.Sprintf("%d of the semaphore's %d permits are taken, and %d tickets wait", l.InUse, l.Limit, l.Waiters)
	case len(l.Holds) == 0 || q.Mode == locks.Shared && l.Holds[0].Mode == locks.Shared:
		r.Detail.Text = "others wait for the lock already"
	case !l.Holds[0].Live() && l.Holds[0].Delay > 0:
		r.Detail.Text = "the lock was taken away and is delayed"
	case !l.Holds[0].Live():
		r.Detail.Text = "the lock was taken away by force and is delayed"
	}
	if len(q.Keys) > 1 {
		r.Detail.Text += fmt.Sprintf(": %q", keyName(key))
	}
	if len(l.Holds) > 0 {
		h := l.Holds[0]
		info := m.holderInfo(h)
		r.Detail.Holder, r.Detail.HolderID, r.Detail.Fence = info.Owner, h.Session, h.Fence
		r.Detail.ExpiresIn = max(0, info.Deadline-m.now)
	}
	return r
}

// waits reports whether requests of a kind make tickets.
func waits(k Kind) bool {
	switch k {
	case KindLockAcquire, KindLockAcquireAll, KindBarrierWait, KindLatchWait:
		return true
	}
	return false
}

// cancel ends the wait of a ticket, or makes sure that a request which hasn't come yet is never executed.
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
		// Of several locks the one that is named may have been lost by now.
		if t.errand != forAll && !t.isFor(keyOf(c.Namespace, c.Name)) {
			return m.fail(CodeBadRequest, "ticket %d is for another lock", seq)
		}
		switch t.state {
		case TicketGranted:
			return Reply{Index: m.index, Lock: &LockReply{State: StateAlreadyGranted, Fence: t.fence}}
		case TicketQueued:
			m.leave(s, t, "cancelled")
			m.endTicket(s, t, TicketCancelled, "cancelled", c.Seq, 0)
			m.settleTouched()
		}
		return cancelled // whatever its end was, it holds nothing
	}
	if old := s.replies.find(seq); old != nil {
		if !waits(old.kind) {
			return m.fail(CodeBadRequest, "seq %d is not an acquire", seq)
		}
		if l := old.reply.Lock; old.reply.Code == OK && l != nil && l.State == StateGranted {
			// It entered a hold once more, or passed at once.
			return Reply{Index: m.index, Lock: &LockReply{State: StateAlreadyGranted, Fence: l.Fence}}
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
	if l, ok := m.locks.Get(key); ok && len(l.Holds) > 0 && canary.Broken(canary.ReleaseNamesFence) {
		return *l.Holds[0], true
	}
	return m.locks.Hold(key, fence)
}

// notHeld refuses what only the holder may ask for.
func (m *Machine) notHeld(s *session, fence uint64) Reply {
	r := m.fail(CodeNotHeld, "session %d doesn't hold this lock under fence %d", s.id, fence)
	r.Detail.Fence = fence
	return r
}

// release gives a hold back, or one entry of a hold that was entered more than once. A delayed hold may still be given
// back by the session that it was taken from: then nobody believes in it any more.
func (m *Machine) release(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	key := keyOf(c.Namespace, c.Name)
	h, ok := m.hold(key, c.Release.Fence)
	if !ok || h.Session != s.id {
		return m.notHeld(s, c.Release.Fence)
	}
	released := Reply{Index: m.index, Lock: &LockReply{State: StateReleased}}
	if h.Live() {
		if left, more := m.locks.Exit(key, h.Fence); more {
			released.Lock.Entries = left
			return released
		}
		m.endHold(s, key, &h, "released", c.Seq, 0)
	} else {
		m.due.Delete(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence})
	}
	m.totals.releases++
	m.note(key, ofHold(TransitionReleased, s.owner, &h, ""), nil)
	m.free(s.in, key, &h)
	return released
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
	reason := "forced"
	if f.Reason != "" {
		reason += ": " + f.Reason
	}
	if h.Live() || now {
		m.note(key, ofHold(TransitionForced, m.owner(h.Session), &h, reason), nil)
	}
	if h.Live() {
		m.totals.forced++
		old, _ := m.sessions.Get(h.Session)
		s := m.edit(old)
		until := s.deadline
		if h.Delay > 0 {
			until = max(until, after(m.now, h.Delay))
		}
		// The holder may believe in its hold until the last deadline that it was told.
		e := Event{Kind: EventLost, Name: keyName(key), Ticket: h.Ticket, Generation: s.generation, Fence: h.Fence, Reason: reason}
		if !f.Now {
			e.Until = s.deadline
		}
		m.endHold(s, key, &h, reason, 0, m.emit(s, e))
		if !now {
			h = m.delay(key, &h, until)
		}
	} else if now {
		m.due.Delete(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence})
	}
	if !now {
		return Reply{Index: m.index, Lock: &LockReply{State: StateDelayed, Fence: h.Fence, Until: h.DelayedUntil}}
	}
	m.free(m.space(keyNamespace(key)), key, &h)
	return Reply{Index: m.index, Lock: &LockReply{State: StateReleased, Fence: h.Fence}}
}

// handOverTo gives a hold to a session that waits for the lock, out of turn; asked by a waiter, it tells the holder of
// that wish.
func (m *Machine) handOverTo(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	key, to := keyOf(c.Namespace, c.Name), c.HandOver.To
	h, ok := m.locks.Hold(key, c.HandOver.Fence)
	if !ok || !h.Live() {
		return m.notHeld(s, c.HandOver.Fence)
	}
	if h.Session != s.id {
		return m.askHolder(s, key, &h, to)
	}
	gone, grants, ok := m.locks.HandOver(key, h.Fence, to, m.now, m.grants[:0])
	if !ok {
		return m.fail(CodeNotFound, "session %d does not wait here for an exclusive lock that is held exclusively", to)
	}
	m.endHold(s, key, &gone, "handed over", c.Seq, 0)
	m.totals.releases++
	m.held = append(m.held, m.now-gone.Since)
	s.in.holds--
	m.note(key, ofHold(TransitionHandedOver, s.owner, &gone, ""), nil)
	fence := grants[0].Hold.Fence
	m.handOver(grants)
	return Reply{Index: m.index, Lock: &LockReply{State: StateHandedOver, Fence: fence}}
}

// askHolder tells a holder that a waiter wants its lock.
func (m *Machine) askHolder(s *session, key string, h *locks.Hold, to uint64) Reply {
	waits := false
	m.mine = m.ticketsOf(s.id, m.mine[:0])
	for _, t := range m.mine {
		waits = waits || t.state == TicketQueued && !t.isGate() && t.isFor(key)
	}
	m.forgetMine()
	if !waits {
		return m.notHeld(s, h.Fence)
	}
	if to != 0 && to != s.id {
		return m.fail(CodeBadRequest, "a waiter asks for itself, not for session %d", to)
	}
	old, _ := m.sessions.Get(h.Session)
	holder := m.edit(old)
	m.emit(holder, Event{Kind: EventHandOverAsked, Name: keyName(key), Ticket: h.Ticket, Generation: holder.generation, Fence: h.Fence,
		Reason: strings.TrimSpace(fmt.Sprintf("session %d asks for it: %s", s.id, s.owner))})
	return Reply{Index: m.index, Lock: &LockReply{State: StateAsked, Fence: h.Fence}}
}

// proclaim sets the value of a leader's hold.
func (m *Machine) proclaim(s *session, c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	p := c.Proclaim
	if len(p.Value) > MaxValueBytes {
		return m.fail(CodeTooLarge, "the value has %d bytes, at most %d are allowed", len(p.Value), MaxValueBytes)
	}
	key := keyOf(c.Namespace, c.Name)
	h, ok := m.locks.Hold(key, p.Fence)
	if !ok || !h.Live() || h.Session != s.id {
		return m.notHeld(s, p.Fence)
	}
	h, _ = m.locks.SetValue(key, h.Fence, p.Value)
	m.note(key, ofHold(TransitionProclaimed, s.owner, &h, ""), p.Value)
	return m.ok()
}
