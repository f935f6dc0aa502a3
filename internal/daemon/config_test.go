package daemon

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// valid is a configuration that Complete accepts.
func valid(change func(*Config)) *Config {
	c := &Config{Name: "n1", CheckQuorum: true, LogLevel: "info", LogFormat: "text"}
	if change != nil {
		change(c)
	}
	return c
}

func threePeers(t *testing.T) []Peer {
	t.Helper()
	ps, err := ParsePeers([]string{"n2=127.0.0.1:7002", "n1=127.0.0.1:7001", "n3=127.0.0.1:64000"})
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func TestDefaultsFollowWhatWasGiven(t *testing.T) {
	t.Parallel()
	c := valid(func(c *Config) { c.Peers = threePeers(t); c.ElectionTimeoutMin = 400 * time.Millisecond })
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if c.ElectionTimeoutMax != 800*time.Millisecond || c.ConnectTimeout != 200*time.Millisecond || c.RequestTimeout != 200*time.Millisecond ||
		c.GracefulStopTimeout != 400*time.Millisecond || c.PeerBacklog != 3 {
		t.Errorf("timing: %+v", c)
	}
	if c.PeerListen != "127.0.0.1:7001" || c.PeerAdvertise != "127.0.0.1:7001" || c.NATSClusterListen != "127.0.0.1:9001" {
		t.Errorf("own addresses: %+v", c)
	}
	// 64000 + 2000 is no port.
	if got := strings.Join(c.NATSRoutes, ","); got != "127.0.0.1:9002,127.0.0.1:62000" {
		t.Errorf("routes %s", got)
	}
	if c.DataDir != "n1.coordd" || c.Cluster != "coordd" || c.HTTPListen != DefaultHTTPListen || c.NATSListen != DefaultNATSListen {
		t.Errorf("names: %+v", c)
	}
}

func TestMembersExpectEachOthersRoutesWhereTheyListen(t *testing.T) {
	t.Parallel()
	listens := make(map[string]string)
	routes := make(map[string][]string)
	for _, name := range []string{"n1", "n2", "n3"} {
		c := valid(func(c *Config) { c.Name = name; c.Peers = threePeers(t) })
		if err := c.Complete(); err != nil {
			t.Fatal(err)
		}
		listens[name], routes[name] = c.NATSClusterListen, c.NATSRoutes
	}
	for name, rs := range routes {
		for other, l := range listens {
			found := strings.Contains(strings.Join(rs, ","), l)
			if found != (other != name) {
				t.Errorf("%s's routes %v, %s listens on %s", name, rs, other, l)
			}
		}
	}
}

func TestRefusalsNameTheSetting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		setting string
		change  func(*Config)
	}{
		"public peers":      {"peer-listen", func(c *Config) { c.PeerListen = "0.0.0.0:1" }},
		"public http":       {"http-listen", func(c *Config) { c.HTTPListen = "[::]:1" }},
		"public by name":    {"nats-listen", func(c *Config) { c.NATSListen = "example.org:4222" }},
		"public routes":     {"nats-cluster-listen", func(c *Config) { c.NATSClusterListen = ":6222" }},
		"no port":           {"http-listen", func(c *Config) { c.HTTPListen = "127.0.0.1" }},
		"bad port":          {"http-listen", func(c *Config) { c.HTTPListen = "127.0.0.1:http" }},
		"bad route":         {"nats-routes", func(c *Config) { c.NATSClusterListen = "127.0.0.1:1"; c.NATSRoutes = []string{"nats://x"} }},
		"route without":     {"nats-routes", func(c *Config) { c.NATSRoutes = []string{"127.0.0.1:6222"} }},
		"advertise differs": {"peer-advertise", func(c *Config) { c.Peers = threePeers(t); c.PeerAdvertise = "127.0.0.1:1" }},
		"log level":         {"log-level", func(c *Config) { c.LogLevel = "loud" }},
		"log format":        {"log-format", func(c *Config) { c.LogFormat = "xml" }},
		"name":              {"name", func(c *Config) { c.Name = "n.1" }},
		"cluster":           {"cluster", func(c *Config) { c.Cluster = "a b" }},
		"heartbeat NaN":     {"heartbeat-threshold", func(c *Config) { c.HeartbeatThreshold = nan() }},
		"no election window": {"election-timeout-max", func(c *Config) {
			c.ElectionTimeoutMin, c.ElectionTimeoutMax = 150*time.Millisecond, 150*time.Millisecond
		}},
		"timeouts":         {"election-timeout-min", func(c *Config) { c.ElectionTimeoutMin = -1 }},
		"connect":          {"connect-timeout", func(c *Config) { c.ConnectTimeout = time.Second }},
		"connect negative": {"connect-timeout", func(c *Config) { c.ConnectTimeout = -1 }},
		"connect, request": {"connect-timeout", func(c *Config) { c.ConnectTimeout, c.RequestTimeout = 80e6, 70e6 }},
		"request":          {"request-timeout", func(c *Config) { c.ConnectTimeout, c.RequestTimeout = 2e9, 1e9 }},
		"external tls":     {"nats-external", func(c *Config) { c.NATSExternal = "tls://h:4222" }},
		"external url":     {"nats-external", func(c *Config) { c.NATSExternal = "h:4222" }},
		"external routes":  {"nats-external", func(c *Config) { c.NATSExternal = "nats://h:4222"; c.NATSRoutes = []string{"a:1"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := valid(tc.change).Complete()
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.Setting != tc.setting {
				t.Errorf("got %v, want a refusal of %s", err, tc.setting)
			}
		})
	}
}

