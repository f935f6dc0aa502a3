package sim

import (
	"math"
	"slices"

	replicated "github.com/coordd/coordd/internal/machine"
)

// acquire is one request for locks, or to wait at a barrier or a latch, as the command says that was executed.
type acquire struct {
	key       ticketKey
	number    int // in the order in which they were executed
	names     []string
	mode      replicated.Mode
	count     uint64 // permits
	limit     uint64 // of a semaphore; 0: a lock
	parties   uint64 // of a barrier
	delay     int64
	maxHold   int64
	until     int64 // end of the wait
	holding   []uint64
	reentrant bool
	value     string // of a candidate, then what it proclaimed
	first     uint64 // digest of the former
	at        int64  // cluster time of the grant

	phase   phase
	fences  []uint64 // by name; 0: not granted there
	entries []uint64 // of reentrant holds, by name
	exempt  bool     // its hold was taken away at once by force
}

// phase is how far an acquire is.
type phase uint8

const (
	phaseQueued phase = iota + 1
	phaseGranted
	phaseOver
)

// asked makes what is known of an acquire from its command.
func (o *observer) asked(s *seenSession, c *replicated.Command) *acquire {
	o.acquires++
	a := &acquire{key: ticketKey{s.id, c.Seq}, number: o.acquires, names: []string{c.Name}, mode: replicated.Exclusive, count: 1}
	wait := int64(0)
	switch {
	case c.Acquire != nil:
		q := c.Acquire
		a.mode, a.limit, a.delay, a.maxHold, a.holding, a.reentrant = q.Mode, q.Limit, q.Delay, q.MaxHold, q.Holding, q.Reentrant
		a.value, a.count, wait = string(q.Value), max(q.Count, 1), q.Wait
	case c.AcquireAll != nil:
		q := c.AcquireAll
		a.names, a.delay, a.maxHold, a.holding, wait = q.Names, q.Delay, q.MaxHold, q.Holding, q.Wait
	case c.BarrierWait != nil:
		a.parties, wait = c.BarrierWait.Parties, c.BarrierWait.Wait
	case c.LatchWait != nil:
		wait = c.LatchWait.Wait
	}
	a.fences, a.entries, a.first = make([]uint64, len(a.names)), make([]uint64, len(a.names)), digestOf(a.value)
	if a.until = o.now + wait; wait == replicated.NoWaitLimit {
		a.until = math.MaxInt64
	}
	return a
}

// meets reports whether it waits at a barrier or a latch.
func (o *observer) meets(a *acquire) *meeting { return o.meeting(a.names[0]) }

// ends is the instant at which a hold ends by itself; 0: never.
func (a *acquire) ends() int64 {
	if a.maxHold == 0 {
		return 0
	}
	return a.at + a.maxHold
}

// moves lets an acquire go on to a phase, never back.
func (o *observer) moves(a *acquire, to phase) {
	if a.phase > to {
		o.w.fail("entry %d: the acquire %d of session %d was in phase %d, and is in %d", o.index, a.key.seq, a.key.session, a.phase, to)
	}
	a.phase = to
}

// acquired checks the answer to an acquire, or to its repetition.
func (o *observer) acquired(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	a := s.acquires[c.Seq]
	granted := r.Lock != nil && r.Lock.State == replicated.StateGranted
	queued := r.Lock != nil && r.Lock.State == replicated.StateQueued
	if a == nil {
		if granted && o.entered(s, c, r) {
			return
		}
		if !granted && !queued {
			if !o.repeated(s, c.Seq, r) {
				o.refused(s, c, r)
			}
			return
		}
		a = o.asked(s, c)
		s.acquires[c.Seq] = a
		o.enqueue(a)
	}
	switch {
	case granted:
		o.grants(s, a, r)
		o.moves(a, phaseGranted)
	case queued:
		o.moves(a, phaseQueued)
	default: // a refusal that the ticket knows of: it is over
		o.moves(a, phaseOver)
	}
}

// enqueue puts an acquire at the end of each queue that it is for; who is granted at once leaves them in the same entry.
func (o *observer) enqueue(a *acquire) {
	if m := o.meets(a); m != nil {
		m.arrives(o, a)
		return
	}
	for _, name := range a.names {
		l := o.lock(name)
		l.queue = append(l.queue, a)
	}
}

// grants takes the fences that an answer gives.
func (o *observer) grants(s *seenSession, a *acquire, r *replicated.Reply) {
	if m := o.meets(a); m != nil {
		m.passes(o, a)
		return
	}
	if len(a.names) == 1 {
		o.grant(s, a, a.names[0], r.Lock.Fence)
		return
	}
	if a.at == 0 && len(r.Lock.Fences) != len(a.names) { // later some may have been given back
		o.w.fail("entry %d: the acquire %d of session %d is for %d locks, and is granted %d", o.index, a.key.seq, s.id, len(a.names), len(r.Lock.Fences))
	}
	first := a.at == 0
	for i := range r.Lock.Fences {
		f := &r.Lock.Fences[i]
		if first && f.Name != a.names[i] || !slices.Contains(a.names, f.Name) {
			o.w.fail("entry %d: the acquire %d of session %d is granted %q, which is not what it asked for there", o.index, a.key.seq, s.id, f.Name)
		}
		o.grant(s, a, f.Name, f.Fence)
	}
}

