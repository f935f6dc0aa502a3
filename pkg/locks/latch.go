package locks

import (
	"fmt"

	"github.com/tidwall/btree"
)

// Latch is a countdown latch that was set, or that somebody waits for. It is never changed in place.
type Latch struct {
	Key     string
	Count   uint64 // 0: open, if it was set
	IsSet   bool   // false: somebody waits for a latch that nobody has set yet
	Waiting int    // tickets; none at an open one
}

// Open reports whether the latch lets everybody pass.
func (l *Latch) Open() bool { return l.IsSet && l.Count == 0 }

// Latches is the set of all latches. The zero value is not usable; call NewLatches. Its rules for copies and goroutines
// are those of Table.
type Latches struct {
	crowd
	all *btree.Map[string, *Latch]
}

// NewLatches returns an empty set.
func NewLatches() *Latches {
	return &Latches{crowd: newCrowd(), all: btree.NewMap[string, *Latch](0)}
}

// Copy returns an immutable picture of the set in O(1).
func (t *Latches) Copy() Latches {
	if t.all.Len() == 0 {
		return Latches{crowd: t.copied(), all: noLatches}
	}
	return Latches{crowd: t.copied(), all: t.all.Copy()}
}

var noLatches = btree.NewMap[string, *Latch](0)

// Len returns the number of latches that are set or waited for.
func (t *Latches) Len() int { return t.all.Len() }

// Get returns a latch that is set or waited for.
func (t *Latches) Get(key string) (*Latch, bool) { return t.all.Get(key) }

// All calls f for each latch with key ≥ from, in the order of keys, until f returns false.
func (t *Latches) All(from string, f func(*Latch) bool) {
	t.all.Ascend(from, func(_ string, l *Latch) bool { return f(l) })
}

// Set makes a latch, or sets its count, and returns the tickets that pass by it. 0 lets all pass and forgets the
// latch: who waits for it afterwards waits for another one of that name.
func (t *Latches) Set(key string, count uint64) (passed []*Party) {
	if count == 0 {
		t.all.Delete(key)
		return t.pass(key)
	}
	next := Latch{Key: key, Count: count, IsSet: true}
	if l, ok := t.all.Get(key); ok {
		next.Key, next.Waiting = l.Key, l.Waiting
	}
	t.all.Set(next.Key, &next)
	return nil
}

// CountDown takes n from a latch's count, not below 0, and returns its count then. At 0 the tickets that wait pass, and
// the latch stays open until it is set again. It reports false if nobody has set the latch.
func (t *Latches) CountDown(key string, n uint64) (count uint64, passed []*Party, ok bool) {
	l, ok := t.all.Get(key)
	if !ok || !l.IsSet {
		return 0, nil, false
	}
	next := *l
	next.Count -= min(n, l.Count)
	if next.Open() {
		passed, next.Waiting = t.pass(l.Key), 0
	}
	t.all.Set(next.Key, &next)
	return next.Count, passed, true
}

// Wait brings a ticket to a latch. It reports true, and keeps nothing, if the latch is open; otherwise the ticket waits,
// if need be for the latch to be set first.
func (t *Latches) Wait(key string, p Party) (arrival uint64, passed bool) {
	next := Latch{Key: key}
	if l, ok := t.all.Get(key); ok {
		next = *l
	}
	if next.Open() {
		return 0, true
	}
	next.Waiting++
	t.all.Set(next.Key, &next)
	return t.join(next.Key, p), false
}

// Leave takes a ticket away from its latch: cancelled, timed out, or its session died.
func (t *Latches) Leave(key string, arrival uint64) (*Party, bool) {
	p, ok := t.leave(key, arrival)
	if !ok {
		return nil, false
	}
	l, _ := t.all.Get(key)
	next := *l
	next.Waiting--
	if !next.IsSet && next.Waiting == 0 {
		t.all.Delete(key)
	} else {
		t.all.Set(next.Key, &next)
	}
	return p, true
}

// PutLatch adds a latch of a snapshot; PutParty counts who waits for it.
func (t *Latches) PutLatch(key string, count uint64, isSet bool) error {
	if last, _, ok := t.all.Max(); ok && last >= key {
		return fmt.Errorf("%w: latch %q out of order", ErrCorrupt, key)
	}
	t.all.Set(key, &Latch{Key: key, Count: count, IsSet: isSet})
	return nil
}

// PutParty adds a ticket of a snapshot to a latch that is there. They come in the order of their latches and arrivals.
func (t *Latches) PutParty(p *Party) error {
	l, ok := t.all.Get(p.Key)
	if !ok {
		return fmt.Errorf("%w: a ticket waits for latch %q, which is not there", ErrCorrupt, p.Key)
	}
	p.Key = l.Key
	next := *l
	next.Waiting++
	t.all.Set(next.Key, &next)
	return t.put(p)
}

// Check verifies that nobody waits for an open latch, that what nobody set is waited for, and that all tickets are
// counted. It reads everything.
func (t *Latches) Check() (err error) {
	n := 0
	t.all.Scan(func(key string, l *Latch) bool {
		n += l.Waiting
		if err = t.check(key, l.Waiting); err == nil && (l.Key != key || l.Open() && l.Waiting > 0 || !l.IsSet && (l.Waiting == 0 || l.Count != 0)) {
			err = fmt.Errorf("%w: latch %q is set: %t, counts %d and has %d tickets", ErrCorrupt, key, l.IsSet, l.Count, l.Waiting)
		}
		return err == nil
	})
	if err == nil && n != t.Waiting() {
		err = fmt.Errorf("%w: %d tickets at latches, %d of latches that are there", ErrCorrupt, t.Waiting(), n)
	}
	return err
}
