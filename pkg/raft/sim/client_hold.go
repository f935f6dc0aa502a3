package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/internal/canary"
	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/lease"
)

// hold is a lock that a process believes to hold, as long as its session lives, and until the end that it may have of its
// own.
type hold struct {
	s       *clientSession
	lock    string
	ticket  uint64
	fence   uint64
	mode    replicated.Mode
	until   int64      // cluster time at which it ends by itself; 0: never
	own     lease.Term // until that, by the client's clocks
	entries int        // of a reentrant one
	index   uint64
	learned time.Duration
}

// remaining is for how long the holder, if it looked at its clock now, would take the lock for its own.
func (h *hold) remaining() time.Duration {
	c := h.s.c
	left := h.s.remainingAt(c.w.now)
	if own, bounded := h.ownTime(); bounded {
		left = min(left, own)
	}
	return left
}

// ownTime is how long the hold has before the end of its own, if it has one.
func (h *hold) ownTime() (left time.Duration, bounded bool) {
	if h.until == 0 || canary.Broken(canary.MaxHoldBoundsValid) {
		return 0, false
	}
	left, _ = h.own.Left(h.s.c.instant())
	return left, true
}

// over reports whether the end of its own was reached.
func (h *hold) over() bool {
	left, bounded := h.ownTime()
	return bounded && left == 0
}

func (h *hold) believes() bool { return h.remaining() > 0 }

// bound bounds the hold by its own end, as seen from a message that was sent when the cluster's time was not yet now. A later
// one allows for less drift, so the bound may move on; it never moves once it was reached.
func (h *hold) bound(sent lease.Instant, now int64) {
	if h.until == 0 {
		return
	}
	c := h.s.c
	next := lease.NewTerm(sent, c.instant(), now, h.until, c.w.clientDrift)
	if left, _ := h.own.Left(c.instant()); h.own == (lease.Term{}) || left > 0 && next.Outlasts(h.own) {
		h.own = next
	}
}

// take begins to believe in a hold.
func (s *clientSession) take(g *replicated.Hold, t *ticket, index uint64) {
	if !s.alive() {
		return
	}
	c := s.c
	if a := t.cmd.Acquire; a != nil && a.Reentrant {
		if i := slices.IndexFunc(s.holds, func(h *hold) bool { return h.fence == g.Fence }); i >= 0 {
			s.holds[i].enter()
			return
		}
		if slices.Contains(a.Holding, g.Fence) {
			// It was lost, or given back, before it was known that it was entered again.
			s.release(g.Name, g.Fence)
			return
		}
	}
	h := &hold{s: s, lock: g.Name, ticket: t.seq, fence: g.Fence, mode: max(g.Mode, replicated.Exclusive), until: g.Until, entries: 1,
		index: index, learned: c.instant().Mono}
	if a := t.cmd.Acquire; a != nil {
		h.mode = a.Mode
	}
	h.bound(s.from, s.at)
	if h.over() {
		return // the news came after its own end
	}
	s.holds = append(s.holds, h)
	c.w.seen.believed(h)
	h.use()
	if t.cmd.Kind == 0 && h.mode != replicated.Semaphore { // of another process, which may have entered it several times
		for range int(g.Count) - 1 {
			h.enter()
		}
	}
}

// use uses what the lock guards, for a while, and gives it back.
func (h *hold) use() {
	s, c := h.s, h.s.c
	h.write()
	most := 2 * s.ttl
	if c.rnd.chance(2) {
		most = 200 * time.Millisecond
	}
	use := c.rnd.between(time.Millisecond, most)
	for range c.rnd.intn(3) {
		c.later(c.rnd.between(0, use), h.write)
	}
	if isElection(h.lock) {
		c.later(c.rnd.between(0, use), h.proclaim)
	}
	c.later(use, func() {
		h.write()
		if isElection(h.lock) && c.rnd.chance(3) && h.handOver() {
			return
		}
		h.unlock()
	})
}

