package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/internal/outcry"
)

// ErrClosed is returned by Start after Close.
var ErrClosed = fmt.Errorf("tcp: %w", transport.ErrClosed)

// Transport implements transport.Transport and transport.Statistics over TCP.
type Transport struct {
	cfg     Config
	started time.Time

	// soft ends when Close begins: nobody is dialled any more, and what waits is sent. hard ends when
	// nothing is to be waited for.
	soft, hard       context.Context
	softEnd, hardEnd context.CancelFunc
	running          sync.WaitGroup // all goroutines
	sending          sync.WaitGroup // those that may have something to send

	// routes is what Send reads; it is replaced as a whole.
	routes atomic.Pointer[map[raft.MemberID]*route]

	mu       sync.Mutex
	handler  transport.Handler
	self     raft.MemberID
	listener net.Listener
	peers    []transport.Peer // never changed in place
	inbound  map[inboundKey]*inbound
	server   *exchange.Server // nil before Start

	client    *exchange.Client
	pending   *pending
	notices   *notices
	outcries  *outcry.Outcries
	closeOnce sync.Once
}

var (
	_ transport.Transport  = (*Transport)(nil)
	_ transport.Statistics = (*Transport)(nil)
)

// New makes a transport; it does nothing before Start. An error says what is wrong with the configuration.
func New(cfg Config) (*Transport, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Transport{cfg: cfg, started: time.Now(), inbound: map[inboundKey]*inbound{},
		client: exchange.NewClient(cfg.ResendInterval), notices: newNotices(), outcries: outcry.New()}
	t.pending = newPending(4*cfg.Backlog, 2*cfg.Backlog, func() { cfg.Observer.PeerRejected(transport.RejectTimeout) })
	t.hard, t.hardEnd = context.WithCancel(context.Background())
	t.soft, t.softEnd = context.WithCancel(t.hard)
	t.routes.Store(&map[raft.MemberID]*route{})
	return t, nil
}

// Start binds the listener and begins to dial the peers.
func (t *Transport) Start(h transport.Handler) error {
	self := h.Identity().Member
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.soft.Err() != nil {
		return ErrClosed
	}
	if t.handler != nil {
		return errors.New("tcp: start called twice")
	}
	listener := t.cfg.Listener
	if listener == nil {
		lc := net.ListenConfig{Control: controlTTL(t.cfg.IPTTL)}
		var err error
		if listener, err = lc.Listen(t.soft, "tcp", t.cfg.Listen); err != nil {
			return fmt.Errorf("tcp: listen for peers: %w", err)
		}
	}
	t.handler, t.self, t.listener = h, self, listener
	t.server = exchange.NewServer(h, transport.NewJournal(t.cfg.JournalBytes, t.cfg.JournalExpiry), t.running.Go)
	t.running.Go(func() { t.outcries.Run(t.hard, h.Unreachable) })
	t.running.Go(func() { t.acceptAll(listener) })
	t.reroute()
	return nil
}

// Addr returns the address of the listener; empty before Start.
func (t *Transport) Addr() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener == nil {
		return ""
	}
	return t.listener.Addr().String()
}

// advertised returns the address at which peers reach this node.
func (t *Transport) advertised() string {
	if t.cfg.Advertise != "" {
		return t.cfg.Advertise
	}
	return t.Addr()
}

// SetPeers replaces the list of peers. Connections to and from members that are not in it, or that have
// another incarnation than it records, are closed; a peer with a new address is dialled there. This
// node itself may be in the list.
func (t *Transport) SetPeers(peers []transport.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = append([]transport.Peer(nil), peers...)
	if t.handler == nil || t.soft.Err() != nil {
		return
	}
	t.reroute()
	for _, in := range t.inbound {
		if !t.admits(in.caller) {
			in.end()
		}
	}
}

// reroute brings the routes in line with the peers; t.mu is held.
func (t *Transport) reroute() {
	old := *t.routes.Load()
	routes := make(map[raft.MemberID]*route, len(t.peers))
	for _, p := range t.peers {
		if p.ID == t.self || routes[p.ID] != nil {
			continue
		}
		if r := old[p.ID]; r != nil {
			routes[p.ID] = r
			r.update(p)
		} else {
			routes[p.ID] = newRoute(t, p)
		}
	}
	t.routes.Store(&routes)
	for id, r := range old {
		if routes[id] == nil {
			r.end()
			t.client.Shut(id)
		}
	}
}

// admits reports whether a caller that was admitted may stay; t.mu is held.
func (t *Transport) admits(caller transport.Identity) bool {
	for i := range t.peers {
		if t.peers[i].ID == caller.Member {
			return t.peers[i].Incarnation.IsZero() || t.peers[i].Incarnation == caller.Incarnation
		}
	}
	return len(t.peers) == 0
}

// list returns the present peers; they are not to be changed.
func (t *Transport) list() []transport.Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers
}

// Send queues messages for their receivers.
func (t *Transport) Send(ms []raft.Message) {
	routes := *t.routes.Load()
	for i := range ms {
		if r := routes[ms[i].To]; r != nil && ms[i].Type == raft.MsgSnapshot {
			r.lose(1)
		} else if r != nil {
			r.send(&ms[i])
		} // else nobody that has a name: a peer that was removed meanwhile, which is not to be counted as another one
	}
}

// Stats tells how each peer is reached.
func (t *Transport) Stats() map[raft.MemberID]transport.PeerStats {
	routes := *t.routes.Load()
	out := make(map[raft.MemberID]transport.PeerStats, len(routes))
	for id, r := range routes {
		out[id] = r.stats()
	}
	return out
}

// Close sends what waits for peers that are connected, as long as they take it without delay and the context
// lasts, then ends all connections. When it returns nil no goroutine of the transport is left, and the handler is
// not called any more. Requests under way end with transport.ErrClosed, and the context of handlers that run with them.
// When the context ends first, connections are cut at once, and its cause is
// returned if even then a call to the handler does not return.
func (t *Transport) Close(ctx context.Context) error {
	t.softEnd()
	t.client.Close()
	t.closeOnce.Do(func() {
		t.mu.Lock()
		if t.server != nil {
			t.server.Stop()
		}
		listener := t.listener
		if listener == nil {
			listener = t.cfg.Listener
		}
		t.mu.Unlock()
		if listener != nil {
			listener.Close()
		}
		t.pending.closeAll()
	})
	wait(ctx, &t.sending)
	t.hardEnd()
	if wait(ctx, &t.running) {
		return nil
	}
	// Everything is cut by now; only a handler that blocks can hold us up.
	last, end := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer end()
	if wait(last, &t.running) {
		return nil
	}
	return fmt.Errorf("tcp: close: %w", context.Cause(ctx))
}

// wait reports whether the group ended before the context.
func wait(ctx context.Context, group *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	return false
}
