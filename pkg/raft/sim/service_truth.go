package sim

import (
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
)

// observer knows what the service did to everybody, and what everybody believes; the service's invariants are checked
// against it. It looks at each entry once, on the first node that applies it.
type observer struct {
	w        *world
	proposed map[position][]replicated.Command
	applied  uint64

	sessions  map[uint64]*seenSession
	locks     []*seenLock
	fences    map[uint64]grant
	maxFence  uint64
	sequences map[uint64]*seenSequence // by ID
	current   map[string]uint64        // ID by name
	used      map[used]int             // by which client
	gates     map[string]*gate

	// Of the entry that is looked at.
	index    uint64
	appended time.Duration // virtual, when it was first appended
	now      int64         // cluster time
	floor    uint64        // the highest fence before it
	granted  []uint64      // fences given in it
	over     map[uint64]bool
	dead     map[uint64]bool // sessions that ended in it
	closed   map[uint64]bool // those of them that were closed
	asked    []ticketKey     // acquires that came for the first time in it
	events   []replicated.Event
	delays   bool // some lock is delayed
}

// grant is what is known of a fence.
type grant struct {
	lock    string
	key     ticketKey
	ordinal int // of all grants
}

// ticketKey names an acquire.
type ticketKey struct{ session, seq uint64 }

// seenSession is a session as entries made it.
type seenSession struct {
	id                     uint64
	ttl, deadline, renewed int64
	generation, ack        uint64
	ended                  bool
	replies                map[uint64]uint64 // digests, by seq
	phases                 map[uint64]phase  // of acquires
	grants                 map[uint64]uint64 // fences, by the acquire's seq
	exempt                 map[uint64]bool   // acquires whose hold was taken away at once by force
}

// phase is how far an acquire is.
type phase uint8

const (
	phaseQueued phase = iota + 1
	phaseGranted
	phaseOver
)

func newObserver(w *world) *observer {
	o := &observer{w: w, proposed: map[position][]replicated.Command{}, sessions: map[uint64]*seenSession{}, fences: map[uint64]grant{},
		sequences: map[uint64]*seenSequence{}, current: map[string]uint64{}, used: map[used]int{}, gates: map[string]*gate{}}
	for i := range lockNames {
		o.locks = append(o.locks, newSeenLock(o, lockName(i)))
	}
	return o
}

// observe looks at an entry that was applied for the first time anywhere.
func (o *observer) observe(n *node, e *raft.Entry, res *replicated.Result) {
	if e.Index <= o.applied {
		return
	}
	o.applied = e.Index
	at := position{e.Index, e.Term}
	cmds := o.proposed[at]
	delete(o.proposed, at)
	v := n.machine.service.Live()
	if len(cmds) != len(res.Replies) {
		o.w.fail("entry %d has %d commands and %d replies", e.Index, len(cmds), len(res.Replies))
	}
	if len(cmds)+len(res.Events) == 0 && !o.delays {
		return
	}
	o.index, o.now, o.floor, o.appended = e.Index, v.Now(), o.maxFence, o.w.truth.entries[at].at
	o.granted, o.asked, o.events = o.granted[:0], o.asked[:0], res.Events
	o.over, o.dead, o.closed = map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	beats := len(res.Events) == 0 && !o.delays
	for i := range res.Events {
		if ev := &res.Events[i]; ev.Kind == replicated.EventSessionExpired && ev.Reason == "expired" {
			o.expired(ev)
		}
	}
	for i := range cmds {
		o.command(v, &cmds[i], &res.Replies[i])
		beats = beats && cmds[i].Kind == replicated.KindSessionKeepalive
	}
	for i := range res.Events {
		o.event(&res.Events[i])
	}
	if beats {
		return
	}
	if len(o.granted) > 1 {
		o.w.operated("two grants in one entry")
	}
	o.delays = false
	for _, l := range o.locks {
		info, _ := v.Lock(namespace, l.name)
		l.look(o, &info)
		o.delays = o.delays || l.delayed
	}
	if f := v.Fence(); f != o.maxFence {
		o.w.fail("entry %d: the last fence is %d, the last one that anybody was told %d", e.Index, f, o.maxFence)
	}
}

