package sim

import (
	"github.com/coordd/coordd/pkg/raft"
)

// configEntry is a configuration as some log has it.
type configEntry struct {
	index, term uint64 // 0: the static one
	conf        raft.Configuration
	before      *configEntry // in the same log
	// since is, by ID, the index of the entry that said that a learner is to be promoted; 0: it is not.
	since [maxID + 1]uint64
	// listed is, by ID, the index of the entry that added a member; 0: it is not listed, or always was.
	listed [maxID + 1]uint64
}

// restoreConfigs lists the configurations that a directory holds, that of its snapshot or its flags first.
func (n *node) restoreConfigs() {
	d, t := &n.disk, n.w.truth
	n.configs = []*configEntry{{conf: raft.Configuration{Members: n.flags}}}
	if d.snap != nil {
		n.configs[0] = t.configAt(d.snap.meta.ConfigIndex)
	}
	for i := max(d.base, n.configs[0].index) + 1; i <= d.segment.last(); i++ {
		if e := d.entry(i); e.Kind == raft.EntryConfig {
			n.configs = append(n.configs, t.configs[position{e.Index, e.Term}])
		}
	}
}

// inEffect is the latest configuration of the node's log.
func (n *node) inEffect() *configEntry { return n.configs[len(n.configs)-1] }

func (n *node) conf() *raft.Configuration { return &n.inEffect().conf }

// configAt is the committed configuration of an entry, which a snapshot names.
func (t *truth) configAt(index uint64) *configEntry {
	if index == 0 || index > uint64(len(t.committed)) {
		return t.static
	}
	if c := t.configs[position{index, t.committed[index-1].term}]; c != nil {
		return c
	}
	return t.static
}

// active is the last committed configuration.
func (t *truth) active() *configEntry { return t.history[len(t.history)-1] }

// activeAt is the one that was the last committed at an index.
func (t *truth) activeAt(index uint64) *configEntry {
	for i := len(t.history) - 1; i > 0; i-- {
		if t.history[i].index <= index {
			return t.history[i]
		}
	}
	return t.history[0]
}

// configured notes a configuration at the moment at which a leader appends it.
func (t *truth) configured(w *world, n *node, e *raft.Entry) {
	conf, err := raft.DecodeConfiguration(e.Data)
	if err != nil {
		w.fail("node %d appends a configuration at %d/%d that can't be read: %v", n.id, e.Index, e.Term, err)
	}
	c := &configEntry{index: e.Index, term: e.Term, conf: conf, before: n.inEffect()}
	t.configs[position{e.Index, e.Term}] = c
	t.open = append(t.open, c)
	n.unchecked = append(n.unchecked, c)
	w.note("node %d appends a configuration at %d/%d: %s", n.id, e.Index, e.Term, describe(&conf))
}

// checkChange checks a configuration that a leader appended, by what it knew to be committed then: one change at a
// time, each one step (dissertation, section 4.1), and none of the voters before the leader has committed anything in
// its term (raft-dev, 2015).
func (t *truth) checkChange(w *world, n *node, c *configEntry) {
	before, conf, index, term := c.before, &c.conf, c.index, c.term
	if before.index > uint64(len(t.committed)) || (before.index > 0 && t.committed[before.index-1].term != before.term) {
		w.fail("node %d appends a configuration at %d/%d, and that at %d/%d is not committed", n.id, index, term, before.index, before.term)
	}
	changed := 0
	for id := raft.MemberID(1); id <= maxID; id++ {
		was, _ := before.conf.Member(id)
		is, _ := conf.Member(id)
		if votes(was) != votes(is) {
			changed++
		}
		if c.listed[id] = before.listed[id]; is.ID == 0 {
			c.listed[id] = 0
		} else if was.ID == 0 {
			c.listed[id] = index
		}
		if is.Promote {
			if c.since[id] = index; was.Promote && (was.Incarnation.IsZero() || was.Incarnation == is.Incarnation) {
				c.since[id] = before.since[id]
			}
		}
		if was.ID != 0 && was.Learner && votes(is) {
			t.promoted(w, n, c, before, is)
		}
	}
	if changed > 1 {
		w.fail("node %d changes %d voters at once at %d/%d", n.id, changed, index, term)
	}
	if changed > 0 && index > 1 && !t.committedIn[term] {
		w.fail("node %d changes the voters at %d/%d before an entry of its term is committed", n.id, index, term)
	}
	if conf.Version > before.conf.Version {
		w.operated("version raised")
		for i := range conf.Members {
			if m := &conf.Members[i]; m.Version < conf.Version {
				w.fail("node %d raises the version to %d at %d/%d; member %d has announced %d", n.id, conf.Version, index, term, m.ID, m.Version)
			}
		}
	}
	if conf.Version < before.conf.Version || (index > 1 && conf.ClusterID != before.conf.ClusterID) {
		w.fail("node %d takes back the version or the cluster ID at %d/%d", n.id, index, term)
	}
}

func votes(m raft.Member) bool { return m.ID != 0 && !m.Learner }

// promoted checks that a learner became a voter because it had caught up, and as the directory that is recorded.
func (t *truth) promoted(w *world, n *node, c, before *configEntry, m raft.Member) {
	w.operated("learner promoted")
	since := before.since[m.ID]
	if since == 0 || m.Incarnation.IsZero() {
		w.fail("node %d promotes member %d at %d/%d: to be promoted since %d, incarnation %v", n.id, m.ID, c.index, c.term, since, m.Incarnation)
	}
	if peak := w.peak(m.ID, m.Incarnation); peak < since {
		w.fail("node %d promotes member %d at %d/%d, which never came to %d, where it began: it had %d", n.id, m.ID, c.index, c.term, since, peak)
	}
}

// peak is how far the log of a directory ever came.
func (w *world) peak(id raft.MemberID, in raft.Incarnation) (peak uint64) {
	if n := w.byID[id]; n != nil && n.incarnation == in {
		peak = n.disk.peak
	}
	for i := range w.ghosts[id] {
		if h := &w.ghosts[id][i]; h.incarnation == in {
			peak = max(peak, h.log.last())
		}
	}
	return peak
}

// holds reports whether the directory that a configuration records for a member has an entry durably, or once had.
func (w *world) holds(m *raft.Member, index uint64, r ref) bool {
	if n := w.byID[m.ID]; n != nil && n.incarnation == m.Incarnation && n.disk.had(index, r) {
		return true
	}
	for i := range w.ghosts[m.ID] {
		if h := &w.ghosts[m.ID][i]; h.incarnation == m.Incarnation && h.has(index, r) {
			return true
		}
	}
	return false
}

// heldByMajority reports on how many voters of a configuration an entry is durable, or was, and how many there are.
func (w *world) heldByMajority(c *raft.Configuration, index uint64, r ref) (durable, voters int) {
	for i := range c.Members {
		if m := &c.Members[i]; !m.Learner {
			voters++
			if w.holds(m, index, r) {
				durable++
			}
		}
	}
	return durable, voters
}
