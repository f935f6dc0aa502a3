package locks

import (
	"sort"

	"github.com/tidwall/btree"

	"github.com/coordd/coordd/internal/canary"
)

// Table is the set of all locks that are not free. The zero value is not usable; call New.
type Table struct {
	locks   *btree.Map[string, *Lock]
	queue   *btree.BTreeG[*Waiter] // all queues, by (key, arrival)
	fence   uint64                 // last fence given
	arrival uint64                 // last place given
	holds   int                    // in all locks

	// declared has, for each fence, the waiting tickets whose callers hold it, by place. It is made from the queues.
	declared map[uint64][]*Waiter
	pivot    *Waiter // scratch for lookups by the one goroutine that changes the table; copies have none
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
		locks:    btree.NewMap[string, *Lock](0),
		queue:    btree.NewBTreeGOptions(byPlace, btree.Options{NoLocks: true}),
		declared: map[uint64][]*Waiter{},
	}
}

// Copy returns an immutable picture of the table in O(1). Only the goroutine that changes the table may
// call it; the copy may be read anywhere, and must not be changed.
func (t *Table) Copy() *Table {
	return &Table{locks: t.locks.Copy(), queue: t.queue.Copy(), fence: t.fence, arrival: t.arrival, holds: t.holds}
}

// Fence returns the last fence that was given.
func (t *Table) Fence() uint64 { return t.fence }

// Arrivals returns the last place that was given in any queue.
func (t *Table) Arrivals() uint64 { return t.arrival }

// SetCounters restores the fence and arrival counters of a snapshot. Both only ever grow.
func (t *Table) SetCounters(fence, arrival uint64) { t.fence, t.arrival = fence, arrival }

// Len returns the number of locks that are not free, or that somebody waits for.
func (t *Table) Len() int { return t.locks.Len() }

// Holds returns the number of holds of all locks, delayed ones included.
func (t *Table) Holds() int { return t.holds }

// Waiting returns the number of tickets in all queues; one of several locks counts in each of them.
func (t *Table) Waiting() int { return t.queue.Len() }

// Acquire grants the locks, or puts the ticket at the end of their queues. The caller makes sure that
// (Session, Ticket) never had a ticket before, that the keys are distinct, and that permits and limit fit together.
func (t *Table) Acquire(r Request) Outcome {
	free := true
	blocked := ""
	for _, key := range r.Keys {
		l, ok := t.locks.Get(key)
		if !ok {
			continue
		}
		if l.Limit != r.Limit {
			return Outcome{State: Mismatch, Key: key}
		}
		if len(r.Holding) > 0 {
			if o, decided := t.mine(l, r.Session, r.Mode, r.Reentrant, r.Holding); decided {
				return o
			}
		}
		if free && (l.Waiters > 0 && !(r.Mode == Shared && canary.Broken(canary.WriterStopsReaders)) || !l.fits(r.Mode, r.Permits)) {
			free, blocked = false, key
		}
	}
	switch {
	case !free && r.Try:
		return Outcome{State: Refused, Key: blocked}
	case t.fence+uint64(len(r.Keys)) > FenceLimit:
		return Outcome{State: NoFences}
	case free:
		h := Hold{Session: r.Session, Ticket: r.Ticket, Mode: r.Mode, Permits: r.Permits, Since: r.Now,
			Until: endOf(r.Now, r.MaxHold), Delay: r.Delay, Metadata: r.Metadata, Value: r.Value}
		o := Outcome{State: Granted, Holds: t.take(r.Keys[0], r.Limit, &h)}
		for _, key := range r.Keys[1:] {
			o.Holds = append(o.Holds[:len(o.Holds):len(o.Holds)], t.take(key, r.Limit, &h)...)
		}
		return o
	}
	if cycle := t.cycle(r.Session, r.Holding, r.Keys, r.Mode); cycle != nil {
		return Outcome{State: Deadlock, Cycle: cycle}
	}
	t.arrival++
	w := Waiter{Arrival: t.arrival, Session: r.Session, Ticket: r.Ticket, Mode: r.Mode, Permits: r.Permits, Since: r.Now,
		Until: r.Until, Delay: r.Delay, MaxHold: r.MaxHold, Metadata: r.Metadata, Value: r.Value, Holding: r.Holding}
	if len(r.Keys) > 1 {
		w.Keys = append([]string(nil), r.Keys...)
	}
	for i, key := range r.Keys {
		in := w
		next := &Lock{Key: key, Limit: r.Limit, Waiters: 1}
		if l, ok := t.locks.Get(key); ok {
			*next = *l
			next.Waiters++
		}
		in.Key = next.Key
		t.locks.Set(next.Key, next)
		t.queue.Set(&in)
		if i == 0 {
			t.declare(&in)
		}
	}
	return Outcome{State: Queued, Arrival: w.Arrival}
}

