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

// ticket is one acquire from its sending to its grant or end.
type ticket struct {
	s         *clientSession
	lock      string
	wait      int64
	seq       uint64
	state     ticketState
	index     uint64        // of the latest answer about it; 0: only events told
	learned   time.Duration // by the monotonic clock
	asking    bool
	withdrawn bool // nobody wants it: a grant is to be given back, not taken
}

// hold is a lock that a process believes to hold, as long as its session lives.
type hold struct {
	s       *clientSession
	lock    string
	ticket  uint64
	fence   uint64
	index   uint64
	learned time.Duration
}

// believes reports whether the holder, if it looked at its clock now, would take the lock for its own.
func (h *hold) believes() bool { return h.s.remainingAt(h.s.c.w.now) > 0 }

// acquire asks for a lock.
func (s *clientSession) acquire(lock string, wait int64) {
	t := &ticket{s: s, lock: lock, wait: wait}
	what := "acquire"
	if wait == 0 {
		what = "try"
	} else if wait != replicated.NoWaitLimit {
		what = "acquire for a while"
	}
	t.seq = s.next
	s.tickets = append(s.tickets, t)
	cmd := replicated.Command{Kind: replicated.KindLockAcquire, Namespace: namespace, Name: lock,
		Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: wait}}
	s.execute(what, cmd, t.take)
}

// take takes the answer to the acquire, or to its repetition.
func (t *ticket) take(r *replicated.Reply) {
	t.asking = false
	switch {
	case r.Code == replicated.OK && r.Lock.State == replicated.StateGranted:
		t.granted(r.Lock.Fence, r.Index)
	case r.Code == replicated.OK && r.Lock.State == replicated.StateQueued:
		t.queued(r.Index)
	default:
		if r.Code == replicated.CodeLocked {
			t.s.c.w.operated("try refused")
		}
		t.over()
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

// granted takes the grant, once.
func (t *ticket) granted(fence, index uint64) {
	if (t.state >= ticketOver && !canary.Broken(canary.TicketTakenOnce)) || t.s.ended {
		return
	}
	if t.state == ticketQueued {
		t.s.c.w.operated("granted from the queue")
	}
	t.over()
	if t.withdrawn {
		t.s.c.w.operated("granted to one who left")
		t.s.release(t.lock, fence)
		return
	}
	t.s.take(t.lock, t.seq, fence, index)
}

func (t *ticket) over() {
	t.state = ticketOver
	if i := slices.Index(t.s.tickets, t); i >= 0 {
		t.s.tickets = slices.Delete(t.s.tickets, i, i+1)
	}
}

// take begins to believe in a hold.
func (s *clientSession) take(lock string, ticket, fence, index uint64) {
	if !s.alive() {
		return
	}
	c := s.c
	h := &hold{s: s, lock: lock, ticket: ticket, fence: fence, index: index, learned: c.instant().Mono}
	s.holds = append(s.holds, h)
	c.w.seen.believed(h)
	// It uses what the lock guards, for a while, and gives it back.
	h.write()
	most := 2 * s.ttl
	if c.rnd.chance(2) {
		most = 200 * time.Millisecond
	}
	use := c.rnd.between(time.Millisecond, most)
	for range c.rnd.intn(3) {
		c.later(c.rnd.between(0, use), h.write)
	}
	c.later(use, func() {
		h.write()
		h.unlock()
	})
}

// held reports whether the process still takes the lock for its own.
func (h *hold) held() bool { return slices.Contains(h.s.holds, h) && h.s.alive() }

// unlock gives the lock back; the holder ceases to believe in it before anybody is told.
func (h *hold) unlock() {
	if !h.held() {
		return
	}
	h.drop()
	h.s.release(h.lock, h.fence)
}

func (h *hold) drop() {
	if i := slices.Index(h.s.holds, h); i >= 0 {
		h.s.holds = slices.Delete(h.s.holds, i, i+1)
	}
}

// release gives a hold back by its fence.
func (s *clientSession) release(lock string, fence uint64) {
	w := s.c.w
	cmd := replicated.Command{Kind: replicated.KindLockRelease, Namespace: namespace, Name: lock, Release: &replicated.Release{Fence: fence}}
	s.execute("release", cmd, func(r *replicated.Reply) {
		if r.Code != replicated.OK && r.Code != replicated.CodeNotHeld {
			w.fail("client %d: the release of fence %d is answered %s", s.c.number, fence, r.Code)
		}
	})
	if w.faulty && s.c.rnd.chance(20) { // as a new command: it finds nothing
		s.execute("release again", cmd, func(r *replicated.Reply) {
			if r.Code == replicated.CodeNotHeld {
				w.operated("released twice")
			}
		})
	}
}

// cancel ends a wait, and gives back what it may have got.
func (s *clientSession) cancel(t *ticket) {
	t.withdrawn = true
	cmd := replicated.Command{Kind: replicated.KindLockCancel, Namespace: namespace, Name: t.lock, Cancel: &replicated.Cancel{Ticket: t.seq}}
	s.execute("cancel", cmd, func(r *replicated.Reply) {
		switch {
		case r.Code != replicated.OK:
			s.c.w.fail("client %d: the cancellation of ticket %d is answered %s", s.c.number, t.seq, r.Code)
		case r.Lock.State == replicated.StateAlreadyGranted:
			s.c.w.happened("cancel races with the grant")
			if t.state != ticketOver {
				t.over()
				s.release(t.lock, r.Lock.Fence)
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
			t.granted(e.Fence, 0)
		case replicated.EventTimedOut:
			s.c.w.operated("wait timed out")
			t.over()
		case replicated.EventLost:
			t.over() // the loss came before the news of the grant
		}
	}
	if i := slices.IndexFunc(s.holds, func(h *hold) bool { return h.fence == e.Fence }); i >= 0 && e.Kind == replicated.EventLost {
		h := s.holds[i]
		h.drop()
		s.c.w.operated("told that a lock is lost")
		if e.Until != 0 && s.c.rnd.chance(2) {
			s.release(h.lock, h.fence) // the service keeps others out until this holder can't believe in it any more
		}
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
		for i := range r.Holds {
			if h := &r.Holds[i]; h.Ticket == t.seq {
				t.granted(h.Fence, reply.Index)
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
		if !listed(h.fence) && later(h.index, h.learned) {
			h.drop()
			s.c.w.operated("hold missing in an answer")
		}
	}
	s.eventsSeen = max(s.eventsSeen, r.EventSeq)
	for _, t := range slices.Clone(s.tickets) {
		if t.state == ticketQueued && !known(t.seq) && later(t.index, t.learned) && !t.asking && !t.withdrawn {
			t.askAgain()
		}
	}
}

// askAgain repeats the acquire of a ticket that the service did not mention: the answer is its present state.
func (t *ticket) askAgain() {
	s := t.s
	t.asking = true
	s.c.w.operated("asked for a ticket again")
	s.c.ask("acquire", 0, func() (message, bool) {
		m := message{cmd: s.command(replicated.KindLockAcquire, t.lock, t.seq)}
		m.cmd.Acquire = &replicated.Acquire{Mode: replicated.Exclusive, Wait: t.wait}
		return m, t.state < ticketOver && s.alive()
	}, func(a *answer, _ lease.Instant) {
		if !s.ended && !s.gone(&a.reply) {
			t.take(&a.reply)
		}
	})
}
