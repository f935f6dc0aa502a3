package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// network says who can reach whom and how badly.
type network struct {
	cut   [][]bool // cut[from][to]
	loss  int      // one message of so many is lost; 0: none
	twice int      // one of so many comes twice; 0: none
	slow  time.Duration
}

func (n *network) init(nodes int) {
	n.cut = make([][]bool, nodes)
	for i := range n.cut {
		n.cut[i] = make([]bool, nodes)
	}
	n.calm()
}

// calm makes the network a good one.
func (n *network) calm() {
	n.loss, n.twice, n.slow = 0, 0, 2*time.Millisecond
	for i := range n.cut {
		clear(n.cut[i])
	}
}

// send puts a message on its way. Each has a delay of its own, so that messages overtake each other.
func (w *world) send(from *node, m raft.Message) {
	if m.From != from.id {
		w.fail("node %d sends a message from %d", from.id, m.From)
	}
	if m.To == from.id || m.To == 0 || int(m.To) > len(w.nodes) {
		w.fail("node %d sends %s to %d", from.id, m.Type, m.To)
	}
	copies := 1
	if w.net.loss > 0 && w.chance(w.net.loss) {
		copies = 0
	} else if w.net.twice > 0 && w.chance(w.net.twice) {
		copies = 2
	}
	m.Entries = slices.Clone(m.Entries)
	m.Incarnation = from.incarnation
	for range copies {
		d := w.between(50*time.Microsecond, w.net.slow)
		if w.faulty && w.chance(50) {
			d = w.between(w.net.slow, 20*w.net.slow)
		}
		w.after(d, func() { w.deliver(m) })
	}
}

// deliver hands a message over, if its way is free now.
func (w *world) deliver(m raft.Message) {
	to := w.nodes[m.To-1]
	if w.net.cut[m.From-1][m.To-1] || to.core == nil {
		return
	}
	to.whenAwake(func() {
		w.hash.message(w.now, &m)
		if w.opt.Trace != nil {
			w.opt.Trace(fmt.Sprintf("%12v %d→%d %s term %d index %d/%d commit %d entries %d reject %v", w.now, m.From, m.To, m.Type, m.Term, m.Index, m.LogTerm, m.Commit, len(m.Entries), m.Reject))
		}
		m.Entries = slices.Clone(m.Entries)
		to.core.Step(m, to.clock())
		to.turn()
	})
}
