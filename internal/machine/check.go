package machine

import (
	"errors"
	"fmt"

	"github.com/coordd/coordd/pkg/idgen"
	"github.com/coordd/coordd/pkg/locks"
)

var errInconsistent = errors.New("inconsistent state")

// check verifies what holds between any two entries: locks, queues, tickets, sessions and deadlines tell the
// same story. Tests call it after every entry, Restore once. It reads everything: O(n log n).
func (m *Machine) check() error {
	c := &checker{m: m, in: map[string]*space{}}
	if err := m.locks.Check(); err != nil {
		return err
	}
	if err := m.seqs.Check(); err != nil {
		return err
	}
	if m.endedUpTo > m.now || m.domain > 1<<15-1 || m.now < 0 || m.endedUpTo < 0 {
		c.fail("ended up to %d, now %d, domain %d", m.endedUpTo, m.now, m.domain)
	}
	if err := m.barriers.Check(); err != nil {
		return err
	}
	if err := m.latches.Check(); err != nil {
		return err
	}
	if m.places() > MaxTickets || m.sessions.Len() > MaxSessions || m.seqs.Len() > MaxSequences {
		c.fail("a quota is exceeded")
	}
	c.sessions()
	c.tickets()
	c.holds()
	c.timelines()
	c.sequences()
	c.spaces()
	if c.err == nil && m.due.Len() != c.due {
		c.fail("%d deadlines are indexed, %d are there", m.due.Len(), c.due)
	}
	return c.err
}

type checker struct {
	m               *Machine
	err             error
	due             int // deadlines that must be indexed
	granted, queued int
	atGates         int
	in              map[string]*space // what there is in each namespace
}

// space returns what was counted in a namespace.
func (c *checker) space(ns string) *space {
	if c.in[ns] == nil {
		c.in[ns] = &space{name: ns}
	}
	return c.in[ns]
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{errInconsistent}, args...)...)
	}
}

func (c *checker) indexed(d due) {
	c.due++
	if _, ok := c.m.due.Get(d); !ok {
		c.fail("deadline %d of kind %d is not indexed", d.at, d.kind)
	}
	if d.at <= c.m.endedUpTo {
		c.fail("deadline %d of kind %d is over: ended up to %d", d.at, d.kind, c.m.endedUpTo)
	}
}

func (c *checker) sessions() {
	m := c.m
	nonces := 0
	m.sessions.Scan(func(id uint64, s *session) bool {
		c.space(s.namespace).sessions++
		if s.in != m.spaces[s.namespace] {
			c.fail("session %d is not counted in its namespace", id)
		}
		c.indexed(due{at: s.deadline, kind: dueSession, a: id})
		switch {
		case s.id != id || id == 0 || id > m.lastSession:
			c.fail("session %d stands under %d, last %d", s.id, id, m.lastSession)
		case s.ttl < MinTTL || s.ttl > MaxTTL || s.renewed > m.now || s.floor == 0 || s.eventsSeen > s.eventSeq:
			c.fail("session %d: ttl %d, renewed %d, floor %d, events %d of %d", id, s.ttl, s.renewed, s.floor, s.eventsSeen, s.eventSeq)
		case checkNamespace(s.namespace) != "" || len(s.owner) > MaxOwnerBytes || checkMetadata(s.metadata) != "":
			c.fail("session %d: impossible namespace, owner or metadata", id)
		case len(s.replies) > Window || len(s.ended) > MaxEndedTickets+Window:
			c.fail("session %d: %d replies, %d ended tickets", id, len(s.replies), len(s.ended))
		}
		if s.nonce != (digest{}) {
			nonces++
			if m.nonces[s.nonce] != id {
				c.fail("the nonce of session %d belongs to %d", id, m.nonces[s.nonce])
			}
		}
		c.replies(s)
		c.ended(s)
		return c.err == nil
	})
	if c.err == nil && nonces != len(m.nonces) {
		c.fail("%d nonces for %d sessions that have one", len(m.nonces), nonces)
	}
}

func (c *checker) replies(s *session) {
	for i, st := range s.replies {
		if st.seq < s.floor || st.seq-s.floor >= Window || st.seq > s.highest || i > 0 && s.replies[i-1].seq >= st.seq {
			c.fail("session %d has a reply for seq %d, floor %d, highest %d", s.id, st.seq, s.floor, s.highest)
		}
		if _, both := c.m.ticket(s.id, st.seq); both {
			c.fail("session %d has a reply and a ticket for seq %d", s.id, st.seq)
		}
		if st.reply.Session != nil || st.reply.Closed != 0 || st.reply.Lock != nil && (st.reply.Lock.Holders != nil || st.reply.Lock.Fences != nil) {
			c.fail("session %d stores a reply that a snapshot loses, seq %d", s.id, st.seq)
		}
	}
}

