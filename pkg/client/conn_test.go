package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// proxy is a TCP way to a server that can be stopped like a process by SIGSTOP: connections stay open, and
// nothing passes any more.
type proxy struct {
	ln     net.Listener
	target string

	mu      sync.Mutex
	frozen  bool
	conns   []net.Conn
	closing bool
	wg      sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: strings.TrimPrefix(target, "nats://")}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
}

// cut breaks the connections that there are; new ones are taken.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) stop() {
	p.mu.Lock()
	p.closing = true
	p.ln.Close()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	if p.closing {
		c.Close()
	}
	return !p.frozen && !p.closing
}

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) { // the kernel takes a stopped process's connections
			continue
		}
		d, err := net.Dial("tcp", p.target)
		if err != nil {
			c.Close()
			continue
		}
		p.keep(d)
		p.wg.Go(func() { p.copy(c, d) })
		p.wg.Go(func() { p.copy(d, c) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if err == nil && !frozen {
			_, err = to.Write(buf[:n])
		}
		if err == io.EOF {
			to.Close()
		}
		if err != nil {
			return
		}
	}
}

// A NATS server that is stopped keeps its connections open and answers nothing. The client must notice and
// move, long before its pings would tell.
func TestAStoppedServerIsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p, q := newProxy(t, r.URL()), newProxy(t, r.URL())
	c, err := Connect(t.Context(), p.url()+","+q.url(), WithNATSOptions(nats.DontRandomize(), nats.IgnoreDiscoveredServers()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	p.freeze()
	start := time.Now()
	m, err := c.Lock(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it took %v to move", d)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if m.Fence() != l.Fence()+1 {
		t.Errorf("fence %d after %d", m.Fence(), l.Fence())
	}
	if got := c.wire.nc.ConnectedUrl(); got != q.url() {
		t.Errorf("connected to %s", got)
	}
}

// What was asked over a connection that broke is asked again as soon as there is another, not when the try's
// time is over.
func TestARequestIsRepeatedAtTheReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := newProxy(t, r.URL())
	c, err := Connect(t.Context(), p.url(), WithNATSOptions(nats.IgnoreDiscoveredServers()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.Script(only("lock.get", Fate{DropReply: true}))
	body, err := proto.Marshal(&coorddv1.LockGetRequest{Cluster: c.clusterID()})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() {
		_, err := c.wire.do(t.Context(), &request{subject: subjectOf("default", "lock.get", "x"), patient: time.Hour,
			body: func() ([]byte, error) { return body, nil }})
		errs <- err
	}()
	r.until(t, "the question has arrived", func() bool { return len(r.Seen("lock.get")) == 1 })
	p.cut()
	select {
	case err := <-errs:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Fatal("not repeated")
	}
}

// While a connection attempt hangs nats.go holds its lock; what the clock says must not wait for it.
func TestTheLeaseEndsInTimeWhileTheConnectionHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := newProxy(t, r.URL())
	c, err := Connect(t.Context(), p.url(), WithTTL(3*time.Second), WithTimeout(5*time.Second), WithNATSOptions(nats.Timeout(2*waitLimit), nats.IgnoreDiscoveredServers()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p.freeze()
	<-l.Context().Done()
	if d := time.Since(start); d > waitLimit {
		t.Errorf("the context ended after %v, far beyond the TTL", d)
	}
	p.stop()
	_ = c.Close()
}

func TestSomebodyElsesServerIsTold(t *testing.T) {
	t.Parallel()
	s, err := StartNATS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	c, err := Connect(t.Context(), s.ClientURL(), WithTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Lock(t.Context(), "x")
	if !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "no coordd node") || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "nats://" + ln.Addr().String()
	ln.Close()
	start := time.Now()
	if _, err := Connect(t.Context(), nobody, WithTimeout(200*time.Millisecond)); !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), nobody) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, nobody); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoLeader) {
		t.Errorf("ended context: %v", err)
	}
	for _, bad := range []string{"nats://[::1", "http://127.0.0.1:1", "nats://", "", "nats://a:1,,nats://b:2", "nats://u:secret@[::1"} {
		if _, err := Connect(t.Context(), bad); !errors.Is(err, ErrBadRequest) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it took %v", d)
	}
	if _, err := New(nil, WithNATSOptions(nats.Name("x"))); err == nil {
		t.Error("New took connection options")
	}
}

// A caller's connection is left as it was.
func TestACallersConnectionStaysOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	nc, err := nats.Connect(r.URL(), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	before := nc.NumSubscriptions()
	c, err := New(nc, WithNamespace("mine"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !nc.IsConnected() || nc.NumSubscriptions() != before {
		t.Errorf("connected %v, %d subscriptions after %d", nc.IsConnected(), nc.NumSubscriptions(), before)
	}
}
