package sim

import (
	"slices"
	"sort"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/fence"
)

// seenSequence is a sequence as entries made it.
type seenSequence struct {
	next int64
	line []step // all that it was to give next
}

// step is what a sequence gives next from an index on.
type step struct {
	index uint64
	next  int64
}

// moved notes what a sequence gives next.
func (q *seenSequence) moved(o *observer, next int64) {
	q.next = next
	q.line = append(q.line, step{o.index, next})
}

// at is what it gave next at an index.
func (q *seenSequence) at(index uint64) int64 {
	if i := sort.Search(len(q.line), func(i int) bool { return q.line[i].index > index }); i > 0 {
		return q.line[i-1].next
	}
	return 0
}

// used is one number of a sequence.
type used struct {
	sequence uint64
	number   int64
}

// sequenceReply checks what a command did to a sequence, the first time that it was executed.
func (o *observer) sequenceReply(c *replicated.Command, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	if g := r.Range; g != nil {
		q := o.sequences[g.SequenceID]
		if q == nil || g.Lo < q.next || g.Count < 1 {
			o.w.fail("entry %d gives %d numbers of sequence %d from %d on, which were given before", o.index, g.Count, g.SequenceID, g.Lo)
		}
		q.moved(o, g.Lo+g.Count)
		return
	}
	switch x := r.Seq; c.Kind {
	case replicated.KindSeqCreate:
		if o.sequences[x.SequenceID] == nil {
			q := &seenSequence{}
			q.moved(o, x.Next)
			o.sequences[x.SequenceID] = q
		}
		o.current[c.Name] = x.SequenceID
	case replicated.KindSeqAdvance:
		if q := o.sequences[x.SequenceID]; x.Next < q.next {
			o.w.fail("entry %d moves sequence %d back to %d, behind %d", o.index, x.SequenceID, x.Next, q.next)
		} else {
			q.moved(o, x.Next)
		}
	case replicated.KindSeqDelete:
		delete(o.current, c.Name)
	}
}

// ahead is a number that a sequence has not given yet.
func (o *observer) ahead(name string) int64 {
	if q := o.sequences[o.current[name]]; q != nil {
		return q.next
	}
	return 1
}

// useNumber checks that a client uses a number that is its own, and that nobody used before.
func (o *observer) useNumber(c *client, sequence uint64, number int64) {
	q := o.sequences[sequence]
	if q == nil || number >= q.next {
		o.w.fail("client %d uses %d of sequence %d, which was given to nobody", c.number, number, sequence)
	}
	if other, twice := o.used[used{sequence, number}]; twice {
		o.w.fail("clients %d and %d both use %d of sequence %d", other, c.number, number, sequence)
	}
	o.used[used{sequence, number}] = c.number
}

// told checks what a client is told about its session: it must be what an entry did.
func (o *observer) told(s *clientSession, r *replicated.SessionReply) {
	if seen := o.sessions[r.ID]; seen == nil || !seen.ended && r.Deadline > seen.deadline {
		o.w.fail("client %d is told that session %d lives until %v, which no entry says", s.c.number, r.ID, time.Duration(r.Deadline))
	}
}

// answered checks a client's answer: it must be what an entry did, and not what somebody thought of doing.
func (o *observer) answered(mine *clientSession, seq uint64, a *answer) {
	s := o.sessions[mine.id]
	if a.index > o.applied || s == nil {
		o.w.fail("client %d is answered from entry %d, which nobody applied", mine.c.number, a.index)
	}
	if s.ended {
		return
	}
	if l := a.reply.Lock; l != nil && l.State == replicated.StateGranted {
		mine.grantedRightly(o, s, seq, l)
		return
	}
	if first, known := s.replies[seq]; known && first != replyDigest(&a.reply) {
		o.w.fail("client %d gets another answer to seq %d of session %d than the one that is stored", mine.c.number, seq, mine.id)
	} else if !known && s.acquires[seq] == nil && seq >= s.ack {
		o.w.fail("client %d gets an answer to seq %d of session %d, which was never executed", mine.c.number, seq, mine.id)
	}
}

// grantedRightly checks a grant in an answer: it must be one that an entry made.
func (s *clientSession) grantedRightly(o *observer, seen *seenSession, seq uint64, l *replicated.LockReply) {
	a := seen.acquires[seq]
	fences := []uint64{l.Fence}
	for i := range l.Fences {
		fences = append(fences, l.Fences[i].Fence)
	}
	for _, f := range fences {
		g := o.fences[f]
		switch {
		case f == 0 && a != nil && a.at != 0 && o.meets(a) != nil:
		case g.acquire != nil && (g.acquire == a || a == nil && g.reentrantFor(s.id)):
		default:
			o.w.fail("client %d is granted fence %d for seq %d of session %d, which no entry says", s.c.number, f, seq, s.id)
		}
	}
}

// reentrantFor reports whether a session may have entered a hold once more.
func (g grant) reentrantFor(session uint64) bool { return g.key.session == session }

