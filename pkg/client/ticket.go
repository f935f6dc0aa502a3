package client

import (
	"context"
	"errors"
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// errCancelled is how a ticket ends that was withdrawn.
var errCancelled = errors.New("wait was cancelled")

// ticketState only moves forward, whatever comes twice, late or in another order.
type ticketState int

const (
	ticketAsked   ticketState = iota // not answered yet
	ticketQueued                     // has its place in the queue
	ticketGranted                    // taken: lock is set
	ticketEnded                      // err is set
)

// ticket is one acquire from its sending to its grant or end. All fields but the channels are guarded by the
// session's mutex.
type ticket struct {
	s       *Session
	name    string
	ctx     context.Context // of the caller: its values go into the lock's
	outer   *Lock           // the lock whose context the caller came with
	seq     uint64          // 0 until it is sent first
	raw     []byte          // the request, to ask again
	queued  chan struct{}   // closed when it stands in the queue
	settled chan struct{}   // closed when it is granted or ended

	state     ticketState
	index     uint64        // log index of the latest answer about it; 0: only events told
	learned   time.Duration // monotonic, when the state was learned
	asking    bool          // askAgain is under way
	withdrawn bool          // nobody wants it: a grant is to be given back, not taken
	fence     uint64        // of the grant
	lock      *Lock
	err       error
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

// grantLocked takes the grant, once. index is that of the answer that told it, 0 for an event.
func (t *ticket) grantLocked(fence, index uint64) {
	if t.state >= ticketGranted || t.s.err != nil {
		if t.lock != nil && canary.Broken(canary.TicketTakenOnce) {
			t.s.holds[fence] = t.lock
		}
		return
	}
	t.state, t.fence, t.learned = ticketGranted, fence, t.s.c.clock.Now().Mono
	delete(t.s.tickets, t.seq)
	if !t.withdrawn {
		t.lock = newLock(t.s, t.name, fence, t.ctx, t.outer)
		t.lock.index, t.lock.learned = index, t.learned
		t.s.holds[fence] = t.lock
	}
	close(t.settled)
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