// expired checks that a session ended in time, and not before.
func (o *observer) expired(ev *replicated.Event) {
	w, s := o.w, o.sessions[ev.Session]
	switch {
	case s == nil || s.ended:
		w.fail("entry %d ends session %d, which is not there", o.index, ev.Session)
	case o.now < s.deadline:
		w.fail("entry %d ends session %d at %v; it lives until %v", o.index, s.id, time.Duration(o.now), time.Duration(s.deadline))
	}
	for _, c := range w.clients {
		if mine := c.session; w.timely && mine != nil && mine.id == s.id && !c.down && mine.remainingAt(w.now) > 0 {
			w.fail("entry %d ends session %d %v before client %d ceases to believe in it", o.index, s.id, mine.remainingAt(w.now), c.number)
		}
	}
	o.end(s)
}

func (o *observer) end(s *seenSession) {
	s.ended = true
	o.dead[s.id] = true
	s.replies, s.phases = nil, nil
	s.ack = 0
}

func (o *observer) event(ev *replicated.Event) {
	s := o.sessions[ev.Session]
	switch ev.Kind {
	case replicated.EventGranted:
		if s == nil || s.ended && !o.closed[ev.Session] {
			o.w.fail("entry %d grants %s to session %d, which has ended", o.index, ev.Name, ev.Session)
		}
		o.grant(s, ev.Ticket, ev.Fence, ev.Name)
	case replicated.EventTimedOut:
		if s != nil && !s.ended {
			o.moves(s, ev.Ticket, phaseOver)
		}
	}
}

// command checks the reply to a command.
func (o *observer) command(v *replicated.View, c *replicated.Command, r *replicated.Reply) {
	switch c.Kind {
	case replicated.KindServing:
		o.served()
		return
	case replicated.KindSessionOpen:
		o.opened(c, r)
		return
	case replicated.KindLockForceRelease:
		o.forced(c, r)
		return
	case replicated.KindTick, replicated.KindInit, replicated.KindNotServing:
		return
	}
	if c.Session == 0 {
		o.sequenceReply(c, r)
		return
	}
	s := o.sessions[c.Session]
	right := s != nil && !s.ended && (c.Kind == replicated.KindSessionResume || c.Generation == s.generation)
	switch r.Code {
	case replicated.CodeSessionExpired:
		if right && c.Kind != replicated.KindSessionResume {
			o.w.fail("entry %d: session %d lives, and is said to have ended", o.index, c.Session)
		}
		return
	case replicated.CodeSessionUnknown, replicated.CodeDenied, replicated.CodeRequestReused, replicated.CodeWindowFull:
		o.w.fail("entry %d: a request of session %d, seq %d is answered %s", o.index, c.Session, c.Seq, r.Code)
	}
	if !right {
		o.w.fail("entry %d executes a request of session %d, generation %d, which has ended", o.index, c.Session, c.Generation)
	}
	ack := c.Ack
	if ack == 0 && c.Kind != replicated.KindSessionKeepalive && c.Kind != replicated.KindSessionResume {
		ack = c.Seq
	}
	s.ack = max(s.ack, ack)
	switch {
	case c.Kind == replicated.KindSessionKeepalive:
		o.renewed(v, s, r)
	case c.Kind == replicated.KindSessionResume:
		o.resumed(v, s, r)
	case r.Code == replicated.CodeRequestStale:
		if c.Seq >= s.ack {
			o.w.fail("entry %d: seq %d of session %d was not acknowledged, and its reply is gone", o.index, c.Seq, s.id)
		}
	case c.Kind == replicated.KindSessionClose:
		o.closed[s.id] = true
		o.end(s)
	case c.Kind == replicated.KindLockAcquire:
		o.acquired(s, c, r)
	case o.repeated(s, c.Seq, r):
	case c.Kind == replicated.KindLockRelease:
		o.released(s, c, r)
	case c.Kind == replicated.KindLockCancel:
		if r.Code == replicated.OK && r.Lock.State == replicated.StateCancelled && s.phases[c.Cancel.Ticket] == phaseQueued {
			s.phases[c.Cancel.Ticket] = phaseOver
		}
	default:
		o.sequenceReply(c, r)
	}
}

