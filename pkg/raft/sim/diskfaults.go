package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// diskFaults are what happens to directories.
var diskFaults = []fault{
	{"disk stall", 2, func(w *world, n *node) bool {
		n.disk.stalled = true
		if w.chance(2) {
			n.standAside(w.between(0, 200*time.Millisecond))
		}
		w.after(w.between(20*time.Millisecond, time.Second), n.standAgain)
		return true
	}},
	{"wiped directory", 1, (*world).wipe},
	{"lost suffix", 1, (*world).loseSuffix},
}

// diskConsequences follow from what nodes do by themselves.
var diskConsequences = []string{"crash before an install is durable"}

// standAside is what the daemon does when it sees that its disk stalls: a leader steps down, and does not stand until
// the disk is well again (rule 13).
func (n *node) standAside(after time.Duration) {
	n.later(after, func() {
		if !n.disk.stalled {
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
	n.disk.stalled = false
	n.whenAwake(func() {
		if n.aside {
			n.aside = false
			n.core.SetStandby(false, n.clock())
			n.turn()
		}
	})
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

// loseSuffix takes the end of a node's log away, as damage does that the daemon finds at its start.
func (w *world) loseSuffix(n *node) bool {
	d := &n.disk
	keep := max(d.base, 1)
	if d.snap != nil {
		keep = max(keep, d.snap.meta.Index)
	}
	if d.segment.last() <= keep || !w.mayLose(n) {
		return false
	}
	n.stop()
	if d.segment.last() <= keep {
		return false
	}
	after := keep + w.act.below(d.segment.last()-keep)
	if w.chance(2) {
		after = max(keep, d.segment.last()-1-w.act.below(10))
	}
	if after >= d.segment.last() {
		after = keep
	}
	d.lose(after)
	n.restoreConfigs()
	w.note("node %d loses what is behind %d; its mark is %v", n.id, after, *d.mark)
	w.after(w.between(20*time.Millisecond, time.Second), n.start)
	return true
}
