package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Peer is one member of a static start: where its peers reach it.
type Peer struct {
	Name    string
	Address string // host:port
}

// Config is what `coordd serve` can be told. Complete fills what was left open.
type Config struct {
	Name    string // the member's name; default: the host's name
	Cluster string // default "coordd"
	DataDir string // default NAME.coordd

	PeerListen    string   // default: the address in Peers, or 127.0.0.1:8410
	PeerAdvertise string   // default: the address in Peers
	Peers         []Peer   // of a static start; empty: alone, or by Join
	Join          []string // addresses of members of a running cluster, to which this node announces itself
	Standby       bool
	Metadata      map[string]string // of this member; nil: as it stands in the configuration
	LeaveOnStop   bool              // an orderly stop removes this member from the cluster

	WarmupRounds    int           // of a member that joins, while this one leads; 10
	FailureDetector string        // off or phi; off
	PhiThreshold    float64       // 16
	Compaction      string        // background, foreground or sequential; background
	JournalMemory   int64         // bytes of answers to other members that are remembered for their repeats; 10 MiB
	JournalExpiry   time.Duration // 10 s

	ElectionTimeoutMin, ElectionTimeoutMax time.Duration // 150 ms, 300 ms
	HeartbeatThreshold                     float64       // 0.5
	ClockDriftBound                        float64       // 1.1
	CheckQuorum                            bool
	ConnectTimeout                         time.Duration // default: half the minimum election timeout
	RequestTimeout                         time.Duration // default: the same
	GracefulStopTimeout                    time.Duration // default: the minimum election timeout

	// Of the connections between peers; 0: the transport's own default.
	TCPLinger    time.Duration // > 0: wait for unsent bytes at close
	TCPBlockSize int           // bytes given to the kernel at once
	PeerBacklog  int           // peers that may shake hands at a time; default: the number of members
	PeerIPTTL    int

	NATSListen        string   // embedded server; "" with NATSExternal
	NATSClusterListen string   // default: host of the peer address, its port + 2000
	NATSRoutes        []string // default: those of the members, as they come and go
	NATSExternal      string   // comma-separated URLs of an outside NATS

	HTTPListen    string
	HTTPAdvertise string // default: HTTPListen

	Insecure  bool
	Pprof     bool
	LogLevel  string
	LogFormat string // text or json

	routesFollow   bool // the routes are those of the members of the configuration
	routesOptional bool // NATSClusterListen was not asked for
}

// Defaults of the listen addresses.
const (
	DefaultPeerListen = "127.0.0.1:8410"
	DefaultNATSListen = "127.0.0.1:4222"
	DefaultHTTPListen = "127.0.0.1:8411"
)

// routePortOffset is where a node expects the NATS routes of a peer whose peer port it knows, unless it was
// told otherwise: NATS itself keeps clients (4222) and routes (6222) that far apart.
const routePortOffset = 2000

// ConfigError says which setting cannot work.
type ConfigError struct {
	Setting string // flag name without dashes; "" where several are to blame
	Err     error
}

func (e *ConfigError) Error() string {
	if e.Setting == "" {
		return e.Err.Error()
	}
	return "--" + e.Setting + ": " + e.Err.Error()
}

func (e *ConfigError) Unwrap() error { return e.Err }

func bad(setting, format string, args ...any) error {
	return &ConfigError{Setting: setting, Err: fmt.Errorf(format, args...)}
}

