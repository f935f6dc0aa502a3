//go:build net

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/e2e/proxy"
)

// proxies stand before the peer, route and client ports of every node. The nodes know each other by the proxies' addresses alone.
type proxies struct {
	f   *fabric
	all map[string]*proxy.Proxy // by address
}

// proxySource is the address from which the proxies call the nodes.
const proxySource = "10.77.101.1"

func newProxies(t *testing.T, f *fabric) *proxies {
	t.Helper()
	px := &proxies{f: f, all: map[string]*proxy.Proxy{}}
	f.must("ip", "addr", "add", proxySource+"/32", "dev", "lo")
	t.Cleanup(func() { f.must("ip", "addr", "del", proxySource+"/32", "dev", "lo") })
	for i, h := range f.hosts {
		f.must("ip", "addr", "add", px.addr(h)+"/32", "dev", "lo")
		t.Cleanup(func() { f.must("ip", "addr", "del", px.addr(h)+"/32", "dev", "lo") })
		for _, port := range []int{portPeer, portRoutes, portNATS} {
			p, err := proxy.Start(proxy.Config{Listen: px.at(h, port), Target: f.at(h, port), Source: proxySource, Seed: netSeed() + uint64(100*i+port)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() }) // of the listener: nothing depends on it
			px.all[px.at(h, port)] = p
		}
		for _, other := range f.hosts[i+1:] {
			f.base = append(f.base, rejected(both(h, other))...)
		}
	}
	f.cuts()
	return px
}

func (px *proxies) addr(host string) string { return fmt.Sprintf("10.77.100.%d", px.f.index(host)) }

func (px *proxies) at(host string, port int) string { return fmt.Sprintf("%s:%d", px.addr(host), port) }

func (px *proxies) urls() string {
	var u []string
	for _, h := range px.f.hosts {
		u = append(u, "nats://"+px.at(h, portNATS))
	}
	return strings.Join(u, ",")
}

func (px *proxies) fired() map[string]uint64 {
	sum := map[string]uint64{}
	for _, p := range px.all {
		for kind, n := range p.Fired() {
			sum[kind] += n
		}
	}
	return sum
}

func (px *proxies) clear() {
	for _, p := range px.all {
		p.Clear()
	}
}

// set puts a fault before a port of every node.
func (px *proxies) set(port int, f proxy.Fault) {
	for _, h := range px.f.hosts {
		px.all[px.at(h, port)].Set(f)
	}
}

// around puts a fault on the connections between a node and the others, in both directions of calling.
func (px *proxies) around(nd *node, port int, f proxy.Fault) {
	for _, h := range px.f.hosts {
		if h == nd.name {
			px.all[px.at(h, port)].Set(f)
		} else {
			px.all[px.at(h, port)].Set(f, px.f.addr(nd.name))
		}
	}
}

// TestNetProxy has everything between three nodes, and between them and the clients, go through proxies that break what they
// carry, and then sends strangers' bytes to every port.
func TestNetProxy(t *testing.T) {
	f := newFabric(t, "n1", "n2", "n3")
	px := newProxies(t, f)
	r := newRun(t, f, 3, false, px, 4)
	before := r.rejectedFrames()
	r.runAll(append(proxyShapes(), hostileShapes()...), *flagNetFor/4)
	if damaged := px.fired()["corrupted"] + px.fired()["truncated"] + px.fired()["inserted"]; damaged > 0 {
		rejected := r.rejectedFrames() - before
		t.Logf("frames that nodes refused: %v, with %d chunks corrupted, truncated or inserted", rejected, damaged)
		if rejected == 0 {
			t.Errorf("%d chunks were damaged, and no node refused a frame", damaged)
		}
	}
	r.finish()
}

// rejectedFrames is how many frames all nodes refused so far. A node that was started again begins anew.
func (r *netRun) rejectedFrames() (sum float64) {
	for _, nd := range r.c.nodes {
		sum += nd.metric(r.t, `coordd_peer_rejected_total{kind="frame"}`)
	}
	return sum
}

// kinds of connections that a proxy can break.
var kinds = []struct {
	name string
	port int
}{{"peers", portPeer}, {"routes", portRoutes}, {"clients", portNATS}}

