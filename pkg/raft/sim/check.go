package sim

import (
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// checkState checks the core's soft state against the one before.
func (n *node) checkState(s raft.SoftState) {
	w, old, last := n.w, n.soft, n.log.last()
	switch {
	case s.Term < old.Term:
		w.fail("node %d: the term went back from %d to %d", n.id, old.Term, s.Term)
	case s.Commit < old.Commit:
		w.fail("node %d: the commit index went back from %d to %d", n.id, old.Commit, s.Commit)
	case s.Last != last:
		w.fail("node %d says that its last index is %d; it is %d", n.id, s.Last, last)
	case s.Commit > s.Last || n.handed > s.Commit || n.machine.applied > n.handed || n.log.base > s.Commit:
		w.fail("node %d: base %d, applied %d, handed out %d, committed %d, last %d", n.id, n.log.base, n.machine.applied, n.handed, s.Commit, s.Last)
	case n.disk.snap != nil && n.disk.snap.meta.Index < n.disk.base:
		w.fail("node %d: its log begins behind %d on disk, its snapshot is at %d", n.id, n.disk.base, n.disk.snap.meta.Index)
	case s.ConfigIndex != n.inEffect().index:
		w.fail("node %d takes the configuration at %d for the one in effect; the last of its log is at %d", n.id, s.ConfigIndex, n.inEffect().index)
	}
	n.soft = s
	if s.Contacts != old.Contacts {
		n.noteContacts()
	}
	if s.Role == raft.Leader && (old.Role != raft.Leader || old.Term != s.Term) {
		w.truth.elected(w, n, n.electedBy(), old.Commit)
	}
	w.truth.commitTo(w, n, old.Commit, s.Commit)
	for _, c := range n.unchecked {
		w.truth.checkChange(w, n, c)
	}
	n.unchecked = nil
	if s.Role == raft.Leader && n.inEffect().index <= s.Commit && !votes(memberOf(n.conf(), n.id)) {
		w.fail("node %d goes on leading, and is no voter by the committed configuration at %d", n.id, n.inEffect().index)
	}
	if n.uncommittedConfigs() > 1 {
		w.fail("node %d has two configurations in its log that are not committed", n.id)
	}
}

// electedBy is the configuration in which a leader was elected: what it appended itself since does not count.
func (n *node) electedBy() *configEntry {
	for i := len(n.configs) - 1; i > 0; i-- {
		if n.configs[i].term < n.soft.Term {
			return n.configs[i]
		}
	}
	return n.configs[0]
}

func (n *node) uncommittedConfigs() (count int) {
	known := uint64(len(n.w.truth.committed))
	for _, c := range n.configs {
		if c.index > known || (c.index > 0 && n.w.truth.committed[c.index-1].term != c.term) {
			count++
		}
	}
	return count
}

// checkMachine checks that what is applied up to an index gives the state that it gives everywhere.
func (n *node) checkMachine() {
	m, t := &n.machine, n.w.truth
	if m.applied > uint64(len(t.committed)) || t.committed[m.applied-1].term != m.term || t.committed[m.applied-1].state != m.state {
		n.w.fail("node %d applies %d/%d: that is not what is committed there, or the state is another one", n.id, m.applied, m.term)
	}
}

// checkInstall checks a snapshot that takes the place of the log.
func (n *node) checkInstall(b *raft.AppendBatch) {
	w, s := n.w, b.Snapshot
	switch {
	case s.Index > uint64(len(w.truth.committed)) || w.truth.committed[s.Index-1].term != s.Term:
		w.fail("node %d installs a snapshot at %d/%d, which is not committed", n.id, s.Index, s.Term)
	case s.Index <= n.soft.Commit:
		w.fail("node %d installs a snapshot at %d and has committed %d", n.id, s.Index, n.soft.Commit)
	case b.TruncateAfter != s.Index:
		w.fail("node %d: batch %d installs a snapshot at %d and truncates after %d", n.id, b.Seq, s.Index, b.TruncateAfter)
	case s.ConfigIndex != w.truth.activeAt(s.Index).index:
		w.fail("node %d installs a snapshot at %d with the configuration at %d; it is at %d", n.id, s.Index, s.ConfigIndex, w.truth.activeAt(s.Index).index)
	}
}

// checkBatch compares a batch with the disk that it is about to reach.
func (n *node) checkBatch(b *storage.Batch) {
	d, w := &n.disk, n.w
	old := d.hard
	switch {
	case b.HardState.Term < old.Term:
		w.fail("node %d: the durable term goes back from %d to %d", n.id, old.Term, b.HardState.Term)
	case b.HardState.Term == old.Term && old.Vote != 0 && b.HardState.Vote != old.Vote:
		w.fail("node %d votes twice in term %d: for %d and for %d", n.id, old.Term, old.Vote, b.HardState.Vote)
	case b.HardState.Commit < old.Commit:
		w.fail("node %d: the durable commit index goes back from %d to %d", n.id, old.Commit, b.HardState.Commit)
	case b.HardState.Promise+probeSlack < old.Promise:
		w.fail("node %d: the durable promise goes back from %v to %v", n.id, old.Promise, b.HardState.Promise)
	case b.Base != nil && b.Base.Last <= old.Commit:
		w.fail("node %d installs a snapshot at %d below the durable commit index %d", n.id, b.Base.Last, old.Commit)
	case b.Base == nil && b.TruncateAfter > d.segment.last():
		w.fail("node %d: a batch leaves a hole on disk behind %d", n.id, d.segment.last())
	case b.Base == nil && b.TruncateAfter < min(old.Commit, d.segment.last()):
		w.fail("node %d cuts its log on disk after %d, but %d is committed", n.id, b.TruncateAfter, old.Commit)
	}
}

// probeSlack is by how much a probe's hard state may differ from the real one.
const probeSlack = 2

// checkDurable checks the end of the log on disk after a write.
func (n *node) checkDurable() {
	d, w := &n.disk, n.w
	if d.record.Base.Last != d.base || d.record.End.Last != d.segment.last() {
		w.fail("node %d: the entries %d to %d are on disk, by the checker %d to %d", n.id, d.record.First, d.record.End.Last, d.base+1, d.segment.last())
	}
	if len(d.refs) == 0 {
		return
	}
	e := d.entry(d.segment.last())
	if e == nil || e.Index != d.segment.last() {
		w.fail("node %d has entry %d at %d on disk", n.id, e.Index, d.segment.last())
	}
	if e.Term > d.hard.Term {
		w.fail("node %d has an entry of term %d on disk beside the term %d", n.id, e.Term, d.hard.Term)
	}
}

// checkLeases checks that nobody leads a later term while a lease is valid: at one instant of simulated time, whatever the
// clocks of the nodes show.
func (w *world) checkLeases(n *node) {
	if n.soft.Role != raft.Leader || w.wildClocks {
		return
	}
	for _, other := range w.nodes {
		if other == n || other.core == nil || other.soft.Role != raft.Leader || other.soft.Term == n.soft.Term {
			continue
		}
		older := n
		if other.soft.Term < n.soft.Term {
			older = other
		}
		if until, ok := older.core.Lease(older.clock()); ok && until > older.clock() {
			w.fail("node %d holds a lease of term %d for %v more beside a leader of a later term", older.id, older.soft.Term, until-older.clock())
		}
	}
}
