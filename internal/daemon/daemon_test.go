package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a daemon that a test runs.
type running struct {
	t      *testing.T
	d      *Daemon
	log    *lines
	cancel context.CancelFunc
	done   chan error
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addrs, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func testConfig(t *testing.T, name string) Config {
	t.Helper()
	return Config{Name: name, DataDir: t.TempDir(), CheckQuorum: true, PeerListen: "127.0.0.1:0", NATSListen: freeAddr(t), HTTPListen: freeAddr(t),
		LogLevel: "debug", LogFormat: "text"}
}

// waitLimit bounds every wait, and askLimit every request, of which some are repeated; both are far beyond what any of them
// needs on a machine that does much else.
const (
	waitLimit = 2 * time.Minute
	askLimit  = 30 * time.Second
)

func run(t *testing.T, cfg Config) *running {
	t.Helper()
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, log: &lines{}, done: make(chan error, 1)}
	r.d = New(cfg, r.log)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.done:
		case <-time.After(waitLimit):
			t.Error("the daemon did not stop")
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg.Name, r.log)
		}
	})
	return r
}

// end waits for Run and leaves its result for Cleanup.
func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(waitLimit):
		r.t.Fatalf("the daemon did not stop:\n%s", r.log)
		return nil
	}
}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.d.cfg.HTTPListen + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *running) waitReady() {
	r.t.Helper()
	r.eventually("ready", func() bool { code, _ := r.get("/readyz"); return code == 200 })
}

func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			_, why := r.get("/readyz?verbose")
			r.t.Fatalf("not in time: %s\n%s\n%s", what, why, r.log)
		}
	}
}

func TestANodeAloneServesAndStopsWithoutATrace(t *testing.T) {
	t.Parallel()
	r := run(t, testConfig(t, "n1"))
	r.waitReady()
	if code, body := r.get("/livez"); code != 200 || body != "ok" {
		t.Errorf("/livez: %d %s", code, body)
	}
	if code, body := r.get("/readyz?verbose"); code != 200 || !strings.HasPrefix(body, "[+]member ok\n[+]applied ok\n[+]read ok\n[+]nats ok\n[+]disk ok\n") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	r.eventually("the leader's metrics", func() bool {
		_, body := r.get("/metrics")
		return strings.Contains(body, "\ncoordd_is_leader 1\n") && strings.Contains(body, "\ncoordd_nats_connected 1\n") &&
			strings.Contains(body, "\ncoordd_failure_tolerance 0\n")
	})
	if code, body := r.get("/"); code != 200 || !strings.Contains(body, "<td>leader</td>") {
		t.Errorf("/: %d %s", code, body)
	}
	st := status(t, "nats://"+r.d.cfg.NATSListen, "n1")
	if st.GetPid() != int64(os.Getpid()) || st.GetHttpUrl() != "http://"+r.d.cfg.HTTPListen || st.GetNatsUrl() != "nats://"+r.d.cfg.NATSListen || st.GetDiskFreeBytes() == 0 {
		t.Errorf("status: %v", st)
	}
	r.cancel()
	if err := r.end(); err != nil {
		t.Errorf("an orderly stop: %v", err)
	}
	if !strings.Contains(r.log.String(), "stopped") || strings.Contains(r.log.String(), "not orderly") {
		t.Errorf("log:\n%s", r.log)
	}
}

