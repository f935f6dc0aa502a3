package sim

import "github.com/coordd/coordd/pkg/raft"

// mayLose reports whether the cluster can bear it that a node's acknowledgements are worth nothing any more, whichever
// of the configurations that are somewhere turns out to be in effect.
func (w *world) mayLose(n *node) bool {
	if w.lastOfTheFirst(n) {
		return false
	}
	for _, c := range w.truth.open {
		if !w.survives(&c.conf, n) {
			return false
		}
	}
	return w.survives(&w.truth.active().conf, n)
}

// lastOfTheFirst reports whether a node is the only one of the static members that has anything. Without it the others, all
// blank and all started with the flags of the first start, would rightly take themselves for a new cluster.
func (w *world) lastOfTheFirst(n *node) bool {
	first := false
	for i := range w.static {
		o := w.byID[w.static[i].ID]
		if first = first || o == n; o != n && o.disk.peak > 0 {
			return false
		}
	}
	return first && len(w.static) > 1 // who is alone by its flags joins: see oldFlags
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
	return n == nil || n.disk.mark != nil || n.refused != nil || n.incarnation == m.Former || (!m.Incarnation.IsZero() && m.Incarnation != n.incarnation)
}

// blank reports whether a member has nothing yet: it may not vote before a leader gave it something.
func (w *world) blank(m *raft.Member) bool {
	n := w.byID[m.ID]
	return n == nil || n.disk.peak == 0
}
