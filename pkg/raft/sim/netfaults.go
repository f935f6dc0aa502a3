package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// networkFaults cut ways, and make the network a bad one.
var networkFaults = []fault{
	{"partition", 2, func(w *world, _ *node) bool {
		var side [maxID + 1]bool
		for i := range side {
			side[i] = w.chance(2)
		}
		w.cutAll(func(i, j raft.MemberID) bool { return side[i] != side[j] })
		return true
	}},
	{"isolation", 2, func(w *world, n *node) bool {
		w.cutAll(func(i, j raft.MemberID) bool { return i == n.id || j == n.id })
		return true
	}},
	{"one-way cut", 1, func(w *world, _ *node) bool {
		i, j := w.anyNode().id, w.anyNode().id
		w.cutAll(func(a, b raft.MemberID) bool { return a == i && b == j })
		return true
	}},
	{"bad network", 2, func(w *world, _ *node) bool {
		w.net.loss, w.net.twice, w.net.slow = 2+w.act.intn(10), 2+w.act.intn(10), w.between(time.Millisecond, 60*time.Millisecond)
		w.after(w.between(100*time.Millisecond, 2*time.Second), func() { w.net.loss, w.net.twice, w.net.slow = 0, 0, 2*time.Millisecond })
		return true
	}},
}

// cutAll cuts the ways that the function names, and heals them after a while.
func (w *world) cutAll(is func(i, j raft.MemberID) bool) {
	for i := range w.net.cut {
		for j := range w.net.cut[i] {
			w.net.cut[i][j] = is(raft.MemberID(i), raft.MemberID(j))
		}
	}
	w.after(w.between(50*time.Millisecond, 2*time.Second), func() {
		for i := range w.net.cut {
			clear(w.net.cut[i][:])
		}
	})
}
