package locks

import (
	"math"

	"github.com/coordd/coordd/internal/canary"
)

// Forever is a wait's end that never comes.
const Forever int64 = math.MaxInt64

// MaxFence is the largest fence: 53 bits, so that every JSON reader holds it exactly.
const MaxFence uint64 = 1<<53 - 1

// FenceLimit is the last fence that a new ticket, or a hold's renewal, can get. The ones above it are kept
// for tickets that are in a queue by then, so that a hand-over never fails: there are never that many.
const FenceLimit = MaxFence - 1<<30

// Mode is how a lock is held.
type Mode uint8

// The modes of holds and waiters.
const (
	Exclusive Mode = 1 // alone
	Shared    Mode = 2 // beside other shared holds
	Semaphore Mode = 3 // as many permits as the limit has room for
)

// Hold is one hold of a lock. It is never changed in place.
type Hold struct {
	Session uint64
	Ticket  uint64 // seq of the acquire that it came from
	Fence   uint64
	Mode    Mode
	Permits uint64 // of a semaphore, at least 1; otherwise 1
	Entries uint64 // how often a reentrant hold was entered, at least 1
	Since   int64  // cluster time of the grant
	Until   int64  // cluster time of its end (max-hold); 0: none of its own
	Delay   int64  // lock-delay: nanoseconds for which it is in the way after expiry or forced release
	// DelayedUntil is 0 for a live hold. Otherwise the hold was taken away, belongs to its session no more, and blocks
	// grants until this cluster time.
	DelayedUntil int64
	Metadata     map[string]string
	Value        []byte // of an election
}

// Live reports whether the hold still belongs to its session.
func (h *Hold) Live() bool { return h.DelayedUntil == 0 }

// taken is how many permits of a semaphore the hold has.
func (h *Hold) taken() uint64 {
	if h.Mode == Semaphore {
		return h.Permits
	}
	return 0
}

// Waiter is one ticket in the queue of a lock. It is never changed.
type Waiter struct {
	Key      string
	Arrival  uint64 // its place: lower ones are served first
	Session  uint64
	Ticket   uint64 // seq of the acquire
	Mode     Mode
	Permits  uint64
	Since    int64 // cluster time of its arrival
	Until    int64 // cluster time at which the wait ends, or Forever
	Delay    int64
	MaxHold  int64
	Metadata map[string]string
	Value    []byte
	// Keys has all locks of a ticket that stands in several queues, in the order of its request; there is one Waiter in
	// each of them, all with one place. nil: Key alone.
	Keys    []string
	Holding []uint64 // fences that the waiting caller holds: what deadlock detection goes by
}

// keys returns the locks that the ticket waits for.
func (w *Waiter) keys() []string {
	if w.Keys != nil {
		return w.Keys
	}
	return []string{w.Key}
}

// hold is what the ticket becomes; it lacks a fence.
func (w *Waiter) hold(now int64) Hold {
	return Hold{Session: w.Session, Ticket: w.Ticket, Mode: w.Mode, Permits: w.Permits, Since: now, Until: endOf(now, w.MaxHold),
		Delay: w.Delay, Metadata: w.Metadata, Value: w.Value}
}

// Lock is one lock that is not free, or that somebody waits for. It is never changed in place.
type Lock struct {
	Key     string
	Limit   uint64  // of a semaphore; 0: it is a lock
	InUse   uint64  // permits of a semaphore that are taken, by delayed holds too
	Holds   []*Hold // by fence. Empty: the first waiter is one of several locks, and is blocked elsewhere
	Waiters int     // tickets in its queue
}

// single is a lock with one hold, in one piece of memory.
type single struct {
	lock  Lock
	hold  Hold
	holds [1]*Hold
}

func lockWith(key string, limit, inUse uint64, h *Hold, waiters int) *Lock {
	s := &single{hold: *h}
	s.holds[0] = &s.hold
	s.lock = Lock{Key: key, Limit: limit, InUse: inUse, Holds: s.holds[:], Waiters: waiters}
	return &s.lock
}

// fits reports whether a hold may be granted beside those that are there.
func (l *Lock) fits(mode Mode, permits uint64) bool {
	switch {
	case mode == Semaphore:
		return permits <= l.Limit-l.InUse || canary.Broken(canary.PermitsWithinLimit)
	case mode == Shared:
		return len(l.Holds) == 0 || l.Holds[0].Mode == Shared
	}
	return len(l.Holds) == 0
}

// Request asks for a lock, or for several at once.
type Request struct {
	Keys      []string // distinct. Several: exclusive, granted all together or none
	Session   uint64
	Ticket    uint64
	Now       int64
	Try       bool  // never queue
	Until     int64 // end of the wait
	Mode      Mode
	Permits   uint64 // of a semaphore, 1 to Limit
	Limit     uint64 // of a semaphore; 0 otherwise
	Delay     int64
	MaxHold   int64
	Metadata  map[string]string
	Value     []byte
	Reentrant bool     // enter a hold of Holding once more
	Holding   []uint64 // fences that the caller holds; those that its session does not hold now are ignored
}

// State says what became of a request.
type State uint8

// The outcomes of Acquire.
const (
	Granted State = iota + 1
	Queued
	Refused   // Try, and not free
	NoFences  // the fence counter is near its end
	Mismatch  // a semaphore of another limit, or a lock where a semaphore was asked for, or the reverse
	Deadlock  // the wait would close a cycle
	Reentered // the caller's own hold was entered once more
	Upgrade   // the caller holds it shared and asks for it alone
)

// Outcome answers Acquire.
type Outcome struct {
	State   State
	Holds   []*Hold // granted: one for each key, in order; reentered: the hold
	Arrival uint64  // queued
	Key     string  // the lock that was in the way: refused, mismatch, upgrade
	Cycle   []Link  // deadlock
}

// Link is one step of a cycle: Session holds the lock Holds under Fence, and waits for the lock Wants. With fence 0
// it does not hold it but stands before the next one in its queue.
type Link struct {
	Session, Fence uint64
	Holds, Wants   string
}

// Grant is a hand-over that a change caused. A ticket of several locks has one for each of them, one after the other.
type Grant struct {
	Key    string
	Hold   *Hold
	Waiter *Waiter // the ticket that became the hold
}