// enter enters the hold once more.
func (h *hold) enter() {
	h.entries++
	c := h.s.c
	c.later(c.rnd.between(time.Millisecond, h.s.ttl), h.unlock)
}

// held reports whether the process still takes the lock for its own.
func (h *hold) held() bool {
	if !slices.Contains(h.s.holds, h) || !h.s.alive() {
		return false
	}
	if !h.over() {
		return true
	}
	h.s.c.w.operated("hold lost by its own end")
	h.drop()
	return false
}

// unlock gives the lock back, or one entry of it; the holder ceases to believe in it before anybody is told.
func (h *hold) unlock() {
	if !h.held() {
		return
	}
	if h.entries--; h.entries == 0 || canary.Broken(canary.EntriesCounted) {
		h.drop()
	}
	h.s.release(h.lock, h.fence)
}

func (h *hold) drop() {
	if i := slices.Index(h.s.holds, h); i >= 0 {
		h.s.holds = slices.Delete(h.s.holds, i, i+1)
	}
}

// told takes an event about a hold.
func (h *hold) told(e *replicated.Event) {
	s, c := h.s, h.s.c
	switch e.Kind {
	case replicated.EventLost:
		h.drop()
		c.w.operated("told that a lock is lost")
		if e.Until != 0 && c.rnd.chance(2) {
			for range h.entries {
				s.release(h.lock, h.fence) // the service keeps others out until this holder can't believe in it any more
			}
		}
	case replicated.EventHandOverAsked:
		c.w.operated("told that a waiter asks")
		if c.rnd.chance(2) {
			c.later(c.rnd.between(0, 100*time.Millisecond), func() { h.handOver() })
		}
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
	if w.faulty && s.c.rnd.chance(20) && !s.holdsUnder(fence) { // as a new command: it finds nothing
		s.execute("release again", cmd, func(r *replicated.Reply) {
			if r.Code == replicated.CodeNotHeld {
				w.operated("released twice")
			}
		})
	}
}

func (s *clientSession) holdsUnder(fence uint64) bool {
	return slices.ContainsFunc(s.holds, func(h *hold) bool { return h.fence == fence })
}

// proclaim says something as the leader of an election.
func (h *hold) proclaim() {
	if !h.held() {
		return
	}
	c := h.s.c
	c.said++
	h.s.execute("proclaim", replicated.Command{Kind: replicated.KindElectionProclaim, Namespace: namespace, Name: h.lock,
		Proclaim: &replicated.Proclaim{Fence: h.fence, Value: c.value()}}, func(r *replicated.Reply) {
		if r.Code != replicated.OK && r.Code != replicated.CodeNotHeld {
			c.w.fail("client %d: what it proclaims is answered %s", c.number, r.Code)
		}
	})
}

// handOver gives the lock to one who waits for it, out of turn; the holder ceases to believe in it before anybody is told. It
// is false if nobody is known to wait.
func (h *hold) handOver() bool {
	if !h.held() || h.entries != 1 || h.mode != replicated.Exclusive {
		return false
	}
	to := h.s.c.w.seen.oneWaiting(&h.s.c.rnd, h.lock, h.s.id)
	if to == 0 {
		return false
	}
	h.drop()
	h.s.handOver(h.lock, h.fence, to)
	return true
}

// handOver has a hold go to another session, and gives it back if that one does not wait any more.
func (s *clientSession) handOver(lock string, fence, to uint64) {
	w := s.c.w
	s.execute("hand over", replicated.Command{Kind: replicated.KindLockHandOver, Namespace: namespace, Name: lock,
		HandOver: &replicated.HandOver{Fence: fence, To: to}}, func(r *replicated.Reply) {
		switch r.Code {
		case replicated.OK, replicated.CodeNotHeld:
		case replicated.CodeNotFound:
			w.operated("hand-over to one who left")
			s.release(lock, fence)
		default:
			w.fail("client %d: a hand-over is answered %s", s.c.number, r.Code)
		}
	})
}
