package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// networkFaults cut ways, and make the network a bad one.
var networkFaults = []fault{
	{"partition", 2, func(w *world, _ *node) bool { return w.split(w.sides()) }},
	{"leader in the majority", 2, func(w *world, _ *node) bool { return w.splitLeader(true) }},
	{"leader in the minority", 3, func(w *world, _ *node) bool { return w.splitLeader(false) }},
	{"isolation", 1, func(w *world, n *node) bool { return w.isolate(n) }},
	{"isolation of the leader", 2, func(w *world, _ *node) bool { return w.isolate(w.leader()) }},
	{"one-way cut", 1, func(w *world, n *node) bool {
		o := w.anyNode()
		w.cutWays(func(a, b raft.MemberID) bool { return a == n.id && b == o.id }, w.aWhile())
		return o != n
	}},
	{"swallowing address", 1, func(w *world, n *node) bool {
		w.cutWays(func(_, b raft.MemberID) bool { return b == n.id }, w.aWhile())
		return true
	}},
	{"partial partition", 2, func(w *world, n *node) bool {
		o := w.anyNode()
		w.cutWays(between(n, o), w.aWhile())
		return o != n
	}},
	{"ring", 1, func(w *world, _ *node) bool {
		var next [maxID + 1]raft.MemberID
		for i, n := range w.nodes {
			next[n.id] = w.nodes[(i+1)%len(w.nodes)].id
		}
		w.cutWays(func(a, b raft.MemberID) bool { return next[a] != b && next[b] != a }, w.aWhile())
		return len(w.nodes) > 3
	}},
	{"bridge", 1, func(w *world, n *node) bool {
		side := w.sides()
		w.cutWays(func(a, b raft.MemberID) bool { return side[a] != side[b] && a != n.id && b != n.id }, w.aWhile())
		return len(w.nodes) > 2
	}},
	{"flapping link", 1, func(w *world, n *node) bool {
		o := w.anyNode()
		at := time.Duration(0)
		for range 3 + w.act.intn(8) {
			at += w.between(20*time.Millisecond, 400*time.Millisecond)
			down := w.between(10*time.Millisecond, 300*time.Millisecond)
			w.healLater(at, func() { w.cutWays(between(n, o), down) })
		}
		return o != n
	}},
	{"clogged link", 2, func(w *world, n *node) bool {
		o := w.anyNode()
		l := &w.net.ways[n.id][o.id]
		if o == n || l.clogged {
			return false
		}
		l.clogged = true
		w.healLater(w.between(100*time.Millisecond, 4*time.Second), func() { w.unclog(l) })
		return true
	}},
	{"bad network", 2, func(w *world, _ *node) bool {
		w.net.loss, w.net.twice, w.net.slow = 2+w.act.intn(10), 2+w.act.intn(10), w.between(time.Millisecond, 60*time.Millisecond)
		w.healLater(w.between(100*time.Millisecond, 2*time.Second), func() { w.net.loss, w.net.twice, w.net.slow = 0, 0, goodNetwork })
		return true
	}},
	{"burst of losses", 1, func(w *world, _ *node) bool {
		w.net.loss = 1 + w.act.intn(2)
		w.healLater(w.between(10*time.Millisecond, 300*time.Millisecond), func() { w.net.loss = 0 })
		return true
	}},
	{"reordering", 1, func(w *world, _ *node) bool {
		w.net.slow = w.between(60*time.Millisecond, 250*time.Millisecond)
		w.healLater(w.between(200*time.Millisecond, 2*time.Second), func() { w.net.slow = goodNetwork })
		return true
	}},
	{"repeats", 1, func(w *world, _ *node) bool {
		w.net.twice = 1
		w.healLater(w.between(200*time.Millisecond, 2*time.Second), func() { w.net.twice = 0 })
		return true
	}},
	{"lossy link", 1, func(w *world, n *node) bool {
		o := w.anyNode()
		l := &w.net.ways[n.id][o.id]
		l.loss = 1 + w.act.intn(4)
		w.healLater(w.aWhile(), func() { l.loss = 0 })
		return o != n
	}},
	{"slow peer", 1, func(w *world, n *node) bool {
		w.slowPeer(n, w.between(20*time.Millisecond, 500*time.Millisecond))
		w.healLater(w.aWhile(), func() { w.slowPeer(n, 0) })
		return true
	}},
	{"replay of old messages", 2, (*world).replay},
	{"corruption", 1, func(w *world, n *node) bool {
		o := w.anyNode()
		l := &w.net.ways[n.id][o.id]
		l.corrupt = 1 + w.act.intn(20)
		w.healLater(w.aWhile(), func() { l.corrupt = 0 })
		return o != n
	}},
	{"connection reset", 2, func(w *world, n *node) bool {
		o := w.anyNode()
		w.net.ways[n.id][o.id].resets++
		w.net.ways[o.id][n.id].resets++
		return o != n
	}},
}

