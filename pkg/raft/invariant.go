package raft

import "fmt"

// broken ends the process's use of a core that contradicts itself. It is never reached by what a peer
// sends, only by a fault in this package or by storage that lied at open.
func broken(format string, args ...any) {
	panic("raft: broken invariant: " + fmt.Sprintf(format, args...))
}

// valid checks after every input what must hold at any time; all of it in constant time a peer.
func (c *Core) valid() {
	l := &c.log
	switch {
	case l.applied > l.applying || l.applying > l.commit || l.commit > l.last:
		broken("applied %d ≤ applying %d ≤ commit %d ≤ last %d", l.applied, l.applying, l.commit, l.last)
	case l.durable > l.handed || l.handed > l.last:
		broken("durable %d ≤ handed %d ≤ last %d", l.durable, l.handed, l.last)
	case l.tailFirst+uint64(len(l.tail)) != l.last+1:
		broken("a tail of %d entries from %d on does not end at %d", len(l.tail), l.tailFirst, l.last)
	case len(l.tail) > 0 && (l.lastEntry().Index != l.last || l.lastEntry().Term != l.lastTerm):
		broken("last entry (%d, %d) is not (%d, %d)", l.lastEntry().Term, l.lastEntry().Index, l.lastTerm, l.last)
	case l.base > l.applying || l.tailFirst <= l.base || (l.base == 0) != (l.baseTerm == 0):
		broken("base %d of term %d, applying %d, tail from %d on", l.base, l.baseTerm, l.applying, l.tailFirst)
	case l.base > 0 && (c.snapshot == nil || c.snapshot.Index < l.base):
		broken("the log begins behind %d, and no snapshot reaches it", l.base)
	case (l.last == l.base) != (len(l.runs) == 0) || (l.last > l.base && l.runs[len(l.runs)-1].Term != l.lastTerm):
		broken("term runs do not end with term %d at %d", l.lastTerm, l.last)
	case l.lastTerm > c.hard.Term:
		broken("last term %d is beyond the term %d", l.lastTerm, c.hard.Term)
	case c.current().index > l.last:
		broken("configuration at %d is beyond the last index %d", c.current().index, l.last)
	case c.stored.Term > c.hard.Term || (c.stored.Term == c.hard.Term && c.stored.Vote != 0 && c.stored.Vote != c.hard.Vote):
		broken("stored term %d and vote %v, now term %d and vote %v", c.stored.Term, c.stored.Vote, c.hard.Term, c.hard.Vote)
	case (c.role == Leader) != (c.leader == c.id):
		broken("%v of term %d believes that %v leads", c.role, c.hard.Term, c.leader)
	case c.role == Leader && (c.hard.Vote != c.id || l.lastTerm != c.hard.Term):
		broken("leader of term %d with a vote for %v and a last entry of term %d", c.hard.Term, c.hard.Vote, l.lastTerm)
	case c.role == Candidate && c.hard.Vote != c.id:
		broken("candidate of term %d with a vote for %v", c.hard.Term, c.hard.Vote)
	case c.applies.waitingBytes < 0 || (l.applying == l.commit && c.applies.waitingBytes != 0):
		broken("%d bytes wait to be applied, from %d to %d", c.applies.waitingBytes, l.applying, l.commit)
	case c.role != Leader && len(c.reads.joined)+len(c.reads.waiting) > 0:
		broken("%v holds reads of a leader", c.role)
	}
	if c.role != Leader {
		return
	}
	for _, p := range c.peers {
		if err := p.pr.Valid(); err != nil {
			broken("progress of %v: %v", p.id, err)
		}
		if p.pr.Match > l.last || p.pr.Next > l.last+1 {
			broken("progress of %v: match %d, next %d beyond the last index %d", p.id, p.pr.Match, p.pr.Next, l.last)
		}
	}
}