func (c *checker) ended(s *session) {
	for i, e := range s.ended {
		t, ok := c.m.ticket(s.id, e.seq)
		if !ok || !t.ended() || (e.bySeq == 0) == (e.byEvent == 0) || e.byEvent > s.eventSeq || i > 0 && s.ended[i-1].seq >= e.seq {
			c.fail("session %d: ended ticket %+v", s.id, e)
		}
	}
}

func (c *checker) tickets() {
	m := c.m
	holds, waits, ended := map[uint64]int{}, map[uint64]int{}, map[uint64]int{}
	m.tickets.Scan(func(t *ticket) bool {
		s, ok := m.sessions.Get(t.session)
		if !ok || keyNamespace(t.key) != s.namespace || checkName(t.name()) != "" || t.seq == 0 || t.seq > s.highest {
			c.fail("ticket %d of session %d for %q", t.seq, t.session, t.key)
			return false
		}
		if t.errand > forLatch || (t.errand == forAll && !t.ended()) != (t.several != nil) {
			c.fail("ticket %d of session %d has errand %d and several locks: %t", t.seq, t.session, t.errand, t.several != nil)
			return false
		}
		switch {
		case t.ended():
			ended[t.session]++
			if t.arrival != 0 || t.until != 0 {
				c.fail("ticket %d of session %d is over and has a place", t.seq, t.session)
			}
		case t.holds():
			holds[t.session] += t.places()
			c.granted += t.places()
			c.holdsOf(t)
		default:
			waits[t.session] += t.places()
			c.space(s.namespace).waiters += t.places()
			c.placesOf(t)
		}
		return c.err == nil
	})
	m.sessions.Scan(func(id uint64, s *session) bool {
		if s.holds != holds[id] || s.waits != waits[id] || len(s.ended) != ended[id] || s.holds+s.waits > MaxTicketsPerSession {
			c.fail("session %d counts %d holds, %d waits and %d ended tickets and has %d, %d and %d", id, s.holds, s.waits, len(s.ended),
				holds[id], waits[id], ended[id])
		}
		return c.err == nil
	})
	if c.queued != m.locks.Waiting() || c.atGates != m.barriers.Waiting()+m.latches.Waiting() {
		c.fail("%d tickets wait for locks, %d are in queues; %d at barriers and latches, %d are there", c.queued, m.locks.Waiting(), c.atGates,
			m.barriers.Waiting()+m.latches.Waiting())
	}
}

// holdsOf compares a granted ticket with its holds.
func (c *checker) holdsOf(t *ticket) {
	if t.several != nil && (len(t.several.keys) == 0 || len(t.several.fences) != len(t.several.keys)) {
		c.fail("ticket %d of session %d has %d locks and %d fences", t.seq, t.session, len(t.several.keys), len(t.several.fences))
		return
	}
	if key, fence := t.place(0); key != t.key || fence != t.fence || t.arrival != 0 || t.reason != "" {
		c.fail("ticket %d of session %d for %q is granted %q under fence %d", t.seq, t.session, t.key, key, fence)
	}
	for i := range t.places() {
		key, fence := t.place(i)
		h, ok := c.m.locks.Hold(key, fence)
		if !ok || !h.Live() || h.Session != t.session || h.Ticket != t.seq || h.Until != t.until || Mode(h.Mode) != t.mode || h.Permits != uint64(t.count) {
			c.fail("ticket %d of session %d is granted %q under fence %d, the hold is %+v", t.seq, t.session, key, fence, h)
		}
	}
}

