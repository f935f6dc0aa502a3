package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// network says who can reach whom and how badly.
type network struct {
	loss  int           // one message of so many is lost; 0: none
	twice int           // one of so many comes twice; 0: none
	slow  time.Duration // a message takes up to so long
	ways  [maxID + 1][maxID + 1]way
	cut   int      // cuts that there are now
	old   []letter // messages that were sent, for a late repeat
	// epoch is raised when everything heals, so that the end of an old fault does not touch what came later.
	epoch int
}

// way is what lies between two members, in one direction.
type way struct {
	rnd     stream
	cuts    int           // faults that cut it now
	loss    int           // one message of so many is lost here; 0: none
	slow    time.Duration // what this way adds, at most
	corrupt int           // one message of so many arrives damaged, which ends the connection; 0: none
	resets  int           // connections that ended: what was under way in them is lost
	clogged bool          // nothing arrives, and nothing is lost
	held    []letter      // by the clog
}

// letter is a message with its sender.
type letter struct {
	from *node
	m    raft.Message
}

// oldLetters is how many messages are kept for a late repeat.
const oldLetters = 256

// goodNetwork is how long a message takes at most while nothing is wrong.
const goodNetwork = 2 * time.Millisecond

// begin gives each way its random stream.
func (n *network) begin(seed uint64) {
	for i := range n.ways {
		for j := range n.ways[i] {
			n.ways[i][j].rnd = newStream(seed, "way", uint64(i)<<8|uint64(j))
		}
	}
}

// calm makes the network a good one.
func (n *network) calm() {
	n.loss, n.twice, n.slow, n.cut, n.old = 0, 0, goodNetwork, 0, nil
	n.epoch++
	for i := range n.ways {
		for j := range n.ways[i] {
			n.ways[i][j] = way{rnd: n.ways[i][j].rnd}
		}
	}
}

// blocked reports whether nothing gets from one member to another.
func (n *network) blocked(from, to raft.MemberID) bool {
	l := &n.ways[from][to]
	return l.cuts > 0 || l.clogged
}

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
	l := &w.net.ways[m.From][m.To]
	copies, rnd := 1, &l.rnd
	switch {
	case w.net.loss > 0 && rnd.chance(w.net.loss), l.loss > 0 && rnd.chance(l.loss):
		return
	case l.corrupt > 0 && rnd.chance(l.corrupt):
		l.resets++ // the codec's checksum does not match
		return
	case w.net.twice > 0 && rnd.chance(w.net.twice):
		copies = 2
	}
	if len(m.Entries) > 0 {
		m.Entries = slices.Clone(m.Entries)
	}
	m.Incarnation = from.incarnation
	if w.faulty && rnd.chance(8) {
		w.net.keep(rnd, letter{from, m})
	}
	for range copies {
		d := rnd.between(50*time.Microsecond, w.net.slow)
		if w.faulty && rnd.chance(50) {
			d = rnd.between(w.net.slow, 20*w.net.slow)
		}
		if l.slow > 0 {
			d += rnd.between(l.slow/2, l.slow)
		}
		w.travel(letter{from, m}, d)
	}
}

// keep remembers a message for a late repeat.
func (n *network) keep(rnd *stream, l letter) {
	if len(n.old) < oldLetters {
		n.old = append(n.old, l)
		return
	}
	n.old[rnd.intn(oldLetters)] = l
}

// travel lets a message arrive after a while, unless its connection ends before.
func (w *world) travel(t letter, d time.Duration) {
	l := &w.net.ways[t.m.From][t.m.To]
	resets := l.resets
	w.after(d, func() {
		switch {
		case l.resets != resets:
		case l.clogged:
			l.held = append(l.held, t)
		default:
			w.deliver(t.from, t.m)
		}
	})
}

// unclog lets everything arrive at once, in order.
func (w *world) unclog(l *way) {
	held := l.held
	l.clogged, l.held = false, nil
	for _, t := range held {
		w.deliver(t.from, t.m)
	}
}

// deliver hands a message over, if its way is free now.
func (w *world) deliver(from *node, m raft.Message) {
	to := w.byID[m.To]
	if to == nil || to.core == nil || w.net.ways[m.From][m.To].cuts > 0 || !w.linked(from, to) {
		return
	}
	to.whenAwake(func() {
		w.meet(from, to)
		w.hash = w.hash.message(w.now, &m)
		if w.opt.Trace != nil {
			w.show("%d→%d %s term %d index %d/%d commit %d entries %d reject %v", m.From, m.To, m.Type, m.Term, m.Index, m.LogTerm, m.Commit, len(m.Entries), m.Reject)
		}
		if len(m.Entries) > 0 {
			m.Entries = slices.Clone(m.Entries)
		}
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
