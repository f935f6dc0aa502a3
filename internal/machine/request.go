package machine

import (
	"sort"

	"github.com/coordd/coordd/internal/canary"
)

// request carries out a command that has a seq, at most once.
func (m *Machine) request(c *Command, hash uint64) Reply {
	s, refused := m.authorize(c)
	if s == nil {
		return refused
	}
	if c.Seq == 0 {
		if c.Kind == KindSessionClose { // can't be executed twice anyway
			if m.tooLate(c) {
				return m.deadlineExceeded()
			}
			return m.close(s)
		}
		return m.fail(CodeBadRequest, "the request has no seq")
	}
	s = m.edit(s)
	m.acknowledge(s, c)

	// A ticket answers before the floor is looked at: a client may have acknowledged QUEUED and ask again.
	if t, ok := m.ticket(s.id, c.Seq); ok && (c.Seq >= s.floor || !canary.Broken(canary.TicketBelowFloorAnswers)) {
		m.totals.duplicates++
		if t.hash != hash && !canary.Broken(canary.ReuseRefused) {
			return m.reused(c.Seq)
		}
		return m.ticketReply(t)
	}
	if c.Seq < s.floor && !canary.Broken(canary.SeqBelowFloorIsStale) {
		m.totals.duplicates++
		return m.fail(CodeRequestStale, "seq %d was acknowledged: the lowest outstanding one is %d", c.Seq, s.floor)
	}
	if old := s.replies.find(c.Seq); old != nil {
		m.totals.duplicates++
		if old.tombstone && waits(c.Kind) {
			return old.reply
		}
		if (old.tombstone || old.hash != hash) && !canary.Broken(canary.ReuseRefused) {
			return m.reused(c.Seq)
		}
		return old.reply
	}
	if full, r := m.windowFull(s, c.Seq); full {
		return r
	}
	if c.Kind == KindLockCancel {
		// A tombstone needs a place in the window too. Without one the cancel stays outstanding, or an
		// acquire that comes later would be granted to nobody.
		if full, r := m.windowFull(s, c.Cancel.Ticket); full {
			return r
		}
	}
	s.highest = max(s.highest, c.Seq)

	if c.Kind == KindSessionClose && !m.tooLate(c) {
		return m.close(s)
	}
	r, ticketed := m.verb(s, c, hash)
	if ticketed {
		return r // the ticket is what answers a repeat
	}
	s.replies = s.replies.with(&stored{seq: c.Seq, hash: hash, kind: c.Kind, reply: r})
	return r
}

// verb carries out a request for the first time. It reports whether a ticket was made.
func (m *Machine) verb(s *session, c *Command, hash uint64) (r Reply, ticketed bool) {
	if m.tooLate(c) {
		return m.deadlineExceeded(), false
	}
	switch c.Kind {
	case KindLockAcquire:
		return m.acquire(s, c, hash)
	case KindLockAcquireAll:
		return m.acquireAll(s, c, hash)
	case KindBarrierWait:
		return m.barrierWait(s, c, hash)
	case KindLatchWait:
		return m.latchWait(s, c, hash)
	case KindLockCancel:
		r = m.cancel(s, c)
	case KindLockRelease:
		r = m.release(s, c)
	case KindLockHandOver:
		r = m.handOverTo(s, c)
	case KindElectionProclaim:
		r = m.proclaim(s, c)
	case KindLatchSet:
		r = m.latchSet(s, c)
	case KindLatchCountDown:
		r = m.latchCountDown(c)
	default:
		r = m.sequenceVerb(c)
	}
	return r, false
}

// windowFull refuses a seq that is too far above the floor; the refusal is not stored.
func (m *Machine) windowFull(s *session, seq uint64) (bool, Reply) {
	if seq < s.floor || seq-s.floor < Window || canary.Broken(canary.WindowBounded) {
		return false, Reply{}
	}
	return true, m.fail(CodeWindowFull, "seq %d is %d or more above the lowest outstanding one, %d", seq, Window, s.floor)
}

func (m *Machine) reused(seq uint64) Reply {
	return m.fail(CodeRequestReused, "seq %d was used for another command", seq)
}

// acknowledge takes note of what a client says to have received, and forgets what only it could ask for.
func (m *Machine) acknowledge(s *session, c *Command) {
	ack := c.Ack
	if ack == 0 && c.Kind != KindSessionKeepalive && c.Kind != KindSessionResume {
		ack = c.Seq
	}
	s.floor = max(s.floor, ack)
	s.eventsSeen = max(s.eventsSeen, min(c.EventsSeen, s.eventSeq))
	keep := s.floor
	if canary.Broken(canary.RepliesKept) {
		keep = s.highest + 1
	}
	s.replies = s.replies.from(keep)
	m.forgetEnded(s)
}

// stored is one reply that a repeat gets. It is never changed.
type stored struct {
	seq       uint64
	hash      uint64
	kind      Kind
	tombstone bool // nothing was executed: the seq was cancelled before it came
	reply     Reply
}

// replyCache are the stored replies of one session from its floor on, ordered by seq. Its methods return
// the changed cache, and never write where an older one can see it: from moves the front, and
// with writes behind the end, or into a new array. That holds as long as each cache is changed once.
type replyCache []*stored

// leastReplies is the capacity that a cache starts with: enough to allocate rarely, little enough for a
// hundred thousand sessions.
const leastReplies = 4

func (rc replyCache) place(seq uint64) int {
	if n := len(rc); n == 0 || rc[n-1].seq < seq {
		return n // the usual case
	}
	return sort.Search(len(rc), func(i int) bool { return rc[i].seq >= seq })
}

func (rc replyCache) find(seq uint64) *stored {
	if i := rc.place(seq); i < len(rc) && rc[i].seq == seq {
		return rc[i]
	}
	return nil
}

// from drops what is below the floor.
func (rc replyCache) from(floor uint64) replyCache {
	if len(rc) == 0 || rc[0].seq >= floor {
		return rc
	}
	return rc[rc.place(floor):]
}

// with adds a reply whose seq is not there yet.
func (rc replyCache) with(st *stored) replyCache {
	i := rc.place(st.seq)
	if i == len(rc) && len(rc) < cap(rc) {
		return append(rc, st)
	}
	next := make(replyCache, 0, max(leastReplies, 2*len(rc)))
	return append(append(append(next, rc[:i]...), st), rc[i:]...)
}
