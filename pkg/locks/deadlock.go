package locks

import (
	"sort"

	"github.com/coordd/coordd/internal/canary"
)

// maxSearch bounds how many tickets one search for a cycle looks at, so that a request costs little however long the
// queues are. Where it is reached, nothing is found.
const maxSearch = 10_000

// Edges of the wait-for graph come only from what callers say to hold (Holding), never from sessions, which goroutines
// share. A ticket waits for the one before it in its queue; the first one of a queue waits for the holds that it
// does not fit beside, and through each of them for the tickets whose callers hold it. Semaphores are left out: any
// of their holders may let the waiter in.

// declare notes what the caller of a waiting ticket holds.
func (t *Table) declare(w *Waiter) {
	for _, f := range w.Holding {
		list := t.declared[f]
		i := sort.Search(len(list), func(i int) bool { return list[i].Arrival >= w.Arrival })
		if i < len(list) && list[i].Arrival == w.Arrival {
			continue // named twice, or the ticket's place in another queue
		}
		list = append(list, nil)
		copy(list[i+1:], list[i:])
		list[i] = w
		t.declared[f] = list
	}
}

func (t *Table) undeclare(w *Waiter) {
	for _, f := range w.Holding {
		list := t.declared[f]
		i := sort.Search(len(list), func(i int) bool { return list[i].Arrival >= w.Arrival })
		if i == len(list) || list[i].Arrival != w.Arrival {
			continue
		}
		if len(list) == 1 {
			delete(t.declared, f)
			continue
		}
		t.declared[f] = append(list[:i], list[i+1:]...)
	}
}

// search looks for a way from a ticket that is to wait back to what its own caller holds.
type search struct {
	t       *Table
	session uint64
	holding []uint64
	want    string          // the request's lock at which the search is
	seen    map[uint64]bool // places of tickets
	path    []Link
}

// cycle returns the cycle that the request would close by waiting, beginning with what is in its way and ending with
// its own hold; nil if there is none.
func (t *Table) cycle(session uint64, holding []uint64, keys []string, mode Mode) []Link {
	if len(holding) == 0 || mode == Semaphore || canary.Broken(canary.CycleIsFound) {
		return nil
	}
	s := &search{t: t, session: session, holding: holding, seen: map[uint64]bool{}}
	for _, key := range keys {
		s.want = key
		if s.behind(key, t.arrival+1, mode) {
			return s.path
		}
	}
	return nil
}

// ticket looks at everything that a waiting ticket waits for.
func (s *search) ticket(w *Waiter) bool {
	if s.seen[w.Arrival] || len(s.seen) >= maxSearch {
		return false
	}
	s.seen[w.Arrival] = true
	for _, key := range w.keys() {
		if s.behind(key, w.Arrival, w.Mode) {
			return true
		}
	}
	return false
}

// behind looks at what a ticket at this place of a lock's queue waits for there.
func (s *search) behind(key string, arrival uint64, mode Mode) bool {
	l, ok := s.t.locks.Get(key)
	if !ok || l.Limit > 0 {
		return false
	}
	if ahead := s.t.before(key, arrival); ahead != nil {
		return s.step(Link{Session: ahead.Session, Holds: key, Wants: key}, ahead)
	}
	if l.fits(mode, 1) {
		return false
	}
	for _, h := range l.Holds {
		if mode == Shared && h.Mode == Shared || !h.Live() {
			continue // a delayed hold ends by itself
		}
		if h.Session == s.session && contains(s.holding, h.Fence) {
			s.path = append(s.path, Link{Session: h.Session, Fence: h.Fence, Holds: key, Wants: s.want})
			return true
		}
		for _, w := range s.t.declared[h.Fence] {
			if w.Session == h.Session && s.step(Link{Session: h.Session, Fence: h.Fence, Holds: key, Wants: w.Key}, w) {
				return true
			}
		}
	}
	return false
}

// step goes on from a ticket, and keeps the link to it if the way leads back.
func (s *search) step(by Link, to *Waiter) bool {
	s.path = append(s.path, by)
	if s.ticket(to) {
		return true
	}
	s.path = s.path[:len(s.path)-1]
	return false
}

// before returns the ticket that stands directly before a place in a queue, nil if none does.
func (t *Table) before(key string, arrival uint64) (ahead *Waiter) {
	t.queue.Descend(t.at(key, arrival-1), func(w *Waiter) bool {
		if w.Key == key {
			ahead = w
		}
		return false
	})
	return ahead
}
