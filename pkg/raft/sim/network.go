package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// network says who can reach whom and how badly.
type network struct {
	cut   [maxID + 1][maxID + 1]bool // cut[from][to]
	loss  int                        // one message of so many is lost; 0: none
	twice int                        // one of so many comes twice; 0: none
	slow  time.Duration
	links [maxID + 1][maxID + 1]stream // links[from][to]
}

// begin gives each way its random stream.
func (n *network) begin(seed uint64) {
	for i := range n.links {
		for j := range n.links[i] {
			n.links[i][j] = newStream(seed, "link", uint64(i)<<8|uint64(j))
		}
	}
}

// calm makes the network a good one.
func (n *network) calm() { *n = network{slow: 2 * time.Millisecond, links: n.links} }

// noteContacts asks a core whom it wants to be in touch with.
func (n *node) noteContacts() {
	n.contacts = 0
	for _, m := range n.core.Contacts() {
		if m.ID <= maxID {
			n.contacts |= 1 << m.ID
		}
	}
}

// linked reports whether there is a connection: one of the two made it.
func (w *world) linked(a, b *node) bool {
	return a.contacts&(1<<b.id) != 0 || b.contacts&(1<<a.id) != 0
}

// send puts a message on its way. Each has a delay of its own, so that messages overtake each other.
func (w *world) send(from *node, m raft.Message) {
	if m.From != from.id {
		w.fail("node %d sends a message from %d", from.id, m.From)
	}
	if m.To == from.id || m.To == 0 || m.To > maxID {
		w.fail("node %d sends %s to %d", from.id, m.Type, m.To)
	}
	copies, rnd := 1, &w.net.links[m.From][m.To]
	if w.net.loss > 0 && rnd.chance(w.net.loss) {
		copies = 0
	} else if w.net.twice > 0 && rnd.chance(w.net.twice) {
		copies = 2
	}
	m.Entries = slices.Clone(m.Entries)
	m.Incarnation = from.incarnation
	for range copies {
		d := rnd.between(50*time.Microsecond, w.net.slow)
		if w.faulty && rnd.chance(50) {
			d = rnd.between(w.net.slow, 20*w.net.slow)
		}
		w.after(d, func() { w.deliver(from, m) })
	}
}

// deliver hands a message over, if its way is free now.
func (w *world) deliver(from *node, m raft.Message) {
	to := w.byID[m.To]
	if to == nil || to.core == nil || w.net.cut[m.From][m.To] || !w.linked(from, to) {
		return
	}
	to.whenAwake(func() {
		w.hash = w.hash.message(w.now, &m)
		if w.opt.Trace != nil {
			w.show("%d→%d %s term %d index %d/%d commit %d entries %d reject %v", m.From, m.To, m.Type, m.Term, m.Index, m.LogTerm, m.Commit, len(m.Entries), m.Reject)
		}
		m.Entries = slices.Clone(m.Entries)
		to.step(m)
	})
}

// step hands a message to the core, and looks whether somebody who is no member disturbs one that is.
func (n *node) step(m raft.Message) {
	if m.Type == raft.MsgVote {
		n.asked[m.From] = ask{m.Term, raft.Mark{LastTerm: m.LogTerm, Last: m.Index}}
	}
	term, conf := n.soft.Term, n.conf()
	n.core.Step(m, n.clock())
	n.turn()
	if n.core == nil || n.soft.Term == term {
		return
	}
	_, me := conf.Member(n.id)
	_, listed := conf.Member(m.From)
	if !me || listed || n.w.truth.leaders[m.Term] == m.From {
		return
	}
	n.w.operated("term raised by a node that is no member")
	n.w.note("node %d goes from term %d to %d for a %s of %d, which it does not list", n.id, term, n.soft.Term, m.Type, m.From)
	if n.w.calm {
		n.w.fail("node %d, which is no member, raises the term of %d from %d to %d", m.From, n.id, term, n.soft.Term)
	}
}