// placesOf compares a waiting ticket with its places.
func (c *checker) placesOf(t *ticket) {
	if t.fence != 0 || t.reason != "" || t.several != nil && (len(t.several.keys) == 0 || t.several.keys[0] != t.key || t.several.fences != nil) {
		c.fail("ticket %d of session %d waits and has fence %d", t.seq, t.session, t.fence)
		return
	}
	if t.until != locks.Forever {
		c.indexed(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
	}
	if t.isGate() {
		c.atGates++
		p, ok := c.m.barriers.Party(t.key, t.arrival)
		if t.errand == forLatch {
			p, ok = c.m.latches.Party(t.key, t.arrival)
		}
		if !ok || p.Session != t.session || p.Ticket != t.seq || p.Until != t.until {
			c.fail("ticket %d of session %d waits at %q, where %+v is", t.seq, t.session, t.key, p)
		}
		return
	}
	for i := range t.places() {
		c.queued++
		key, _ := t.place(i)
		w, ok := c.m.locks.Waiter(key, t.arrival)
		if !ok || w.Session != t.session || w.Ticket != t.seq || w.Until != t.until || Mode(w.Mode) != t.mode || w.Permits != uint64(t.count) {
			c.fail("ticket %d of session %d waits for %q at place %d, the queue has %+v", t.seq, t.session, key, t.arrival, w)
		}
	}
}

func (c *checker) holds() {
	m := c.m
	live := 0
	m.locks.Locks("", func(l *locks.Lock) bool {
		c.space(keyNamespace(l.Key)).holds += len(l.Holds)
		for _, h := range l.Holds {
			d := due{at: h.Until, kind: dueHold, a: h.Fence}
			if h.Live() {
				live++ // and one of the granted tickets', since each of their holds is one of its own
			} else {
				d = due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence}
			}
			if d.at == 0 {
				continue
			}
			c.indexed(d)
			if is, ok := m.due.Get(d); ok && is.key != l.Key {
				c.fail("the end of a hold of %q is indexed for %q", l.Key, is.key)
			}
		}
		return c.err == nil
	})
	if live != c.granted {
		c.fail("%d live holds, %d of granted tickets", live, c.granted)
	}
}

// timelines: each lock that isn't free has one, if entries of version 2 brought it to be so, and of the free ones not
// too many have.
func (c *checker) timelines() {
	m := c.m
	free := 0
	m.timelines.all.Scan(func(key string, t *timeline) bool {
		if _, held := m.locks.Get(key); held != (t.slot == nil) {
			c.fail("the timeline of %q says that it is free: %t", key, held)
		}
		if t.slot != nil {
			free++
			if t.slot.key != key || t.slot.number > m.timelines.freed {
				c.fail("the timeline of %q is that of %q, free as the %dth of %d", key, t.slot.key, t.slot.number, m.timelines.freed)
			}
		}
		if t.length == 0 || t.length > longTimeline || uint64(t.length) > t.number {
			c.fail("the timeline of %q has %d of %d transitions", key, t.length, t.number)
			return false
		}
		for _, k := range t.transitions() {
			if k.Kind == 0 || k.Kind > TransitionReentered || k.Index > m.index || k.At > m.now {
				c.fail("transition %d of %q has kind %d, index %d and time %d", k.Number, key, k.Kind, k.Index, k.At)
			}
		}
		return c.err == nil
	})
	listed, last := 0, uint64(0)
	for s := m.unheld.first; s != nil && listed <= free; s = s.next {
		if listed++; s.number <= last {
			c.fail("free lock %q stands behind the %dth", s.key, last)
		}
		last = s.number
	}
	if free != m.unheld.n || listed != free || free > MaxFreeTimelines {
		c.fail("%d free locks have a timeline, %d are counted and %d listed", free, m.unheld.n, listed)
	}
	if m.version < 1 || m.version < 2 && m.timelines.all.Len() > 0 {
		c.fail("version %d and %d timelines", m.version, m.timelines.all.Len())
	}
}

func (c *checker) sequences() {
	c.m.seqs.Ascend("", func(key string, _ idgen.Sequence) bool {
		c.space(keyNamespace(key)).seqs++
		return true
	})
}

// spaces: what namespaces count is what they have.
func (c *checker) spaces() {
	m := c.m
	m.barriers.All("", func(b *locks.Barrier) bool { c.space(keyNamespace(b.Key)).gates++; return true })
	m.latches.All("", func(l *locks.Latch) bool { c.space(keyNamespace(l.Key)).gates++; return true })
	if len(c.in) != len(m.spaces) {
		c.fail("%d namespaces have something, %d are counted", len(c.in), len(m.spaces))
	}
	for ns, has := range c.in { // all must agree: the order doesn't matter
		if counts := m.spaces[ns]; counts == nil || *counts != *has {
			c.fail("namespace %s counts %+v and has %+v", ns, counts, has)
		}
		if has.sessions > MaxSessionsPerNamespace || has.gates > MaxGatesPerNamespace || has.seqs > MaxSequencesPerNamespace {
			c.fail("a quota of namespace %s is exceeded: %+v", ns, has)
		}
	}
}