// proxyShapes are faults of the connections. What damages bytes is done to the peers' alone: their frames have a checksum, while
// NATS has none and leaves that to TCP and TLS.
func proxyShapes() (shapes []shape) {
	everywhere := []struct {
		name string
		f    proxy.Fault
	}{
		{"delayed by 20 ms", proxy.Both(proxy.Stream{Delay: 20 * time.Millisecond})},
		{"delayed by up to 60 ms", proxy.Both(proxy.Stream{Jitter: 60 * time.Millisecond})},
		{"throttled to 100 kB/s", proxy.Both(proxy.Stream{BytesPerSecond: 100_000})},
		{"reset at 2 % of chunks", proxy.Both(proxy.Stream{Reset: .02})},
		{"cut in the middle of a frame at 2 % of chunks", proxy.Both(proxy.Stream{Cut: .02})},
		{"stalled in the middle of a frame at 2 % of chunks", proxy.Both(proxy.Stream{Stall: .02, StallFor: 200 * time.Millisecond})},
	}
	ofOne := []struct {
		name string
		f    proxy.Fault
	}{
		{"refused", proxy.Fault{Refuse: true}},
		{"held, as by an address that swallows everything", proxy.Fault{Hold: true}},
		{"half open", proxy.Fault{HalfOpen: true}},
		{"one way lost, to the called", proxy.Fault{Up: proxy.Stream{Drop: true}}},
		{"one way lost, back to the caller", proxy.Fault{Down: proxy.Stream{Drop: true}}},
		{"stalled for seconds", proxy.Both(proxy.Stream{Stall: .2, StallFor: 3 * time.Second})},
	}
	damage := []struct {
		name string
		s    proxy.Stream
	}{
		{"1 % of chunks corrupted", proxy.Stream{Corrupt: .01}},
		{"1 % of chunks truncated", proxy.Stream{Truncate: .01}},
		{"2 % of chunks repeated", proxy.Stream{Repeat: .02}},
		{"2 % of chunks swapped with the next", proxy.Stream{Swap: .02}},
		{"garbage before 1 % of chunks", proxy.Stream{Insert: .01}},
		{"a little of all", proxy.Stream{Jitter: 10 * time.Millisecond, Corrupt: .003, Truncate: .003, Repeat: .005, Swap: .005, Insert: .003, Cut: .003, Stall: .003, StallFor: 100 * time.Millisecond}},
	}
	for _, k := range kinds {
		for _, e := range everywhere {
			shapes = append(shapes, shape{fmt.Sprintf("proxy: %s, %s", k.name, e.name), held, true, false, func(x *strike) {
				x.proxied(func() { x.px.set(k.port, e.f) })
			}})
		}
		for _, e := range ofOne {
			for _, who := range []string{"leader", "follower"} {
				shapes = append(shapes, shape{fmt.Sprintf("proxy: %s of a %s, %s", k.name, who, e.name), held, true, false, func(x *strike) {
					x.proxied(func() {
						nd := x.leader
						if who == "follower" {
							nd = x.others[0]
						}
						if k.port == portNATS {
							x.px.all[x.px.at(nd.name, k.port)].Set(e.f)
						} else {
							x.px.around(nd, k.port, e.f)
						}
					})
				}})
			}
		}
	}
	for _, d := range damage {
		shapes = append(shapes, shape{"proxy: peers, " + d.name, held, true, false, func(x *strike) {
			x.proxied(func() { x.px.set(portPeer, proxy.Both(d.s)) })
		}})
	}
	return append(shapes, shape{"proxy: peers, routes and clients, a random mix", 2 * held, false, false, func(x *strike) {
		x.proxied(func() {
			pick := func(from []proxy.Fault) proxy.Fault { return from[x.rnd.IntN(len(from))] }
			var streams, whole []proxy.Fault
			for _, e := range everywhere {
				streams = append(streams, e.f)
			}
			for _, e := range ofOne {
				whole = append(whole, e.f)
			}
			x.px.set(portNATS, pick(streams))
			x.px.set(portRoutes, pick(streams))
			x.px.set(portPeer, proxy.Both(damage[x.rnd.IntN(len(damage))].s))
			x.px.around(x.others[0], kinds[x.rnd.IntN(2)].port, pick(whole))
		})
	}})
}

// proxied does something to the proxies until the fault ends.
func (x *strike) proxied(do func()) {
	do()
	x.undo = append(x.undo, x.px.clear)
}
