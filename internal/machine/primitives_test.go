package machine

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
)

var flagCommands = flag.Int("machine.commands", 30_000, "how many random commands the machine and its model are given")

// primitives are sessions and all that they coordinate by, said as simply as possible: two lists, looked through from
// one end to the other.
type primitives struct {
	now, fence int64
	sessions   map[uint64]*refSession
	holds      []*refHold
	waits      []*refWait // by arrival
	latch      struct {
		set   bool
		count int
	}
	events []string
}

type refHold struct {
	key                       string
	session, ticket           uint64
	fence                     int64
	mode                      Mode
	permits, entries          int
	until, delay, delayedUpTo int64
}

type refWait struct {
	session, ticket       uint64
	errand                errand
	keys                  []string
	mode                  Mode
	permits               int
	until, delay, maxHold int64 // until 0: none
}

const refLimit, refParties = 3, 3

func (p *primitives) say(session uint64, what EventKind, name string) {
	p.events = append(p.events, fmt.Sprintf("%d:%d:%s", session, what, name))
}

// fits reports whether what is held leaves room.
func (p *primitives) fits(key string, mode Mode, permits int) bool {
	used := 0
	for _, h := range p.holds {
		if h.key != key {
			continue
		}
		if h.mode == Exclusive || mode == Exclusive {
			return false
		}
		used += h.permits
	}
	return mode == Shared || used+permits <= refLimit
}

// first returns the ticket that came first of those that wait for a lock.
func (p *primitives) first(key string) *refWait {
	for _, w := range p.waits {
		if (w.errand == forLock || w.errand == forAll) && slices.Contains(w.keys, key) {
			return w
		}
	}
	return nil
}

// take grants a ticket all of its locks.
func (p *primitives) take(w *refWait) {
	for _, key := range w.keys {
		p.fence++
		h := &refHold{key: key, session: w.session, ticket: w.ticket, fence: p.fence, mode: w.mode, permits: w.permits, entries: 1, delay: w.delay}
		if w.maxHold > 0 {
			h.until = p.now + w.maxHold
		}
		p.holds = append(p.holds, h)
	}
}

func (p *primitives) serve(w *refWait) {
	p.leave(w)
	p.take(w)
	for _, key := range w.keys {
		p.say(w.session, EventGranted, key)
	}
}

// settle serves a lock's queue as long as its first ticket is first, and fits, on each of its locks.
func (p *primitives) settle(key string) {
	for w := p.first(key); w != nil; w = p.first(key) {
		for _, k := range w.keys {
			if p.first(k) != w || !p.fits(k, w.mode, w.permits) {
				return
			}
		}
		p.serve(w)
	}
}

func (p *primitives) settleAll(keys []string) {
	for _, key := range keys {
		p.settle(key)
	}
}

func (p *primitives) leave(w *refWait) {
	p.waits = slices.DeleteFunc(p.waits, func(x *refWait) bool { return x == w })
}

// leaveAll takes the tickets of a session away and returns the locks that they waited for.
func (p *primitives) leaveAll(session uint64) (keys []string) {
	for _, w := range slices.Clone(p.waits) {
		if w.session == session {
			p.leave(w)
			if w.errand == forLock || w.errand == forAll {
				keys = append(keys, w.keys...)
			}
		}
	}
	return keys
}

func (p *primitives) free(h *refHold) {
	p.holds = slices.DeleteFunc(p.holds, func(x *refHold) bool { return x == h })
	p.settle(h.key)
}

// of returns the live holds of a session in the order of their tickets.
func (p *primitives) of(session uint64) (hs []*refHold) {
	for _, h := range p.holds {
		if h.session == session && h.delayedUpTo == 0 {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b *refHold) int { return cmp.Or(cmp.Compare(a.ticket, b.ticket), cmp.Compare(a.fence, b.fence)) })
	return hs
}

func (p *primitives) find(key string, fence int64) *refHold {
	for _, h := range p.holds {
		if h.key == key && h.fence == fence {
			return h
		}
	}
	return nil
}

// ended frees a hold that ended by itself, or delays it.
func (p *primitives) ended(h *refHold, at int64) {
	if h.delay > 0 && at+h.delay > p.now {
		h.delayedUpTo = at + h.delay
		return
	}
	p.free(h)
}

// at starts an entry.
func (p *primitives) at(now int64) {
	p.now, p.events = now, nil
	type end struct {
		at    int64
		kind  int
		a, b  uint64
		hold  *refHold
		waits *refWait
	}
	var ends []end
	for id, s := range p.sessions {
		ends = append(ends, end{at: s.deadline, kind: 1, a: id})
	}
	for _, h := range p.holds {
		switch {
		case h.delayedUpTo > 0:
			ends = append(ends, end{at: h.delayedUpTo, kind: 2, a: uint64(h.fence), hold: h})
		case h.until > 0:
			ends = append(ends, end{at: h.until, kind: 3, a: uint64(h.fence), hold: h})
		}
	}
	for _, w := range p.waits {
		if w.until > 0 {
			ends = append(ends, end{at: w.until, kind: 4, a: w.session, b: w.ticket, waits: w})
		}
	}
	ends = slices.DeleteFunc(ends, func(e end) bool { return e.at > now })
	slices.SortFunc(ends, func(x, y end) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.kind, y.kind), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	var touched []string
	for _, e := range ends { // the dead leave
		switch {
		case e.kind == 1:
			touched = append(touched, p.leaveAll(e.a)...)
		case e.kind == 4 && slices.Contains(p.waits, e.waits):
			p.leave(e.waits)
			p.say(e.a, EventTimedOut, e.waits.keys[0])
			if e.waits.errand == forLock || e.waits.errand == forAll {
				touched = append(touched, e.waits.keys...)
			}
		}
	}
	for _, e := range ends { // then what they held is handed on
		switch {
		case e.kind == 1:
			p.say(e.a, EventSessionExpired, "")
			hs := p.of(e.a)
			delete(p.sessions, e.a)
			for _, h := range hs {
				p.ended(h, e.at)
			}
		case e.kind == 2:
			p.free(e.hold)
		case e.kind == 3 && e.hold.delayedUpTo == 0 && slices.Contains(p.holds, e.hold):
			p.say(e.hold.session, EventLost, e.hold.key)
			p.ended(e.hold, e.at)
		}
	}
	p.settleAll(touched) // and those get in who stood behind them
}

// acquire is the outcome of an acquire or an acquire-all.
func (p *primitives) acquire(w *refWait, try bool) (granted bool, code Code) {
	for _, key := range w.keys {
		if p.first(key) != nil || !p.fits(key, w.mode, w.permits) {
			if try {
				return false, CodeLocked
			}
			p.waits = append(p.waits, w)
			return false, OK
		}
	}
	p.take(w)
	return true, OK
}

// pass lets those go who wait at the barrier, or for the latch.
func (p *primitives) pass(what errand) {
	for _, w := range slices.Clone(p.waits) {
		if w.errand == what {
			p.leave(w)
			p.say(w.session, EventGranted, w.keys[0])
		}
	}
}

func (p *primitives) waitingFor(what errand) (n int) {
	for _, w := range p.waits {
		if w.errand == what {
			n++
		}
	}
	return n
}

var walkKeys = []string{"a", "b", "c", "s"} // s is the semaphore