func nan() float64 {
	var zero float64
	return zero / zero
}

func TestInsecureAllowsPublicAddresses(t *testing.T) {
	t.Parallel()
	c := valid(func(c *Config) { c.Insecure = true; c.HTTPListen = ":8411"; c.NATSListen = "0.0.0.0:4222" })
	if err := c.Complete(); err != nil {
		t.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, ":1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example:1": false} {
		if got := isLoopback(addr); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestIdentitiesAreStableAndApart(t *testing.T) {
	t.Parallel()
	// These numbers are in data directories: they never change.
	if id := memberID("coordd", "n1"); id != 0x88355bf83e15788c {
		t.Errorf("member ID %s", id)
	}
	if memberID("a", "bn1") == memberID("ab", "n1") || memberID("coordd", "n1") == memberID("coordd", "n2") {
		t.Error("two members have one ID")
	}
	a, b := valid(func(c *Config) { c.Peers = threePeers(t) }), valid(func(c *Config) { c.Name = "n2"; c.Peers = threePeers(t) })
	if err := errors.Join(a.Complete(), b.Complete()); err != nil {
		t.Fatal(err)
	}
	if clusterHash(a) != clusterHash(b) {
		t.Error("two members of one cluster have different hashes")
	}
	b.Peers[0].Address = net.JoinHostPort("127.0.0.1", "7009")
	if clusterHash(a) == clusterHash(b) {
		t.Error("other members, the same hash")
	}
	ms := members(a, "x")
	for i := range ms[1:] {
		if ms[i].ID >= ms[i+1].ID {
			t.Errorf("members out of order: %v", ms)
		}
	}
	if ms := members(valid(nil), "127.0.0.1:1"); len(ms) != 1 || ms[0].Address != "127.0.0.1:1" || ms[0].ID == raft.MemberID(0) {
		t.Errorf("alone: %v", ms)
	}
}

// TestCompletingLeavesTheCallersListsAlone shows that several nodes may be given one list.
func TestCompletingLeavesTheCallersListsAlone(t *testing.T) {
	t.Parallel()
	routes := []string{" nats-route://127.0.0.1:1234/ "}
	cfg := testConfig(t, "n1")
	cfg.NATSClusterListen, cfg.NATSRoutes = "127.0.0.1:1235", routes
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	if cfg.NATSRoutes[0] != "127.0.0.1:1234" || routes[0] != " nats-route://127.0.0.1:1234/ " {
		t.Errorf("completed %q, the caller's are %q", cfg.NATSRoutes, routes)
	}
}
