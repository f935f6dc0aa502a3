package sim

import "github.com/coordd/coordd/pkg/raft"

// checkState checks the core's soft state against the one before.
func (n *node) checkState(s raft.SoftState) {
	w, old := n.w, n.soft
	switch {
	case s.Term < old.Term:
		w.fail("node %d: the term went back from %d to %d", n.id, old.Term, s.Term)
	case s.Commit < old.Commit:
		w.fail("node %d: the commit index went back from %d to %d", n.id, old.Commit, s.Commit)
	case s.Last != uint64(len(n.log)):
		w.fail("node %d says that its last index is %d; it is %d", n.id, s.Last, len(n.log))
	case s.Commit > s.Last || n.handed > s.Commit || n.applied > n.handed:
		w.fail("node %d: applied %d, handed out %d, committed %d, last %d", n.id, n.applied, n.handed, s.Commit, s.Last)
	}
	n.soft = s
	if s.Role == raft.Leader {
		w.truth.elected(w, n)
	}
	w.truth.commitTo(w, n, old.Commit, s.Commit)
}

// checkBatch compares a batch with the disk that it is about to reach.
func (n *node) checkBatch(b *raft.AppendBatch) {
	d, w := &n.disk, n.w
	if !b.MustWrite {
		if len(b.Entries) > 0 || b.TruncateAfter < uint64(len(d.log)) {
			w.fail("node %d: batch %d changes the log and need not be written", n.id, b.Seq)
		}
		return
	}
	old := d.hard
	switch {
	case b.HardState.Term < old.Term:
		w.fail("node %d: the durable term goes back from %d to %d", n.id, old.Term, b.HardState.Term)
	case b.HardState.Term == old.Term && old.Vote != 0 && b.HardState.Vote != old.Vote:
		w.fail("node %d votes twice in term %d: for %d and for %d", n.id, old.Term, old.Vote, b.HardState.Vote)
	case b.HardState.Commit < old.Commit:
		w.fail("node %d: the durable commit index goes back from %d to %d", n.id, old.Commit, b.HardState.Commit)
	case b.HardState.Promise < old.Promise:
		w.fail("node %d: the durable promise goes back from %v to %v", n.id, old.Promise, b.HardState.Promise)
	case b.TruncateAfter > uint64(len(d.log)):
		w.fail("node %d: batch %d leaves a hole on disk behind %d", n.id, b.Seq, len(d.log))
	}
}

// checkDurable checks what is on disk after a write: whatever is committed and was durable here stays, as
// far as the commit index on disk says.
func (n *node) checkDurable() {
	d, w := &n.disk, n.w
	for i, e := range d.log[max(0, len(d.log)-1):] {
		at := len(d.log) - 1 + i
		if e.Index != uint64(at+1) {
			w.fail("node %d has entry %d at %d on disk", n.id, e.Index, at+1)
		}
		if e.Term > d.hard.Term {
			w.fail("node %d has an entry of term %d on disk beside the term %d", n.id, e.Term, d.hard.Term)
		}
	}
}

// checkPromise checks that what a message promises is durable at the moment at which it leaves.
func (n *node) checkPromise(m raft.Message) {
	d, w := &n.disk, n.w
	switch m.Type {
	case raft.MsgVote:
		if d.hard.Term < m.Term || (d.hard.Term == m.Term && d.hard.Vote != n.id) {
			w.fail("node %d asks for votes in term %d before its own vote is durable", n.id, m.Term)
		}
	case raft.MsgVoteResp:
		if !m.Reject && (d.hard.Term < m.Term || (d.hard.Term == m.Term && d.hard.Vote != m.To)) {
			w.fail("node %d grants its vote of term %d to %d before that is durable", n.id, m.Term, m.To)
		}
	case raft.MsgAppendResp:
		if !m.Reject && d.hard.Term <= m.Term && uint64(len(d.log)) < m.Index {
			w.fail("node %d acknowledges %d in term %d; durable is %d", n.id, m.Index, m.Term, len(d.log))
		}
	}
	if m.Promise > d.hard.Promise {
		w.fail("node %d promises to wait %v in %s; durable is %v", n.id, m.Promise, m.Type, d.hard.Promise)
	}
}

// checkLeases checks that nobody leads a later term while a lease is valid, on the clocks of the nodes.
func (n *node) checkLeases() {
	if n.soft.Role != raft.Leader {
		return
	}
	for _, other := range n.w.nodes {
		if other == n || other.core == nil || other.soft.Role != raft.Leader || other.soft.Term == n.soft.Term {
			continue
		}
		older := n
		if other.soft.Term < n.soft.Term {
			older = other
		}
		if until, ok := older.core.Lease(older.clock()); ok && until > older.clock() {
			n.w.fail("node %d holds a lease of term %d for %v more beside a leader of a later term", older.id, older.soft.Term, until-older.clock())
		}
	}
}
