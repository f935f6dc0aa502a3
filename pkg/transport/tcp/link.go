package tcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/internal/queue"
)

// What waits for a peer that is not connected: the newest of the small messages, and what one probe is.
const (
	awayControl = 16
	awayBytes   = 256 << 10
)

// patience is how long a peer may stay away before that is worth a line in the log.
const patience = time.Second

// errIdle ends a connection for messages that has had none for long.
var errIdle = errors.New("no messages")

// errInterrupted ends a connection whose peer has moved or been replaced.
var errInterrupted = errors.New("the configuration has changed")

// link is the way of one class to one peer: a queue and, time and again, a connection. That of the class of messages
// has an outbox in place of the queue, and connects only when something waits in it.
type link struct {
	route  *route
	class  transport.Class
	queue  *queue.Queue[raft.Message]
	outbox *exchange.Outbox
	poked  chan struct{}

	connected atomic.Bool
	// told is set once Unreachable was called for the present failure.
	told atomic.Bool
	away time.Time // since when the peer cannot be reached; of the link's goroutine alone

	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the present attempt, or the connection that came of it
}

// newLink makes a link that is not connected.
func newLink(r *route, class transport.Class) *link {
	l := &link{route: r, class: class, poked: make(chan struct{}, 1)}
	switch class {
	case transport.Control:
		l.queue = queue.New[raft.Message](queue.DropOldest, awayControl, 0)
	case transport.Bulk:
		l.queue = queue.New[raft.Message](queue.DropNewest, 0, awayBytes)
	case transport.Messages:
		l.outbox = r.t.client.Open(r.peer.Load().ID)
	}
	return l
}

// open gives the queue the bounds of a connected peer.
func (l *link) open() {
	switch cfg := &l.route.t.cfg; l.class {
	case transport.Control:
		l.queue.Limit(cfg.ControlQueue, 0)
	case transport.Bulk:
		l.queue.Limit(0, cfg.BulkQueueBytes)
	}
	l.told.Store(false)
	l.connected.Store(true)
	select { // a poke from before the connection has nothing to say about its end
	case <-l.poked:
	default:
	}
}

// close gives the queue the bounds of a peer that is away. Appends that wait are useless by now, since
// some before them are lost; requests that were under way have to go again.
func (l *link) close() {
	l.connected.Store(false)
	switch l.class {
	case transport.Control:
		l.route.lose(l.queue.Limit(awayControl, 0))
	case transport.Bulk:
		l.route.lose(l.queue.Clear())
		l.queue.Limit(0, awayBytes)
	case transport.Messages:
		l.outbox.Broken()
	}
}

// push queues a message.
func (l *link) push(m *raft.Message, size int) {
	if n := l.queue.Push(*m, size); n > 0 {
		l.route.lose(n)
		if l.class == transport.Bulk {
			l.unreachable()
		}
	}
}

// wake receives when something has come to wait.
func (l *link) wake() <-chan struct{} {
	if l.outbox != nil {
		return l.outbox.Wake()
	}
	return l.queue.Wake()
}

// waiting returns how much waits.
func (l *link) waiting() int {
	if l.outbox != nil {
		return l.outbox.Len()
	}
	return l.queue.Len()
}

// drop gives up what waits and nobody will repeat.
func (l *link) drop() {
	if l.outbox != nil {
		l.route.lose(l.outbox.DropNotices())
	} else {
		l.route.lose(l.queue.Clear())
	}
}

// unreachable tells the handler once for each failure. It is about the core's messages alone.
func (l *link) unreachable() {
	if l.class != transport.Messages && l.told.CompareAndSwap(false, true) {
		l.route.t.outcries.Add(l.route.peer.Load().ID)
	}
}

// poke ends the pause before the next dial.
func (l *link) poke() {
	select {
	case l.poked <- struct{}{}:
	default:
	}
}

// interrupt ends the present attempt or connection.
func (l *link) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel(errInterrupted)
	}
}

// run connects and sends, again and again, until the context ends or the transport begins to close.
func (l *link) run(ctx context.Context) {
	t := l.route.t
	pause := t.cfg.BackoffMin
	for ctx.Err() == nil && t.soft.Err() == nil {
		if l.outbox != nil && !l.demanded(ctx) {
			break
		}
		lived := l.attempt(ctx)
		if lived >= t.cfg.BackoffMax {
			pause = t.cfg.BackoffMin
		}
		if l.pause(ctx, pause) {
			pause = t.cfg.BackoffMin
			continue
		}
		pause = min(2*pause, t.cfg.BackoffMax)
	}
	l.drop()
}

// demanded waits until there is something to send; it reports false when the link is to end first.
func (l *link) demanded(ctx context.Context) bool {
	for l.outbox.Len() == 0 {
		select {
		case <-l.outbox.Wake():
		case <-ctx.Done():
			return false
		case <-l.route.t.soft.Done():
			return false
		}
	}
	return true
}

// pause waits between a half and the whole of d; it reports whether a poke ended it.
func (l *link) pause(ctx context.Context, d time.Duration) (poked bool) {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-l.poked:
		return true
	case <-timer.C:
	case <-ctx.Done():
	case <-l.route.t.soft.Done():
	}
	return false
}

// attempt dials once and, if that succeeds, sends until the connection ends. It returns how long the
// connection lived.
func (l *link) attempt(parent context.Context) (lived time.Duration) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	// Only now: an interruption after this line is of a list of peers that is newer than what we read.
	peer := *l.route.peer.Load()

	s, err := l.connect(ctx, peer)
	if err != nil {
		if parent.Err() == nil && l.route.t.soft.Err() == nil {
			l.down(peer, err, false)
			if l.outbox != nil {
				l.drop() // notifications that come late are worse than none
			} else if l.queue.Len() > 0 {
				l.unreachable()
			}
		}
		return 0
	}
	begin := time.Now()
	l.open()
	l.up(peer)
	err = s.run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	l.close()
	if parent.Err() == nil && l.route.t.soft.Err() == nil && !errors.Is(err, errIdle) {
		l.down(peer, err, true)
		l.unreachable()
	}
	return time.Since(begin)
}

// up logs that a peer can be reached again.
func (l *link) up(peer transport.Peer) {
	t := l.route.t
	l.away = time.Time{}
	t.notices.forget("refused " + peer.ID.String())
	if l.class == transport.Control && t.notices.changed("state "+peer.ID.String(), "up") {
		t.cfg.Logger.Info("peer connected", "peer", peer.Label(), "address", peer.Address)
	}
}

// down keeps and logs, once for each outage, why a peer cannot be reached. A peer that was never reached
// gets a moment first: nodes that start together find each other a little later.
func (l *link) down(peer transport.Peer, err error, was bool) {
	t := l.route.t
	l.route.failed(err)
	if l.away.IsZero() {
		l.away = time.Now()
	}
	var refusal *transport.Refusal
	if errors.As(err, &refusal) || l.class != transport.Control || !(was || time.Since(l.away) >= patience) {
		return // a refusal has its own line
	}
	if t.notices.changed("state "+peer.ID.String(), "down") {
		t.cfg.Logger.Warn("peer not reachable, dialling on", "peer", peer.Label(), "address", peer.Address, "error", err)
	}
}
