package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/internal/canary"
	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/lease"
)

// ticketState only moves forward, whatever comes twice, late or in another order.
type ticketState uint8

const (
	ticketAsked ticketState = iota
	ticketQueued
	ticketOver // granted or ended
)

// ticket is one acquire, or one wait at a barrier or a latch, from its sending to its grant or end.
type ticket struct {
	s         *clientSession
	cmd       replicated.Command // kind, name and body: what is asked again
	names     []string
	seq       uint64
	state     ticketState
	index     uint64            // of the latest answer about it; 0: only events told
	learned   time.Duration     // by the monotonic clock
	got       []replicated.Hold // grants of several locks, as far as they are known
	asking    bool
	withdrawn bool // nobody wants it: a grant is to be given back, not taken
}

// passage reports whether a grant is no hold: at a barrier or a latch.
func (t *ticket) passage() bool {
	return t.cmd.Kind == replicated.KindBarrierWait || t.cmd.Kind == replicated.KindLatchWait
}

// ask sends what makes a ticket, and takes the answer.
func (s *clientSession) ask(what string, cmd replicated.Command, names ...string) *ticket {
	cmd.Namespace = namespace
	t := &ticket{s: s, cmd: cmd, names: names, seq: s.next}
	s.tickets = append(s.tickets, t)
	s.execute(what, cmd, t.take)
	return t
}

// take takes the answer to the acquire, or to its repetition.
func (t *ticket) take(r *replicated.Reply) {
	t.asking = false
	w := t.s.c.w
	switch {
	case r.Code == replicated.OK && r.Lock.State == replicated.StateGranted:
		t.grantedAll(r)
	case r.Code == replicated.OK && r.Lock.State == replicated.StateQueued:
		t.queued(r.Index)
	default:
		switch r.Code {
		case replicated.OK, replicated.CodeWaitTimeout, replicated.CodeNotHeld, replicated.CodeDeadlock, replicated.CodeLimitMismatch:
		case replicated.CodeLocked:
			w.operated("try refused")
		case replicated.CodeBadRequest:
			w.operated("upgrade refused") // the observer has looked at what it was refused for
		default:
			w.fail("client %d: %v is answered %s: %+v", t.s.c.number, t.names, r.Code, r.Detail)
		}
		t.over()
	}
}

// grantedAll takes the grants in an answer. Of several locks those that are not there any more are missing.
func (t *ticket) grantedAll(r *replicated.Reply) {
	l := r.Lock
	if len(t.names) == 1 {
		t.granted(replicated.Hold{Name: t.names[0], Fence: l.Fence, Until: l.Until}, r.Index)
		return
	}
	if len(l.Fences) < len(t.names) {
		t.giveUp()
	}
	for i := range l.Fences {
		f := &l.Fences[i]
		t.granted(replicated.Hold{Name: f.Name, Fence: f.Fence, Until: f.Until}, r.Index)
	}
}

func (t *ticket) queued(index uint64) {
	t.index = max(t.index, index)
	if t.state >= ticketQueued {
		return
	}
	t.state, t.learned = ticketQueued, t.s.c.instant().Mono
	t.s.plan() // renewals are the backup for the grant's event
}

// granted takes a grant, once. Of several locks the news may come one by one: they are held when all are known.
func (t *ticket) granted(g replicated.Hold, index uint64) {
	if (t.state >= ticketOver && !canary.Broken(canary.TicketTakenOnce)) || t.s.ended {
		return
	}
	w := t.s.c.w
	if !slices.ContainsFunc(t.got, func(o replicated.Hold) bool { return o.Name == g.Name }) {
		t.got = append(t.got, g)
		if t.withdrawn && !t.passage() {
			w.operated("granted to one who left")
			t.s.release(g.Name, g.Fence)
		}
	}
	if len(t.got) < len(t.names) && !canary.Broken(canary.SetNeedsAllGrants) {
		return
	}
	if t.state == ticketQueued {
		w.operated("granted from the queue")
	}
	t.over()
	switch {
	case t.passage():
		w.seen.knows(t.s, t)
		w.operated("let through")
	case !t.withdrawn:
		for i := range t.got {
			t.s.take(&t.got[i], t, index)
		}
		for _, name := range t.names { // it has all of them, or takes itself to have them
			if !slices.ContainsFunc(t.got, func(o replicated.Hold) bool { return o.Name == name }) {
				t.s.take(&replicated.Hold{Name: name}, t, index)
			}
		}
		if len(t.got) > 1 {
			w.operated("several locks at once")
		}
	}
}

// giveUp notes that nobody wants what a ticket has got and will get: it is withdrawn, or lost a part of several locks.
func (t *ticket) giveUp() {
	if t.withdrawn || t.state == ticketOver {
		return
	}
	t.withdrawn = true
	for i := range t.got {
		t.s.release(t.got[i].Name, t.got[i].Fence)
	}
}

func (t *ticket) over() {
	t.state = ticketOver
	if i := slices.Index(t.s.tickets, t); i >= 0 {
		t.s.tickets = slices.Delete(t.s.tickets, i, i+1)
	}
}