// entered takes the answer to an acquire that enters its caller's own hold once more.
func (o *observer) entered(s *seenSession, c *replicated.Command, r *replicated.Reply) bool {
	if c.Acquire == nil || !c.Acquire.Reentrant || !slices.Contains(c.Acquire.Holding, r.Lock.Fence) {
		return false
	}
	g, known := o.fences[r.Lock.Fence]
	if !known || g.lock != c.Name || g.key.session != s.id {
		o.w.fail("entry %d: session %d enters %s under fence %d, which it does not hold", o.index, s.id, c.Name, r.Lock.Fence)
	}
	if !o.repeated(s, c.Seq, r) {
		*g.inside()++
		o.w.operated("entered again")
	}
	return true
}

// refused checks that an acquire is refused only for a reason.
func (o *observer) refused(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	names := []string{c.Name}
	if c.AcquireAll != nil {
		names = c.AcquireAll.Names
	}
	switch r.Code {
	case replicated.CodeLocked:
		for _, name := range names {
			if m := o.meeting(name); m != nil || o.lock(name).inUse(o) {
				return
			}
		}
		o.w.fail("entry %d refuses %s to session %d, which nobody holds or waits for", o.index, names[0], s.id)
	case replicated.CodeBadRequest:
		a := o.asked(s, c)
		if !slices.ContainsFunc(a.holding, func(f uint64) bool {
			g := o.fences[f]
			return g.acquire != nil && g.key.session == s.id && g.mode == replicated.Shared && a.mode == replicated.Exclusive && slices.Contains(names, g.lock)
		}) {
			o.w.fail("entry %d: session %d asks for %v, and is told that this is no request: %+v", o.index, s.id, names, r.Detail)
		}
	case replicated.CodeLimitMismatch:
		o.w.operated("another limit refused")
		if m := o.meeting(c.Name); m == nil && c.Acquire != nil && !o.lock(c.Name).inUse(o) {
			o.w.fail("entry %d refuses %s to session %d for its limit, and nobody uses it with another one", o.index, names[0], s.id)
		}
	case replicated.CodeDeadlock:
		o.w.operated("deadlock refused")
		if a := o.asked(s, c); !o.circle(a) {
			o.w.fail("entry %d: session %d, which says that it holds %v, waits for %v, and is refused for a deadlock: there is no cycle; %v", o.index, s.id, a.holding, names, r.Detail.Cycle)
		}
		if r.Detail == nil || len(r.Detail.Cycle) == 0 {
			o.w.fail("entry %d refuses %v to session %d for a deadlock, and does not tell its cycle", o.index, names, s.id)
		}
	}
}

// granting takes an event that tells of a grant.
func (o *observer) granting(s *seenSession, ev *replicated.Event) {
	a := s.acquires[ev.Ticket]
	if a == nil || !slices.Contains(a.names, ev.Name) {
		o.w.fail("entry %d grants %s to ticket %d of session %d, which never asked for it", o.index, ev.Name, ev.Ticket, ev.Session)
	}
	if m := o.meets(a); m != nil {
		m.passes(o, a)
	} else {
		o.grant(s, a, ev.Name, ev.Fence)
	}
	if !s.ended {
		o.moves(a, phaseGranted)
	}
}

// grant notes that a lock was granted to an acquire: once, under a fence above all before.
func (o *observer) grant(s *seenSession, a *acquire, lock string, fence uint64) {
	w := o.w
	if g, known := o.fences[fence]; known {
		if g.acquire != a || g.lock != lock {
			w.fail("entry %d: fence %d is given to session %d for %s, and was given to session %d for %s", o.index, fence, s.id, lock, g.key.session, g.lock)
		}
		return
	}
	i := slices.Index(a.names, lock)
	if a.fences[i] != 0 {
		w.fail("entry %d: the acquire %d of session %d is granted under fence %d, and was under %d", o.index, a.key.seq, s.id, fence, a.fences[i])
	}
	if a.at == 0 {
		a.at = o.now
	}
	o.gives(a, i, fence, 0)
}

// gives notes a new fence.
func (o *observer) gives(a *acquire, i int, fence, old uint64) {
	if fence <= o.floor {
		o.w.fail("entry %d: fence %d of %s is not above %d, which was given before", o.index, fence, a.names[i], o.floor)
	}
	if a.fences[i] = fence; old == 0 {
		a.entries[i] = 1
	}
	o.maxFence = max(o.maxFence, fence)
	o.fences[fence] = grant{a.names[i], a, len(o.fences), old}
	o.granted = append(o.granted, fence)
	o.lock(a.names[i]).touched = true
}

