package locks

import (
	"fmt"

	"github.com/tidwall/btree"
)

// Party is one ticket that waits at a barrier or a latch. It is never changed.
type Party struct {
	Key     string
	Arrival uint64 // lower ones came first
	Session uint64
	Ticket  uint64 // seq of its request
	Since   int64  // cluster time of its arrival
	Until   int64  // cluster time at which the wait ends, or Forever
}

func byArrival(a, b *Party) bool {
	if a.Key != b.Key {
		return a.Key < b.Key
	}
	return a.Arrival < b.Arrival
}

// crowd are the tickets that wait at the barriers, or at the latches.
type crowd struct {
	parties *btree.BTreeG[*Party] // by (key, arrival)
	arrival uint64                // last one given
}

func newCrowd() crowd {
	return crowd{parties: btree.NewBTreeGOptions(byArrival, btree.Options{NoLocks: true})}
}

// nobody is what copies of empty crowds have: most clusters have neither barriers nor latches.
var nobody = newCrowd().parties

func (c *crowd) copied() crowd {
	if c.parties.Len() == 0 {
		return crowd{parties: nobody, arrival: c.arrival}
	}
	return crowd{parties: c.parties.Copy(), arrival: c.arrival}
}

// Waiting returns the number of tickets that wait.
func (c *crowd) Waiting() int { return c.parties.Len() }

// Arrivals returns the last arrival number that was given.
func (c *crowd) Arrivals() uint64 { return c.arrival }

// SetArrivals restores the counter of a snapshot.
func (c *crowd) SetArrivals(n uint64) { c.arrival = n }

// Party returns the ticket with this arrival number.
func (c *crowd) Party(key string, arrival uint64) (*Party, bool) {
	return c.parties.Get(&Party{Key: key, Arrival: arrival})
}

// Parties calls f for each ticket that waits there, first one first, until f returns false.
func (c *crowd) Parties(key string, f func(*Party) bool) {
	c.parties.Ascend(&Party{Key: key}, func(p *Party) bool { return p.Key == key && f(p) })
}

// join adds a ticket, under the next arrival number.
func (c *crowd) join(key string, p Party) uint64 {
	c.arrival++
	p.Key, p.Arrival = key, c.arrival
	c.parties.Set(&p)
	return p.Arrival
}

// leave takes one ticket out.
func (c *crowd) leave(key string, arrival uint64) (*Party, bool) {
	return c.parties.Delete(&Party{Key: key, Arrival: arrival})
}

// pass takes all tickets out that wait there, and returns them in the order of their arrival.
func (c *crowd) pass(key string) (passed []*Party) {
	c.Parties(key, func(p *Party) bool {
		passed = append(passed, p)
		return true
	})
	for _, p := range passed {
		c.parties.Delete(p)
	}
	return passed
}

// put adds a ticket of a snapshot; they come in order.
func (c *crowd) put(p *Party) error {
	if last, ok := c.parties.Max(); ok && !byArrival(last, p) {
		return fmt.Errorf("%w: a ticket at %q is out of order", ErrCorrupt, p.Key)
	}
	c.parties.Set(p)
	return nil
}

// check counts the tickets at a place, and verifies their arrival numbers.
func (c *crowd) check(key string, waiting int) error {
	n, err := 0, error(nil)
	c.Parties(key, func(p *Party) bool {
		n++
		if p.Arrival == 0 || p.Arrival > c.arrival {
			err = fmt.Errorf("%w: arrival %d at %q was never given (last %d)", ErrCorrupt, p.Arrival, key, c.arrival)
		}
		return err == nil
	})
	if err == nil && n != waiting {
		err = fmt.Errorf("%w: %q counts %d tickets and has %d", ErrCorrupt, key, waiting, n)
	}
	return err
}

// Barrier is a barrier at which somebody waits. It is never changed in place.
type Barrier struct {
	Key     string
	Parties uint64 // tickets that make it open, at least 2
	Waiting int    // tickets that are there: at least 1, and fewer than Parties
}

// Barriers is the set of all barriers at which somebody waits: the others leave nothing behind. The zero value is not
// usable; call NewBarriers. Its rules for copies and goroutines are those of Table.
type Barriers struct {
	crowd
	all *btree.Map[string, *Barrier]
}

// NewBarriers returns an empty set.
func NewBarriers() *Barriers {
	return &Barriers{crowd: newCrowd(), all: btree.NewMap[string, *Barrier](0)}
}

