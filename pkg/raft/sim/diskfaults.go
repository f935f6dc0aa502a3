package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// diskFaults are what happens to disks and to directories.
var diskFaults = slices.Concat([]fault{
	{"slow disk", 1, func(w *world, n *node) bool {
		n.disk.slow = 3 + w.act.intn(60)
		w.after(w.between(100*time.Millisecond, 3*time.Second), func() { n.disk.slow = 0 })
		return true
	}},
	{"disk stall", 1, func(w *world, n *node) bool { return n.stall(w.chance(2)) }},
	{"stall of the leader's disk", 1, func(w *world, n *node) bool {
		l := w.leader()
		return l != nil && l.stall(!w.chance(3))
	}},
	{"full disk", 1, func(w *world, n *node) bool {
		if !n.awake() {
			return false
		}
		n.disk.full = true
		n.standAside(w.between(0, 50*time.Millisecond))
		w.after(w.between(100*time.Millisecond, 3*time.Second), n.standAgain)
		return true
	}},
	{"sync error", 1, func(w *world, n *node) bool {
		if n.awake() {
			n.disk.failing = true
		}
		return n.disk.failing
	}},
	{"wiped directory", 1, (*world).wipe},
}, damages)

// diskConsequences follow from what nodes do by themselves.
var diskConsequences = []string{
	"failed sync ends the process", "crash before an install is durable", "torn slot", "torn snapshot", "crash between the parts of a batch",
	"crash with the slot alone durable", "crash with the transaction alone durable", "crash in a batch that cuts the log",
	"crash before old entries are removed", "crash while recovering",
}

// stall lets no write come to its end for a while; aside: the node sees it, as the daemon does after a while.
func (n *node) stall(aside bool) bool {
	w := n.w
	n.disk.stalled = true
	if aside {
		n.standAside(w.between(0, 200*time.Millisecond))
	}
	w.after(w.between(20*time.Millisecond, time.Second), n.standAgain)
	return true
}

// standAside is what the daemon does when it sees that its disk stalls, or is full: a leader steps down, and does not
// stand until the disk is well again (rule 13).
func (n *node) standAside(after time.Duration) {
	n.later(after, func() {
		if !n.disk.stalled && !n.disk.full {
			return
		}
		n.w.operated("stand aside")
		n.aside = true
		n.core.SetStandby(true, n.clock())
		n.turn()
		if n.soft.Role == raft.Leader {
			n.w.operated("step down")
			n.core.StepDown(n.clock())
			n.turn()
		}
	})
}

func (n *node) standAgain() {
	if n.held {
		return
	}
	n.disk.stalled, n.disk.full = false, false
	n.whenAwake(func() {
		if n.aside {
			n.aside = false
			n.core.SetStandby(false, n.clock())
			n.turn()
		}
	})
}

// failSync ends the process, because a failed sync is never tried again (rule 14). What was being written may be durable
// or not, as after a crash.
func (n *node) failSync() {
	w := n.w
	w.happened("failed sync ends the process")
	after := n.disk.rnd.between(20*time.Millisecond, 2*time.Second)
	n.stop()
	w.after(after, n.start)
}

// wipe takes a node's directory away, as an empty volume does. What starts in its place has the flags of old, or none,
// and must not vote away what the other one had acknowledged.
func (w *world) wipe(n *node) bool {
	if !w.mayLose(n) {
		return false
	}
	fresh := w.newNode(n.id, w.oldFlags())
	w.note("node %d is wiped", n.id)
	w.after(w.between(20*time.Millisecond, time.Second), fresh.start)
	return true
}

// oldFlags are what an empty directory is started with: mostly those of the first start, for want of better knowledge.
// Who was the whole cluster by them would begin one of its own, which the handshakes of a transport keep apart; here
// it joins.
func (w *world) oldFlags() []raft.Member {
	if len(w.static) == 1 || w.chance(3) {
		return nil
	}
	return w.static
}
