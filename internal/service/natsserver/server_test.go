package natsserver

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type watcher struct{ connected, reconnects, slow atomic.Int64 }

func (w *watcher) NATSConnected(ok bool) {
	if ok {
		w.connected.Add(1)
	} else {
		w.connected.Add(-1)
	}
}
func (w *watcher) NATSReconnected()  { w.reconnects.Add(1) }
func (w *watcher) NATSSlowConsumer() { w.slow.Add(1) }

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.ClusterName = "test"
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for what, cfg := range map[string]Config{
		"clients": {Name: "n1", ClusterName: "test", Listen: taken},
		"routes":  {Name: "n1", ClusterName: "test", Listen: "127.0.0.1:0", RouteListen: taken},
	} {
		s, err := Start(cfg)
		if s != nil {
			stop(t, s)
		}
		if !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestClientsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Name: "a", MaxClients: 1})
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// It is told so, or sees the connection end before it could read that.
	if other, err := nats.Connect(s.ClientURL(), nats.Timeout(time.Minute)); err == nil {
		other.Close()
		t.Error("one client too many was taken")
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{
		{},
		{Name: "n1", ClusterName: "c", Listen: "nowhere"},
		{Name: "n1", ClusterName: "c", Listen: "127.0.0.1:99999"},
		{Name: "n1", ClusterName: "c", Listen: "127.0.0.1:0", RouteListen: "x"},
		{Name: "n1", ClusterName: "c", Listen: "127.0.0.1:0", RouteListen: "127.0.0.1:0", Routes: []string{"no-port"}},
	} {
		if s, err := Start(cfg); err == nil {
			stop(t, s)
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// Routes may be given late, and again; a server that is its own route is no remote.
func TestRoutes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all []*Server
	var addrs []string
	for _, name := range []string{"n1", "n2", "n3"} {
		s := start(t, Config{Name: name, RouteListen: "127.0.0.1:0", Routes: slices.Clone(addrs)})
		all, addrs = append(all, s), append(addrs, s.RouteAddr())
	}
	for _, s := range all {
		if err := s.Ready(ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := all[0].Remotes(); !slices.Equal(got, []string{"n2", "n3"}) {
		t.Errorf("remotes %v", got)
	}
	if err := all[0].SetRoutes(addrs); err != nil { // its own among them
		t.Fatal(err)
	}
	if err := all[0].SetRoutes([]string{"bad"}); err == nil {
		t.Error("a route without a port was accepted")
	}
	short, end := context.WithTimeout(ctx, 20*time.Millisecond)
	defer end()
	if err := all[0].Ready(short, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ready with more servers than there are: %v", err)
	}

	a, err := all[0].Connect(ConnOptions{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := all[1].Connect(ConnOptions{Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	var got *nats.Msg
	for got == nil && ctx.Err() == nil {
		got, _ = a.Request("echo", []byte("hello"), time.Second)
	}
	if got == nil || string(got.Data) != "hello" {
		t.Fatalf("no echo over a route: %v", got)
	}
}

func TestNoRoutesWithoutAddress(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Name: "n1"})
	if s.RouteAddr() != "" || len(s.Remotes()) != 0 {
		t.Error("a server by itself has routes")
	}
	if err := s.SetRoutes([]string{"127.0.0.1:1"}); err == nil {
		t.Error("routes were accepted")
	}
}

// An outside NATS may come late and go away: the connection is made and made again, and what could not be sent is
// an error at once.
func TestOutsideServerComesAndGoes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	w := &watcher{}
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	nc, err := Dial(ctx, "nats://"+addr, ConnOptions{Name: "n1", Observer: w, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.IsConnected() {
		t.Fatal("connected to nothing")
	}
	if err := nc.Publish("x", nil); err == nil {
		t.Error("a message was kept for later")
	}
	first := start(t, Config{Name: "outside", Listen: addr})
	until(t, "the first connection", func() bool { return w.connected.Load() == 1 })
	stop(t, first)
	until(t, "the loss", func() bool { return w.connected.Load() == 0 })
	start(t, Config{Name: "outside", Listen: addr})
	until(t, "the second connection", func() bool { return w.reconnects.Load() == 1 && nc.IsConnected() })
	if _, err := Dial(ctx, "nats://bad host:x", ConnOptions{}); err == nil {
		t.Error("an impossible URL was accepted")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for look := time.NewTicker(5 * time.Millisecond); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("waited for %s", what)
		case <-look.C:
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	if got := redact("nats://me:secret@host:4222,other:1"); strings.Contains(got, "secret") || !strings.Contains(got, "host:4222,other:1") {
		t.Error(got)
	}
}

// Interest is that of this server's clients, and of those of the servers that a route leads to.
func TestInterest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	a := start(t, Config{Name: "n1", RouteListen: "127.0.0.1:0"})
	b := start(t, Config{Name: "n2", RouteListen: "127.0.0.1:0", Routes: []string{a.RouteAddr()}})
	if err := a.Ready(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for i, s := range []*Server{a, b} {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for _, pattern := range []string{"coord.v1.x.watch.a/b", "coord.v1.*.watch.>"} {
			if a.Interest("coord.v1.x.watch.a/b") {
				t.Fatal("interest of nobody")
			}
			sub, err := nc.SubscribeSync(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for !a.Interest("coord.v1.x.watch.a/b") {
				if ctx.Err() != nil {
					t.Fatalf("server %d knows nothing of %s", i, pattern)
				}
				time.Sleep(time.Millisecond)
			}
			if a.Interest("coord.v1.x.evt.1") {
				t.Error("interest in another subject")
			}
			if err := sub.Unsubscribe(); err != nil {
				t.Fatal(err)
			}
			for a.Interest("coord.v1.x.watch.a/b") {
				if ctx.Err() != nil {
					t.Fatalf("server %d goes on hearing %s", i, pattern)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
}