// cancel ends a wait, and gives back what it may have got.
func (s *clientSession) cancel(t *ticket) {
	t.giveUp()
	cmd := replicated.Command{Kind: replicated.KindLockCancel, Namespace: namespace, Name: t.names[0], Cancel: &replicated.Cancel{Ticket: t.seq}}
	s.execute("cancel", cmd, func(r *replicated.Reply) {
		switch {
		case r.Code == replicated.CodeBadRequest && len(t.names) > 1:
			s.keepalive() // it was granted, and what the cancellation names is lost already; the answer tells what is left
		case r.Code != replicated.OK:
			s.c.w.fail("client %d: the cancellation of ticket %d for %v is answered %s: %+v", s.c.number, t.seq, t.names, r.Code, r.Detail)
		case r.Lock.State == replicated.StateAlreadyGranted:
			s.c.w.happened("cancel races with the grant")
			switch {
			case t.state == ticketOver:
			case t.passage():
				t.over()
			case len(t.names) > 1:
				s.keepalive() // the answer tells which fences it has
			default:
				t.over()
				s.release(t.names[0], r.Lock.Fence)
			}
		default:
			t.over()
		}
	})
}

// event takes what the service pushes.
func (s *clientSession) event(e *replicated.Event) {
	switch {
	case e.Generation > s.generation:
		s.end(true)
		return
	case e.Generation < s.generation && !canary.Broken(canary.EventOfOwnGeneration):
		return
	case e.Kind == replicated.EventSessionExpired:
		if e.Reason != "expired" {
			s.c.w.operated("told that another process took over")
		}
		s.end(true)
		return
	}
	gap := e.Seq > s.eventsSeen+1
	if !gap {
		s.eventsSeen = max(s.eventsSeen, e.Seq)
	}
	if i := slices.IndexFunc(s.tickets, func(t *ticket) bool { return t.seq == e.Ticket }); i >= 0 {
		switch t := s.tickets[i]; e.Kind {
		case replicated.EventGranted:
			t.granted(replicated.Hold{Name: e.Name, Fence: e.Fence, Until: e.Until}, 0)
		case replicated.EventTimedOut:
			s.c.w.operated("wait timed out")
			t.over()
		case replicated.EventLost: // it came before the news of the grant
			if len(t.names) > 1 {
				t.giveUp()
			} else {
				t.over()
			}
		}
	}
	if i := slices.IndexFunc(s.holds, func(h *hold) bool { return h.fence == e.Fence }); i >= 0 {
		s.holds[i].told(e)
	}
	if gap {
		s.c.w.operated("gap in the events")
		s.keepalive() // the answer tells what the missing events did
	}
}

// reconcile brings tickets and holds up to date with the service's picture of them.
func (s *clientSession) reconcile(sent lease.Instant, reply *replicated.Reply) {
	r := reply.Session
	listed := func(fence uint64) bool {
		return slices.ContainsFunc(r.Holds, func(h replicated.Hold) bool { return h.Fence == fence })
	}
	known := func(seq uint64) bool {
		return slices.ContainsFunc(r.Holds, func(h replicated.Hold) bool { return h.Ticket == seq }) ||
			slices.ContainsFunc(r.Waits, func(w replicated.Wait) bool { return w.Seq == seq })
	}
	for _, t := range slices.Clone(s.tickets) {
		t.whole(r)
		for i := range r.Holds {
			if h := &r.Holds[i]; h.Ticket == t.seq && slices.Contains(t.names, h.Name) {
				t.granted(*h, reply.Index)
			}
		}
		for i := range r.Waits {
			switch w := &r.Waits[i]; {
			case w.Seq != t.seq:
			case w.State == replicated.TicketQueued:
				t.queued(reply.Index)
			default:
				t.over()
			}
		}
	}
	// What is missing is lost only if this answer is later than what is known: by its index, or because its question was
	// sent after that was learned.
	later := func(index uint64, learned time.Duration) bool {
		return canary.Broken(canary.MissingNeedsLaterAnswer) || index != 0 && reply.Index > index || sent.Mono > learned
	}
	for _, h := range slices.Clone(s.holds) {
		h.bound(s.from, s.at)
		if !listed(h.fence) && later(h.index, h.learned) {
			h.drop()
			s.c.w.operated("hold missing in an answer")
		}
	}
	s.eventsSeen = max(s.eventsSeen, r.EventSeq)
	for _, t := range slices.Clone(s.tickets) {
		if t.withdrawn && (t.state == ticketQueued || len(t.got) > 0) && !known(t.seq) && later(t.index, t.learned) {
			t.over()
		}
		if t.state == ticketQueued && !known(t.seq) && later(t.index, t.learned) && !t.asking && !t.withdrawn {
			t.askAgain()
		}
	}
}

// whole looks at whether all locks of a ticket that was granted are there still.
func (t *ticket) whole(r *replicated.SessionReply) {
	n := 0
	for i := range r.Holds {
		if r.Holds[i].Ticket == t.seq {
			n++
		}
	}
	if n > 0 && n < len(t.names) {
		t.giveUp()
	}
}

// askAgain repeats the acquire of a ticket that the service did not mention: the answer is its present state.
func (t *ticket) askAgain() {
	s := t.s
	t.asking = true
	s.c.w.operated("asked for a ticket again")
	s.c.ask("acquire", 0, func() (message, bool) {
		return message{cmd: s.enveloped(t.cmd, t.seq)}, t.state < ticketOver && s.alive()
	}, func(a *answer, _ lease.Instant) {
		if !s.ended && !s.gone(&a.reply) {
			t.take(&a.reply)
		}
	})
}
