//go:build net

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// held is how long most faults last.
const held = 2 * time.Second

// TestNetThree does every shape of partition to three nodes.
func TestNetThree(t *testing.T) {
	t.Logf("seed %d (-net.seed)", netSeed())
	r := newRun(t, newFabric(t, "n1", "n2", "n3"), 3, false, nil, 3)
	giveBack := r.idle()
	r.runAll(append(threeShapes(), gentleShapes()...), *flagNetFor/4)
	giveBack()
	r.finish()
}

// TestNetFive does to five nodes what needs five.
func TestNetFive(t *testing.T) {
	r := newRun(t, newFabric(t, "n1", "n2", "n3", "n4", "n5"), 5, false, nil, 5)
	giveBack := r.idle()
	r.runAll(fiveShapes(), *flagNetFor/4)
	giveBack()
	r.finish()
}

// apart cuts two sets of nodes from each other, both ways.
func apart(a, b []*node, ports ...int) (cs []cut) {
	for _, x := range a {
		for _, y := range b {
			cs = append(cs, both(x.name, y.name, ports...)...)
		}
	}
	return cs
}

// oneWay loses what the nodes of a send to those of b.
func oneWay(a, b []*node) (cs []cut) {
	for _, x := range a {
		for _, y := range b {
			cs = append(cs, cut{from: x.name, to: y.name})
		}
	}
	return cs
}

// alone cuts a node from all others, and from the clients.
func (x *strike) alone(nd *node, ports ...int) []cut {
	cs := both(clientsHost, nd.name, ports...)
	for _, other := range x.c.nodes {
		if other != nd {
			cs = append(cs, both(nd.name, other.name, ports...)...)
		}
	}
	return cs
}

func (x *strike) a() []*node { return []*node{x.leader} }