// repeated reports whether a request was executed before; its reply must be the one of then.
func (o *observer) repeated(s *seenSession, seq uint64, r *replicated.Reply) bool {
	d := replyDigest(r)
	first, known := s.replies[seq]
	if !known {
		s.replies[seq] = d
		return false
	}
	o.w.operated("answered from the reply cache")
	if first != d {
		o.w.fail("entry %d: seq %d of session %d is answered otherwise than before: it was executed twice", o.index, seq, s.id)
	}
	return true
}

func (o *observer) opened(c *replicated.Command, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	x := r.Session
	if s := o.sessions[x.ID]; s != nil {
		if s.ended {
			o.w.fail("entry %d opens session %d, which has ended", o.index, x.ID)
		}
		return // repeated
	}
	o.sessions[x.ID] = &seenSession{id: x.ID, ttl: x.TTL, deadline: o.now + x.TTL, renewed: o.now, replies: map[uint64]uint64{},
		phases: map[uint64]phase{}, grants: map[uint64]uint64{}, exempt: map[uint64]bool{}}
}

func (o *observer) renewed(v *replicated.View, s *seenSession, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	if s.deadline <= v.EndedUpTo() {
		o.w.fail("entry %d renews session %d, whose deadline %v is over", o.index, s.id, time.Duration(s.deadline))
	}
	s.renewed = o.now
	s.deadline = max(s.deadline, o.now+s.ttl)
	if r.Session.Deadline != s.deadline || r.Session.Now != o.now {
		o.w.fail("entry %d tells session %d the deadline %v at %v; it is %v at %v", o.index, s.id, time.Duration(r.Session.Deadline),
			time.Duration(r.Session.Now), time.Duration(s.deadline), time.Duration(o.now))
	}
}

// served gives every session its grace: a leader that could not be reached for long must not end what nobody could
// renew.
func (o *observer) served() {
	late := false
	for _, s := range o.sessions { // each for itself: the order does not matter
		if s.ended {
			continue
		}
		grace := min(s.ttl, 2*int64(electionMax)+s.ttl/3)
		if d := min(o.now+grace, s.renewed+2*s.ttl); d > s.deadline {
			s.deadline, late = d, true
		}
	}
	if late {
		o.w.operated("sessions got their grace")
	}
}

// resumed checks that another process got everything, and that the one before is locked out.
func (o *observer) resumed(v *replicated.View, s *seenSession, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	x := r.Session
	if x.Generation == s.generation {
		return // repeated
	}
	if x.Generation < s.generation {
		o.w.fail("entry %d takes the generation of session %d back from %d to %d", o.index, s.id, s.generation, x.Generation)
	}
	for i := range o.events { // what this very entry granted before it
		if ev := &o.events[i]; ev.Kind == replicated.EventGranted && ev.Session == s.id && ev.Generation < x.Generation {
			o.grant(s, ev.Ticket, ev.Fence, ev.Name)
		}
	}
	s.generation = x.Generation
	for i := range x.Holds {
		h := &x.Holds[i]
		old := s.grants[h.Ticket]
		if old == h.Fence {
			o.w.fail("entry %d: another process takes session %d over, and holds %s under the same fence %d", o.index, s.id, h.Name, old)
		}
		o.over[old] = true
		delete(s.grants, h.Ticket)
		o.grant(s, h.Ticket, h.Fence, h.Name)
		o.lock(h.Name).refenced(old, h.Fence)
	}
	o.renewed(v, s, r)
}

