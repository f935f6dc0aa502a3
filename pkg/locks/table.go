package locks

import (
	"math"

	"github.com/tidwall/btree"

	"github.com/coordd/coordd/internal/canary"
)

// Forever is a wait's end that never comes.
const Forever int64 = math.MaxInt64

// MaxFence is the largest fence: 53 bits, so that every JSON reader holds it exactly.
const MaxFence uint64 = 1<<53 - 1

// FenceLimit is the last fence that a new ticket, or a hold's renewal, can get. The ones above it are kept
// for tickets that are in a queue by then, so that a hand-over never fails: there are never that many.
const FenceLimit = MaxFence - 1<<30

// Hold is one hold of a lock. It is never changed in place.
type Hold struct {
	Session uint64
	Ticket  uint64 // seq of the acquire that it came from
	Fence   uint64
	Since   int64 // cluster time of the grant
	// DelayedUntil is 0 for a live hold. Otherwise the hold was taken away by force, belongs to its
	// session no more, and blocks grants until this cluster time.
	DelayedUntil int64
	Metadata     map[string]string
}

// Live reports whether the hold still belongs to its session.
func (h *Hold) Live() bool { return h.DelayedUntil == 0 }

// Waiter is one ticket in the queue of a lock. It is never changed.
type Waiter struct {
	Key      string
	Arrival  uint64 // its place: lower ones are served first
	Session  uint64
	Ticket   uint64 // seq of the acquire
	Since    int64  // cluster time of its arrival
	Until    int64  // cluster time at which the wait ends, or Forever
	Metadata map[string]string
}

// Lock is one lock that is not free. It is never changed in place.
type Lock struct {
	Key     string
	Holds   []Hold
	Waiters int // tickets in its queue
}

// Request asks for a lock.
type Request struct {
	Key      string
	Session  uint64
	Ticket   uint64
	Now      int64
	Try      bool  // never queue
	Until    int64 // end of the wait
	Metadata map[string]string
}

// State says what became of a request.
type State uint8

// The outcomes of Acquire.
const (
	Granted State = iota + 1
	Queued
	Refused  // Try, and the lock is not free
	NoFences // the fence counter is near its end
)

// Outcome answers Acquire.
type Outcome struct {
	State   State
	Fence   uint64 // granted
	Arrival uint64 // queued
}

// Grant is a hand-over that a change caused.
type Grant struct {
	Key    string
	Hold   Hold
	Waiter *Waiter // the ticket that became the hold
}

// Table is the set of all locks that are not free. The zero value is not usable; call New.
type Table struct {
	locks   *btree.Map[string, *Lock]
	queue   *btree.BTreeG[*Waiter] // all queues, by (key, arrival)
	fence   uint64                 // last fence given
	arrival uint64                 // last place given
	pivot   Waiter                 // scratch for lookups by the one goroutine that changes the table
}

func byPlace(a, b *Waiter) bool {
	if a.Key != b.Key {
		return a.Key < b.Key
	}
	return a.Arrival < b.Arrival
}

// New returns an empty table whose first fence is 1.
func New() *Table {
	return &Table{
		locks: btree.NewMap[string, *Lock](0),
		queue: btree.NewBTreeGOptions(byPlace, btree.Options{NoLocks: true}),
	}
}

// Copy returns an immutable picture of the table in O(1). Only the goroutine that changes the table may
// call it; the copy may be read anywhere, and must not be changed.
func (t *Table) Copy() *Table {
	return &Table{locks: t.locks.Copy(), queue: t.queue.Copy(), fence: t.fence, arrival: t.arrival}
}

// Fence returns the last fence that was given.
func (t *Table) Fence() uint64 { return t.fence }

// Arrivals returns the last place that was given in any queue.
func (t *Table) Arrivals() uint64 { return t.arrival }

// SetCounters restores the fence and arrival counters of a snapshot. Both only ever grow.
func (t *Table) SetCounters(fence, arrival uint64) { t.fence, t.arrival = fence, arrival }

// Len returns the number of locks that are not free.
func (t *Table) Len() int { return t.locks.Len() }

// Waiting returns the number of tickets in all queues.
func (t *Table) Waiting() int { return t.queue.Len() }

// Acquire grants the lock, or puts the ticket at the end of its queue. The caller makes sure that
// (Session, Ticket) never had a ticket before.
func (t *Table) Acquire(r Request) Outcome {
	l, held := t.locks.Get(r.Key)
	if r.Try && held {
		return Outcome{State: Refused}
	}
	if t.fence >= FenceLimit {
		return Outcome{State: NoFences}
	}
	if !held {
		t.fence++
		t.locks.Set(r.Key, &Lock{Key: r.Key, Holds: []Hold{{Session: r.Session, Ticket: r.Ticket, Fence: t.fence,
			Since: r.Now, Metadata: r.Metadata}}})
		return Outcome{State: Granted, Fence: t.fence}
	}
	t.arrival++
	t.queue.Set(&Waiter{Key: l.Key, Arrival: t.arrival, Session: r.Session, Ticket: r.Ticket, Since: r.Now,
		Until: r.Until, Metadata: r.Metadata})
	t.locks.Set(l.Key, &Lock{Key: l.Key, Holds: l.Holds, Waiters: l.Waiters + 1})
	return Outcome{State: Queued, Arrival: t.arrival}
}

