package natsserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
)

// MaxRequestBytes is the largest request body that the service accepts.
const MaxRequestBytes = 256 << 10

// maxPayloadBytes is the server's limit. The margin lets a request that is over MaxRequestBytes reach the
// service, which then says so, and lets an answer be somewhat larger than its request.
const maxPayloadBytes = 2 * MaxRequestBytes

const (
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
	// writeTimeout bounds a write of a node's connection.
	writeTimeout = 2 * time.Second
	// readyPoll is how often Ready looks; nats-server has no notification for routes.
	readyPoll = 10 * time.Millisecond
	// lameDuckDuration bounds the closing of client connections at Stop; they are told first and move to
	// another member.
	lameDuckDuration = 500 * time.Millisecond
	lameDuckGrace    = 50 * time.Millisecond
)

// ErrPortInUse is wrapped by Start's error when an address is taken.
var ErrPortInUse = errors.New("address already in use")

// Config says how the embedded server listens and whom it joins.
type Config struct {
	Name        string   // the node's name; unique in the cluster
	ClusterName string   // the coordd cluster's name, equal on all members
	Listen      string   // host:port for clients; port 0: any free one
	MaxClients  int      // connections of clients; 0: as nats-server has it
	RouteListen string   // host:port for the other members' servers; "": no routes (a node by itself)
	Advertise   string   // host:port told to clients instead of Listen; "": Listen
	RouteAdvert string   // host:port told to the other servers; "": RouteListen
	Routes      []string // host:port of the other members' servers; its own is recognized and skipped
	// Identified: routes are made only by servers that were told their cluster's ID (SetCluster), and taken only by those
	// that were told the same one or, unless Founder is set, none yet. [Two clusters of one name, an old one and one that was founded again at a member's address, would become one
	// network, in which two leaders answer the same requests.] It tells clusters apart and keeps nobody out.
	Identified bool
	// Founder: the node may found a cluster by itself, so that it takes no route before it knows which one it is of.
	Founder bool

	ClientTLS *tls.Config // nil: no TLS
	RouteTLS  *tls.Config // nil: no TLS

	Logger hclog.Logger // nil: none
}

// Server is an embedded NATS server.
type Server struct {
	cfg Config
	srv *server.Server
	log *logBridge

	gate routeGate

	mu   sync.Mutex
	opts *server.Options // as last given to the server; cloned before each change

	stopOnce sync.Once
}

// Start starts a server and returns when its listeners are bound; the routes come up on their own (see
// Ready). An address in use is reported as ErrPortInUse with the flag's meaning and the address.
func Start(cfg Config) (*Server, error) {
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, gate: routeGate{founder: cfg.Founder}}
	if cfg.Identified {
		opts.CustomRouterAuthentication = &s.gate
	}
	// nats-server reports a failed listen only to its logger, from a goroutine of its own. Looking first gives
	// an error that names the cause; the logger's report is still caught for whoever takes the port in between.
	if err := checkFree("clients", cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.RouteListen != "" {
		if err := checkFree("routes", cfg.RouteListen); err != nil {
			return nil, err
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats server: options: %w", err)
	}
	s.srv, s.log, s.opts = srv, newLogBridge(cfg.Logger), opts.Clone()
	srv.SetLoggerV2(s.log, s.log.debug, false, false)
	srv.Start()
	if err := s.waitListening(); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	// A later change of options must name the ports that are in use now.
	if a, ok := srv.Addr().(*net.TCPAddr); ok {
		s.opts.Port = a.Port
	}
	if a := srv.ClusterAddr(); a != nil {
		s.opts.Cluster.Port = a.Port
	}
	return s, nil
}

// waitListening waits until both listeners are bound or one of them has failed.
func (s *Server) waitListening() error {
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if s.srv.Addr() != nil && (s.cfg.RouteListen == "" || s.srv.ClusterAddr() != nil) {
			return nil
		}
		select {
		case msg := <-s.log.fatal:
			if strings.Contains(msg, "in use") {
				return fmt.Errorf("nats server: %s: %w", msg, ErrPortInUse)
			}
			return fmt.Errorf("nats server: %s", msg)
		case <-deadline.C:
			return fmt.Errorf("nats server: not listening on %s after 10 s", s.cfg.Listen)
		case <-tick.C:
		}
	}
}

func checkFree(what, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("nats server: listen for %s on %s: %w", what, addr, ErrPortInUse)
	}
	return fmt.Errorf("nats server: listen for %s: %w", what, err)
}

