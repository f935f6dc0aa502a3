package locks

import "sort"

// Get returns a lock that is not free.
func (t *Table) Get(key string) (*Lock, bool) { return t.locks.Get(key) }

// Hold returns the hold with this fence.
func (t *Table) Hold(key string, fence uint64) (Hold, bool) {
	if l, i := t.find(key, fence); l != nil {
		return *l.Holds[i], true
	}
	return Hold{}, false
}

// Waiter returns the ticket at this place.
func (t *Table) Waiter(key string, arrival uint64) (*Waiter, bool) {
	return t.queue.Get(&Waiter{Key: key, Arrival: arrival})
}

// Locks calls f for each lock with key ≥ from, in the order of keys, until f returns false.
func (t *Table) Locks(from string, f func(*Lock) bool) {
	t.locks.Ascend(from, func(_ string, l *Lock) bool { return f(l) })
}

// Queue calls f for each ticket that waits for a lock, next one first, until f returns false.
func (t *Table) Queue(key string, f func(*Waiter) bool) {
	t.queue.Ascend(&Waiter{Key: key}, func(w *Waiter) bool { return w.Key == key && f(w) })
}

// nearby is up to which queue length a ticket's position is counted by walking.
const nearby = 32

// Position returns the place of a ticket in its queue, 1 being next; 0 if there is no such ticket. It
// costs O(log² n) in the number of all tickets, so that a session with a ticket at the end of a long queue can
// be told its place at each keepalive.
func (t *Table) Position(key string, arrival uint64) uint64 {
	l, ok := t.locks.Get(key)
	if !ok || l.Waiters == 0 {
		return 0
	}
	if l.Waiters <= nearby {
		var n, found uint64
		t.Queue(key, func(w *Waiter) bool {
			n++
			if w.Arrival == arrival {
				found = n
			}
			return found == 0
		})
		return found
	}
	head := t.rank(key, 0, 0, t.queue.Len())
	me := t.rank(key, arrival, head, head+l.Waiters)
	if w, ok := t.queue.GetAt(me); !ok || w.Key != key || w.Arrival != arrival {
		return 0
	}
	return uint64(me - head + 1)
}

// rank returns how many tickets of all queues stand before a place; it is known to be in [lo, hi].
func (t *Table) rank(key string, arrival uint64, lo, hi int) int {
	return lo + sort.Search(hi-lo, func(i int) bool {
		at, _ := t.queue.GetAt(lo + i)
		return at.Key > key || at.Key == key && at.Arrival >= arrival
	})
}