// Leave takes a ticket out of its queue: cancelled, timed out, or its session died. Nothing is granted by
// it, since whatever blocked that ticket blocks the ones behind it too.
func (t *Table) Leave(key string, arrival uint64) (*Waiter, bool) {
	w, ok := t.queue.Delete(t.at(key, arrival))
	if !ok {
		return nil, false
	}
	l, _ := t.locks.Get(key)
	t.locks.Set(l.Key, &Lock{Key: l.Key, Holds: l.Holds, Waiters: l.Waiters - 1})
	return w, true
}

// Release takes away the hold with this fence, live or delayed, and hands the lock on; what was granted by
// it is appended to grants. It reports false, and changes nothing, if no such hold is there.
func (t *Table) Release(key string, fence uint64, now int64, grants []Grant) (Hold, []Grant, bool) {
	l, i := t.find(key, fence)
	if l == nil {
		return Hold{}, grants, false
	}
	gone := l.Holds[i]
	rest := &Lock{Key: l.Key, Waiters: l.Waiters, Holds: without(l.Holds, i)}
	return gone, t.settle(rest, now, grants), true
}

// Delay turns a live hold into a delayed one. It reports false if no live hold has this fence.
func (t *Table) Delay(key string, fence uint64, until int64) (Hold, bool) {
	return t.replace(key, fence, func(h *Hold) { h.DelayedUntil = until })
}

// Refence gives a live hold a new fence, the next one. It reports false if no live hold has this fence, or
// if the counter is near its end.
func (t *Table) Refence(key string, fence uint64) (Hold, bool) {
	if t.fence >= FenceLimit {
		return Hold{}, false
	}
	return t.replace(key, fence, func(h *Hold) {
		t.fence++
		h.Fence = t.fence
	})
}

// replace puts a changed copy in the place of a live hold.
func (t *Table) replace(key string, fence uint64, change func(*Hold)) (Hold, bool) {
	l, i := t.find(key, fence)
	if l == nil || !l.Holds[i].Live() {
		return Hold{}, false
	}
	holds := append([]Hold(nil), l.Holds...)
	change(&holds[i])
	t.locks.Set(l.Key, &Lock{Key: l.Key, Holds: holds, Waiters: l.Waiters})
	return holds[i], true
}

// settle stores a lock whose holds have become fewer, after granting it to whoever is next as long as
// nothing blocks them.
func (t *Table) settle(l *Lock, now int64, grants []Grant) []Grant {
	for len(l.Holds) == 0 && l.Waiters > 0 {
		w := t.first(l.Key)
		t.queue.Delete(w)
		t.fence++
		h := Hold{Session: w.Session, Ticket: w.Ticket, Fence: t.fence, Since: now, Metadata: w.Metadata}
		l = &Lock{Key: l.Key, Holds: []Hold{h}, Waiters: l.Waiters - 1}
		grants = append(grants, Grant{Key: l.Key, Hold: h, Waiter: w})
	}
	if len(l.Holds) == 0 {
		t.locks.Delete(l.Key)
	} else {
		t.locks.Set(l.Key, l)
	}
	return grants
}

// find returns the lock and the place of the hold with this fence, or nil.
func (t *Table) find(key string, fence uint64) (*Lock, int) {
	if l, ok := t.locks.Get(key); ok {
		for i := range l.Holds {
			if l.Holds[i].Fence == fence {
				return l, i
			}
		}
	}
	return nil, 0
}

// at is a lookup key that costs no allocation; only for the goroutine that changes the table.
func (t *Table) at(key string, arrival uint64) *Waiter {
	t.pivot.Key, t.pivot.Arrival = key, arrival
	return &t.pivot
}

// first returns the ticket that is served next.
func (t *Table) first(key string) (next *Waiter) {
	t.queue.Ascend(t.at(key, 0), func(w *Waiter) bool {
		next = w
		return w.Key == key && w.Arrival < t.arrival && canary.Broken(canary.QueueInArrivalOrder)
	})
	return next
}

func without(holds []Hold, i int) []Hold {
	if len(holds) == 1 {
		return nil
	}
	rest := make([]Hold, 0, len(holds)-1)
	return append(append(rest, holds[:i]...), holds[i+1:]...)
}