// renewedHold notes that a hold goes on under another fence: another process took its session over.
func (o *observer) renewedHold(s *seenSession, h *replicated.Hold) {
	a := s.acquires[h.Ticket]
	i := -1
	if a != nil {
		i = slices.Index(a.names, h.Name)
	}
	if i < 0 || a.fences[i] == 0 {
		o.w.fail("entry %d: another process takes session %d over, and holds %s, which was not granted to ticket %d", o.index, s.id, h.Name, h.Ticket)
	}
	old := a.fences[i]
	if old == h.Fence {
		o.w.fail("entry %d: another process takes session %d over, and holds %s under the same fence %d", o.index, s.id, h.Name, old)
	}
	o.over[old] = true
	o.renewals[old] = h.Fence
	o.gives(a, i, h.Fence, old)
}

func (o *observer) timedOut(s *seenSession, seq uint64) {
	a := s.acquires[seq]
	if a == nil || o.now < a.until {
		o.w.fail("entry %d ends the wait of ticket %d of session %d before its time", o.index, seq, s.id)
	}
	o.moves(a, phaseOver)
}

// inside is how often a hold was entered.
func (g grant) inside() *uint64 { return &g.entries[slices.Index(g.names, g.lock)] }

// mine is what is known of a fence, which must be one of this session's for this lock.
func (o *observer) mine(s *seenSession, what, lock string, fence uint64) grant {
	g, known := o.fences[fence]
	if !known || g.key.session != s.id || g.lock != lock {
		o.w.fail("entry %d: session %d %s %s under fence %d, which it never had", o.index, s.id, what, lock, fence)
	}
	return g
}

// gone notes that a hold is over: its acquire is, once all of its holds are.
func (o *observer) gone(g grant, fence uint64) {
	o.over[fence] = true
	if !slices.ContainsFunc(g.fences, func(f uint64) bool { return f != fence && !o.over[f] && o.stands(f) }) {
		g.phase = phaseOver
	}
}

func (o *observer) released(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	f := c.Release.Fence
	g := o.mine(s, "releases", c.Name, f)
	if r.Lock.Entries > 0 {
		in := g.inside()
		if *in--; *in != r.Lock.Entries {
			o.w.fail("entry %d: session %d is told that %d entries of %s are left; it is %d", o.index, s.id, r.Lock.Entries, c.Name, *in)
		}
		o.w.operated("left a hold that was entered again")
		return
	}
	if n := *g.inside(); n > 1 && !o.lock(c.Name).isDelayed(f) {
		o.w.fail("entry %d frees %s of session %d, which has entered it %d times", o.index, c.Name, s.id, n)
	}
	o.gone(g, f)
}

func (o *observer) handedOver(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	if r.Lock.State != replicated.StateHandedOver {
		o.w.operated("asked for a hand-over")
		return
	}
	o.w.operated("handed over")
	g := o.mine(s, "hands over", c.Name, c.HandOver.Fence)
	o.gone(g, c.HandOver.Fence)
	o.handed[r.Lock.Fence] = true
	if !slices.ContainsFunc(o.events, func(ev replicated.Event) bool {
		return ev.Kind == replicated.EventGranted && ev.Session == c.HandOver.To && ev.Name == c.Name && ev.Fence == r.Lock.Fence
	}) {
		o.w.fail("entry %d: %s was to go from session %d to %d, under fence %d; that is not where it went", o.index, c.Name, s.id, c.HandOver.To, r.Lock.Fence)
	}
}

func (o *observer) proclaimed(s *seenSession, c *replicated.Command) {
	g := o.mine(s, "proclaims for", c.Name, c.Proclaim.Fence)
	if l := o.lock(c.Name); o.over[c.Proclaim.Fence] || l.find(c.Proclaim.Fence) == nil && !slices.Contains(o.granted, c.Proclaim.Fence) {
		o.w.fail("entry %d: session %d proclaims for %s under fence %d, which is over", o.index, s.id, c.Name, c.Proclaim.Fence)
	}
	g.value = string(c.Proclaim.Value)
	o.lock(c.Name).history.add(Op{Kind: OpProclaim, Fence: c.Proclaim.Fence, Value: digestOf(c.Proclaim.Value), Call: o.appended, Return: o.w.now})
	o.w.operated("proclaimed")
}

func (o *observer) forced(c *replicated.Command, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	f := c.Force.Fence
	g := o.fences[f]
	if g.lock != c.Name {
		o.w.fail("entry %d takes fence %d of %s away, which was for %q", o.index, f, c.Name, g.lock)
	}
	if r.Lock.State == replicated.StateReleased && !c.Force.Now {
		o.w.fail("entry %d frees %s at once, whose holder may still believe in it (fence %d)", o.index, c.Name, f)
	}
	if r.Lock.State == replicated.StateReleased {
		g.exempt = true // only the fence protects from it
		o.gone(g, f)
		return
	}
	s := o.sessions[g.key.session]
	if least := max(s.deadline, o.now+g.delay); !s.ended && !o.lock(c.Name).isDelayed(f) && r.Lock.Until < least {
		o.w.fail("entry %d takes %s away by force and lets it stay in the way until %d; its holder believes in it until %d, and its delay is %d",
			o.index, c.Name, r.Lock.Until, s.deadline, g.delay)
	}
	o.delayed[f] = r.Lock.Until
}
