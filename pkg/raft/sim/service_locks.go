package sim

import (
	"math"
	"slices"
	"sort"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
)

// seenHold is one hold of a lock as entries made it.
type seenHold struct {
	fence   uint64
	of      *acquire
	delayed bool
	until   int64 // of a delay
}

// seenLock is a lock as entries made it.
type seenLock struct {
	name    string
	holds   []seenHold // by fence
	queue   []*acquire // those that wait, in the order in which they came
	line    []moment   // all states that it was in
	number  uint64     // of its last transition
	touched bool       // by the entry that is looked at
	highest uint64     // fence
	history recorder
}

// moment is the state of a lock from an index on.
type moment struct {
	index  uint64
	holds  string // see heldBy
	digest fnv    // of values and delays too
}

func newSeenLock(o *observer, name string) *seenLock {
	return &seenLock{name: name, line: []moment{{digest: fnvBegin}}, history: recorder{w: o.w, name: name}}
}

func (l *seenLock) find(fence uint64) *seenHold {
	for i := range l.holds {
		if l.holds[i].fence == fence {
			return &l.holds[i]
		}
	}
	return nil
}

func (l *seenLock) isDelayed(fence uint64) bool {
	h := l.find(fence)
	return h != nil && h.delayed
}

// ending reports whether something about the lock ends by itself.
func (l *seenLock) ending() bool {
	return slices.ContainsFunc(l.holds, func(h seenHold) bool { return h.delayed || h.of.maxHold != 0 })
}

// inUse reports whether anybody holds it or waits for it, or did so in the entry that is looked at.
func (l *seenLock) inUse(o *observer) bool {
	return len(l.holds)+len(l.queue) > 0 || slices.ContainsFunc(o.granted, func(f uint64) bool { return o.fences[f].lock == l.name })
}

// stands reports whether the hold of a fence was there before the entry, or came with it.
func (o *observer) stands(fence uint64) bool {
	if fence == 0 {
		return false
	}
	return o.lock(o.fences[fence].lock).find(fence) != nil || slices.Contains(o.granted, fence)
}

// fits reports whether a lock's holds leave room for another one.
func (l *seenLock) fits(a *acquire) bool {
	taken := uint64(0)
	for i := range l.holds {
		of := l.holds[i].of
		if a.mode == replicated.Exclusive || of.mode == replicated.Exclusive {
			return false
		}
		taken += of.count
	}
	return a.limit == 0 || taken+a.count <= a.limit
}

// look compares a lock with what was known of it, and with what the entry says that it did: whoever held it holds it, or
// there is a reason why not; whoever holds it now was next; and those who wait are those who asked, in their order.
func (l *seenLock) look(o *observer, info *replicated.LockInfo) {
	l.queue = slices.DeleteFunc(l.queue, func(a *acquire) bool { return a.phase != phaseQueued })
	touched := slices.ContainsFunc(o.granted, func(f uint64) bool { return o.fences[f].lock == l.name })
	if len(info.Holders)+len(info.Queue)+len(l.holds)+len(l.queue) == 0 && !touched {
		return
	}
	before := l.holds
	l.holds = l.now(o, info)
	for i := range before {
		l.compare(o, &before[i])
	}
	for i := range l.holds {
		if h := &l.holds[i]; !slices.ContainsFunc(before, func(b seenHold) bool { return b.fence == h.fence }) {
			l.handed(o, h)
		}
	}
	for _, f := range o.granted {
		if g := o.fences[f]; g.lock == l.name && l.find(f) == nil && !o.over[f] && !o.dead[g.key.session] && o.delayed[f] == 0 {
			o.w.fail("entry %d grants %s to session %d under fence %d and takes it away again, and nothing ended that", o.index, l.name, g.key.session, f)
		}
	}
	l.together(o)
	l.waiting(o, info)
	m := moment{o.index, l.heldBy(), sightOf(info)}
	if last := l.line[len(l.line)-1]; last.digest != m.digest {
		l.line = append(l.line, m)
	}
	l.record(o, before)
}

