package sim

import "time"

// processFaults stop processes, for good or for a while.
var processFaults = []fault{
	{"crash", 3, func(w *world, n *node) bool {
		n.restart(2 * time.Second)
		return true
	}},
	{"power cut", 1, func(w *world, n *node) bool {
		for _, n := range w.nodes {
			n.restart(time.Second)
		}
		return true
	}},
	{"freeze", 2, func(w *world, n *node) bool {
		n.freeze()
		w.after(w.between(20*time.Millisecond, 1500*time.Millisecond), n.thawOf(n.life))
		return true
	}},
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
