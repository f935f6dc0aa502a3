package inmem

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/internal/queue"
)

// parcel is a message and when it may arrive.
type parcel struct {
	message raft.Message
	due     time.Time
}

// route is the way of one transport to one peer: a lane for each class.
type route struct {
	t      *Transport
	peer   transport.Peer
	cancel context.CancelFunc
	lanes  [transport.NumClasses]*lane

	dropped atomic.Uint64

	mu          sync.Mutex
	incarnation raft.Incarnation
	lastError   string
}

// lane delivers the messages of one class in their order. That of the class of messages has an outbox in place of the
// queue.
type lane struct {
	route     *route
	queue     *queue.Queue[parcel]
	outbox    *exchange.Outbox
	connected atomic.Bool
	told      atomic.Bool // Unreachable was called for the present failure
	session   session     // of the lane's goroutine alone
}

// session is a connection that both sides agreed to.
type session struct {
	target *Transport // nil: none
	epoch  uint64
	ours   transport.Identity
}

// newRoute starts the lanes; t.mu is held.
func newRoute(t *Transport, peer transport.Peer) *route {
	ctx, cancel := context.WithCancel(context.Background())
	r := &route{t: t, peer: peer, cancel: cancel}
	r.lanes[transport.Control] = &lane{route: r, queue: queue.New[parcel](queue.DropOldest, t.cfg.ControlItems, 0)}
	r.lanes[transport.Bulk] = &lane{route: r, queue: queue.New[parcel](queue.DropNewest, 0, t.cfg.BulkBytes)}
	for _, l := range r.lanes[:transport.Messages] {
		t.running.Go(func() { l.run(ctx) })
	}
	mail := &lane{route: r, outbox: t.client.Open(peer.ID)}
	r.lanes[transport.Messages] = mail
	mail.outbox.Broken() // what was under way to where the peer was before
	t.running.Go(func() { mail.carryAll(ctx) })
	return r
}

// end stops the lanes; Transport.running waits for them.
func (r *route) end() { r.cancel() }

// send queues a message.
func (r *route) send(m raft.Message) {
	way, _ := r.t.network.way(r.t.self, r.peer.ID)
	size := sizeOf(&m)
	p := parcel{message: m}
	if way.delay > 0 {
		p.due = time.Now().Add(way.delay)
	}
	l := r.lanes[transport.ClassOf(m.Type)]
	if n := l.queue.Push(p, size); n > 0 {
		r.lose(n)
		if l.queue == r.lanes[transport.Bulk].queue {
			l.unreachable()
		}
	}
}

// lose counts messages that were given up.
func (r *route) lose(n int) {
	r.dropped.Add(uint64(n))
	for range n {
		r.t.cfg.Observer.PeerSendFailed(r.peer.Label(), transportLabel)
	}
}

// stats tells how the peer is reached.
func (r *route) stats() transport.PeerStats {
	there, _ := r.t.network.way(r.t.self, r.peer.ID)
	back, _ := r.t.network.way(r.peer.ID, r.t.self)
	r.mu.Lock()
	defer r.mu.Unlock()
	return transport.PeerStats{
		Name: r.peer.Name, Address: r.peer.Address,
		Connected:     r.lanes[transport.Control].connected.Load(),
		BulkConnected: r.lanes[transport.Bulk].connected.Load(),

		MessagesConnected: r.lanes[transport.Messages].connected.Load(),

		RoundTrip:   there.delay + back.delay,
		Incarnation: r.incarnation, Dropped: r.dropped.Load(), LastError: r.lastError,
	}
}

// note keeps the outcome of an attempt to connect.
func (r *route) note(incarnation raft.Incarnation, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if problem == "" {
		r.incarnation = incarnation
	}
	r.lastError = problem
}

// run connects, delivers and connects again until the context ends.
func (l *lane) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	var batch []parcel
	for {
		select {
		case <-ctx.Done():
			l.connected.Store(false)
			return
		case <-l.queue.Wake():
		case <-retry.C:
		}
		wait := l.route.t.cfg.RetryInterval
		if l.ensure() {
			wait *= 10 // only to notice, without traffic, that the peer has gone
			l.refresh()
		}
		retry.Reset(wait)
		batch = l.queue.Drain(batch[:0], l.route.t.cfg.BulkBytes)
		for _, p := range batch {
			if !p.due.IsZero() && !sleepUntil(ctx, p.due) {
				break
			}
			if !l.ensure() || !l.deliver(p.message) {
				l.route.lose(1)
			}
		}
		clear(batch)
		if l.connected.Load() && l.queue.Len() == 0 {
			l.told.Store(false)
		}
	}
}

// unreachable tells the handler once for each failure: a core that answers with another message must not
// turn in circles. It is about the core's messages alone.
func (l *lane) unreachable() {
	if l.outbox == nil && l.told.CompareAndSwap(false, true) {
		l.route.t.outcries.Add(l.route.peer.ID)
	}
}

