package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// faultKinds are the faults of a run: those that disturb makes, and those that go with what nodes do by themselves.
var faultKinds = []string{
	"crash", "freeze", "partition", "isolation", "one-way cut", "bad network", "disk stall", "power cut",
	"wiped directory", "lost suffix",
	"slow snapshot", "snapshot lost", "snapshot repeated", "crash at an install", "crash before an install is durable",
	"crash between a snapshot and the cut",
}

// disturb does one bad thing, and arranges for its end.
func (w *world) disturb() {
	if !w.faulty {
		return
	}
	w.after(w.between(disturbEvery/4, 2*disturbEvery), w.disturb)
	n := w.anyNode()
	if l := w.leader(); l != nil && w.chance(3) {
		n = l
	}
	switch w.rnd.IntN(16) {
	case 0, 1, 2:
		w.happened("crash")
		n.restart(2 * time.Second)
	case 3, 4:
		w.happened("freeze")
		n.freeze()
		n.w.after(w.between(20*time.Millisecond, 1500*time.Millisecond), n.thawOf(n.life))
	case 5, 6:
		w.happened("partition")
		var side [maxID + 1]bool
		for i := range side {
			side[i] = w.chance(2)
		}
		w.cutAll(func(i, j raft.MemberID) bool { return side[i] != side[j] })
	case 7, 8:
		w.happened("isolation")
		w.cutAll(func(i, j raft.MemberID) bool { return i == n.id || j == n.id })
	case 9:
		w.happened("one-way cut")
		i, j := w.anyNode().id, w.anyNode().id
		w.cutAll(func(a, b raft.MemberID) bool { return a == i && b == j })
	case 10, 11:
		w.happened("bad network")
		w.net.loss, w.net.twice, w.net.slow = 2+w.rnd.IntN(10), 2+w.rnd.IntN(10), w.between(time.Millisecond, 60*time.Millisecond)
		w.after(w.between(100*time.Millisecond, 2*time.Second), func() { w.net.loss, w.net.twice, w.net.slow = 0, 0, 2*time.Millisecond })
	case 12, 13:
		w.happened("disk stall")
		n.disk.stalled = true
		if w.chance(2) {
			n.standAside()
		}
		w.after(w.between(20*time.Millisecond, time.Second), n.standAgain)
	case 14:
		w.happened("power cut")
		for _, n := range w.nodes {
			n.restart(time.Second)
		}
	case 15:
		if w.chance(2) {
			w.wipe(n)
		} else {
			w.loseSuffix(n)
		}
	}
}

func (w *world) happened(what string) {
	w.report.Faults[what]++
	w.note("fault: %s", what)
}

// standAside is what the daemon does when it sees that its disk stalls: a leader steps down, and does not stand until
// the disk is well again (rule 13).
func (n *node) standAside() {
	n.later(n.w.between(0, 200*time.Millisecond), func() {
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

// restart crashes a node and starts it again after a while, or so soon that its promises still bind it.
func (n *node) restart(most time.Duration) {
	n.stop()
	if n.w.chance(3) {
		most = 40 * time.Millisecond
	}
	n.w.after(n.w.between(5*time.Millisecond, most), n.start)
}

// wipe takes a node's directory away, as an empty volume does. What starts in its place has the flags of old, or none,
// and must not vote away what the other one had acknowledged.
func (w *world) wipe(n *node) {
	if !w.mayLose(n) {
		return
	}
	w.happened("wiped directory")
	fresh := w.newNode(n.id, w.oldFlags())
	w.note("node %d is wiped", n.id)
	w.after(w.between(20*time.Millisecond, time.Second), fresh.start)
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
func (w *world) loseSuffix(n *node) {
	d := &n.disk
	keep := max(d.base, 1)
	if d.snap != nil {
		keep = max(keep, d.snap.meta.Index)
	}
	if d.segment.last() <= keep || !w.mayLose(n) {
		return
	}
	n.stop()
	if d.segment.last() <= keep {
		return
	}
	w.happened("lost suffix")
	after := keep + uint64(w.rnd.Int64N(int64(d.segment.last()-keep)))
	if w.chance(2) {
		after = max(keep, d.segment.last()-1-uint64(w.rnd.IntN(10)))
	}
	if after >= d.segment.last() {
		after = keep
	}
	d.lose(after)
	n.restoreConfigs()
	w.note("node %d loses what is behind %d; its mark is %v", n.id, after, *d.mark)
	w.after(w.between(20*time.Millisecond, time.Second), n.start)
}

// mayLose reports whether the cluster can bear it that a node's acknowledgements are worth nothing any more, whichever
// of the configurations that are somewhere turns out to be in effect.
func (w *world) mayLose(n *node) bool {
	for _, c := range w.truth.open {
		if !w.survives(&c.conf, n) {
			return false
		}
	}
	return w.survives(&w.truth.active().conf, n)
}

// survives reports whether the voters of a configuration that have not lost anything, and may lead, are a majority,
// also without a node, and also when the learners that are lost, or never lead, become voters meanwhile.
func (w *world) survives(c *raft.Configuration, without *node) bool {
	voters, sound := 0, 0
	for i := range c.Members {
		m := &c.Members[i]
		n := w.byID[m.ID]
		lost := w.lost(m) || (n != nil && n == without)
		if m.Learner && !(m.Promote && (m.Standby || (lost && !m.Incarnation.IsZero()))) {
			continue
		}
		voters++
		if !lost && !m.Standby && !w.blank(m) {
			sound++
		}
	}
	return sound > voters/2
}

// lost reports whether what a member acknowledged may be gone.
func (w *world) lost(m *raft.Member) bool {
	n := w.byID[m.ID]
	return n == nil || n.disk.mark != nil || n.incarnation == m.Former || (!m.Incarnation.IsZero() && m.Incarnation != n.incarnation)
}

// blank reports whether a member has nothing yet: it may not vote before a leader gave it something.
func (w *world) blank(m *raft.Member) bool {
	n := w.byID[m.ID]
	return n == nil || n.disk.peak == 0
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