// threeShapes are faults of three nodes, A the leader, B and C the followers. Unless something else is said, the clients reach
// all three.
func threeShapes() []shape {
	return []shape{
		{"3 nodes: leader in the minority", held, true, true, func(x *strike) { x.f.cuts(apart(x.a(), x.others)...) }},
		{"3 nodes: follower cut off", held, true, false, func(x *strike) { x.f.cuts(apart(x.others[:1], append(x.a(), x.others[1]))...) }},
		{"3 nodes: every node by itself", held, false, false, func(x *strike) {
			x.f.cuts(append(apart(x.a(), x.others), apart(x.others[:1], x.others[1:])...)...)
		}},
		{"3 nodes: one way, what the leader sends is lost", held, true, true, func(x *strike) { x.f.cuts(oneWay(x.a(), x.others)...) }},
		{"3 nodes: one way, what is sent to the leader is lost", held, true, true, func(x *strike) { x.f.cuts(oneWay(x.others, x.a())...) }},
		{"3 nodes: one way, leader to one follower", held, true, false, func(x *strike) { x.f.cuts(oneWay(x.a(), x.others[:1])...) }},
		{"3 nodes: one way, one follower to the leader", held, true, false, func(x *strike) { x.f.cuts(oneWay(x.others[:1], x.a())...) }},
		{"3 nodes: one way, what one follower sends is lost", held, true, false, func(x *strike) {
			x.f.cuts(oneWay(x.others[:1], append(x.a(), x.others[1]))...)
		}},
		{"3 nodes: partial, leader and one follower, both reach the third", held, true, false, func(x *strike) { x.f.cuts(apart(x.a(), x.others[:1])...) }},
		{"3 nodes: partial, the followers, both reach the leader", held, true, false, func(x *strike) { x.f.cuts(apart(x.others[:1], x.others[1:])...) }},
		{"3 nodes: leader cut from NATS only (clients and routes)", 2 * held, true, false, func(x *strike) { x.f.cuts(x.alone(x.leader, portNATS, portRoutes)...) }},
		{"3 nodes: leader cut from NATS routes only", 2 * held, true, false, func(x *strike) { x.f.cuts(apart(x.a(), x.others, portRoutes)...) }},
		{"3 nodes: all NATS routes cut, peers connected", 2 * held, true, false, func(x *strike) {
			x.f.cuts(append(apart(x.a(), x.others, portRoutes), apart(x.others[:1], x.others[1:], portRoutes)...)...)
		}},
		{"3 nodes: follower cut from peers only", held, true, false, func(x *strike) {
			x.f.cuts(apart(x.others[:1], append(x.a(), x.others[1]), portPeer)...)
		}},
		{"3 nodes: leader cut from peers only", held, true, true, func(x *strike) { x.f.cuts(apart(x.a(), x.others, portPeer)...) }},
		{"3 nodes: follower cut from NATS only", held, true, false, func(x *strike) { x.f.cuts(x.alone(x.others[0], portNATS, portRoutes)...) }},
		{"3 nodes: the leader's address swallows everything", held, true, true, func(x *strike) { x.f.cuts(x.alone(x.leader)...) }},
		{"3 nodes: a follower's address swallows everything", held, true, false, func(x *strike) { x.f.cuts(x.alone(x.others[0])...) }},
		{"3 nodes: one swallows everything, then the leader is killed", held, false, false, func(x *strike) {
			x.f.cuts(x.alone(x.others[0])...)
			x.kill(x.leader)
		}},
		{"3 nodes: leader has no route to the others (blackhole)", held, true, true, func(x *strike) {
			for _, o := range x.others {
				x.f.blackhole(x.leader.name, o.name)
			}
		}},
		{"3 nodes: leader's link down", held, true, true, func(x *strike) { x.f.unplug(x.leader.name) }},
		{"3 nodes: a follower's link down", held, true, false, func(x *strike) { x.f.unplug(x.others[0].name) }},
		{"3 nodes: leader's link flaps", 2 * held, false, false, func(x *strike) { x.flap(x.leader) }},
		{"3 nodes: a follower's link flaps", 2 * held, true, false, func(x *strike) { x.flap(x.others[0]) }},
		{"3 nodes: leader's connections are reset", 300 * time.Millisecond, false, false, func(x *strike) { x.f.cuts(rejected(x.alone(x.leader))...) }},
		{"3 nodes: all connections are reset", 300 * time.Millisecond, false, false, func(x *strike) {
			var cs []cut
			for _, nd := range x.c.nodes {
				cs = append(cs, x.alone(nd)...)
			}
			x.f.cuts(rejected(cs)...)
		}},
		{"3 nodes: leader killed with its NATS, started again", held, true, true, func(x *strike) { x.kill(x.leader) }},
		{"3 nodes: leader stopped in order with its NATS, started again", held, true, true, func(x *strike) {
			x.leader.terminate(x.t)
			x.restartAfter(x.leader)
		}},
		{"3 nodes: leader frozen (SIGSTOP) with its NATS", held, true, true, func(x *strike) {
			x.freeze(x.leader.pid())
		}},
	}
}

// gentleShapes leave everything connected, but badly.
func gentleShapes() []shape {
	return []shape{
		{"3 nodes: a slow third, 200 kbit/s towards it", 2 * held, true, false, func(x *strike) { x.f.slow(x.others[0].name, 200) }},
		{"3 nodes: a slow leader, 500 kbit/s towards it", 2 * held, true, false, func(x *strike) { x.f.slow(x.leader.name, 500) }},
		{"3 nodes: MTU of one lowered to 576", 2 * held, true, false, func(x *strike) { x.f.mtu(x.others[0].name, 576) }},
		{"3 nodes: long packets to a follower are lost (MTU black hole)", 2 * held, true, false, func(x *strike) {
			var cs []cut
			for _, c := range oneWay(append(x.a(), x.others[1]), x.others[:1]) {
				c.above = 576
				cs = append(cs, c)
			}
			x.f.cuts(cs...)
		}},
		{"3 nodes: 10 % of the packets between nodes are lost", 2 * held, true, false, func(x *strike) { x.f.cuts(x.lossy(10)...) }},
		{"3 nodes: 40 % of the packets between nodes are lost", 2 * held, false, false, func(x *strike) { x.f.cuts(x.lossy(40)...) }},
	}
}

