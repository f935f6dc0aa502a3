package tcp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// controlBytes is what a message without entries counts for in a queue.
const controlBytes = 96

// route is the way to one peer: a link for each class.
type route struct {
	t     *Transport
	peer  atomic.Pointer[transport.Peer]
	end   context.CancelFunc
	links [transport.NumClasses]*link

	roundTrip atomic.Int64 // nanoseconds; 0: not measured
	dropped   atomic.Uint64

	mu          sync.Mutex
	incarnation raft.Incarnation // zero: no handshake yet
	lastError   string
}

// newRoute starts the links to a peer; t.mu is held and the transport runs.
func newRoute(t *Transport, peer transport.Peer) *route {
	r := &route{t: t}
	r.peer.Store(&peer)
	ctx, end := context.WithCancel(t.hard)
	r.end = end
	for class := range r.links {
		l := newLink(r, transport.Class(class))
		r.links[class] = l
		t.sending.Add(1)
		t.running.Go(func() {
			defer t.sending.Done()
			l.run(ctx)
		})
	}
	return r
}

// update takes over what the list of peers says now.
func (r *route) update(peer transport.Peer) {
	old := r.peer.Swap(&peer)
	r.mu.Lock()
	moved := old.Address != peer.Address
	replaced := !peer.Incarnation.IsZero() && !r.incarnation.IsZero() && peer.Incarnation != r.incarnation
	r.mu.Unlock()
	if moved || replaced {
		for _, l := range r.links {
			l.interrupt()
			l.poke()
		}
	}
}

// send queues a message; it never blocks.
func (r *route) send(m *raft.Message) {
	size := controlBytes
	for i := range m.Entries {
		size += m.Entries[i].Size()
	}
	r.links[transport.ClassOf(m.Type)].push(m, size)
}

// lose counts messages that were given up.
func (r *route) lose(n int) {
	if n == 0 {
		return
	}
	r.dropped.Add(uint64(n))
	label := r.peer.Load().Label()
	for range n {
		r.t.cfg.Observer.PeerSendFailed(label, transportLabel)
	}
}

// measured keeps a round trip.
func (r *route) measured(d time.Duration) {
	r.roundTrip.Store(max(int64(d), 1))
	r.t.cfg.Observer.PeerRoundTrip(r.peer.Load().Label(), transportLabel, d.Seconds())
}

// met keeps what a handshake told.
func (r *route) met(incarnation raft.Incarnation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.incarnation = incarnation
	r.lastError = ""
}

// failed keeps why the way to the peer failed.
func (r *route) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastError = err.Error()
}

// stats tells how the peer is reached.
func (r *route) stats() transport.PeerStats {
	peer := r.peer.Load()
	s := transport.PeerStats{
		Name: peer.Name, Address: peer.Address,
		Connected:     r.links[transport.Control].connected.Load(),
		BulkConnected: r.links[transport.Bulk].connected.Load(),

		MessagesConnected: r.links[transport.Messages].connected.Load(),

		RoundTrip: time.Duration(r.roundTrip.Load()),
		Dropped:   r.dropped.Load(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Incarnation = r.incarnation
	if !s.Connected || !s.BulkConnected {
		s.LastError = r.lastError
	}
	return s
}