// between names both ways between two members.
func between(n, o *node) func(a, b raft.MemberID) bool {
	return func(a, b raft.MemberID) bool { return (a == n.id && b == o.id) || (a == o.id && b == n.id) }
}

// aWhile is how long most faults of the network last.
func (w *world) aWhile() time.Duration { return w.between(50*time.Millisecond, 2*time.Second) }

// healLater ends a fault of the network, unless everything healed before.
func (w *world) healLater(d time.Duration, end func()) {
	epoch := w.net.epoch
	w.after(d, func() {
		if epoch == w.net.epoch {
			end()
		}
	})
}

// cutWays cuts the ways that the function names for a while. Cuts may overlap.
func (w *world) cutWays(is func(from, to raft.MemberID) bool, d time.Duration) {
	var cut []*way
	for i := range w.net.ways {
		for j := range w.net.ways[i] {
			if is(raft.MemberID(i), raft.MemberID(j)) {
				w.net.ways[i][j].cuts++
				cut = append(cut, &w.net.ways[i][j])
			}
		}
	}
	w.net.cut++
	w.healLater(d, func() {
		w.net.cut--
		for _, l := range cut {
			l.cuts--
		}
	})
}

// sides draws a side for each member.
func (w *world) sides() (side [maxID + 1]bool) {
	for i := range side {
		side[i] = w.chance(2)
	}
	return side
}

func (w *world) split(side [maxID + 1]bool) bool {
	w.cutWays(func(i, j raft.MemberID) bool { return side[i] != side[j] }, w.aWhile())
	return true
}

// splitLeader cuts the cluster into a majority and the rest.
func (w *world) splitLeader(inMajority bool) bool {
	l := w.leader()
	if l == nil || len(w.nodes) < 3 {
		return false
	}
	var side [maxID + 1]bool
	left := len(w.nodes)/2 + 1 // of the majority
	if side[l.id] = inMajority; inMajority {
		left--
	}
	for _, n := range w.some(len(w.nodes)) {
		if n != l && left > 0 {
			side[n.id] = true
			left--
		}
	}
	return w.split(side)
}

func (w *world) isolate(n *node) bool {
	if n == nil {
		return false
	}
	w.cutWays(func(i, j raft.MemberID) bool { return i == n.id || j == n.id }, w.aWhile())
	return true
}

// slowPeer makes all ways of a member slow ones; 0: good ones.
func (w *world) slowPeer(n *node, slow time.Duration) {
	for i := range w.net.ways {
		w.net.ways[i][n.id].slow = slow
		w.net.ways[n.id][i].slow = slow
	}
}

// replay lets messages come again that came long ago, in other terms maybe.
func (w *world) replay(*node) bool {
	for range min(len(w.net.old), 1+w.act.intn(20)) {
		w.travel(w.net.old[w.act.intn(len(w.net.old))], w.between(0, 100*time.Millisecond))
	}
	return len(w.net.old) > 0
}
