package sim

import (
	"slices"
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
	live      []*seenSession // those that have not ended, by ID
	locks     []*seenLock
	meetings  []*meeting // barriers and latches
	fences    map[uint64]grant
	acquires  int // so far
	maxFence  uint64
	sequences map[uint64]*seenSequence // by ID
	current   map[string]uint64        // ID by name
	used      map[used]int             // by which client
	gates     map[string]*gate

	// Of the entry that is looked at.
	index    uint64
	appended time.Duration // virtual, when it was first appended
	now      int64         // cluster time
	upTo     int64         // cluster time up to which everything has ended
	floor    uint64        // the highest fence before it
	granted  []uint64      // fences given in it
	over     map[uint64]bool
	dead     map[uint64]bool   // sessions that ended in it
	closed   map[uint64]bool   // those of them that were closed
	handed   map[uint64]bool   // fences that were handed over, out of turn
	delayed  map[uint64]int64  // fences that were taken away by force, and until when they stay in the way
	lost     map[uint64]bool   // fences whose holders were told that they are lost
	noted    map[uint64]kinds  // transitions that were told, by fence
	renewals map[uint64]uint64 // fences that were replaced, and by which
	events   []replicated.Event
	ending   bool // some hold ends by itself
}

// grant is what is known of a fence.
type grant struct {
	lock string
	*acquire
	ordinal int    // of all grants
	old     uint64 // the fence before, of the same hold; 0: none
}

// ticketKey names an acquire.
type ticketKey struct{ session, seq uint64 }

// seenSession is a session as entries made it.
type seenSession struct {
	id                     uint64
	ttl, deadline, renewed int64
	generation, ack        uint64
	ended                  bool
	replies                map[uint64]uint64   // digests, by seq
	acquires               map[uint64]*acquire // by seq
}