// memberName is what a name may be: it is a token of NATS subjects.
var memberName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ParsePeers reads n1=host:port elements.
func ParsePeers(list []string) ([]Peer, error) {
	var peers []Peer
	for _, s := range list {
		name, addr, ok := strings.Cut(strings.TrimSpace(s), "=")
		switch {
		case !ok:
			return nil, bad("peers", "%q is not name=host:port", s)
		case !memberName.MatchString(name):
			return nil, bad("peers", "%q is not a member's name (1 to 64 of A-Z a-z 0-9 _ -)", name)
		case slices.ContainsFunc(peers, func(p Peer) bool { return p.Name == name }):
			return nil, bad("peers", "member %q is listed twice", name)
		}
		if err := checkAddress(addr, false); err != nil {
			return nil, bad("peers", "address of %q: %w", name, err)
		}
		if i := slices.IndexFunc(peers, func(p Peer) bool { return p.Address == addr }); i >= 0 {
			return nil, bad("peers", "members %q and %q have the same address %s", peers[i].Name, name, addr)
		}
		peers = append(peers, Peer{Name: name, Address: addr})
	}
	slices.SortFunc(peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	return peers, nil
}

// checkAddress checks host:port; port 0 only where it is listened on.
func checkAddress(addr string, listen bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("bad address %q: want host:port", addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (n == 0 && !listen) {
		return fmt.Errorf("bad address %q: %q is not a port", addr, port)
	}
	if host == "" && !listen {
		return fmt.Errorf("bad address %q: the host is missing", addr)
	}
	if strings.ContainsAny(host, " \t\r\n/") {
		return fmt.Errorf("bad address %q: %q is not a host", addr, host)
	}
	return nil
}

// isLoopback reports whether an address can be reached from this machine alone. A name counts only if it
// is localhost: what others resolve to may change.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Complete fills defaults that depend on other settings and refuses what cannot work.
func (c *Config) Complete() error {
	if err := c.completeIdentity(); err != nil {
		return err
	}
	if err := c.completeTiming(); err != nil {
		return err
	}
	if err := c.completeCluster(); err != nil {
		return err
	}
	if err := c.completeAddresses(); err != nil {
		return err
	}
	if hclog.LevelFromString(c.LogLevel) == hclog.NoLevel {
		return bad("log-level", "%q is none of trace, debug, info, warn, error, off", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return bad("log-format", "must be text or json, not %q", c.LogFormat)
	}
	return nil
}

func (c *Config) completeIdentity() error {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return bad("name", "not given, and the host has none: %w", err)
		}
		c.Name, _, _ = strings.Cut(host, ".")
	}
	if !memberName.MatchString(c.Name) {
		return bad("name", "%q is not a member's name (1 to 64 of A-Z a-z 0-9 _ -)", c.Name)
	}
	if c.Cluster == "" {
		c.Cluster = "coordd"
	}
	if !memberName.MatchString(c.Cluster) {
		return bad("cluster", "%q is not a cluster's name (1 to 64 of A-Z a-z 0-9 _ -)", c.Cluster)
	}
	if c.DataDir == "" {
		c.DataDir = c.Name + ".coordd"
	}
	if len(c.Peers) > 0 && c.peer(c.Name) == nil {
		return bad("name", "%q is not one of --peers (%s)", c.Name, strings.Join(c.peerNames(), ", "))
	}
	if c.Standby && len(c.Peers) == 0 && len(c.Join) == 0 {
		return bad("standby", "a node by itself has nobody else to lead")
	}
	return nil
}

func (c *Config) completeTiming() error {
	orDefault(&c.ElectionTimeoutMin, 150*time.Millisecond)
	orDefault(&c.ElectionTimeoutMax, 2*c.ElectionTimeoutMin)
	orDefault(&c.HeartbeatThreshold, 0.5)
	orDefault(&c.ClockDriftBound, 1.1)
	orDefault(&c.ConnectTimeout, c.ElectionTimeoutMin/2)
	requestGiven := c.RequestTimeout != 0
	orDefault(&c.RequestTimeout, max(c.ElectionTimeoutMin/2, c.ConnectTimeout))
	orDefault(&c.PeerBacklog, max(len(c.Peers), 1))
	orDefault(&c.GracefulStopTimeout, c.ElectionTimeoutMin)
	switch {
	case c.ElectionTimeoutMin < 10*time.Millisecond || c.ElectionTimeoutMin > time.Minute:
		return bad("election-timeout-min", "%v is not between 10ms and 1m", c.ElectionTimeoutMin)
	case c.ElectionTimeoutMax <= c.ElectionTimeoutMin || c.ElectionTimeoutMax > 2*time.Minute:
		return bad("election-timeout-max", "%v is not above --election-timeout-min (%v) and at most 2m", c.ElectionTimeoutMax, c.ElectionTimeoutMin)
	case !(c.HeartbeatThreshold > 0 && c.HeartbeatThreshold < 1):
		return bad("heartbeat-threshold", "%v is not between 0 and 1", c.HeartbeatThreshold)
	case !(c.ClockDriftBound >= 1 && c.ClockDriftBound <= 10):
		return bad("clock-drift-bound", "%v is not between 1 and 10", c.ClockDriftBound)
	case !requestGiven && c.ConnectTimeout > c.ElectionTimeoutMin:
		return bad("connect-timeout", "%v is not between 0 and --election-timeout-min (%v)", c.ConnectTimeout, c.ElectionTimeoutMin)
	case c.RequestTimeout <= 0 || c.RequestTimeout > c.ElectionTimeoutMin:
		return bad("request-timeout", "%v is not between 0 and --election-timeout-min (%v)", c.RequestTimeout, c.ElectionTimeoutMin)
	case c.ConnectTimeout <= 0 || c.ConnectTimeout > c.RequestTimeout:
		return bad("connect-timeout", "%v is not between 0 and --request-timeout (%v)", c.ConnectTimeout, c.RequestTimeout)
	case c.TCPLinger < 0 || c.TCPLinger > time.Minute:
		return bad("tcp-linger", "%v is not between 0 and 1m", c.TCPLinger)
	case c.TCPBlockSize != 0 && (c.TCPBlockSize < 512 || c.TCPBlockSize > 16<<20):
		return bad("tcp-block-size", "%d is not between 512 and 16777216", c.TCPBlockSize)
	case c.PeerBacklog < 1 || c.PeerBacklog > 1024:
		return bad("peer-backlog", "%d is not between 1 and 1024", c.PeerBacklog)
	case c.PeerIPTTL < 0 || c.PeerIPTTL > 255:
		return bad("peer-ip-ttl", "%d is not between 1 and 255", c.PeerIPTTL)
	case c.GracefulStopTimeout <= 0:
		return bad("graceful-stop-timeout", "%v is not positive", c.GracefulStopTimeout)
	}
	return nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c *Config) completeAddresses() error {
	if me := c.peer(c.Name); me != nil {
		orDefault(&c.PeerListen, me.Address)
		orDefault(&c.PeerAdvertise, me.Address)
		if c.PeerAdvertise != me.Address {
			return bad("peer-advertise", "%s differs from the address of %q in --peers, %s", c.PeerAdvertise, c.Name, me.Address)
		}
	}
	orDefault(&c.PeerListen, DefaultPeerListen)
	orDefault(&c.PeerAdvertise, c.PeerListen)
	if c.NATSExternal != "" {
		if err := c.completeExternal(); err != nil {
			return err
		}
	} else {
		orDefault(&c.NATSListen, DefaultNATSListen)
		if err := c.completeRoutes(); err != nil {
			return err
		}
	}
	orDefault(&c.HTTPListen, DefaultHTTPListen)
	for _, l := range c.listens() {
		if err := checkAddress(l.addr, true); err != nil {
			return bad(l.setting, "%w", err)
		}
		if !isLoopback(l.addr) && !c.Insecure {
			return bad(l.setting, "%s can be reached from other machines, and this version has no TLS: "+
				"listen on 127.0.0.1, or give --insecure if the network is yours alone", l.addr)
		}
	}
	for setting, addr := range map[string]string{"peer-advertise": c.PeerAdvertise, "http-advertise": c.HTTPAdvertise} {
		if addr == "" {
			continue
		}
		if err := checkAddress(addr, setting == "peer-advertise" && addr == c.PeerListen); err != nil {
			return bad(setting, "%w", err)
		}
	}
	return c.checkDistinct()
}

type listen struct{ setting, addr string }

func (c *Config) listens() []listen {
	ls := []listen{{"peer-listen", c.PeerListen}, {"http-listen", c.HTTPListen}}
	if c.NATSListen != "" {
		ls = append(ls, listen{"nats-listen", c.NATSListen})
	}
	if c.NATSClusterListen != "" {
		ls = append(ls, listen{"nats-cluster-listen", c.NATSClusterListen})
	}
	return ls
}

// checkDistinct refuses two listeners at one address before one of them fails to bind.
func (c *Config) checkDistinct() error {
	seen := make(map[string]string)
	for _, l := range c.listens() {
		if strings.HasSuffix(l.addr, ":0") {
			continue
		}
		if other := seen[l.addr]; other != "" {
			return bad(l.setting, "%s is the address of --%s too", l.addr, other)
		}
		seen[l.addr] = l.setting
	}
	return nil
}

func (c *Config) completeExternal() error {
	switch {
	case c.NATSListen != "":
		return bad("nats-external", "an outside NATS excludes --nats-listen")
	case c.NATSClusterListen != "":
		return bad("nats-external", "an outside NATS excludes --nats-cluster-listen")
	case len(c.NATSRoutes) > 0:
		return bad("nats-external", "an outside NATS excludes --nats-routes")
	}
	for _, s := range strings.Split(c.NATSExternal, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" || (u.Scheme != "nats" && u.Scheme != "tls") {
			return bad("nats-external", "%q is not a URL like nats://host:4222", s)
		}
		if u.Scheme == "tls" {
			return bad("nats-external", "%q: TLS comes with a later version", s)
		}
	}
	return nil
}