// fiveShapes are faults of five nodes.
func fiveShapes() []shape {
	return []shape{
		{"5 nodes: leader and one more in the minority", held, true, true, func(x *strike) {
			x.f.cuts(apart(append(x.a(), x.others[0]), x.others[1:])...)
		}},
		{"5 nodes: leader by itself", held, true, true, func(x *strike) { x.f.cuts(apart(x.a(), x.others)...) }},
		{"5 nodes: two followers cut off", held, true, false, func(x *strike) {
			x.f.cuts(apart(x.others[:2], append(x.a(), x.others[2:]...))...)
		}},
		{"5 nodes: ring, each reaches its two neighbours only", 2 * held, true, false, func(x *strike) {
			ring := append(x.a(), x.others...)
			var cs []cut
			for i := range ring {
				for j := i + 2; j < len(ring) && (i > 0 || j < len(ring)-1); j++ {
					cs = append(cs, both(ring[i].name, ring[j].name)...)
				}
			}
			x.f.cuts(cs...)
		}},
		{"5 nodes: bridge, two halves reach one follower only", 2 * held, true, false, func(x *strike) {
			x.f.cuts(apart(append(x.a(), x.others[0]), x.others[1:3])...)
		}},
		{"5 nodes: bridge, two halves reach the leader only", 2 * held, true, false, func(x *strike) { x.f.cuts(apart(x.others[:2], x.others[2:])...) }},
		{"5 nodes: one way, what the leader sends to three is lost", held, true, true, func(x *strike) { x.f.cuts(oneWay(x.a(), x.others[:3])...) }},
		{"5 nodes: one way, what three send to the leader is lost", held, true, true, func(x *strike) { x.f.cuts(oneWay(x.others[:3], x.a())...) }},
		{"5 nodes: leader and one follower swallow everything", held, true, true, func(x *strike) {
			x.f.cuts(append(x.alone(x.leader), x.alone(x.others[0])...)...)
		}},
		{"5 nodes: leader cut from NATS only", 2 * held, true, false, func(x *strike) { x.f.cuts(x.alone(x.leader, portNATS, portRoutes)...) }},
		{"5 nodes: leader's and one follower's link down", held, true, true, func(x *strike) {
			x.f.unplug(x.leader.name)
			x.f.unplug(x.others[0].name)
		}},
		{"5 nodes: leader killed while one follower is cut off", held, true, true, func(x *strike) {
			x.f.cuts(apart(x.others[:1], append(x.a(), x.others[1:]...))...)
			x.kill(x.leader)
		}},
	}
}

// lossy loses some of the packets between all nodes.
func (x *strike) lossy(percent int) (cs []cut) {
	for i, a := range x.c.nodes {
		for _, b := range x.c.nodes[i+1:] {
			for _, c := range both(a.name, b.name) {
				c.odds = percent
				cs = append(cs, c)
			}
		}
	}
	return cs
}

func rejected(cs []cut) []cut {
	for i := range cs {
		cs[i].reject = true
	}
	return cs
}

// flap takes a node's link down and up again until the fault ends.
func (x *strike) flap(nd *node) {
	x.f.unplug(nd.name)
	x.during.Go(func() {
		for up := true; x.ctx.Err() == nil; up = !up {
			pause(x.ctx, 250*time.Millisecond)
			if err := command("ip", "link", "set", "v-"+nd.name, map[bool]string{true: "up", false: "down"}[up]); err != nil {
				x.t.Error(err)
			}
		}
	})
}

// kill ends a node without warning, and starts it again when the fault ends.
func (x *strike) kill(nd *node) {
	nd.kill()
	x.restartAfter(nd)
}

func (x *strike) restartAfter(nd *node) {
	x.undo = append(x.undo, func() {
		if err := nd.start(x.c.bin); err != nil {
			x.t.Error(err)
		}
	})
}

// freeze stops a process, and lets it go on when the fault ends.
func (x *strike) freeze(pid int) {
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			x.t.Error(fmt.Errorf("signal %s to %d: %w", s, pid, err))
		}
	}
	signal(syscall.SIGSTOP)
	x.undo = append(x.undo, func() { signal(syscall.SIGCONT) })
}