// Copy returns an immutable picture of the set in O(1).
func (b *Barriers) Copy() Barriers {
	if b.all.Len() == 0 {
		return Barriers{crowd: b.copied(), all: noBarriers}
	}
	return Barriers{crowd: b.copied(), all: b.all.Copy()}
}

var noBarriers = btree.NewMap[string, *Barrier](0)

// Len returns the number of barriers at which somebody waits.
func (b *Barriers) Len() int { return b.all.Len() }

// Get returns a barrier at which somebody waits.
func (b *Barriers) Get(key string) (*Barrier, bool) { return b.all.Get(key) }

// All calls f for each barrier with key ≥ from, in the order of keys, until f returns false.
func (b *Barriers) All(from string, f func(*Barrier) bool) {
	b.all.Ascend(from, func(_ string, x *Barrier) bool { return f(x) })
}

// BarrierState says what became of a ticket that came to a barrier.
type BarrierState uint8

// The outcomes of Barriers.Wait.
const (
	BarrierPassed   BarrierState = iota + 1 // it was the last one: all of them pass
	BarrierWaits                            // more are needed
	BarrierMismatch                         // the ones that are there wait for another number
)

// Wait brings a ticket to a barrier of so many parties. With the last one all pass, and the barrier is there no more:
// passed has those that waited, in the order of their arrival, without the last one.
func (b *Barriers) Wait(key string, parties uint64, p Party) (state BarrierState, arrival uint64, passed []*Party) {
	x, ok := b.all.Get(key)
	switch {
	case ok && x.Parties != parties:
		return BarrierMismatch, 0, nil
	case !ok && parties <= 1:
		return BarrierPassed, 0, nil
	case !ok:
		x = &Barrier{Key: key, Parties: parties}
	case uint64(x.Waiting)+1 >= parties:
		b.all.Delete(key)
		return BarrierPassed, 0, b.pass(key)
	}
	b.all.Set(x.Key, &Barrier{Key: x.Key, Parties: parties, Waiting: x.Waiting + 1})
	return BarrierWaits, b.join(x.Key, p), nil
}

// Leave takes a ticket away from its barrier: cancelled, timed out, or its session died. It does not count any more.
func (b *Barriers) Leave(key string, arrival uint64) (*Party, bool) {
	p, ok := b.leave(key, arrival)
	if !ok {
		return nil, false
	}
	x, _ := b.all.Get(key)
	if x.Waiting == 1 {
		b.all.Delete(key)
	} else {
		b.all.Set(x.Key, &Barrier{Key: x.Key, Parties: x.Parties, Waiting: x.Waiting - 1})
	}
	return p, true
}

// PutBarrier adds a barrier of a snapshot; PutParty counts who waits at it.
func (b *Barriers) PutBarrier(key string, parties uint64) error {
	if last, _, ok := b.all.Max(); ok && last >= key {
		return fmt.Errorf("%w: barrier %q out of order", ErrCorrupt, key)
	}
	b.all.Set(key, &Barrier{Key: key, Parties: parties})
	return nil
}

// PutParty adds a ticket of a snapshot to a barrier that is there. They come in the order of their barriers and
// arrivals.
func (b *Barriers) PutParty(p *Party) error {
	x, ok := b.all.Get(p.Key)
	if !ok {
		return fmt.Errorf("%w: a ticket waits at barrier %q, which is not there", ErrCorrupt, p.Key)
	}
	p.Key = x.Key
	b.all.Set(x.Key, &Barrier{Key: x.Key, Parties: x.Parties, Waiting: x.Waiting + 1})
	return b.put(p)
}

// Check verifies that each barrier is waited at by fewer tickets than open it, and that all are counted. It reads
// everything.
func (b *Barriers) Check() (err error) {
	n := 0
	b.all.Scan(func(key string, x *Barrier) bool {
		n += x.Waiting
		if err = b.check(key, x.Waiting); err == nil && (x.Key != key || x.Waiting == 0 || uint64(x.Waiting) >= x.Parties) {
			err = fmt.Errorf("%w: barrier %q has %d tickets for %d parties", ErrCorrupt, key, x.Waiting, x.Parties)
		}
		return err == nil
	})
	if err == nil && n != b.Waiting() {
		err = fmt.Errorf("%w: %d tickets at barriers, %d of barriers that are there", ErrCorrupt, b.Waiting(), n)
	}
	return err
}