// completeRoutes decides where the NATS servers of the members find each other. Without --nats-routes each
// is expected at its peer's host and the peer's port + 2000, and this one listens there; later on the members of the
// configuration take the place of those in --peers or --join.
func (c *Config) completeRoutes() error {
	c.routesFollow = len(c.NATSRoutes) == 0
	if len(c.Peers) == 0 && len(c.Join) == 0 {
		switch {
		case c.NATSClusterListen == "" && len(c.NATSRoutes) > 0:
			return bad("nats-routes", "needs --nats-cluster-listen where there are no --peers")
		case c.NATSClusterListen == "":
			c.completeAlone()
			return nil
		}
		return c.checkRoutes()
	}
	if c.NATSClusterListen == "" {
		addr, err := routeAddress(c.PeerAdvertise)
		if err != nil {
			return err
		}
		c.NATSClusterListen = addr
		if host, _, _ := net.SplitHostPort(c.PeerListen); host != "" {
			_, port, _ := net.SplitHostPort(addr)
			c.NATSClusterListen = net.JoinHostPort(host, port)
		}
	}
	if c.routesFollow {
		others := slices.Clone(c.Join)
		for _, p := range c.Peers {
			if p.Name != c.Name {
				others = append(others, p.Address)
			}
		}
		var err error
		if c.NATSRoutes, err = routesTo(others); err != nil {
			return err
		}
	}
	return c.checkRoutes()
}

