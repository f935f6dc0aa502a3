package sim

import "github.com/coordd/coordd/pkg/raft"

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
	return n == nil || n.disk.mark != nil || n.refused != nil || n.incarnation == m.Former || (!m.Incarnation.IsZero() && m.Incarnation != n.incarnation)
}

// blank reports whether a member has nothing yet: it may not vote before a leader gave it something.
func (w *world) blank(m *raft.Member) bool {
	n := w.byID[m.ID]
	return n == nil || n.disk.peak == 0
}