// mine decides about a request for a lock of which its caller has a hold already.
func (t *Table) mine(l *Lock, session uint64, mode Mode, reentrant bool, holding []uint64) (Outcome, bool) {
	for _, h := range l.Holds {
		if h.Session != session || !h.Live() || h.Mode == Semaphore || !contains(holding, h.Fence) {
			continue
		}
		if mode == Exclusive && h.Mode == Shared {
			return Outcome{State: Upgrade, Key: l.Key}, true
		}
		if reentrant {
			h, _ := t.replace(l.Key, h.Fence, func(h *Hold) { h.Entries++ })
			return Outcome{State: Reentered, Holds: []*Hold{&h}}, true
		}
	}
	return Outcome{}, false
}

// take adds a copy of a hold to a lock, under the next fence, and returns a list of that one.
func (t *Table) take(key string, limit uint64, h *Hold) []*Hold {
	t.fence++
	t.holds++
	h.Fence, h.Entries = t.fence, 1
	permits := h.taken()
	l, ok := t.locks.Get(key)
	if ok && len(l.Holds) > 0 {
		return t.join(l, permits, *h)
	}
	waiters := 0
	if ok {
		key, waiters = l.Key, l.Waiters
	}
	l = lockWith(key, limit, permits, h, waiters)
	t.locks.Set(key, l)
	return l.Holds
}

// join adds a hold beside others.
func (t *Table) join(l *Lock, permits uint64, h Hold) []*Hold {
	next := *l
	next.InUse += permits
	// The array may be shared with older records: they end before the place that is written now, and only the newest
	// record is ever added to.
	next.Holds = append(l.Holds, &h)
	t.locks.Set(l.Key, &next)
	return next.Holds[len(next.Holds)-1:]
}

// Leave takes a ticket out of its queues: cancelled, timed out, or its session died. It grants nothing by itself, so
// that all the dead can leave before anything is handed on: call Settle for each of the ticket's keys afterwards.
func (t *Table) Leave(key string, arrival uint64) (*Waiter, bool) {
	w, ok := t.queue.Get(t.at(key, arrival))
	if !ok {
		return nil, false
	}
	t.leave(w)
	return w, true
}

func (t *Table) leave(w *Waiter) {
	t.undeclare(w)
	if w.Keys == nil {
		t.leaveOne(w.Key, w.Arrival)
		return
	}
	for _, key := range w.Keys {
		t.leaveOne(key, w.Arrival)
	}
}

func (t *Table) leaveOne(key string, arrival uint64) {
	t.queue.Delete(t.at(key, arrival))
	l, _ := t.locks.Get(key)
	if l.Waiters == 1 && len(l.Holds) == 0 {
		t.locks.Delete(key)
		return
	}
	next := *l
	next.Waiters--
	t.locks.Set(next.Key, &next)
}

// Settle grants a lock to whoever is next, as long as nothing blocks them; what was granted by it is appended to
// grants.
func (t *Table) Settle(key string, now int64, grants []Grant) []Grant {
	for {
		l, ok := t.locks.Get(key)
		if !ok || l.Waiters == 0 {
			return grants
		}
		w := t.first(key)
		if !t.admissible(l, w) {
			return grants
		}
		grants = t.admit(w, now, grants)
	}
}

