package tcp_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

// pipes is a network of net.Pipe, for virtual time.
type pipes struct {
	mu    sync.Mutex
	hosts map[string]*pipeHost
	dials map[string][]time.Time

	taken  func(net.Conn) net.Conn // what the listener's end of each connection is made; nil: it stays as it is
	onDial func(net.Conn)          // given the dialler's end of each connection, under the lock; nil: nothing is done
}

// pipeHost is a listener of pipes.
type pipeHost struct {
	address string
	calls   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func newPipes() *pipes {
	return &pipes{hosts: map[string]*pipeHost{}, dials: map[string][]time.Time{}}
}

func (p *pipes) listen(address string) *pipeHost {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[address] = &pipeHost{address: address, calls: make(chan net.Conn), closed: make(chan struct{})}
	return p.hosts[address]
}

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	p.dials[address] = append(p.dials[address], time.Now())
	host := p.hosts[address]
	p.mu.Unlock()
	if host == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	if p.taken != nil {
		there = p.taken(there)
	}
	select {
	case host.calls <- there:
		if p.onDial != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.onDial(here)
		}
		return here, nil
	case <-host.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *pipeHost) Accept() (net.Conn, error) {
	select {
	case c := <-h.calls:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}
func (h *pipeHost) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *pipeHost) Addr() net.Addr { return h }

func (h *pipeHost) Network() string { return "pipe" }
func (h *pipeHost) String() string  { return h.address }

// start makes and starts a member at an address of the pipes.
func (p *pipes) start(t *testing.T, id raft.MemberID, address string, peers ...transport.Peer) (*tcp.Transport, *transporttest.Recorder) {
	t.Helper()
	tr, err := tcp.New(tcp.Config{Listener: p.listen(address), Dial: p.dial})
	if err != nil {
		t.Fatal(err)
	}
	tr.SetPeers(peers)
	handler := transporttest.NewRecorder(transport.Identity{Member: id, Incarnation: raft.Incarnation{byte(id)}})
	if err := tr.Start(handler); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(context.Background()) })
	return tr, handler
}

var both = []transport.Peer{{ID: 1, Address: "one"}, {ID: 2, Address: "two"}}

// TestBackoff watches the dials to a peer that is not there.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		begin := time.Now()
		p.start(t, 1, "one", both...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		dials := p.dials["two"] // of both links
		if n := len(dials); n < 2*20 || n > 2*55 {
			t.Errorf("%d dials in 10 s", n)
		}
		early := 0
		for _, at := range dials {
			if at.Sub(begin) <= 40*time.Millisecond {
				early++
			}
		}
		if early < 2*3 || early > 2*6 {
			t.Errorf("%d dials in the first 40 ms", early)
		}
		steady := map[time.Time]bool{}
		for _, at := range dials[20:] {
			steady[at] = true
		}
		if len(steady) < (len(dials)-20)*3/4 {
			t.Error("the links dial in step: no jitter")
		}
	})
}

// TestReturnedPeerIsDialledAtOnce starts a peer when the pause between two dials has grown to its longest.
func TestReturnedPeerIsDialledAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, _ := p.start(t, 1, "one", both...)
		time.Sleep(time.Minute)
		_, two := p.start(t, 2, "two", both...)
		one.Send([]raft.Message{{Type: raft.MsgVote, From: 1, To: 2}})
		synctest.Wait() // no time passes
		if s := one.Stats()[2]; !s.Connected || !s.BulkConnected {
			t.Errorf("not connected: %+v", s)
		}
		if n := two.Received(); n != 1 {
			t.Errorf("%d messages came", n)
		}
	})
}

// TestOldMessagesAreNotKept sends to a peer that is away; it gets the newest when it is back.
func TestOldMessagesAreNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, handler := p.start(t, 1, "one", both...)
		big := []raft.Entry{{Data: make([]byte, 100<<10)}}
		for i := range uint64(1000) {
			one.Send([]raft.Message{{Type: raft.MsgHeartbeat, From: 1, To: 2, Round: i}, {Type: raft.MsgAppend, From: 1, To: 2, Round: i, Entries: big}})
		}
		synctest.Wait()
		if n := handler.Told(2); n < 1 || n > 2 { // once for each link
			t.Errorf("told %d times of one failure", n)
		}
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Second)
		synctest.Wait()
		var control, bulk []uint64
		for _, m := range two.Messages() {
			if m.Type == raft.MsgAppend {
				bulk = append(bulk, m.Round)
			} else {
				control = append(control, m.Round)
			}
		}
		if len(control) != 16 || control[15] != 999 || len(bulk) != 2 || bulk[0] != 0 {
			t.Errorf("heartbeats %v and appends %v came", control, bulk)
		}
		if s := one.Stats()[2]; s.Dropped != 2000-18 {
			t.Errorf("%d counted as dropped", s.Dropped)
		}
	})
}

// TestRoundTripAndIdle keeps connections open without traffic, and measures them.
func TestRoundTripAndIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, handler := p.start(t, 1, "one", both...)
		p.start(t, 2, "two", both...)
		time.Sleep(time.Hour)
		synctest.Wait()
		s := one.Stats()[2]
		if !s.Connected || !s.BulkConnected || s.RoundTrip == 0 || handler.Told(2) != 0 {
			t.Fatalf("after an idle hour: %+v, told %d times", s, handler.Told(2))
		}
		p.mu.Lock()
		if n := len(p.dials["two"]); n > 4 {
			t.Errorf("%d dials in an idle hour", n)
		}
		p.mu.Unlock()
	})
}