// now takes the holds as the state has them, and compares each with what was asked for.
func (l *seenLock) now(o *observer, info *replicated.LockInfo) (holds []seenHold) {
	w := o.w
	for i := range info.Holders {
		h := &info.Holders[i]
		g, known := o.fences[h.Fence]
		if !known || g.lock != l.name || g.key.session != h.Session {
			w.fail("entry %d: session %d holds %s under fence %d, and nobody was told", o.index, h.Session, l.name, h.Fence)
		}
		a := g.acquire
		if s := o.sessions[h.Session]; s.ended && !h.Delayed {
			w.fail("entry %d: %s is held by session %d, which has ended", o.index, l.name, h.Session)
		}
		if h.Mode != a.mode || a.limit > 0 && h.Count != a.count || a.limit != info.Limit {
			w.fail("entry %d: session %d holds %s in mode %d, %d of %d; it asked for mode %d, %d of %d", o.index, h.Session, l.name,
				h.Mode, h.Count, info.Limit, a.mode, a.count, a.limit)
		}
		if n := *g.inside(); a.limit == 0 && h.Count != n && !h.Delayed {
			w.fail("entry %d: session %d has entered %s %d times, and is shown to have done so %d times", o.index, h.Session, l.name, n, h.Count)
		}
		if h.Until != a.ends() {
			w.fail("entry %d: the hold %d of %s ends at %d by itself; it was granted until %d", o.index, h.Fence, l.name, h.Until, a.ends())
		}
		if string(h.Value) != a.value {
			w.fail("entry %d: %s has the value %q; its holder %d said %q", o.index, l.name, h.Value, h.Session, a.value)
		}
		if h.Until != 0 && h.Until <= o.upTo && !h.Delayed {
			w.fail("entry %d: the hold %d of %s ends at %v, and goes on at %v", o.index, h.Fence, l.name, time.Duration(h.Until), time.Duration(o.upTo))
		}
		next := seenHold{fence: h.Fence, of: a, delayed: h.Delayed}
		if h.Delayed {
			next.until = h.Deadline
		}
		holds = append(holds, next)
	}
	return holds
}

// compare checks what became of a hold.
func (l *seenLock) compare(o *observer, was *seenHold) {
	w, a := o.w, was.of
	s := o.sessions[a.key.session]
	is := l.find(was.fence)
	switch {
	case is == nil:
		if !l.mayEnd(o, was) {
			w.fail("entry %d: session %d holds %s no more (fence %d, delayed %v), and nothing ended that", o.index, s.id, l.name, was.fence, was.delayed)
		}
		if o.noted[was.fence]&endings == 0 && o.renewals[was.fence] == 0 {
			w.fail("entry %d: the hold %d of %s is over, and its transitions do not say why", o.index, was.fence, l.name)
		}
	case was.delayed && (!is.delayed || is.until < was.until):
		w.fail("entry %d: the hold %d of %s was to stay in the way until %d", o.index, was.fence, l.name, was.until)
	case is.delayed && is.until <= o.upTo:
		w.fail("entry %d: the hold %d of %s stays in the way, whose delay ended at %d", o.index, was.fence, l.name, is.until)
	case is.delayed && !was.delayed:
		l.becomesDelayed(o, is, s)
	}
}

// becomesDelayed checks that a hold that somebody lost stays in the way for as long as it has to.
func (l *seenLock) becomesDelayed(o *observer, h *seenHold, s *seenSession) {
	a := h.of
	least := l.endOf(o, a)
	if least < math.MaxInt64 {
		least += a.delay
	}
	switch forced := o.delayed[h.fence]; {
	case forced != 0 && h.until == forced:
	case least == math.MaxInt64 || a.delay == 0:
		o.w.fail("entry %d: the hold %d of %s is delayed until %d, and nothing took it away", o.index, h.fence, l.name, h.until)
	case h.until < least:
		o.w.fail("entry %d: the hold %d of %s, which ended, stays in the way until %d; its delay ends at %d", o.index, h.fence, l.name, h.until, least)
	default:
		o.w.operated("delayed after its end")
	}
}

