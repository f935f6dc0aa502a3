//go:build net

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsHost is an outside NATS server on a host of its own.
type natsHost struct {
	t    *testing.T
	host string
	line string // what the helper is told
	cmd  *exec.Cmd
}

// serveNATS is the helper's main: a NATS server, until it is killed.
func serveNATS(line string) error {
	fields := strings.Split(line, " ")
	host, port, err := splitPort(fields[1])
	if err != nil {
		return err
	}
	_, cluster, err := splitPort(fields[2])
	if err != nil {
		return err
	}
	opts := &server.Options{ServerName: fields[0], Host: host, Port: port, NoLog: true, NoSigs: true,
		PingInterval: 5 * time.Second, MaxPingsOut: 2,
		Cluster: server.ClusterOpts{Name: "outside", Host: host, Port: cluster, PingInterval: 5 * time.Second, MaxPingsOut: 2}}
	for _, r := range strings.Split(fields[3], ",") {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: r})
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("the NATS server %s is not ready", fields[0])
	}
	s.WaitForShutdown()
	return nil
}

func splitPort(addr string) (host string, port int, err error) {
	host, p, _ := strings.Cut(addr, ":")
	port, err = strconv.Atoi(p)
	return host, port, err
}

func (h *natsHost) start() {
	h.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", h.host, exe)
	cmd.Env = append(os.Environ(), envNATS+"="+h.line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		h.t.Error(err)
		return
	}
	h.cmd = cmd
}

func (h *natsHost) kill() {
	if h.cmd == nil {
		return
	}
	_ = h.cmd.Process.Kill() // it may have ended
	_ = h.cmd.Wait()         // by that signal
	h.cmd = nil
}

// TestNetOutside has three nodes use three NATS servers that are none of theirs.
func TestNetOutside(t *testing.T) {
	f := newFabric(t, "n1", "n2", "n3", "s1", "s2", "s3")
	var servers []*natsHost
	var routes []string
	for _, h := range f.hosts[3:] {
		routes = append(routes, f.at(h, portOutside))
	}
	for _, h := range f.hosts[3:] {
		s := &natsHost{t: t, host: h, line: fmt.Sprintf("%s %s %s %s", h, f.at(h, portNATS), f.at(h, portOutside), strings.Join(routes, ","))}
		s.start()
		t.Cleanup(s.kill)
		servers = append(servers, s)
	}
	r := newRun(t, f, 3, true, nil, 6)
	giveBack := r.idle()
	r.runAll(outsideShapes(servers), *flagNetFor/4)
	giveBack()
	r.finish()
}

func outsideShapes(servers []*natsHost) []shape {
	fromNATS := func(x *strike, nodes ...*node) (cs []cut) {
		for _, nd := range nodes {
			for _, s := range servers {
				cs = append(cs, both(nd.name, s.host)...)
			}
		}
		return cs
	}
	restart := func(x *strike, which ...*natsHost) {
		for _, s := range which {
			s.kill()
			x.undo = append(x.undo, s.start)
		}
	}
	return []shape{
		{"outside NATS: one server killed, started again", held, true, false, func(x *strike) { restart(x, servers[x.rnd.IntN(3)]) }},
		{"outside NATS: all servers killed, started again", 2 * held, false, false, func(x *strike) { restart(x, servers...) }},
		{"outside NATS: a server frozen (SIGSTOP)", held, true, false, func(x *strike) { x.freeze(servers[x.rnd.IntN(3)].cmd.Process.Pid) }},
		{"outside NATS: a server's address swallows everything", held, true, false, func(x *strike) {
			s := servers[x.rnd.IntN(3)].host
			cs := both(clientsHost, s)
			for _, h := range x.f.hosts {
				if h != s {
					cs = append(cs, both(h, s)...)
				}
			}
			x.f.cuts(cs...)
		}},
		{"outside NATS: the servers cut from each other", 2 * held, true, false, func(x *strike) {
			x.f.cuts(append(append(both("s1", "s2"), both("s2", "s3")...), both("s1", "s3")...)...)
		}},
		{"outside NATS: leader cut from NATS only", 2 * held, true, false, func(x *strike) { x.f.cuts(fromNATS(x, x.leader)...) }},
		{"outside NATS: a follower cut from NATS only", held, true, false, func(x *strike) { x.f.cuts(fromNATS(x, x.others[0])...) }},
		{"outside NATS: all nodes cut from NATS", 2 * held, false, false, func(x *strike) { x.f.cuts(fromNATS(x, x.c.nodes...)...) }},
		{"outside NATS: leader cut from the other nodes, not from NATS", held, true, true, func(x *strike) { x.f.cuts(apart(x.a(), x.others)...) }},
		{"outside NATS: one way, what the leader sends to NATS is lost", 2 * held, true, false, func(x *strike) {
			var cs []cut
			for _, s := range servers {
				cs = append(cs, cut{from: x.leader.name, to: s.host})
			}
			x.f.cuts(cs...)
		}},
	}
}
