//go:build net

package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The ports are the same on every host: each has a network of its own.
const (
	portPeer, portNATS, portRoutes, portHTTP = 8410, 4222, 6222, 8411
	portOutside                              = 5222 // routes of outside NATS servers
)

// fabric is a router, which is the process's own network, and hosts around it, each in a namespace behind a pair of veth devices.
// Every packet between two hosts, or between a host and the clients, passes the router, where one set of rules, changed at once,
// says what gets lost.
type fabric struct {
	t     *testing.T
	hosts []string
	base  []cut // always in effect
	undo  []func()
}

// clientsHost is the router itself, where the clients run.
const clientsHost = "clients"

// newFabric makes a network with hosts; it goes with the test.
func newFabric(t *testing.T, hosts ...string) *fabric {
	t.Helper()
	f := &fabric{t: t, hosts: hosts}
	for _, h := range hosts {
		dev := "v-" + h
		f.must("ip", "netns", "add", h)
		f.must("ip", "link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", h)
		t.Cleanup(func() {
			f.must("ip", "link", "del", dev) // it outlives its namespace for a while otherwise
			f.must("ip", "netns", "del", h)
		})
		f.must("ip", "addr", "add", f.gateway(h)+"/24", "dev", dev)
		f.must("ip", "link", "set", dev, "up")
		for _, args := range []string{"link set lo up", "addr add " + f.addr(h) + "/24 dev eth0", "link set eth0 up", "route add default via " + f.gateway(h)} {
			f.must("ip", append([]string{"-n", h}, strings.Fields(args)...)...)
		}
	}
	t.Cleanup(func() { f.base = nil; f.heal() }) // the next part has a network of its own, and these rules are the router's
	return f
}

func (f *fabric) must(name string, args ...string) {
	f.t.Helper()
	if err := command(name, args...); err != nil {
		f.t.Error(err)
	}
}

func (f *fabric) index(host string) int { return slices.Index(f.hosts, host) + 1 }

// addr is a host's address, gateway the router's on the host's link.
func (f *fabric) addr(host string) string    { return fmt.Sprintf("10.77.%d.1", f.index(host)) }
func (f *fabric) gateway(host string) string { return fmt.Sprintf("10.77.%d.254", f.index(host)) }

// at is an address with a port.
func (f *fabric) at(host string, port int) string { return fmt.Sprintf("%s:%d", f.addr(host), port) }

// cut says what gets lost on the way from one host to another.
type cut struct {
	from, to string // hosts, or clientsHost
	ports    []int  // of the service, on either side of the connection; none: all
	reject   bool   // TCP connections are reset instead
	odds     int    // in a hundred; 0: always
	above    int    // only packets longer than this; 0: all
}

// both cuts the way in both directions.
func both(a, b string, ports ...int) []cut {
	return []cut{{from: a, to: b, ports: ports}, {from: b, to: a, ports: ports}}
}

// cuts is the set of rules in effect from now on; none: nothing is cut. Connections that stand are hit as new ones.
func (f *fabric) cuts(cs ...cut) {
	f.t.Helper()
	var b strings.Builder
	b.WriteString("table ip cuts\ndelete table ip cuts\ntable ip cuts {\n chain lost {\n")
	for _, c := range append(slices.Clone(f.base), cs...) {
		for _, line := range f.rules(c) {
			b.WriteString("  " + line + "\n")
		}
	}
	b.WriteString(" }\n")
	for _, hook := range []string{"forward", "input", "output"} {
		fmt.Fprintf(&b, " chain %s { type filter hook %s priority 0; policy accept; jump lost; }\n", hook, hook)
	}
	b.WriteString("}\n")
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Errorf("nft: %v\n%s\n%s", err, out, b.String())
	}
}

func (f *fabric) rules(c cut) (lines []string) {
	match := ""
	// The router speaks to a host from its address on that host's link.
	switch {
	case c.from == clientsHost:
		match = "ip saddr " + f.gateway(c.to) + " ip daddr " + f.addr(c.to)
	case c.to == clientsHost:
		match = "ip saddr " + f.addr(c.from) + " ip daddr " + f.gateway(c.from)
	default:
		match = "ip saddr " + f.addr(c.from) + " ip daddr " + f.addr(c.to)
	}
	if c.above > 0 {
		match += fmt.Sprintf(" ip length > %d", c.above)
	}
	verdict := "drop"
	if c.reject {
		verdict = "meta l4proto tcp reject with tcp reset"
	}
	if c.odds > 0 {
		verdict = fmt.Sprintf("numgen random mod 100 < %d %s", c.odds, verdict)
	}
	if len(c.ports) == 0 {
		return []string{match + " " + verdict}
	}
	ports := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(c.ports)), ", "), "[]")
	for _, side := range []string{"sport", "dport"} {
		lines = append(lines, fmt.Sprintf("%s tcp %s { %s } %s", match, side, ports, verdict))
	}
	return lines
}

// link pulls a host's cable, or puts it in again.
func (f *fabric) link(host string, up bool) {
	f.t.Helper()
	state := "down"
	if up {
		state = "up"
	}
	f.must("ip", "link", "set", "v-"+host, state)
}

// mtu makes the packets on a host's link smaller, at both ends.
func (f *fabric) mtu(host string, bytes int) {
	f.t.Helper()
	set := func(bytes int) {
		f.must("ip", "link", "set", "v-"+host, "mtu", fmt.Sprint(bytes))
		f.must("ip", "-n", host, "link", "set", "eth0", "mtu", fmt.Sprint(bytes))
	}
	set(bytes)
	f.undo = append(f.undo, func() { set(1500) })
}

// slow bounds what a host receives, in thousands of bits a second.
func (f *fabric) slow(host string, kbit int) {
	f.t.Helper()
	f.must("tc", "qdisc", "add", "dev", "v-"+host, "root", "tbf", "rate", fmt.Sprintf("%dkbit", kbit), "burst", "16k", "latency", "200ms")
	f.undo = append(f.undo, func() { f.must("tc", "qdisc", "del", "dev", "v-"+host, "root") })
}

// blackhole has a host itself lose what it sends to another one.
func (f *fabric) blackhole(host, to string) {
	f.t.Helper()
	f.must("ip", "-n", host, "route", "add", "blackhole", f.addr(to)+"/32")
	f.undo = append(f.undo, func() { f.must("ip", "-n", host, "route", "del", "blackhole", f.addr(to)+"/32") })
}

// unplug pulls a host's cable until heal.
func (f *fabric) unplug(host string) {
	f.t.Helper()
	f.link(host, false)
	f.undo = append(f.undo, func() { f.link(host, true) })
}

// heal takes back everything that was done to the network.
func (f *fabric) heal() {
	f.t.Helper()
	f.cuts()
	for _, undo := range slices.Backward(f.undo) {
		undo()
	}
	f.undo = nil
}
