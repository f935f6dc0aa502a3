package inmem

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/internal/outcry"
)

// transportLabel is the name of this transport in metrics.
const transportLabel = "inmem"

// ErrClosed is returned by Start after Close.
var ErrClosed = fmt.Errorf("inmem: %w", transport.ErrClosed)

// Config of one node's transport. The zero value is usable.
type Config struct {
	// Address at which peers find it, any text; empty: the network picks one.
	Address string
	// RetryInterval is the pause between two attempts to reach a peer; 0: 10 ms.
	RetryInterval time.Duration
	// ControlItems and BulkBytes bound the queues before each peer; 0: 4,096 messages and 4 MiB.
	ControlItems, BulkBytes int
	// ResendInterval is how long a request waits for its answer before it is repeated; the pause doubles. 0: ten times
	// RetryInterval.
	ResendInterval time.Duration
	// JournalBytes and JournalExpiry bound the journal of requests that were answered (transport.Journal); 0: 10 MiB
	// and 10 s.
	JournalBytes  int
	JournalExpiry time.Duration

	Observer transport.Observer // nil: none
	Logger   hclog.Logger       // nil: none
}

// Transport is one node's end of a Network. It implements transport.Transport and transport.Statistics.
type Transport struct {
	network *Network
	cfg     Config

	// receiving is held for reading while the handler has a call from another node, and for writing to
	// close: after that no call can begin.
	receiving sync.RWMutex
	closed    bool

	mu      sync.Mutex
	handler transport.Handler
	self    raft.MemberID
	address string
	peers   []transport.Peer
	routes  map[raft.MemberID]*route
	refused map[raft.MemberID]transport.Rejection // last refusal that was logged, by caller
	ended   bool
	running sync.WaitGroup

	client *exchange.Client
	server *exchange.Server // nil before Start

	outcries *outcry.Outcries
	alive    context.Context // ends when Close begins
	end      context.CancelFunc
}

var (
	_ transport.Transport  = (*Transport)(nil)
	_ transport.Statistics = (*Transport)(nil)
)

// New makes a transport on the network; it is not reachable before Start.
func (n *Network) New(cfg Config) *Transport {
	if cfg.RetryInterval <= 0 {
		cfg.RetryInterval = 10 * time.Millisecond
	}
	if cfg.ControlItems <= 0 {
		cfg.ControlItems = 4096
	}
	if cfg.BulkBytes <= 0 {
		cfg.BulkBytes = 4 << 20
	}
	if cfg.Observer == nil {
		cfg.Observer = transport.NopObserver{}
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.ResendInterval <= 0 {
		cfg.ResendInterval = 10 * cfg.RetryInterval
	}
	alive, end := context.WithCancel(context.Background())
	return &Transport{network: n, cfg: cfg, routes: map[raft.MemberID]*route{}, refused: map[raft.MemberID]transport.Rejection{},
		client: exchange.NewClient(cfg.ResendInterval), outcries: outcry.New(), alive: alive, end: end}
}

// Start enters the network and begins to call on the peers.
func (t *Transport) Start(h transport.Handler) error {
	self := h.Identity().Member
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return ErrClosed
	}
	if t.handler != nil {
		return errors.New("inmem: start called twice")
	}
	// The handler has to stand before the address can be found.
	t.handler, t.self = h, self
	t.server = exchange.NewServer(h, transport.NewJournal(t.cfg.JournalBytes, t.cfg.JournalExpiry), t.running.Go)
	address, err := t.network.listen(t, t.cfg.Address)
	if err != nil {
		t.handler = nil
		return err
	}
	t.address = address
	t.running.Go(func() { t.outcries.Run(t.alive, h.Unreachable) })
	t.reroute()
	return nil
}

// Addr returns the address under which the network knows the transport.
func (t *Transport) Addr() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.address
}

// SetPeers replaces the list of peers.
func (t *Transport) SetPeers(peers []transport.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = append([]transport.Peer(nil), peers...)
	if t.handler != nil && !t.ended {
		t.reroute()
	}
}

// reroute brings the routes in line with the list of peers; t.mu is held.
func (t *Transport) reroute() {
	wanted := map[raft.MemberID]transport.Peer{}
	for _, p := range t.peers {
		if p.ID != t.self {
			wanted[p.ID] = p
		}
	}
	for id, r := range t.routes {
		if p, ok := wanted[id]; !ok || p != r.peer {
			r.end()
			delete(t.routes, id)
			if !ok {
				t.client.Shut(id)
			}
		}
	}
	for id, p := range wanted {
		if t.routes[id] == nil {
			t.routes[id] = newRoute(t, p)
		}
	}
}

// Send queues messages for their receivers.
func (t *Transport) Send(ms []raft.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range ms {
		r := t.routes[ms[i].To]
		if r != nil && ms[i].Type == raft.MsgSnapshot {
			r.lose(1)
			continue
		}
		if r == nil {
			continue // a peer that was removed meanwhile, which is not to be counted as another one
		}
		r.send(ms[i])
	}
}

// Stats tells how each peer is reached.
func (t *Transport) Stats() map[raft.MemberID]transport.PeerStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[raft.MemberID]transport.PeerStats, len(t.routes))
	for id, r := range t.routes {
		out[id] = r.stats()
	}
	return out
}

// Close leaves the network. Requests under way end with transport.ErrClosed, and the context of handlers that run with
// them. No call to the handler is under way or begins once it has returned.
func (t *Transport) Close(ctx context.Context) error {
	t.mu.Lock()
	t.ended = true
	t.end()
	t.client.Close()
	if t.server != nil {
		t.server.Stop()
	}
	for id, r := range t.routes {
		r.end()
		delete(t.routes, id)
	}
	t.network.leave(t, t.address)
	t.mu.Unlock()

	done := make(chan struct{})
	go func() {
		t.receiving.Lock()
		t.closed = true
		t.receiving.Unlock()
		t.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("inmem: close: %w", context.Cause(ctx))
	}
}

// enter lets another node's goroutine call the handler; the caller ends with t.receiving.RUnlock. It
// returns nil, and holds nothing, once the transport is closed.
func (t *Transport) enter() transport.Handler {
	t.receiving.RLock()
	if t.closed {
		t.receiving.RUnlock()
		return nil
	}
	return t.handler
}

// knows reports whether a connection that was admitted for a caller may go on.
func (t *Transport) knows(caller transport.Identity) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	for i := range t.peers {
		if t.peers[i].ID == caller.Member {
			return t.peers[i].Incarnation.IsZero() || t.peers[i].Incarnation == caller.Incarnation
		}
	}
	return len(t.peers) == 0
}

// list returns the present peers.
func (t *Transport) list() []transport.Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers
}

// reject counts a refusal of a caller and logs it once, until it changes.
func (t *Transport) reject(caller raft.MemberID, r *transport.Refusal) {
	t.cfg.Observer.PeerRejected(r.Kind)
	t.mu.Lock()
	news := t.refused[caller] != r.Kind
	t.refused[caller] = r.Kind
	t.mu.Unlock()
	if news {
		t.cfg.Logger.Warn("peer refused", "kind", string(r.Kind), "reason", r.Text)
	}
}