// admissible reports whether the first ticket of a lock can be granted: on each of its locks it is the first one, and
// fits.
func (t *Table) admissible(l *Lock, w *Waiter) bool {
	if !l.fits(w.Mode, w.Permits) {
		return false
	}
	for _, key := range w.Keys {
		other, _ := t.locks.Get(key)
		if canary.Broken(canary.AllAtOnce) {
			break
		}
		if !other.fits(w.Mode, w.Permits) || t.first(key).Arrival != w.Arrival {
			return false
		}
	}
	return true
}

// admit turns a ticket into its holds.
func (t *Table) admit(w *Waiter, now int64, grants []Grant) []Grant {
	l, _ := t.locks.Get(w.Key)
	limit := l.Limit
	t.leave(w)
	h := w.hold(now)
	if w.Keys == nil {
		return append(grants, Grant{Key: w.Key, Hold: t.take(w.Key, limit, &h)[0], Waiter: w})
	}
	for _, key := range w.Keys {
		grants = append(grants, Grant{Key: key, Hold: t.take(key, limit, &h)[0], Waiter: w})
	}
	return grants
}

// endOf returns the instant at which a hold ends by itself; 0: never.
func endOf(now, maxHold int64) int64 {
	if maxHold == 0 {
		return 0
	}
	if now > Forever-maxHold {
		return Forever
	}
	return now + maxHold
}

// Release takes away the hold with this fence, live or delayed, however often it was entered, and hands the lock on;
// what was granted by it is appended to grants. It reports false, and changes nothing, if no such hold is there.
func (t *Table) Release(key string, fence uint64, now int64, grants []Grant) (Hold, []Grant, bool) {
	l, i := t.find(key, fence)
	if l == nil {
		return Hold{}, grants, false
	}
	if len(l.Holds) == 1 && l.Waiters > 0 {
		if w := t.first(key); w.Keys == nil {
			gone, grants := t.pass(l, w, now, grants)
			if w.Mode == Exclusive {
				return gone, grants, true
			}
			return gone, t.Settle(key, now, grants), true // others may fit beside it
		}
	}
	gone := t.drop(l, i)
	if l.Waiters == 0 {
		return gone, grants, true
	}
	return gone, t.Settle(key, now, grants), true
}

// pass puts a ticket that waits for this lock alone in the place of its only hold, in one step. Alone it always fits.
func (t *Table) pass(l *Lock, w *Waiter, now int64, grants []Grant) (Hold, []Grant) {
	t.undeclare(w)
	t.queue.Delete(w)
	t.fence++
	h := w.hold(now)
	h.Fence, h.Entries = t.fence, 1
	next := lockWith(l.Key, l.Limit, h.taken(), &h, l.Waiters-1)
	t.locks.Set(l.Key, next)
	return *l.Holds[0], append(grants, Grant{Key: l.Key, Hold: next.Holds[0], Waiter: w})
}

// drop takes a hold out of its lock.
func (t *Table) drop(l *Lock, i int) Hold {
	gone := *l.Holds[i]
	t.holds--
	if len(l.Holds) == 1 && l.Waiters == 0 {
		t.locks.Delete(l.Key)
		return gone
	}
	next := *l
	next.Holds = without(l.Holds, i)
	next.InUse -= gone.taken()
	t.locks.Set(next.Key, &next)
	return gone
}

// Exit takes one entry from a live hold that was entered several times, and returns how many are left. It reports
// false, and changes nothing, if there is no such hold or the entry is its last: that is for Release.
func (t *Table) Exit(key string, fence uint64) (entries uint64, ok bool) {
	l, i := t.find(key, fence)
	if l == nil || l.Holds[i].Entries < 2 {
		return 0, false
	}
	h, ok := t.replace(key, fence, func(h *Hold) { h.Entries-- })
	return h.Entries, ok
}