// moves lets an acquire go on to a phase, never back.
func (o *observer) moves(s *seenSession, seq uint64, to phase) {
	if was := s.phases[seq]; was > to {
		o.w.fail("entry %d: the acquire %d of session %d was in phase %d, and is in %d", o.index, seq, s.id, was, to)
	}
	s.phases[seq] = to
}

func (o *observer) acquired(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	if s.phases[c.Seq] == 0 && s.replies[c.Seq] == 0 && r.Lock != nil && r.Lock.State != replicated.StateCancelled {
		o.asked = append(o.asked, ticketKey{s.id, c.Seq})
	}
	switch {
	case r.Lock != nil && r.Lock.State == replicated.StateGranted:
		o.grant(s, c.Seq, r.Lock.Fence, c.Name)
		o.moves(s, c.Seq, phaseGranted)
	case r.Lock != nil && r.Lock.State == replicated.StateQueued:
		o.moves(s, c.Seq, phaseQueued)
	case r.Lock != nil, r.Code == replicated.CodeWaitTimeout, r.Code == replicated.CodeNotHeld:
		o.moves(s, c.Seq, phaseOver)
	default:
		o.repeated(s, c.Seq, r)
	}
}

// grant notes that an acquire was granted: once, under a fence above all before.
func (o *observer) grant(s *seenSession, seq, fence uint64, lock string) {
	w := o.w
	key := ticketKey{s.id, seq}
	if g, known := o.fences[fence]; known {
		if g.key != key || g.lock != lock {
			w.fail("entry %d: fence %d is given to session %d for %s, and was given to session %d for %s", o.index, fence, s.id, lock, g.key.session, g.lock)
		}
		return
	}
	if other, twice := s.grants[seq]; twice {
		w.fail("entry %d: the acquire %d of session %d is granted under fence %d, and was under %d", o.index, seq, s.id, fence, other)
	}
	if fence <= o.floor {
		w.fail("entry %d: fence %d of %s is not above %d, which was given before", o.index, fence, lock, o.floor)
	}
	s.grants[seq] = fence
	o.maxFence = max(o.maxFence, fence)
	o.fences[fence] = grant{lock, key, len(o.fences)}
	o.granted = append(o.granted, fence)
	if !s.ended {
		o.moves(s, seq, phaseGranted)
	}
}

func (o *observer) released(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	f := c.Release.Fence
	if g := o.fences[f]; g.key.session != s.id || g.lock != c.Name {
		o.w.fail("entry %d: session %d releases %s under fence %d, which it never had", o.index, s.id, c.Name, f)
	}
	o.over[f] = true
	if seq := o.fences[f].key.seq; s.phases[seq] != 0 {
		s.phases[seq] = phaseOver
	}
}

func (o *observer) forced(c *replicated.Command, r *replicated.Reply) {
	if r.Code != replicated.OK {
		return
	}
	g := o.fences[c.Force.Fence]
	if g.lock != c.Name {
		o.w.fail("entry %d takes fence %d of %s away, which was for %q", o.index, c.Force.Fence, c.Name, g.lock)
	}
	s := o.sessions[g.key.session]
	if r.Lock.State == replicated.StateReleased && !c.Force.Now {
		o.w.fail("entry %d frees %s at once, whose holder may still believe in it (fence %d)", o.index, c.Name, c.Force.Fence)
	}
	if r.Lock.State == replicated.StateReleased {
		o.over[c.Force.Fence] = true
		s.exempt[g.key.seq] = true // only the fence protects from it
	} else {
		o.lock(c.Name).until = r.Lock.Until
	}
	if !s.ended {
		s.phases[g.key.seq] = phaseOver
	}
}

func (o *observer) lock(name string) *seenLock {
	for _, l := range o.locks {
		if l.name == name {
			return l
		}
	}
	o.w.fail("entry %d is about the lock %q, which nobody asked for", o.index, name)
	return nil
}
