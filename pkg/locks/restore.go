package locks

import (
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by everything that Check and the Put functions refuse.
var ErrCorrupt = errors.New("locks: inconsistent table")

// PutLock adds a lock of a snapshot. Locks come in the order of their keys; Waiters is counted by
// PutWaiter.
func (t *Table) PutLock(key string, holds []Hold) error {
	if last, _, ok := t.locks.Max(); ok && last >= key {
		return fmt.Errorf("%w: lock %q out of order", ErrCorrupt, key)
	}
	t.locks.Set(key, &Lock{Key: key, Holds: holds})
	return nil
}

// PutWaiter adds a ticket of a snapshot to the queue of a lock that is there. Tickets come in the order of
// their locks and places.
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
	t.locks.Set(l.Key, &Lock{Key: l.Key, Holds: l.Holds, Waiters: l.Waiters + 1})
	return nil
}

// Check verifies what the table promises about itself: at most one hold a lock, no free lock in the table,
// fences unique and given before, places given before, and queues counted right. It reads everything:
// O(n log n).
func (t *Table) Check() error {
	var err error
	fences := make(map[uint64]string, t.locks.Len())
	waiting := 0
	t.locks.Scan(func(key string, l *Lock) bool {
		switch {
		case l.Key != key:
			err = fmt.Errorf("%w: lock %q stands under %q", ErrCorrupt, l.Key, key)
		case len(l.Holds) == 0:
			err = fmt.Errorf("%w: lock %q is free and in the table", ErrCorrupt, key)
		case len(l.Holds) > 1:
			err = fmt.Errorf("%w: lock %q has %d exclusive holds", ErrCorrupt, key, len(l.Holds))
		}
		for i := range l.Holds {
			h := &l.Holds[i]
			if other, dup := fences[h.Fence]; dup {
				err = fmt.Errorf("%w: fence %d on %q and on %q", ErrCorrupt, h.Fence, key, other)
			}
			if h.Fence == 0 || h.Fence > t.fence || h.Fence > MaxFence {
				err = fmt.Errorf("%w: fence %d of %q was never given (last %d)", ErrCorrupt, h.Fence, key, t.fence)
			}
			if h.DelayedUntil < 0 {
				err = fmt.Errorf("%w: hold %d of %q is delayed until %d", ErrCorrupt, h.Fence, key, h.DelayedUntil)
			}
			fences[h.Fence] = key
		}
		if l.Waiters > 0 || err != nil {
			n := 0
			t.Queue(key, func(*Waiter) bool { n++; return true })
			if n != l.Waiters && err == nil {
				err = fmt.Errorf("%w: lock %q counts %d waiters and has %d", ErrCorrupt, key, l.Waiters, n)
			}
			waiting += n
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if waiting != t.queue.Len() {
		return fmt.Errorf("%w: %d tickets in queues, %d of locks in the table", ErrCorrupt, t.queue.Len(), waiting)
	}
	if t.fence > MaxFence {
		return fmt.Errorf("%w: fence counter %d", ErrCorrupt, t.fence)
	}
	t.queue.Scan(func(w *Waiter) bool {
		if w.Arrival == 0 || w.Arrival > t.arrival {
			err = fmt.Errorf("%w: place %d of %q was never given (last %d)", ErrCorrupt, w.Arrival, w.Key, t.arrival)
		}
		return err == nil
	})
	return err
}