// HandOver gives a live exclusive hold to the first ticket of a session that waits exclusively for this lock alone, out
// of turn. It reports false, and changes nothing, if either of them is not there.
func (t *Table) HandOver(key string, fence, session uint64, now int64, grants []Grant) (Hold, []Grant, bool) {
	l, i := t.find(key, fence)
	if l == nil || !l.Holds[i].Live() || l.Holds[i].Mode != Exclusive {
		return Hold{}, grants, false
	}
	var to *Waiter
	t.Queue(key, func(w *Waiter) bool {
		if w.Session == session && w.Mode == Exclusive && w.Keys == nil {
			to = w
		}
		return to == nil
	})
	if to == nil && l.Waiters > 0 && canary.Broken(canary.HandOverToLive) {
		to = t.first(key)
	}
	if to == nil {
		return Hold{}, grants, false
	}
	gone := t.drop(l, i)
	return gone, t.admit(to, now, grants), true
}

// Delay turns a live hold into a delayed one. It reports false if no live hold has this fence.
func (t *Table) Delay(key string, fence uint64, until int64) (Hold, bool) {
	return t.replace(key, fence, func(h *Hold) { h.DelayedUntil = until })
}

// SetValue sets the value of a live hold.
func (t *Table) SetValue(key string, fence uint64, value []byte) (Hold, bool) {
	return t.replace(key, fence, func(h *Hold) { h.Value = value })
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

// replace puts a changed copy in the place of a live hold; with a new fence, which is the highest, at the end.
func (t *Table) replace(key string, fence uint64, change func(*Hold)) (Hold, bool) {
	l, i := t.find(key, fence)
	if l == nil || !l.Holds[i].Live() {
		return Hold{}, false
	}
	h := *l.Holds[i]
	change(&h)
	if len(l.Holds) == 1 {
		t.locks.Set(l.Key, lockWith(l.Key, l.Limit, l.InUse, &h, l.Waiters))
		return h, true
	}
	next := *l
	if h.Fence == fence {
		next.Holds = append([]*Hold(nil), l.Holds...)
		next.Holds[i] = &h
	} else {
		next.Holds = append(without(l.Holds, i), &h)
	}
	t.locks.Set(l.Key, &next)
	return h, true
}

// find returns the lock and the place of the hold with this fence, or nil.
func (t *Table) find(key string, fence uint64) (*Lock, int) {
	l, ok := t.locks.Get(key)
	if !ok {
		return nil, 0
	}
	i := 0
	if len(l.Holds) > 1 {
		i = sort.Search(len(l.Holds), func(i int) bool { return l.Holds[i].Fence >= fence })
	}
	if i == len(l.Holds) || l.Holds[i].Fence != fence {
		return nil, 0
	}
	return l, i
}

// at is a lookup key that costs no allocation; only for the goroutine that changes the table.
func (t *Table) at(key string, arrival uint64) *Waiter {
	if t.pivot == nil {
		t.pivot = new(Waiter)
	}
	t.pivot.Key, t.pivot.Arrival = key, arrival
	return t.pivot
}

// first returns the ticket that is served next.
func (t *Table) first(key string) (next *Waiter) {
	t.queue.Ascend(t.at(key, 0), func(w *Waiter) bool {
		if w.Key != key {
			return false
		}
		next = w
		return w.Arrival < t.arrival && canary.Broken(canary.QueueInArrivalOrder)
	})
	return next
}

// without returns a new list that lacks one of the holds.
func without(holds []*Hold, i int) []*Hold {
	if len(holds) == 1 {
		return nil
	}
	rest := make([]*Hold, 0, len(holds)) // one may come in its place
	return append(append(rest, holds[:i]...), holds[i+1:]...)
}

func contains(fences []uint64, fence uint64) bool {
	for _, f := range fences {
		if f == fence {
			return true
		}
	}
	return false
}