// mayEnd reports whether there is a reason why a hold is over.
func (l *seenLock) mayEnd(o *observer, h *seenHold) bool {
	a := h.of
	s := o.sessions[a.key.session]
	switch {
	case o.over[h.fence]:
		return true
	case h.delayed:
		return o.upTo >= h.until
	case o.closed[s.id]:
		return true
	}
	end := l.endOf(o, a)
	if end < math.MaxInt64 && !o.dead[s.id] {
		o.w.operated("max-hold over")
		if !o.lost[h.fence] {
			o.w.fail("entry %d ends the hold %d of %s, and does not tell its holder", o.index, h.fence, l.name)
		}
	}
	return end < math.MaxInt64 && (a.delay == 0 || o.upTo >= end+a.delay)
}

// endOf is the instant at which a hold ended: with its session, or by itself. Whichever came first counts.
func (l *seenLock) endOf(o *observer, a *acquire) int64 {
	end := int64(math.MaxInt64)
	if s := o.sessions[a.key.session]; o.dead[s.id] && !o.closed[s.id] {
		end = s.deadline
	}
	if a.maxHold > 0 && o.upTo >= a.ends() {
		end = min(end, a.ends())
	}
	return end
}

// handed checks that a new holder was the next one, and that nobody else still believes to hold the lock.
func (l *seenLock) handed(o *observer, h *seenHold) {
	a := h.of
	if !slices.Contains(o.granted, h.fence) {
		o.w.fail("entry %d: session %d holds %s under fence %d, which is an older one", o.index, a.key.session, l.name, h.fence)
	}
	if h.delayed && o.delayed[h.fence] == 0 {
		o.w.fail("entry %d: the hold %d of %s is new, and delayed", o.index, h.fence, l.name)
	}
	if o.fences[h.fence].old == 0 && !o.handed[h.fence] && len(l.queue) > 0 && l.queue[0].number < a.number {
		o.w.fail("entry %d: %s goes to session %d, and session %d, which came before, still waits", o.index, l.name, a.key.session, l.queue[0].key.session)
	}
	o.alone(l.name, a)
}

// together checks that those who hold a lock may do so beside each other, and that one request has all of its locks.
func (l *seenLock) together(o *observer) {
	var modes [4]uint64
	taken := uint64(0)
	for i := range l.holds {
		h := &l.holds[i]
		modes[h.of.mode]++
		taken += h.of.count
		if h.of.mode == replicated.Semaphore && taken > h.of.limit {
			o.w.fail("entry %d: %d permits of %s are taken; its limit is %d", o.index, taken, l.name, h.of.limit)
		}
		if slices.Contains(h.of.fences, 0) {
			o.w.fail("entry %d: session %d is granted a part of the locks that it asked for, %s among them", o.index, h.of.key.session, l.name)
		}
	}
	switch {
	case modes[replicated.Exclusive] > 1:
		o.w.fail("entry %d: %s has %d exclusive holders", o.index, l.name, modes[replicated.Exclusive])
	case modes[replicated.Exclusive] == 1 && len(l.holds) > 1:
		o.w.fail("entry %d: %s has an exclusive holder beside %d others", o.index, l.name, len(l.holds)-1)
	case modes[replicated.Shared] > 1:
		o.w.operated("readers beside each other")
	case modes[replicated.Semaphore] > 1:
		o.w.operated("permits beside each other")
	}
}

// waiting checks that those who wait are those who asked and were not served, in the order in which they came.
func (l *seenLock) waiting(o *observer, info *replicated.LockInfo) {
	for i := range max(len(info.Queue), len(l.queue)) {
		switch {
		case i == len(info.Queue):
			o.w.fail("entry %d: session %d waits for %s no more, and nothing ended that", o.index, l.queue[i].key.session, l.name)
		case i == len(l.queue) || l.queue[i].key != (ticketKey{info.Queue[i].Session, info.Queue[i].Ticket}):
			o.w.fail("entry %d: session %d waits for %s in a place that is not its own", o.index, info.Queue[i].Session, l.name)
		case l.queue[i].until <= o.upTo:
			o.w.fail("entry %d: session %d waits for %s, and its wait ended at %d", o.index, l.queue[i].key.session, l.name, l.queue[i].until)
		}
	}
	if len(l.queue) > 0 && l.queue[0].limit != info.Limit {
		o.w.fail("entry %d: %s has limit %d; who waits for it asked for %d", o.index, l.name, info.Limit, l.queue[0].limit)
	}
}

