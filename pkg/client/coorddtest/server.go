package coorddtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// patience bounds what is waited for in real time. It is far beyond what anything here needs.
const patience = time.Minute

// Server is a coordd service in this process, with time of its own. All methods may be called by any goroutine.
type Server struct {
	cfg  settings
	fail func(format string, args ...any)

	nats  *server.Server
	time  *timeline
	node  *lone
	svc   *service.Service
	inner *nats.Conn // the service's
	relay *relay

	moving sync.Mutex // held while time moves, or the leader changes

	mu      sync.Mutex
	guests  []*guest
	closed  bool
	pending sync.WaitGroup // of catchUp and flow
	stop    chan struct{}
}

// guest is what the server knows of one client.
type guest struct {
	name   string
	client *client.Client // nil: connected by the caller, with Options
	clock  *clientClock
	door   *door
}

type settings struct {
	namespace string
	flowing   bool
}

// Option is a setting of [New] and [Start].
type Option func(*settings)

// Namespace sets the namespace of the clients, and of the names that the server's methods take. Default: default.
func Namespace(ns string) Option { return func(s *settings) { s.namespace = ns } }

// Flowing lets time pass by itself as well, as fast as this machine's does. It is for tests and examples that wait for
// something short, and do not care when exactly it happens.
func Flowing() Option { return func(s *settings) { s.flowing = true } }

// New starts a server for a test, and ends it, its clients first, with the test. What goes wrong fails the test.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := Start(opts...)
	if err != nil {
		t.Fatalf("coorddtest: %v", err)
	}
	s.fail = func(format string, args ...any) { t.Helper(); t.Fatalf("coorddtest: "+format, args...) }
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("coorddtest: close: %v", err)
		}
	})
	return s
}

// Start starts a server where there is no test, as in an example. Its methods panic where those of [New]'s fail the test.
func Start(opts ...Option) (*Server, error) {
	s := &Server{cfg: settings{namespace: "default"}, time: newTimeline(), stop: make(chan struct{}),
		fail: func(format string, args ...any) { panic("coorddtest: " + fmt.Sprintf(format, args...)) }}
	for _, o := range opts {
		o(&s.cfg)
	}
	sm := service.NewStateMachine(machine.New())
	s.node = newLone(sm, s.time)
	if err := s.start(sm); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.cfg.flowing {
		s.pending.Go(s.flow)
	}
	return s, nil
}

// The accounts of the NATS server keep clients and service apart: all that passes between them passes the relay.
const serviceUser = "service"

func (s *Server) start(sm *service.StateMachine) (err error) {
	clients, own := server.NewAccount("clients"), server.NewAccount("service")
	s.nats, err = server.NewServer(&server.Options{ServerName: "coorddtest", DontListen: true, NoLog: true, NoSigs: true, NoSystemAccount: true,
		Accounts: []*server.Account{clients, own}, NoAuthUser: "client",
		Users: []*server.User{{Username: "client", Password: "client", Account: clients}, {Username: serviceUser, Password: serviceUser, Account: own}}})
	if err != nil {
		return err
	}
	s.nats.Start()
	if !s.nats.ReadyForConnections(patience) {
		return errors.New("the NATS server does not start")
	}
	connect := func(opts ...nats.Option) (*nats.Conn, error) {
		return nats.Connect("", append(opts, nats.InProcessServer(s.nats), nats.NoReconnect(), nats.ReconnectBufSize(-1))...)
	}
	asService := nats.UserInfo(serviceUser, serviceUser)
	if s.inner, err = connect(asService); err != nil {
		return err
	}
	out, err := connect(nats.NoEcho())
	if err != nil {
		return err
	}
	in, err := connect(asService, nats.NoEcho())
	if err != nil {
		out.Close()
		return err
	}
	s.relay = newRelay(out, in)
	s.relay.onLost = s.catchUp
	if err := s.relay.start(); err != nil {
		return err
	}
	// Neither probes nor joined keepalives are to wait for real time.
	s.svc, err = service.New(service.Config{Node: s.node, StateMachine: sm, Conn: s.inner, Name: nodeName, ClusterName: "coorddtest",
		ElectionTimeoutMax: electionTimeout, Timing: service.Timing{KeepaliveJoin: 1, NATSLost: time.Hour, ProbeInterval: time.Hour}})
	if err != nil {
		return err
	}
	if err := s.svc.Start(); err != nil {
		return err
	}
	s.node.elect()
	return s.await("the service", s.svc.Serving)
}

// await waits for something that happens in real time.
func (s *Server) await(what string, ok func() bool) error {
	limit := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(limit) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// Close ends the server, after the clients that it made. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	guests := slices.Clone(s.guests)
	s.mu.Unlock()
	close(s.stop)
	s.pending.Wait()

	var errs []error
	for _, g := range guests {
		g.wake()
	}
	for _, g := range guests {
		if g.client != nil {
			errs = append(errs, g.client.Close())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.svc != nil {
		errs = append(errs, s.svc.Stop(ctx))
	}
	s.node.stop()
	if s.relay != nil {
		s.relay.out.Close()
		s.relay.in.Close()
	}
	if s.inner != nil {
		s.inner.Close()
	}
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	return errors.Join(errs...)
}

// URL is the address for a program that connects by itself, with [Server.Options].
const URL = "nats://coorddtest"

// Client returns a client of the server, in its namespace, by its clock; its own [client.WithTimeout] is long, as virtual
// time costs nothing. The server's end closes it.
func (s *Server) Client(opts ...client.Option) *client.Client {
	g, own := s.guest()
	c, err := client.Connect(context.Background(), URL, append(own, opts...)...)
	if err != nil {
		s.fail("connect: %v", err)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.client = c
	return c
}

// Options returns the options with which a program under test connects to the server, at [URL], by [client.Connect]:
// each call's for one client. That client lives by the server's time; it is the program's to close, before the server
// ends, and can't be paused.
func (s *Server) Options() []client.Option {
	_, own := s.guest()
	return own
}

func (s *Server) guest() (*guest, []client.Option) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &guest{name: fmt.Sprintf("c%d", len(s.guests)+1), clock: s.time.clock()}
	g.door = newDoor(s.nats, func() { g.clock.connectedAgain(s.relay.messages(g.name)) })
	s.guests = append(s.guests, g)
	return g, []client.Option{
		clock.Option(g.clock).(client.Option),
		client.WithNamespace(s.cfg.namespace),
		client.WithNATSOptions(nats.InProcessServer(g.door), nats.CustomInboxPrefix(inboxPrefix+g.name)),
	}
}

// guestOf finds a client that this server made.
func (s *Server) guestOf(c *client.Client) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.guests {
		if g.client == c && c != nil {
			return g
		}
	}
	return nil
}

// everybody returns the guests of now.
func (s *Server) everybody() []*guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.guests)
}
