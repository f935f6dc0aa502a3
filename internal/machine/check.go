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
	c := &checker{m: m}
	if err := m.locks.Check(); err != nil {
		return err
	}
	if err := m.seqs.Check(); err != nil {
		return err
	}
	if m.endedUpTo > m.now || m.domain > 1<<15-1 || m.now < 0 || m.endedUpTo < 0 {
		c.fail("ended up to %d, now %d, domain %d", m.endedUpTo, m.now, m.domain)
	}
	if m.locks.Len()+m.locks.Waiting() > MaxTickets || m.sessions.Len() > MaxSessions || m.seqs.Len() > MaxSequences {
		c.fail("a quota is exceeded")
	}
	c.sessions()
	c.tickets()
	c.holds()
	c.sequences()
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
	in, nonces := map[string]int{}, 0
	m.sessions.Scan(func(id uint64, s *session) bool {
		in[s.namespace]++
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
	if c.err == nil && (nonces != len(m.nonces) || len(in) != len(m.sessionsIn)) {
		c.fail("%d nonces for %d sessions that have one, %d namespaces for %d", len(m.nonces), nonces, len(m.sessionsIn), len(in))
	}
	for ns, n := range in { // all must agree: the order doesn't matter
		if m.sessionsIn[ns] != n || n > MaxSessionsPerNamespace {
			c.fail("namespace %s counts %d sessions and has %d", ns, m.sessionsIn[ns], n)
		}
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
		if st.reply.Session != nil || st.reply.Closed != 0 || st.reply.Lock != nil && st.reply.Lock.Holders != nil {
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
	live, ended := map[uint64]int{}, map[uint64]int{}
	m.tickets.Scan(func(t *ticket) bool {
		s, ok := m.sessions.Get(t.session)
		if !ok || keyNamespace(t.key) != s.namespace || checkName(t.name()) != "" || t.seq == 0 || t.seq > s.highest {
			c.fail("ticket %d of session %d for %q", t.seq, t.session, t.key)
			return false
		}
		if t.ended() {
			ended[t.session]++
			if t.arrival != 0 || t.until != 0 {
				c.fail("ticket %d of session %d is over and has a place", t.seq, t.session)
			}
			return c.err == nil
		}
		live[t.session]++
		if t.state == TicketGranted {
			c.granted++
			h, ok := m.locks.Hold(t.key, t.fence)
			if !ok || !h.Live() || h.Session != t.session || h.Ticket != t.seq || t.arrival != 0 || t.until != 0 || t.reason != "" {
				c.fail("ticket %d of session %d is granted %q under fence %d, the hold is %+v", t.seq, t.session, t.key, t.fence, h)
			}
			return c.err == nil
		}
		c.queued++
		w, ok := m.locks.Waiter(t.key, t.arrival)
		if !ok || w.Session != t.session || w.Ticket != t.seq || w.Until != t.until || t.fence != 0 || t.reason != "" {
			c.fail("ticket %d of session %d waits for %q at place %d, the queue has %+v", t.seq, t.session, t.key, t.arrival, w)
		}
		if t.until != locks.Forever {
			c.indexed(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
		}
		return c.err == nil
	})
	m.sessions.Scan(func(id uint64, s *session) bool {
		if s.liveCount != live[id] || len(s.ended) != ended[id] || s.liveCount > MaxTicketsPerSession {
			c.fail("session %d counts %d live and %d ended tickets and has %d and %d", id, s.liveCount, len(s.ended), live[id], ended[id])
		}
		return c.err == nil
	})
	if c.queued != m.locks.Waiting() {
		c.fail("%d tickets wait, %d are in queues", c.queued, m.locks.Waiting())
	}
}

func (c *checker) holds() {
	m := c.m
	live := 0
	m.locks.Locks("", func(l *locks.Lock) bool {
		for i := range l.Holds {
			h := l.Holds[i]
			if h.Live() {
				live++ // and one of the granted tickets, since each of them has a hold of its own
			} else {
				c.indexed(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence})
				if d, ok := m.due.Get(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence}); ok && d.key != l.Key {
					c.fail("the delay of %q is indexed for %q", l.Key, d.key)
				}
			}
		}
		return c.err == nil
	})
	if live != c.granted {
		c.fail("%d live holds, %d granted tickets", live, c.granted)
	}
}

func (c *checker) sequences() {
	in := map[string]int{}
	c.m.seqs.Ascend("", func(key string, _ idgen.Sequence) bool {
		in[keyNamespace(key)]++
		return true
	})
	if len(in) != len(c.m.seqsIn) {
		c.fail("%d namespaces with sequences, %d counted", len(in), len(c.m.seqsIn))
	}
	for ns, n := range in { // all must agree: the order doesn't matter
		if c.m.seqsIn[ns] != n {
			c.fail("namespace %s counts %d sequences and has %d", ns, c.m.seqsIn[ns], n)
		}
	}
}