// believed checks that a client begins to believe in a hold that was granted to it, and that nobody else does.
func (o *observer) believed(h *hold) {
	g := o.fences[h.fence]
	if g.acquire == nil || g.lock != h.lock || g.key != (ticketKey{h.s.id, h.ticket}) || g.mode != h.mode || g.ends() != h.until {
		o.w.fail("client %d believes to hold %s under fence %d, ticket %d, mode %d, until %d; what was given is %q: %+v", h.s.c.number, h.lock, h.fence,
			h.ticket, h.mode, h.until, g.lock, g.acquire)
	}
	if !o.excused(h) {
		o.alone(h.lock, g.acquire)
	}
	o.lock(h.lock).history.learned(h.fence)
}

// looked checks what a read saw against the state at its index, and a proven read against what was acknowledged before.
func (o *observer) looked(n *node, q *query, s *sight) {
	at := n.machine.applied
	if !q.stale && at < q.floor && !o.w.opt.unproven {
		o.w.fail("node %d reads at %d, and %d was acknowledged before it was asked", n.id, at, q.floor)
	}
	if q.lock == "" {
		if x := o.sequences[s.id]; s.found && (x == nil || x.at(at) != s.next) {
			o.w.fail("node %d reads at %d that sequence %d goes on with %d, which no entry says", n.id, at, s.id, s.next)
		}
		return
	}
	if m := o.lock(q.lock).at(at); m.holds != s.held || m.digest != s.digest {
		o.w.fail("node %d reads at %d that %s is held by %v; it is by %v", n.id, at, q.lock, HeldIn(s.held), HeldIn(m.holds))
	}
}

// read takes the answer to a read.
func (o *observer) read(c *client, q *query, a *answer, begun time.Duration) {
	if q.lock != "" && !q.stale {
		o.lock(q.lock).history.read(c, a.seen.held, begun)
	}
}

// gate guards what a lock is for: it lets writes in the order of fences pass, and refuses what is behind. Shared holders do
// not mind each other. What it decides is the product's own.
type gate struct {
	fence.Gate
	ordinal int // of the newest grant that wrote
	by      *clientSession
}

// write uses what the lock guards, if the clock allows it.
func (h *hold) write() {
	if !h.held() {
		return
	}
	c, w := h.s.c, h.s.c.w
	d := c.rnd.between(100*time.Microsecond, 20*time.Millisecond)
	late := w.faulty && w.lateWrites > 0
	if late {
		w.lateWrites--
		w.happened("write under way for long")
		d = c.rnd.between(20*time.Millisecond, 2*c.ttl)
	}
	w.after(d, func() { w.seen.write(h, late) })
}

// write is a write that arrives at the gate.
func (o *observer) write(h *hold, late bool) {
	w := o.w
	g := o.gates[h.lock]
	if g == nil {
		g = &gate{}
		o.gates[h.lock] = g
	}
	if h.mode == replicated.Semaphore { // there is no gate for them
		w.served("write")
		return
	}
	_, newest := g.Seen()
	of := fence.Hold(fence.Exclusive(h.fence))
	if h.mode == replicated.Shared {
		of = fence.Shared(h.fence)
	}
	if g.Check(of) != nil {
		if late {
			w.operated("late write refused")
		} else {
			w.operated("write of an earlier holder refused")
		}
		return
	}
	ordinal := o.fences[h.fence].ordinal
	if h.mode == replicated.Exclusive && ordinal < g.ordinal {
		w.fail("client %d writes under fence %d of %s; the last write was of a later grant, under %d", h.s.c.number, h.fence, h.lock, newest)
	}
	if h.fence == newest && g.by != nil && g.by != h.s {
		w.fail("clients %d and %d both write under fence %d of %s", g.by.c.number, h.s.c.number, h.fence, h.lock)
	}
	if h.fence >= newest {
		g.ordinal, g.by = ordinal, h.s
	}
	w.served("write")
}

// atEnd checks at the end of a run that everything that anybody holds or was given is in the state.
func (o *observer) atEnd() {
	l := o.w.leader()
	v := l.machine.service.Live()
	for _, c := range o.w.clients {
		if c.session == nil {
			continue
		}
		for _, h := range c.session.holds {
			info, _ := v.Lock(namespace, h.lock)
			listed := slices.ContainsFunc(info.Holders, func(i replicated.HolderInfo) bool { return i.Fence == h.fence })
			if h.believes() && !o.excused(h) && !listed {
				o.w.fail("client %d believes to hold %s under fence %d; the leader has %+v", c.number, h.lock, h.fence, info.Holders)
			}
		}
	}
	o.endHistories()
}

// oneWaiting draws a session that waits for a lock alone, other than its holder's; 0: there is none.
func (o *observer) oneWaiting(rnd *stream, lock string, but uint64) uint64 {
	var found []uint64
	for _, a := range o.lock(lock).queue {
		if a.key.session != but && len(a.names) == 1 && a.mode == replicated.Exclusive {
			found = append(found, a.key.session)
		}
	}
	if len(found) == 0 {
		return 0
	}
	return found[rnd.intn(len(found))]
}
