package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// truth is what an observer who sees everything knows; the invariants are checked against it.
type truth struct {
	leaders     map[uint64]raft.MemberID // by term
	entries     map[position]birth
	committed   []commit        // index i is at i − 1
	committedIn map[uint64]bool // terms of which an entry is committed

	static  *configEntry
	configs map[position]*configEntry // all that were ever appended
	history []*configEntry            // those that are committed, the static one first
	open    []*configEntry            // those that may still be

	hashes map[uint64][32]byte // of the service's whole state, by index

	acked       []acked
	highestAck  uint64
	nextCommand uint64
}

// commit is a committed entry, the term of the leader that committed it, and the state once it is applied.
type commit struct {
	ref
	in      uint64
	state   fnv
	figures fnv // of the service, where the entry was applied first; 0: nowhere yet
}

// position names an entry: the leader of a term creates at most one at an index.
type position struct{ index, term uint64 }

// birth is what is known of an entry from the moment on at which it was first appended anywhere.
type birth struct {
	self, prev ref
	at         time.Duration // virtual time
	time       int64         // cluster time
}

func newTruth(static []raft.Member) *truth {
	c := &configEntry{conf: raft.Configuration{Members: static}}
	return &truth{leaders: map[uint64]raft.MemberID{}, entries: map[position]birth{}, committedIn: map[uint64]bool{},
		static: c, configs: map[position]*configEntry{}, history: []*configEntry{c}, hashes: map[uint64][32]byte{}, nextCommand: 1}
}

// appended checks log matching (one entry at an index and term, with one predecessor) and entry times.
func (t *truth) appended(w *world, n *node, e *raft.Entry, self, prev ref) {
	p := position{e.Index, e.Term}
	if b, known := t.entries[p]; known {
		if b.self != self {
			w.fail("node %d has another entry at %d/%d than the one first appended there", n.id, e.Index, e.Term)
		}
		if b.prev != prev {
			w.fail("logs do not match: entry %d/%d of node %d has another predecessor", e.Index, e.Term, n.id)
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
	if most := time.Duration(float64(w.now-before.at)*(1+w.drift)) + time.Microsecond; !w.wildClocks && time.Duration(e.Time-before.time) > most {
		w.fail("entry %d/%d: cluster time ran %v while at most %v passed", e.Index, e.Term, time.Duration(e.Time-before.time), most)
	}
	t.entries[p] = birth{self, prev, w.now, e.Time}
	if e.Kind == raft.EntryConfig {
		t.configured(w, n, e)
	}
}

// commitTo checks entries that a node takes for committed: the same on every node, and, when nobody knew of
// it before, durable on a majority of the configuration that is in effect there. What a snapshot put in the place of
// entries was committed before, and ends with the same entry.
func (t *truth) commitTo(w *world, n *node, from, to uint64) {
	for i := max(from+1, n.log.base); i > 0 && i <= to; i++ {
		mine, _ := n.log.at(i)
		if i <= uint64(len(t.committed)) {
			if t.committed[i-1].ref != mine {
				w.fail("node %d has committed %d/%d, another one %d/%d", n.id, i, mine.term, i, t.committed[i-1].term)
			}
			continue
		}
		durable, voters := w.heldByMajority(n.conf(), i, mine)
		if durable <= voters/2 && len(n.unchecked) > 0 {
			// The configuration was appended in this turn, maybe on the strength of this commit.
			durable, voters = w.heldByMajority(&n.unchecked[0].before.conf, i, mine)
		}
		if durable <= voters/2 {
			w.fail("node %d has committed %d/%d, which is durable on %d of the %d voters: %s", n.id, i, mine.term, durable, voters, describe(n.conf()))
		}
		if newest, _ := n.log.at(to); newest.term != n.soft.Term {
			w.fail("node %d commits %d/%d in term %d (figure 3.7)", n.id, to, newest.term, n.soft.Term)
		}
		t.commitOne(w, n, i, mine)
	}
}

func (t *truth) commitOne(w *world, n *node, index uint64, r ref) {
	state := fnv(0)
	if index > 1 {
		state = t.committed[index-2].state
	}
	t.committed = append(t.committed, commit{ref: r, in: n.soft.Term, state: state.word(r.digest)})
	t.committedIn[r.term] = true
	if c := t.configs[position{index, r.term}]; c != nil {
		w.note("the configuration at %d/%d is committed", index, r.term)
		w.changed(&t.active().conf, &c.conf, n.id)
		t.history = append(t.history, c)
	}
	t.open = slices.DeleteFunc(t.open, func(c *configEntry) bool { return c.index <= index })
}

// stands reports whether a member may lead.
func stands(m *raft.Member) bool { return m.ID != 0 && !m.Learner && !m.Standby }

// elected checks that a term has one leader, that it may lead by the configuration in effect there, and that it has
// everything that leaders of earlier terms committed (figure 3.2: leader completeness; a leader whose election took
// long may lack what one of a later term committed meanwhile).
func (t *truth) elected(w *world, n *node, before *configEntry, committed uint64) {
	term := n.soft.Term
	if other, known := t.leaders[term]; known {
		if other != n.id {
			w.fail("term %d has two leaders: %d and %d", term, other, n.id)
		}
		return
	}
	t.leaders[term] = n.id
	w.note("node %d leads term %d", n.id, term)
	m := memberOf(&before.conf, n.id)
	if was := before.before; !stands(&m) && before.index > committed && was != nil {
		m = memberOf(&was.conf, n.id) // what is not committed does not keep it (dissertation, section 4.2.2)
	}
	switch {
	case !stands(&m):
		w.fail("node %d leads term %d as %+v of %s", n.id, term, m, describe(&before.conf))
	case !m.Incarnation.IsZero() && m.Incarnation != n.incarnation:
		w.fail("node %d leads term %d with another directory than the one that is recorded", n.id, term)
	case n.aside:
		w.fail("node %d leads term %d though it stood aside", n.id, term)
	case n.disk.mark != nil && !n.disk.unaware:
		w.fail("node %d leads term %d without what it lost up to %v", n.id, term, *n.disk.mark)
	}
	// What it takes for committed was compared before; what is below its base was committed.
	for i := max(n.log.base, min(n.soft.Commit, uint64(len(t.committed)))); i < uint64(len(t.committed)); i++ {
		c := &t.committed[i]
		if at, known := n.log.at(i + 1); c.in < term && (!known || at != c.ref) {
			w.fail("node %d leads term %d without the committed entry %d/%d", n.id, term, i+1, c.term)
		}
	}
	if w.faulty && n.rnd.chance(3) {
		n.later(0, func() { // an operator who is in a hurry
			w.act = &n.rnd
			w.operateOn(n)
		})
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