func options(cfg Config) (*server.Options, error) {
	if cfg.Name == "" || cfg.ClusterName == "" {
		return nil, errors.New("nats server: a name and a cluster name are needed")
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats server: client address %q: %w", cfg.Listen, err)
	}
	opts := &server.Options{
		ServerName: tokenName(cfg.Name),
		Host:       host, Port: port,
		ClientAdvertise: cfg.Advertise,
		NoSigs:          true,
		NoLog:           true,
		MaxPayload:      maxPayloadBytes,
		MaxConn:         cfg.MaxClients,
		PingInterval:    pingInterval,
		MaxPingsOut:     maxPingsOut,
		// One slow client must not slow down the leader's answers to all others; what does not fit is lost, and
		// the client asks again.
		NoFastProducerStall: true,
		LameDuckDuration:    lameDuckDuration,
		LameDuckGracePeriod: lameDuckGrace,
		TLSConfig:           cfg.ClientTLS,
		TLS:                 cfg.ClientTLS != nil,
		TLSVerify:           cfg.ClientTLS != nil && cfg.ClientTLS.ClientAuth == tls.RequireAndVerifyClientCert,
	}
	if cfg.ClientTLS != nil {
		opts.TLSTimeout = 5
	}
	if cfg.RouteListen == "" {
		return opts, nil
	}
	rhost, rport, err := splitListen(cfg.RouteListen)
	if err != nil {
		return nil, fmt.Errorf("nats server: route address %q: %w", cfg.RouteListen, err)
	}
	opts.Cluster = server.ClusterOpts{
		Name: tokenName(cfg.ClusterName),
		Host: rhost, Port: rport,
		Advertise:    cfg.RouteAdvert,
		PingInterval: pingInterval,
		MaxPingsOut:  maxPingsOut,
		// One connection for each pair keeps interest and messages in one order, which the leader's probe
		// relies on.
		PoolSize:  -1,
		TLSConfig: cfg.RouteTLS,
	}
	if cfg.RouteTLS != nil {
		opts.Cluster.TLSTimeout = 5
	}
	if cfg.Identified {
		// The gate decides; the user's name makes nats-server end a connection that does not say who it is.
		opts.Cluster.Username = routeUser
	}
	if opts.Routes, err = routeURLs(cfg, ""); err != nil {
		return nil, err
	}
	return opts, nil
}

// splitListen splits host:port; port 0 becomes nats-server's number for "any free port".
func splitListen(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", p)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// tokenName makes a name that nats-server takes as the name of a server or cluster: no spaces.
func tokenName(name string) string { return strings.Join(strings.Fields(name), "_") }

// routeURLs makes the URLs of routes, with the cluster's ID where it is asked for; none while that is not known.
func routeURLs(cfg Config, cluster string) ([]*url.URL, error) {
	var urls []*url.URL
	var user *url.Userinfo
	if cfg.Identified {
		user = url.UserPassword(routeUser, cluster)
	}
	for _, addr := range cfg.Routes {
		addr = strings.TrimPrefix(strings.TrimSpace(addr), "nats://")
		addr = strings.TrimPrefix(addr, "nats-route://")
		if addr == "" || addr == cfg.RouteListen || addr == cfg.RouteAdvert {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("nats server: route %q: %w", addr, err)
		}
		urls = append(urls, &url.URL{Scheme: "nats-route", Host: addr, User: user})
	}
	if cfg.Identified && cluster == "" {
		return nil, nil
	}
	// A reload sorts the list that is in use, in place, while the server's own goroutines read it. One that is in its
	// order already is not written to.
	slices.SortFunc(urls, func(a, b *url.URL) int { return strings.Compare(a.String(), b.String()) })
	return urls, nil
}

// SetRoutes replaces the list of the other members' route addresses. Routes to addresses that are no longer
// listed are not tried again.
func (s *Server) SetRoutes(addrs []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.setRoutesLocked(addrs)
}

func (s *Server) setRoutesLocked(addrs []string) error {
	if s.cfg.RouteListen == "" {
		return errors.New("nats server: it was started without a route address")
	}
	cfg := s.cfg
	cfg.Routes = slices.Clone(addrs)
	urls, err := routeURLs(cfg, s.gate.cluster())
	if err != nil {
		return err
	}
	next := s.opts.Clone()
	next.Routes = urls
	keep := next.Clone()
	if err := s.srv.ReloadOptions(next); err != nil {
		return fmt.Errorf("nats server: set routes: %w", err)
	}
	s.cfg, s.opts = cfg, keep
	return nil
}

// Remotes returns the names of the servers that a route is up to.
func (s *Server) Remotes() []string {
	rz, err := s.srv.Routez(nil)
	if err != nil {
		return nil
	}
	var names []string
	for _, r := range rz.Routes {
		if r.RemoteName != "" && !slices.Contains(names, r.RemoteName) {
			names = append(names, r.RemoteName)
		}
	}
	slices.Sort(names)
	return names
}

// Ready waits until routes to at least n other servers are up (n − 1 of n members: everybody is joined; less:
// as many as a majority needs), or ctx ends.
func (s *Server) Ready(ctx context.Context, n int) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for s.srv.NumRemotes() < n {
		select {
		case <-ctx.Done():
			return fmt.Errorf("nats server: routes to %d of %d servers: %w", s.srv.NumRemotes(), n, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Interest says whether anybody listens on a subject: a client of this server, or one of another member's server, whose
// interest came by a route. The server itself looks at the same list when it passes a message on, so that a message for
// nobody here would have been dropped there.
func (s *Server) Interest(subject string) bool {
	return s.srv.GlobalAccount().SubscriptionInterest(subject)
}

// ClientURL is the URL of the client listener, with the real port.
func (s *Server) ClientURL() string { return s.srv.ClientURL() }

// RouteAddr is the address of the route listener with its real port; "" without one.
func (s *Server) RouteAddr() string {
	if a := s.srv.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}

// Stop tells the clients to go elsewhere and stops the server. It returns when the server has stopped, or when
// ctx has ended and the server was stopped without further ado. A second call does nothing.
func (s *Server) Stop(ctx context.Context) error {
	var err error
	s.stopOnce.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.srv.LameDuckShutdown()
			s.srv.WaitForShutdown()
		}()
		select {
		case <-done:
		case <-ctx.Done():
			err = fmt.Errorf("nats server: stop: %w", ctx.Err())
			s.srv.Shutdown()
			<-done
		}
	})
	return err
}
