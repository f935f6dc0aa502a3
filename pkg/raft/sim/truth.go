package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// truth is what an observer who sees everything knows; the invariants are checked against it.
type truth struct {
	quorum      int
	leaders     map[uint64]raft.MemberID // by term
	entries     map[position]birth
	committed   []commit // index i is at i − 1
	acked       []pending
	highestAck  uint64
	nextCommand uint64
}

// commit is a committed entry and the term of the leader that committed it.
type commit struct {
	ref
	in uint64
}

// position names an entry: the leader of a term creates at most one at an index.
type position struct{ index, term uint64 }

// birth is what is known of an entry from the moment on at which it was first appended anywhere.
type birth struct {
	self, prev ref
	at         time.Duration // virtual time
	time       int64         // cluster time
}

func newTruth(nodes int) *truth {
	return &truth{quorum: nodes/2 + 1, leaders: map[uint64]raft.MemberID{}, entries: map[position]birth{}, nextCommand: 1}
}

// appended checks log matching (one entry at an index and term, with one predecessor) and entry times.
func (t *truth) appended(w *world, id raft.MemberID, e raft.Entry, prev ref) {
	p := position{e.Index, e.Term}
	self := ref{e.Term, digest(e)}
	if b, known := t.entries[p]; known {
		if b.self != self {
			w.fail("node %d has another entry at %d/%d than the one first appended there", id, e.Index, e.Term)
		}
		if b.prev != prev {
			w.fail("logs do not match: entry %d/%d of node %d has another predecessor", e.Index, e.Term, id)
		}
		return
	}
	var before birth
	if e.Index > 1 {
		before = t.entries[position{e.Index - 1, prev.term}]
	}
	if e.Time < before.time {
		w.fail("entry %d/%d has time %d, its predecessor %d", e.Index, e.Term, e.Time, before.time)
	}
	if most := time.Duration(float64(w.now-before.at)*(1+maxDrift)) + time.Microsecond; time.Duration(e.Time-before.time) > most {
		w.fail("entry %d/%d: cluster time ran %v while at most %v passed", e.Index, e.Term, time.Duration(e.Time-before.time), most)
	}
	t.entries[p] = birth{self, prev, w.now, e.Time}
}

// commitTo checks entries that a node takes for committed: the same on every node, and, when nobody knew of
// it before, durable on a majority.
func (t *truth) commitTo(w *world, n *node, from, to uint64) {
	for i := from + 1; i <= to; i++ {
		mine := n.log[i-1]
		if i <= uint64(len(t.committed)) {
			if t.committed[i-1].ref != mine {
				w.fail("node %d has committed %d/%d, another one %d/%d", n.id, i, mine.term, i, t.committed[i-1].term)
			}
			continue
		}
		durable := 0
		for _, other := range w.nodes {
			if log := other.disk.log; uint64(len(log)) >= i && log[i-1].Term == mine.term {
				durable++
			}
		}
		if durable < t.quorum {
			w.fail("node %d has committed %d/%d, which is durable on %d of %d", n.id, i, mine.term, durable, len(w.nodes))
		}
		t.committed = append(t.committed, commit{mine, n.soft.Term})
	}
}

// elected checks that a term has one leader, and that it has everything that leaders of earlier terms
// committed (figure 3.2: leader completeness; a leader whose election took long may lack what one of a later
// term committed meanwhile).
func (t *truth) elected(w *world, n *node) {
	term := n.soft.Term
	if other, known := t.leaders[term]; known {
		if other != n.id {
			w.fail("term %d has two leaders: %d and %d", term, other, n.id)
		}
		return
	}
	t.leaders[term] = n.id
	w.note("node %d leads term %d", n.id, term)
	for i, c := range t.committed {
		if c.in < term && (i >= len(n.log) || n.log[i] != c.ref) {
			w.fail("node %d leads term %d without the committed entry %d/%d", n.id, term, i+1, c.term)
		}
	}
}

// appliedOne checks that what is applied at an index is what is committed there.
func (t *truth) appliedOne(w *world, id raft.MemberID, e raft.Entry) {
	if e.Index > uint64(len(t.committed)) || t.committed[e.Index-1].ref != (ref{e.Term, digest(e)}) {
		w.fail("node %d applies %d/%d, which is not what is committed there", id, e.Index, e.Term)
	}
}

// checkAcked checks that every acknowledged command stands where it was said to stand, and once.
func (t *truth) checkAcked(w *world) {
	for _, p := range t.acked {
		if p.index > uint64(len(t.committed)) || t.committed[p.index-1].term != p.term {
			w.fail("the acknowledged command %d at %d/%d is lost", p.command, p.index, p.term)
		}
	}
}
