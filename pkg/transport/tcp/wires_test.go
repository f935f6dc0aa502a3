package tcp_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

// wires are the lines between transports of a test. What is swallowed once is missing for ever: that
// connection stays silent, also after the line is healed, as one of TCP would for a long while.
type wires struct {
	mu     sync.Mutex
	cuts   map[[2]raft.MemberID]bool
	owners map[*tcp.Transport]raft.MemberID
}

func newWires() *wires {
	return &wires{cuts: map[[2]raft.MemberID]bool{}, owners: map[*tcp.Transport]raft.MemberID{}}
}

func (w *wires) enter(id raft.MemberID, t *tcp.Transport) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owners[t] = id
}

func (w *wires) set(a, b raft.MemberID, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]raft.MemberID{a, b}], w.cuts[[2]raft.MemberID{b, a}] = cut, cut
}

func (w *wires) cut(a, b raft.MemberID)  { w.set(a, b, true) }
func (w *wires) heal(a, b raft.MemberID) { w.set(a, b, false) }

func (w *wires) isCut(a, b raft.MemberID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts[[2]raft.MemberID{a, b}]
}

// owner finds who listens at an address.
func (w *wires) owner(address string) raft.MemberID {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, id := range w.owners {
		if t.Addr() == address {
			return id
		}
	}
	return 0
}

// dialer is the Dial function of a member.
func (w *wires) dialer(self raft.MemberID) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		peer := w.owner(address)
		if strings.HasPrefix(address, "hole.invalid") || w.isCut(self, peer) {
			<-ctx.Done() // packets go out, none comes back
			return nil, ctx.Err()
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &line{Conn: conn, cut: func() bool { return w.isCut(self, peer) }}, nil
	}
}

// line is one connection; both directions pass through it.
type line struct {
	net.Conn
	cut  func() bool
	dead atomic.Bool
}

func (c *line) gone() bool {
	if c.cut() {
		c.dead.Store(true)
	}
	return c.dead.Load()
}

func (c *line) Write(b []byte) (int, error) {
	if c.gone() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *line) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.gone() {
			return n, err
		}
	}
}