func newObserver(w *world) *observer {
	o := &observer{w: w, proposed: map[position][]replicated.Command{}, sessions: map[uint64]*seenSession{}, fences: map[uint64]grant{},
		sequences: map[uint64]*seenSequence{}, current: map[string]uint64{}, used: map[used]int{}, gates: map[string]*gate{},
		over: map[uint64]bool{}, dead: map[uint64]bool{}, closed: map[uint64]bool{}, handed: map[uint64]bool{}, lost: map[uint64]bool{},
		delayed: map[uint64]int64{}, noted: map[uint64]kinds{}, renewals: map[uint64]uint64{}}
	for _, name := range allLocks {
		o.locks = append(o.locks, newSeenLock(o, name))
	}
	for _, name := range slices.Concat(barrierNames, latchNames) {
		o.meetings = append(o.meetings, &meeting{name: name, latch: slices.Contains(latchNames, name), history: recorder{w: w, name: name, meets: true}})
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
	o.upTo = v.EndedUpTo()
	if len(cmds)+len(res.Events) == 0 && !o.ending {
		return
	}
	o.index, o.now, o.floor, o.appended = e.Index, v.Now(), o.maxFence, o.w.truth.entries[at].at
	o.granted, o.events = o.granted[:0], res.Events
	for _, set := range []map[uint64]bool{o.over, o.dead, o.closed, o.handed, o.lost} {
		clear(set)
	}
	clear(o.delayed)
	clear(o.noted)
	clear(o.renewals)
	beats := len(res.Events) == 0 && !o.ending
	for i := range res.Events {
		if ev := &res.Events[i]; ev.Kind == replicated.EventSessionExpired && ev.Reason == "expired" {
			o.expired(ev)
		}
	}
	o.show(cmds, res)
	for i := range cmds {
		o.command(v, &cmds[i], &res.Replies[i])
		beats = beats && cmds[i].Kind == replicated.KindSessionKeepalive
	}
	for i := range res.Events {
		o.event(&res.Events[i])
	}
	o.inTime()
	if beats {
		return
	}
	o.state(v, res)
}

// lookEvery is how many entries lie between two looks at all locks. In between those are looked at that something says was
// touched: a command, an answer, an event or a transition.
const lookEvery = 8

// state compares what locks are now with what the entry says that it did.
func (o *observer) state(v *replicated.View, res *replicated.Result) {
	if len(o.granted) > 1 {
		o.w.operated("two grants in one entry")
	}
	o.changes(res.Changes)
	for i := range o.events {
		if l := o.lockOrNil(o.events[i].Name); l != nil {
			l.touched = true
		}
	}
	o.ending = false
	whole := len(o.dead) > 0 || o.index%lookEvery == 0
	for _, l := range o.locks {
		if whole || l.touched || l.ending() {
			info, _ := v.Lock(namespace, l.name)
			l.look(o, &info)
		}
		l.touched = false
		o.ending = o.ending || l.ending()
	}
	for _, l := range o.locks {
		l.served(o)
	}
	for _, m := range o.meetings {
		m.look(o)
	}
	o.circles()
	for id := range o.dead { // each for itself: the order does not matter
		o.sessions[id].acquires = nil
	}
	if f := v.Fence(); f != o.maxFence {
		o.w.fail("entry %d: the last fence is %d, the last one that anybody was told %d", o.index, f, o.maxFence)
	}
}

// show shows people what an entry did.
func (o *observer) show(cmds []replicated.Command, res *replicated.Result) {
	w := o.w
	if w.opt.Trace == nil {
		return
	}
	for i := range cmds {
		c, r := &cmds[i], &res.Replies[i]
		if c.Kind != replicated.KindSessionKeepalive {
			w.show("entry %d at %v: kind %d %q of session %d/%d seq %d: %s %+v", o.index, time.Duration(o.now), c.Kind, c.Name, c.Session, c.Generation, c.Seq, r.Code, r.Lock)
		}
	}
	for i := range res.Events {
		w.show("entry %d tells %+v", o.index, res.Events[i])
	}
}

// inTime checks that no session outlives its deadline in the cluster's own time.
func (o *observer) inTime() {
	for _, s := range o.live {
		if s.deadline <= o.upTo {
			o.w.fail("entry %d: session %d lives, whose deadline %v is over: all up to %v has ended", o.index, s.id,
				time.Duration(s.deadline), time.Duration(o.upTo))
		}
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
	o.live = slices.DeleteFunc(o.live, func(l *seenSession) bool { return l == s })
	o.dead[s.id] = true
	for _, a := range s.acquires { // each for itself: the order does not matter
		if a.phase == phaseQueued {
			a.phase = phaseOver
		}
	}
	s.replies = nil
	s.ack = 0
}

func (o *observer) event(ev *replicated.Event) {
	s := o.sessions[ev.Session]
	switch ev.Kind {
	case replicated.EventGranted:
		if s == nil || s.ended && !o.closed[ev.Session] {
			o.w.fail("entry %d grants %s to session %d, which has ended", o.index, ev.Name, ev.Session)
		}
		o.granting(s, ev)
	case replicated.EventTimedOut:
		if s != nil && !s.ended {
			o.timedOut(s, ev.Ticket)
		}
	case replicated.EventLost:
		if ev.Reason == "" {
			o.w.fail("entry %d tells session %d that %s is lost, and not why", o.index, ev.Session, ev.Name)
		}
		o.lost[ev.Fence] = true
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
		o.touches(c)
		o.forced(c, r)
		return
	case replicated.KindTick, replicated.KindInit, replicated.KindNotServing:
		return
	}
	if c.Session == 0 {
		o.sequenceReply(c, r)
		return
	}
	o.request(v, c, r)
}

// request checks the reply to a command of a session.
func (o *observer) request(v *replicated.View, c *replicated.Command, r *replicated.Reply) {
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
	o.touches(c)
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
	case c.Kind == replicated.KindLockAcquire, c.Kind == replicated.KindLockAcquireAll, c.Kind == replicated.KindBarrierWait,
		c.Kind == replicated.KindLatchWait:
		o.acquired(s, c, r)
	case o.repeated(s, c.Seq, r):
	case r.Code == replicated.OK:
		o.executed(s, c, r)
	}
}

// touches notes which locks a command is about.
func (o *observer) touches(c *replicated.Command) {
	if l := o.lockOrNil(c.Name); l != nil {
		l.touched = true
	}
	if c.AcquireAll != nil {
		for _, name := range c.AcquireAll.Names {
			o.lock(name).touched = true
		}
	}
}

// executed notes what a command did that was carried out for the first time.
func (o *observer) executed(s *seenSession, c *replicated.Command, r *replicated.Reply) {
	switch c.Kind {
	case replicated.KindLockRelease:
		o.released(s, c, r)
	case replicated.KindLockCancel:
		if a := s.acquires[c.Cancel.Ticket]; r.Lock.State == replicated.StateCancelled && a != nil && a.phase == phaseQueued {
			a.phase = phaseOver
		}
	case replicated.KindLockHandOver:
		o.handedOver(s, c, r)
	case replicated.KindElectionProclaim:
		o.proclaimed(s, c)
	case replicated.KindLatchSet, replicated.KindLatchCountDown:
		o.counted(c, r)
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
	s := &seenSession{id: x.ID, ttl: x.TTL, deadline: o.now + x.TTL, renewed: o.now, replies: map[uint64]uint64{}, acquires: map[uint64]*acquire{}}
	o.sessions[x.ID] = s
	o.live = append(o.live, s)
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
	for _, s := range o.live {
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
			o.granting(s, ev)
		}
	}
	s.generation = x.Generation
	for i := range x.Holds {
		o.renewedHold(s, &x.Holds[i])
	}
	o.renewed(v, s, r)
}

func (o *observer) lockOrNil(name string) *seenLock {
	for _, l := range o.locks {
		if l.name == name {
			return l
		}
	}
	return nil
}

func (o *observer) lock(name string) *seenLock {
	if l := o.lockOrNil(name); l != nil {
		return l
	}
	o.w.fail("entry %d is about the lock %q, which nobody asked for", o.index, name)
	return nil
}
