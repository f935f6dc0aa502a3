package sim

import (
	"slices"
	"time"
)

// processFaults stop processes, for good or for a while.
var processFaults = []fault{
	{"crash", 3, func(w *world, n *node) bool { return w.crashAll(2*time.Second, n) }},
	{"crash of the leader", 3, func(w *world, _ *node) bool { return w.crashAll(2*time.Second, w.leader()) }},
	{"crash of a majority", 1, func(w *world, _ *node) bool {
		return len(w.nodes) > 2 && w.crashAll(2*time.Second, w.some(len(w.nodes)/2+1)...)
	}},
	{"power cut", 1, func(w *world, _ *node) bool { return w.crashAll(time.Second, w.nodes...) }},
	{"crash loop", 1, func(w *world, n *node) bool {
		at := time.Duration(0)
		for range 3 + w.act.intn(5) {
			w.after(at, n.stop)
			w.after(at+w.between(time.Millisecond, 100*time.Millisecond), n.start)
			at += w.between(100*time.Millisecond, 500*time.Millisecond)
		}
		return true
	}},
	{"crash at a start", 1, func(w *world, n *node) bool {
		n.stop()
		at := w.between(time.Millisecond, 200*time.Millisecond)
		w.after(at, n.start)
		w.after(at+w.between(0, 20*time.Millisecond), n.stop)
		w.after(at+w.between(30*time.Millisecond, time.Second), n.start)
		return true
	}},
	{"freeze", 2, func(w *world, n *node) bool { return w.freezeAll(n) }},
	{"freeze of the leader", 2, func(w *world, _ *node) bool { return w.freezeAll(w.leader()) }},
	{"freeze of a majority", 1, func(w *world, _ *node) bool { return w.freezeAll(w.some(len(w.nodes)/2 + 1)...) }},
	{"rolling restart", 1, func(w *world, _ *node) bool { return w.roll() }},
	{"election timeouts changed", 1, func(w *world, _ *node) bool {
		if w.timeout == electionMin {
			w.timeout = 2 * electionMin
		} else {
			w.timeout = electionMin
		}
		return w.roll()
	}},
}

// some draws so many nodes.
func (w *world) some(count int) []*node {
	first := w.act.intn(len(w.nodes))
	return append(slices.Clone(w.nodes[first:]), w.nodes[:first]...)[:count]
}

// crashAll crashes processes, each for a while.
func (w *world) crashAll(most time.Duration, nodes ...*node) bool {
	for _, n := range nodes {
		if n == nil {
			return false
		}
		n.restart(most)
	}
	return true
}

// roll restarts every process, one after the other, as an upgrade does. Those whose turn would come after everything has
// healed go on as they are.
func (w *world) roll() bool {
	at := time.Duration(0)
	for _, n := range w.nodes {
		w.after(at, func() {
			if w.faulty {
				n.stop()
			}
		})
		w.after(at+w.between(5*time.Millisecond, 300*time.Millisecond), n.start)
		at += w.between(200*time.Millisecond, time.Second)
	}
	return true
}

// freezeAll stops processes as SIGSTOP does, each for a while.
func (w *world) freezeAll(nodes ...*node) bool {
	for _, n := range nodes {
		if n == nil {
			return false
		}
		n.freeze()
		w.after(w.between(20*time.Millisecond, 1500*time.Millisecond), n.thawOf(n.life))
	}
	return true
}

// processConsequences are crashes between two steps of what a node does by itself.
var processConsequences = []string{
	"slow snapshot", "snapshot lost", "snapshot repeated", "crash at an install", "crash between a snapshot and the cut",
}

// restart crashes a node and starts it again after a while, or so soon that its promises still bind it.
func (n *node) restart(most time.Duration) {
	n.stop()
	if n.w.chance(3) {
		most = 40 * time.Millisecond
	}
	n.w.after(n.w.between(5*time.Millisecond, most), n.start)
}

// freeze stops a process as SIGSTOP does: its clock goes on, and what reaches it waits.
func (n *node) freeze() {
	if n.core != nil {
		n.frozen = true
	}
}

// thawOf returns what ends a freeze, if the process still is the one that was frozen.
func (n *node) thawOf(life int) func() {
	return func() {
		if life == n.life {
			n.thaw()
		}
	}
}

func (n *node) thaw() {
	if n.core == nil || !n.frozen || n.held {
		return
	}
	n.frozen = false
	late := n.deferred
	n.deferred = nil
	for _, f := range late {
		n.whenAwake(f)
	}
}
