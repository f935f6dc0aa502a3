package sim

import (
	"slices"
	"sort"

	replicated "github.com/coordd/coordd/internal/machine"
)

// seenLock is a lock as entries made it.
type seenLock struct {
	name    string
	fence   uint64 // of its hold; 0: free
	delayed bool
	until   int64 // of a delay
	queue   []ticketKey
	line    []moment          // all states that it was in
	renewed map[uint64]uint64 // of the entry that is looked at: old fences by the new ones of the same holds
	highest uint64            // fence
	history recorder
}

// moment is the state of a lock from an index on.
type moment struct {
	index, fence uint64
	delayed      bool
}

func newSeenLock(o *observer, name string) *seenLock {
	return &seenLock{name: name, line: []moment{{}}, history: recorder{w: o.w, name: name}}
}

// look compares a lock with what was known of it, and with what the entry says that it did: whoever held it holds it, or
// there is a reason why not; whoever holds it now was next; and nobody waits for a lock that is free.
func (l *seenLock) look(o *observer, info *replicated.LockInfo) {
	w := o.w
	if len(info.Holders) > 1 {
		w.fail("entry %d: %s has %d exclusive holders", o.index, l.name, len(info.Holders))
	}
	var h replicated.HolderInfo
	if len(info.Holders) == 1 {
		h = info.Holders[0]
	} else if len(info.Queue) > 0 {
		w.fail("entry %d: %d wait for %s, which is free", o.index, len(info.Queue), l.name)
	}
	line := slices.Clone(l.queue)
	for _, key := range o.asked {
		if o.wants(key, l.name, info) {
			line = append(line, key)
		}
	}
	was := l.fence
	if h.Fence != was {
		if was != 0 && !l.mayEnd(o, was) {
			w.fail("entry %d: session %d holds %s no more (fence %d, %v), and nothing ended that", o.index, o.fences[was].key.session, l.name, was, l.delayed)
		}
		if h.Fence != 0 {
			l.handed(o, &h, line, info)
		}
	}
	for _, f := range o.granted {
		g := o.fences[f]
		if g.lock == l.name && f != h.Fence && !o.over[f] && !o.dead[g.key.session] {
			w.fail("entry %d grants %s to session %d under fence %d and takes it away again, and nothing ended that", o.index, l.name, g.key.session, f)
		}
	}
	l.inOrder(o, line, info)
	l.fence, l.delayed = h.Fence, h.Delayed
	if !l.delayed {
		l.until = 0
	}
	if last := l.line[len(l.line)-1]; last.fence != l.fence || last.delayed != l.delayed {
		l.line = append(l.line, moment{o.index, l.fence, l.delayed})
	}
	l.record(o, was)
	l.queue = l.queue[:0]
	for i := range info.Queue {
		l.queue = append(l.queue, ticketKey{info.Queue[i].Session, info.Queue[i].Ticket})
	}
}

// wants reports whether a new acquire is one for this lock: its session tells no name, the lock's state and the fences do.
func (o *observer) wants(key ticketKey, lock string, info *replicated.LockInfo) bool {
	if slices.ContainsFunc(info.Queue, func(q replicated.WaiterInfo) bool { return q.Session == key.session && q.Ticket == key.seq }) {
		return true
	}
	return slices.ContainsFunc(o.granted, func(f uint64) bool { return o.fences[f].key == key && o.fences[f].lock == lock })
}

// mayEnd reports whether there is a reason why a hold is over.
func (l *seenLock) mayEnd(o *observer, fence uint64) bool {
	switch {
	case o.over[fence]:
		return true
	case l.delayed:
		return o.now >= l.until
	}
	return o.dead[o.fences[fence].key.session]
}

// handed checks that a new holder was the next one, and that nobody else still believes to hold the lock.
func (l *seenLock) handed(o *observer, h *replicated.HolderInfo, line []ticketKey, info *replicated.LockInfo) {
	w := o.w
	g, known := o.fences[h.Fence]
	if !known || g.lock != l.name || g.key.session != h.Session {
		w.fail("entry %d: session %d holds %s under fence %d, and nobody was told", o.index, h.Session, l.name, h.Fence)
	}
	if s := o.sessions[h.Session]; s == nil || s.ended {
		w.fail("entry %d: %s is held by session %d, which has ended", o.index, l.name, h.Session)
	}
	for _, key := range line {
		if key == g.key || l.renewed[h.Fence] != 0 {
			break
		}
		if slices.ContainsFunc(info.Queue, func(q replicated.WaiterInfo) bool { return q.Session == key.session && q.Ticket == key.seq }) {
			w.fail("entry %d: %s goes to session %d, and session %d, which came before, still waits", o.index, l.name, h.Session, key.session)
		}
	}
	o.alone(l.name, h.Session)
}

// inOrder checks that those who wait do so in the order in which they came.
func (l *seenLock) inOrder(o *observer, line []ticketKey, info *replicated.LockInfo) {
	i := 0
	for k := range info.Queue {
		key := ticketKey{info.Queue[k].Session, info.Queue[k].Ticket}
		for i < len(line) && line[i] != key {
			i++
		}
		if i++; i > len(line) {
			o.w.fail("entry %d: session %d waits for %s in a place that is not its own", o.index, key.session, l.name)
		}
	}
}

// alone checks that nobody but a session believes to hold a lock now, by the clocks of the believers.
func (o *observer) alone(lock string, session uint64) {
	if !o.w.timely {
		return
	}
	for _, c := range o.w.clients {
		s := c.session
		if s == nil || c.down || s.id == session {
			continue
		}
		for _, h := range s.holds {
			if h.lock == lock && h.believes() && !o.excused(h) {
				o.w.fail("session %d holds %s, and client %d believes for %v more that its session %d does (fence %d)", session, lock, c.number, s.remainingAt(o.w.now), s.id, h.fence)
			}
		}
	}
}

// excused reports whether only fences protect from who believes in a hold: it was taken away by force without waiting,
// or another process took its session over.
func (o *observer) excused(h *hold) bool {
	s := o.sessions[h.s.id]
	return s.exempt[h.ticket] || s.generation > h.s.generation
}

// at is the state of the lock at an index.
func (l *seenLock) at(index uint64) moment {
	i := sort.Search(len(l.line), func(i int) bool { return l.line[i].index > index })
	return l.line[i-1]
}

// holderOf is the fence of a lock, 0 if it is free.
func (o *observer) holderOf(lock string) uint64 { return o.lock(lock).fence }
