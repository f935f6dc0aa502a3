package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// disturb does one bad thing, and arranges for its end.
func (w *world) disturb() {
	if !w.faulty {
		return
	}
	w.after(w.between(disturbEvery/4, 2*disturbEvery), w.disturb)
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if l := w.leader(); l != nil && w.chance(3) {
		n = l
	}
	switch w.rnd.IntN(8) {
	case 0:
		w.did("crash")
		n.stop()
		w.after(w.between(20*time.Millisecond, 2*time.Second), n.start)
	case 1:
		w.did("freeze")
		n.freeze()
		life := n.life
		w.after(w.between(20*time.Millisecond, 1500*time.Millisecond), func() {
			if life == n.life {
				n.thaw()
			}
		})
	case 2:
		w.did("partition")
		side := make([]bool, len(w.nodes))
		for i := range side {
			side[i] = w.chance(2)
		}
		w.cutAll(func(i, j int) bool { return side[i] != side[j] })
	case 3:
		w.did("isolation")
		k := int(n.id) - 1
		w.cutAll(func(i, j int) bool { return i == k || j == k })
	case 4:
		w.did("one-way cut")
		i, j := w.rnd.IntN(len(w.nodes)), w.rnd.IntN(len(w.nodes))
		w.cutAll(func(a, b int) bool { return a == i && b == j })
	case 5:
		w.did("bad network")
		w.net.loss, w.net.twice, w.net.slow = 2+w.rnd.IntN(10), 2+w.rnd.IntN(10), w.between(time.Millisecond, 60*time.Millisecond)
		w.after(w.between(100*time.Millisecond, 2*time.Second), func() { w.net.loss, w.net.twice, w.net.slow = 0, 0, 2*time.Millisecond })
	case 6:
		w.did("disk stall")
		n.disk.stalled = true
		w.after(w.between(20*time.Millisecond, time.Second), func() { n.disk.stalled = false })
	case 7:
		if !n.awake() || n.soft.Role != raft.Leader {
			return
		}
		w.did("transfer")
		to := w.nodes[w.rnd.IntN(len(w.nodes))].id
		if w.chance(3) {
			to = 0 // the best one
		}
		// A refusal (to itself, for one) is an answer like any other.
		if err := n.core.TransferLeadership(to, n.clock()); err != nil {
			w.note("transfer to %d refused: %v", to, err)
		}
		n.turn()
	}
}

func (w *world) did(what string) {
	w.report.Faults[what]++
	w.note("fault: %s", what)
}

// cutAll cuts the ways that the function names, and heals them after a while.
func (w *world) cutAll(is func(i, j int) bool) {
	for i := range w.net.cut {
		for j := range w.net.cut[i] {
			w.net.cut[i][j] = is(i, j)
		}
	}
	w.after(w.between(50*time.Millisecond, 2*time.Second), func() {
		for i := range w.net.cut {
			clear(w.net.cut[i])
		}
	})
}

// freeze stops a process as SIGSTOP does: its clock goes on, and what reaches it waits.
func (n *node) freeze() {
	if n.core != nil {
		n.frozen = true
	}
}

func (n *node) thaw() {
	if n.core == nil || !n.frozen {
		return
	}
	n.frozen = false
	late := n.deferred
	n.deferred = nil
	for _, f := range late {
		n.whenAwake(f)
	}
}

// heal ends every fault for good.
func (w *world) heal() {
	w.note("everything heals")
	w.faulty = false
	w.net.calm()
	for _, n := range w.nodes {
		n.disk.stalled = false
		n.thaw()
		if n.core == nil {
			n.start()
		}
	}
}