// served checks that nobody waits who could be served.
func (l *seenLock) served(o *observer) {
	if len(l.queue) == 0 {
		return
	}
	a := l.queue[0]
	for _, name := range a.names {
		if other := o.lock(name); other.queue[0] != a || !other.fits(a) {
			return
		}
	}
	o.w.fail("entry %d: session %d waits for %v, which nothing keeps from it", o.index, a.key.session, a.names)
}

// alone checks that nobody but a session believes to hold a lock now, by the clocks of the believers, in a way that a new
// hold must not be beside.
func (o *observer) alone(lock string, a *acquire) {
	if !o.w.timely {
		return
	}
	taken := a.count
	for _, c := range o.w.clients {
		s := c.session
		if s == nil || c.down || s.id == a.key.session {
			continue
		}
		for _, h := range s.holds {
			of := o.fences[h.fence].acquire
			if h.lock != lock || !h.believes() || o.excused(h) || of == nil {
				continue
			}
			taken += of.count
			if a.mode == replicated.Shared && of.mode == replicated.Shared || a.mode == replicated.Semaphore && taken <= a.limit {
				continue
			}
			o.w.fail("session %d holds %s, and client %d believes for %v more that its session %d does (fence %d)", a.key.session, lock, c.number,
				h.remaining(), s.id, h.fence)
		}
	}
}

// excused reports whether only fences protect from who believes in a hold: it was taken away by force without waiting,
// or another process took its session over.
func (o *observer) excused(h *hold) bool {
	of := o.fences[h.fence].acquire
	return of != nil && of.exempt || o.sessions[h.s.id].generation > h.s.generation
}

// at is the state of the lock at an index.
func (l *seenLock) at(index uint64) moment {
	i := sort.Search(len(l.line), func(i int) bool { return l.line[i].index > index })
	return l.line[i-1]
}

// heldBy is who holds the lock, as the model of its history has it: fence and permits of each hold.
func (l *seenLock) heldBy() string {
	var b []byte
	for i := range l.holds {
		b = addHold(b, l.holds[i].fence, l.holds[i].of)
	}
	return string(b)
}

// addHold writes one hold into a list of them; a lock's are in the order of their fences.
func addHold(b []byte, fence uint64, a *acquire) []byte {
	return Held{Fence: fence, Mode: byte(a.mode), Count: byte(a.count), Value: digestOf(a.value)}.add(b)
}

// seenHeld is who holds a lock in the eyes of a read.
func seenHeld(info *replicated.LockInfo) string {
	var b []byte
	for i := range info.Holders {
		h := &info.Holders[i]
		count := h.Count
		if info.Limit == 0 {
			count = 1 // entries of a reentrant hold are in the digest
		}
		b = Held{h.Fence, byte(h.Mode), byte(count), digestOf(h.Value)}.add(b)
	}
	return string(b)
}

// sightOf is what a read of a lock sees, of all that clients act on.
func sightOf(info *replicated.LockInfo) fnv {
	d := fnvBegin
	for i := range info.Holders {
		h := &info.Holders[i]
		d = d.word(h.Fence).word(uint64(h.Mode)).word(h.Count).word(uint64(h.Until)).bytes(h.Value)
		if h.Delayed {
			d = d.word(uint64(h.Deadline))
		}
	}
	return d
}

// holderOf is a fence under which a lock is held, 0 if it is free.
func (o *observer) holderOf(lock string) uint64 {
	if l := o.lock(lock); len(l.holds) > 0 {
		return l.holds[o.w.act.intn(len(l.holds))].fence
	}
	return 0
}