func status(t *testing.T, url, name string) *coorddv1.NodeStatus {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	msg, err := nc.Request("coord.node.v1."+name+".status", nil, askLimit)
	if err != nil {
		t.Fatal(err)
	}
	st := &coorddv1.NodeStatus{}
	if err := proto.Unmarshal(msg.Data, st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestAFailureOfAnyPartStopsTheNodeWithItsCause(t *testing.T) {
	t.Parallel()
	r := run(t, testConfig(t, "n1"))
	r.waitReady()
	cause := errors.New("the disk said no")
	r.d.fail(fmt.Errorf("log: %w", cause))
	if err := r.end(); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if _, err := net.DialTimeout("tcp", r.d.cfg.NATSListen, time.Second); err == nil {
		t.Error("NATS still listens")
	}
}

func TestANodeThatStoppedByItselfIsAFailure(t *testing.T) {
	t.Parallel()
	r := run(t, testConfig(t, "n1"))
	r.waitReady()
	if err := r.d.node.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.end(); err == nil || !strings.Contains(err.Error(), "the node stopped") {
		t.Errorf("got %v", err)
	}
}

func TestAStartThatFailsGivesEverythingBack(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for setting, change := range map[string]func(*Config){
		"--http-listen": func(c *Config) { c.HTTPListen = taken.Addr().String() },
		"--peer-listen": func(c *Config) { c.PeerListen = taken.Addr().String() },
		"--nats-listen": func(c *Config) { c.NATSListen = taken.Addr().String() },
		"--nats-cluster-listen": func(c *Config) {
			c.NATSClusterListen = taken.Addr().String()
		},
	} {
		t.Run(setting, func(t *testing.T) {
			cfg := testConfig(t, "n1")
			good := cfg
			change(&cfg)
			r := run(t, cfg)
			if err := r.end(); err == nil || !strings.Contains(err.Error(), setting) || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "in use") {
				t.Errorf("got %v", err)
			}
			// The directory and the other addresses are free again.
			again := run(t, good)
			again.waitReady()
			again.cancel()
			if err := again.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestALogWithOtherMembersThanThePeersIsReported(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "n1")
	alone := run(t, cfg)
	alone.waitReady()
	alone.cancel()
	if err := alone.end(); err != nil {
		t.Fatal(err)
	}
	again := run(t, cfg)
	again.waitReady()
	// It has another address now, and says so to its leader, which is itself.
	address := again.d.peers.Addr()
	again.eventually("the new address in the configuration", func() bool {
		st := again.d.node.Status()
		return st.Proposed == nil && len(st.Active.Members) == 1 && st.Active.Members[0].Address == address
	})
	again.cancel()
	if err := again.end(); err != nil {
		t.Fatal(err)
	}
	const warning = "the log holds another configuration than --peers says; the log's counts"
	if strings.Contains(again.log.String(), warning) {
		t.Errorf("a restart with the same settings warns:\n%s", again.log)
	}
	var err error
	peer, route := freeAddr(t), freeAddr(t)
	if cfg.Peers, err = ParsePeers([]string{"n1=" + peer, "n2=" + freeAddr(t), "n3=" + freeAddr(t)}); err != nil {
		t.Fatal(err)
	}
	cfg.PeerListen, cfg.NATSClusterListen, cfg.NATSRoutes = "", route, []string{route}
	three := run(t, cfg)
	three.eventually("a warning with both lists", func() bool {
		s := three.log.String()
		return strings.Count(s, warning) == 1 && strings.Contains(s, "n1="+address) && strings.Contains(s, "n1="+peer+",n2=")
	})
}

func TestThreeNodesFindEachOtherAndHandOver(t *testing.T) {
	t.Parallel()
	var peers []string
	var addrs []string
	for i := range 3 {
		addrs = append(addrs, freeAddr(t))
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, addrs[i]))
	}
	var nodes []*running
	var routes []string
	for range 3 {
		routes = append(routes, freeAddr(t))
	}
	for i := range 3 {
		cfg := testConfig(t, fmt.Sprintf("n%d", i+1))
		var err error
		if cfg.Peers, err = ParsePeers(peers); err != nil {
			t.Fatal(err)
		}
		cfg.PeerListen, cfg.NATSClusterListen, cfg.NATSRoutes = "", routes[i], routes
		nodes = append(nodes, run(t, cfg))
	}
	for _, r := range nodes {
		r.waitReady()
	}
	leader := func() *running {
		for _, r := range nodes {
			if _, body := r.get("/metrics"); strings.Contains(body, "\ncoordd_is_leader 1\n") {
				return r
			}
		}
		return nil
	}
	var first *running
	nodes[0].eventually("a leader", func() bool { first = leader(); return first != nil })
	first.eventually("two may fail before one does", func() bool {
		_, body := first.get("/metrics")
		return strings.Contains(body, "\ncoordd_failure_tolerance 1\n") && strings.Contains(body, `coordd_peer_sent_bytes_total{peer="n`)
	})
	first.eventually("the round trips to both others", func() bool {
		st := status(t, "nats://"+first.d.cfg.NATSListen, first.d.cfg.Name)
		measured := 0
		for _, p := range st.GetPeers() {
			if p.GetRoundTrip().AsDuration() > 0 {
				measured++
			}
		}
		return measured == 2 && slices.IsSorted(st.GetActive()) && len(st.GetActive()) == 3
	})
	first.cancel()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(first.log.String(), "not handed over") {
		t.Errorf("leadership was not handed over:\n%s", first.log)
	}
	nodes = without(nodes, first)
	nodes[0].eventually("another leader", func() bool { return leader() != nil })

	// The last one alone lives, and is not ready.
	nodes[1].cancel()
	if err := nodes[1].end(); err != nil {
		t.Fatal(err)
	}
	last := nodes[0]
	last.eventually("not ready without a majority", func() bool {
		code, body := last.get("/readyz")
		return code == 503 && strings.Contains(body, "[-]read failed")
	})
	if code, _ := last.get("/livez"); code != 200 {
		t.Errorf("/livez without a majority: %d", code)
	}
}

func without(rs []*running, out *running) (left []*running) {
	for _, r := range rs {
		if r != out {
			left = append(left, r)
		}
	}
	return left
}

func TestAnOutsideNATS(t *testing.T) {
	t.Parallel()
	outside := freeAddr(t)
	cfg := testConfig(t, "n1")
	cfg.NATSListen, cfg.NATSExternal = "", "nats://user:secret@"+outside
	// The node starts without it, and is ready when it is there.
	r := run(t, cfg)
	r.eventually("it says that NATS is missing", func() bool {
		code, body := r.get("/readyz")
		return code == 503 && strings.Contains(body, "[-]nats failed: the connection to NATS is down")
	})
	host, port, err := net.SplitHostPort(outside)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: host, Port: n, NoSigs: true, NoLog: true, Username: "user", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	r.waitReady()
	st := status(t, "nats://user:secret@"+outside, "n1")
	if st.GetRole() != "leader" || !st.GetNatsConnected() || st.GetNatsUrl() != "nats://"+outside {
		t.Errorf("status: %v", st)
	}
	if strings.Contains(r.log.String(), "secret") {
		t.Errorf("the password is in the log:\n%s", r.log)
	}
	r.cancel()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestWhatCanBeChangedWhileANodeRuns(t *testing.T) {
	t.Parallel()
	out := &lines{}
	d := New(Config{Name: "n1", LogLevel: "error", LogFormat: "json"}, out)
	d.Logger().Info("quiet")
	if err := d.Tune(Tunables{LogLevel: "debug", PhiThreshold: 8}); err != nil {
		t.Fatal(err)
	}
	d.Logger().Debug("spoken")
	for setting, bad := range map[string]Tunables{"log-level": {LogLevel: "loud", PhiThreshold: 9}, "phi-threshold": {LogLevel: "info"},
		"metadata": {LogLevel: "info", PhiThreshold: 9, Metadata: map[string]string{"": "x"}}} {
		var c *ConfigError
		if err := d.Tune(bad); !errors.As(err, &c) || c.Setting != setting {
			t.Errorf("%+v was taken, or refused as %v", bad, err)
		}
	}
	if got := math.Float64frombits(d.phi.Load()); got != 8 {
		t.Errorf("threshold %v", got)
	}
	if s := out.String(); strings.Contains(s, "quiet") || !strings.Contains(s, `"@message":"spoken"`) || !strings.Contains(s, `"node":"n1"`) {
		t.Errorf("log: %s", s)
	}
}