func (c *Config) checkRoutes() error {
	c.NATSRoutes = slices.Clone(c.NATSRoutes) // the list may be that of other nodes too
	for i, r := range c.NATSRoutes {
		r = strings.TrimSpace(r)
		for _, scheme := range []string{"nats://", "nats-route://"} {
			r = strings.TrimPrefix(r, scheme)
		}
		if err := checkAddress(strings.TrimSuffix(r, "/"), false); err != nil {
			return bad("nats-routes", "%w", err)
		}
		c.NATSRoutes[i] = strings.TrimSuffix(r, "/")
	}
	return nil
}

// routeAddress returns where the NATS server of the peer at addr takes routes by convention.
func routeAddress(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", bad("peers", "bad address %q", addr)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", bad("peers", "bad address %q", addr)
	}
	if n += routePortOffset; n > 65535 {
		n -= 2 * routePortOffset
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

func (c *Config) peer(name string) *Peer {
	for i := range c.Peers {
		if c.Peers[i].Name == name {
			return &c.Peers[i]
		}
	}
	return nil
}

func (c *Config) peerNames() []string {
	var names []string
	for _, p := range c.Peers {
		names = append(names, p.Name)
	}
	return names
}

// errNotYet is wrapped where a setting is refused because what it asks for comes with a later version.
var errNotYet = errors.New("comes with a later version of coordd")

// NotYet refuses a setting whose feature this version does not have.
func NotYet(setting, value string) error {
	return &ConfigError{Setting: setting, Err: fmt.Errorf("%s: %w", value, errNotYet)}
}
