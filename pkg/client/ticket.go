package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/internal/canary"
)

// errCancelled is how a ticket ends that was withdrawn.
var errCancelled = errors.New("wait was cancelled")

// want is what a call asks the service for that may have to be waited for.
type want struct {
	noun      string // what name is, in messages
	verb      string
	name      string   // of the subject; of several locks: empty
	names     []string // of several locks
	passage   bool     // a wait at a barrier or a latch: its grant is no hold and has no fence
	reentrant bool
	mode      Mode                                 // empty: Exclusive
	request   func(holding []uint64) proto.Message // fences that the caller holds
}

// String names what is wanted, for messages.
func (w *want) String() string {
	if w.names != nil {
		return fmt.Sprintf("%s %q", w.noun, w.names)
	}
	return fmt.Sprintf("%s %q", w.noun, w.name)
}

// place returns the name under which a ticket is spoken of: of several locks it is the first one.
func (w *want) place() string {
	if len(w.names) > 0 {
		return w.names[0]
	}
	return w.name
}

// grant is one lock that the service gave to a ticket.
type grant struct {
	name  string
	fence uint64
	until int64 // cluster time at which the hold ends by itself; 0: never
}

// ticketState only moves forward, whatever comes twice, late or in another order.
type ticketState int

const (
	ticketAsked   ticketState = iota // not answered yet
	ticketQueued                     // has its place in the queue
	ticketGranted                    // taken: lock, or set, is there (of a passage, nothing is)
	ticketEnded                      // err is set
)

// ticket is one wait from its sending to its grant or end. All fields but the channels are guarded by the
// session's mutex.
type ticket struct {
	*want
	s       *Session
	ctx     context.Context // of the caller: its values go into the lock's
	outer   []*Lock         // the locks under which the caller came
	seq     uint64          // 0 until it is sent first
	raw     []byte          // the request, to ask again
	queued  chan struct{}   // closed when it stands in the queue
	settled chan struct{}   // closed when it is granted or ended

	state     ticketState
	index     uint64        // log index of the latest answer about it; 0: only events told
	learned   time.Duration // monotonic, when the state was learned
	asking    bool          // askAgain is under way
	withdrawn bool          // nobody wants it: a grant is to be given back, not taken
	got       []grant       // so far; all of them when it is granted
	lock      *Lock
	set       *LockSet
	err       error
}

func newTicket(s *Session, w *want, ctx context.Context) *ticket {
	return &ticket{want: w, s: s, ctx: ctx, outer: heldUnder(ctx), queued: make(chan struct{}), settled: make(chan struct{})}
}

// queueLocked notes that the ticket stands in the queue.
func (t *ticket) queueLocked(index uint64) {
	t.index = max(t.index, index)
	if t.state >= ticketQueued {
		return
	}
	t.state, t.learned = ticketQueued, t.s.c.clock.Now().Mono
	close(t.queued)
}

// grantLocked takes a grant, once. index is that of the answer that told it, 0 for an event. Of several locks the news may
// come one by one: they are held when all of them are known.
func (t *ticket) grantLocked(g grant, index uint64) {
	if t.state >= ticketGranted || t.s.err != nil {
		if t.lock != nil && canary.Broken(canary.TicketTakenOnce) {
			t.s.holds[g.fence] = []*Lock{t.lock}
		}
		return
	}
	if !t.collectLocked(g) {
		return
	}
	if why := t.lostLocked(g.fence); why != nil {
		t.endLocked(why)
		return
	}
	t.state, t.learned = ticketGranted, t.s.c.clock.Now().Mono
	delete(t.s.tickets, t.seq)
	switch {
	case t.withdrawn || t.passage:
	case t.names == nil:
		t.lock = newLock(t.s, g, t.ctx, t.outer)
		t.lock.reentrant = t.reentrant
		if t.mode != "" {
			t.lock.mode = t.mode
		}
		t.s.holdLocked(t.lock, index)
	default:
		t.set = newLockSet(t.s, t.names, t.got, t.ctx, t.outer)
		for _, l := range t.set.locks {
			t.s.holdLocked(l, index)
		}
	}
	close(t.settled)
}

// collectLocked adds a grant to those that are known, and reports whether it was the last one.
func (t *ticket) collectLocked(g grant) bool {
	if t.names == nil {
		g.name = t.name
		t.got = append(t.got, g)
		return true
	}
	known := func(name string) bool {
		return slices.ContainsFunc(t.got, func(g grant) bool { return g.name == name })
	}
	if slices.Contains(t.names, g.name) && !known(g.name) {
		t.got = append(t.got, g)
	}
	return len(t.got) == len(t.names) || canary.Broken(canary.SetNeedsAllGrants)
}

// lostLocked returns why a hold was lost that this ticket entered once more: that news may come before the answer.
func (t *ticket) lostLocked(fence uint64) error {
	for _, l := range t.outer {
		if e := l.ended.Load(); l.fence == fence && e != nil && *e != ErrReleased {
			return *e
		}
	}
	return nil
}

// endLocked ends the ticket without a lock, once.
func (t *ticket) endLocked(err error) {
	if t.state >= ticketGranted {
		return
	}
	t.state, t.err = ticketEnded, err
	delete(t.s.tickets, t.seq)
	close(t.settled)
}