// sleepUntil reports false when the context ended first.
func sleepUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ensure keeps the session or makes a new one; it reports whether there is one.
func (l *lane) ensure() bool {
	r := l.route
	way, epoch := r.t.network.way(r.t.self, r.peer.ID)
	target := r.t.network.lookup(r.peer.Address)
	if s := l.session; s.target != nil && s.target == target && s.epoch == epoch && target.knows(s.ours) {
		return true
	}
	back, _ := r.t.network.way(r.peer.ID, r.t.self)
	had := l.session.target != nil
	if had && l.session.target == target && !way.cut && back.cut && target.knows(l.session.ours) {
		return true // a cut of the other direction alone: what was connected goes on one way
	}
	l.session = session{}
	switch {
	case way.cut || back.cut:
		r.note(raft.Incarnation{}, "no answer")
	case target == nil:
		r.note(raft.Incarnation{}, "nobody listens at "+r.peer.Address)
		if had || (l.queue != nil && l.queue.Len() > 0) {
			l.unreachable()
		}
	default:
		l.session = r.handshake(target, epoch)
		if l.session.target != nil {
			l.told.Store(false)
		}
	}
	l.connected.Store(l.session.target != nil)
	return l.session.target != nil
}

// refresh tells the peer our mark when it has moved on, as the pings of a real connection do.
func (l *lane) refresh() {
	s := &l.session
	ours := l.route.t.handler.Identity()
	if ours.MarkSlot <= s.ours.MarkSlot {
		return
	}
	if way, _ := l.route.t.network.way(l.route.t.self, l.route.peer.ID); way.cut {
		return
	}
	if theirHandler := s.target.enter(); theirHandler != nil {
		s.ours.MarkSlot, s.ours.Mark = ours.MarkSlot, ours.Mark
		theirHandler.Seen(s.ours, transport.Witnessed{})
		s.target.receiving.RUnlock()
	}
}

// handshake lets both sides judge each other and tells each what the other knows of it.
func (r *route) handshake(target *Transport, epoch uint64) session {
	theirHandler := target.enter()
	if theirHandler == nil {
		return session{}
	}
	defer target.receiving.RUnlock()
	ours, theirs := r.t.handler.Identity(), theirHandler.Identity()
	ours.Address, theirs.Address = r.t.Addr(), target.Addr()
	if refusal := transport.Admit(theirs, ours, r.peer.ID, target.list()); refusal != nil {
		target.reject(ours.Member, refusal)
		if r.peer.ID == theirs.Member {
			theirHandler.TurnedAway(ours, refusal)
		}
		r.t.handler.Refused(r.peer.ID, refusal)
		r.note(raft.Incarnation{}, refusal.Error())
		return session{}
	}
	if refusal := transport.Confirm(ours, theirs, r.peer); refusal != nil {
		r.t.reject(r.peer.ID, refusal)
		r.note(raft.Incarnation{}, refusal.Error())
		return session{}
	}
	ofTheirs, ofOurs := r.t.handler.Witness(theirs.Member), theirHandler.Witness(ours.Member)
	theirHandler.Seen(ours, ofTheirs.Of(theirs.Incarnation))
	r.t.handler.Seen(theirs, ofOurs.Of(ours.Incarnation))
	r.note(theirs.Incarnation, "")
	return session{target: target, epoch: epoch, ours: ours}
}

// deliver hands one message to the peer; it reports whether the peer took it.
func (l *lane) deliver(m raft.Message) bool {
	r := l.route
	way, _ := r.t.network.way(r.t.self, r.peer.ID)
	if way.cut || (way.filter != nil && way.filter(m)) {
		return true // swallowed: the sender cannot tell
	}
	if m.From != r.t.self {
		return false
	}
	theirHandler := l.session.target.enter()
	if theirHandler == nil {
		return false
	}
	defer l.session.target.receiving.RUnlock()
	m.Incarnation = l.session.ours.Incarnation
	size, sender := sizeOf(&m), transport.Peer{ID: m.From, Name: l.session.ours.Name}
	r.t.cfg.Observer.PeerSent(r.peer.Label(), transportLabel, size)
	l.session.target.cfg.Observer.PeerReceived(sender.Label(), transportLabel, size)
	theirHandler.Receive(copied(m))
	return true
}

// sizeOf is what a message counts for in bytes.
func sizeOf(m *raft.Message) int {
	size := 64
	for i := range m.Entries {
		size += m.Entries[i].Size()
	}
	return size
}

// copied returns a message that shares nothing with m.
func copied(m raft.Message) raft.Message {
	if m.Entries != nil {
		es := make([]raft.Entry, len(m.Entries))
		for i, e := range m.Entries {
			e.Data = bytes.Clone(e.Data)
			es[i] = e
		}
		m.Entries = es
	}
	return m
}
