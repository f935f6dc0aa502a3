package locks

import (
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by everything that Check and the Put functions refuse.
var ErrCorrupt = errors.New("locks: inconsistent table")

// PutLock adds a lock of a snapshot, with its holds by fence; limit is that of a semaphore, otherwise 0. Locks come in
// the order of their keys; Waiters is counted by PutWaiter, and a lock without holds needs one.
func (t *Table) PutLock(key string, limit uint64, holds []Hold) error {
	if last, _, ok := t.locks.Max(); ok && last >= key {
		return fmt.Errorf("%w: lock %q out of order", ErrCorrupt, key)
	}
	l := &Lock{Key: key, Limit: limit}
	if len(holds) == 1 {
		l = lockWith(key, limit, 0, &holds[0], 0)
	} else {
		for i := range holds {
			l.Holds = append(l.Holds, &holds[i])
		}
	}
	for _, h := range l.Holds {
		if h.Mode == Semaphore {
			if h.Permits > limit-l.InUse {
				return fmt.Errorf("%w: more than %d permits of %q are taken", ErrCorrupt, limit, key)
			}
			l.InUse += h.Permits
		}
	}
	t.holds += len(holds)
	t.locks.Set(key, l)
	return nil
}

// PutWaiter adds a ticket of a snapshot to the queue of a lock that is there; one of several locks is added to each of
// them. Tickets come in the order of their locks and places.
func (t *Table) PutWaiter(w *Waiter) error {
	l, ok := t.locks.Get(w.Key)
	if !ok {
		return fmt.Errorf("%w: a ticket waits for %q, which is free", ErrCorrupt, w.Key)
	}
	if last, ok := t.queue.Max(); ok && !byPlace(last, w) {
		return fmt.Errorf("%w: a ticket of %q is out of order", ErrCorrupt, w.Key)
	}
	w.Key = l.Key
	t.queue.Set(w)
	if w.Keys == nil || w.Keys[0] == w.Key {
		t.declare(w)
	}
	next := *l
	next.Waiters++
	t.locks.Set(l.Key, &next)
	return nil
}

// Check verifies what the table promises about itself: exclusive holds alone, permits within their limit, nothing free
// left behind, nobody waiting who could be served, fences and places given before and given once, and all counts right.
// It reads everything: O(n log n).
func (t *Table) Check() error {
	var err error
	bad := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
		}
	}
	fences := make(map[uint64]string, t.holds)
	waiting := 0
	t.locks.Scan(func(key string, l *Lock) bool {
		if l.Key != key {
			bad("lock %q stands under %q", l.Key, key)
		}
		if len(l.Holds) == 0 && l.Waiters == 0 {
			bad("lock %q is free and in the table", key)
		}
		inUse, last := uint64(0), uint64(0)
		for _, h := range l.Holds {
			if other, dup := fences[h.Fence]; dup {
				bad("fence %d on %q and on %q", h.Fence, key, other)
			}
			fences[h.Fence] = key
			t.checkHold(l, h, bad)
			if h.Fence <= last {
				bad("fence %d of %q stands behind fence %d", h.Fence, key, last)
			}
			last = h.Fence
			if h.Mode == Semaphore {
				inUse += h.Permits
			}
		}
		if inUse != l.InUse || inUse > l.Limit {
			bad("semaphore %q counts %d permits, has %d taken and a limit of %d", key, l.InUse, inUse, l.Limit)
		}
		n := 0
		t.Queue(key, func(w *Waiter) bool { n++; t.checkWaiter(l, w, bad); return true })
		if n != l.Waiters {
			bad("lock %q counts %d waiters and has %d", key, l.Waiters, n)
		}
		if err == nil && n > 0 && t.admissible(l, t.first(key)) {
			bad("the first one that waits for %q could be served", key)
		}
		waiting += n
		return err == nil
	})
	if len(fences) != t.holds {
		bad("%d holds are counted, and there are %d", t.holds, len(fences))
	}
	if waiting != t.queue.Len() {
		bad("%d tickets in queues, %d of locks in the table", t.queue.Len(), waiting)
	}
	if t.fence > MaxFence {
		bad("fence counter %d", t.fence)
	}
	return err
}

func (t *Table) checkHold(l *Lock, h *Hold, bad func(string, ...any)) {
	switch {
	case h.Fence == 0 || h.Fence > t.fence || h.Fence > MaxFence:
		bad("fence %d of %q was never given (last %d)", h.Fence, l.Key, t.fence)
	case h.DelayedUntil < 0 || h.Until < 0 || h.Delay < 0:
		bad("hold %d of %q has a negative time", h.Fence, l.Key)
	case h.Permits == 0 || h.Entries == 0:
		bad("hold %d of %q has %d permits and %d entries", h.Fence, l.Key, h.Permits, h.Entries)
	case h.Mode < Exclusive || h.Mode > Semaphore:
		bad("hold %d of %q has mode %d", h.Fence, l.Key, h.Mode)
	case (h.Mode == Semaphore) != (l.Limit > 0):
		bad("hold %d of %q has mode %d, and the limit is %d", h.Fence, l.Key, h.Mode, l.Limit)
	case h.Mode == Exclusive && len(l.Holds) > 1:
		bad("lock %q has %d holds, one of them exclusive", l.Key, len(l.Holds))
	}
}

func (t *Table) checkWaiter(l *Lock, w *Waiter, bad func(string, ...any)) {
	switch {
	case w.Arrival == 0 || w.Arrival > t.arrival:
		bad("place %d of %q was never given (last %d)", w.Arrival, w.Key, t.arrival)
	case w.Mode < Exclusive || w.Mode > Semaphore || (w.Mode == Semaphore) != (l.Limit > 0):
		bad("ticket %d/%d waits for %q in mode %d, and the limit is %d", w.Session, w.Ticket, w.Key, w.Mode, l.Limit)
	case w.Permits == 0 || l.Limit > 0 && w.Permits > l.Limit:
		bad("ticket %d/%d waits for %d permits of %q", w.Session, w.Ticket, w.Permits, w.Key)
	case w.Keys != nil && (len(w.Keys) < 2 || w.Mode != Exclusive):
		bad("ticket %d/%d waits for %d locks in mode %d", w.Session, w.Ticket, len(w.Keys), w.Mode)
	}
	for _, key := range w.Keys {
		if other, ok := t.queue.Get(&Waiter{Key: key, Arrival: w.Arrival}); !ok || other.Session != w.Session || other.Ticket != w.Ticket {
			bad("ticket %d/%d waits for %q and not for %q", w.Session, w.Ticket, w.Key, key)
		}
	}
}
