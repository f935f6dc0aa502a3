package sim

import "github.com/coordd/coordd/pkg/raft"

// seen is the latest mark that a node saw of a peer; it is in memory alone.
type seen struct {
	incarnation raft.Incarnation
	slot        uint64
	mark        raft.Mark
}

// reconnect is that a connection was made anew before one of so many messages.
const reconnect = 200

// meet is the handshake of two processes that have a connection again: each shows its latest mark, and is told the latest
// that the other one saw of it. Connections end and are made again also where both processes live.
func (w *world) meet(from, to *node) {
	if from.core == nil || to.met[from.id] == from.life && !to.rnd.chance(reconnect) {
		return
	}
	to.met[from.id], from.met[to.id] = from.life, to.life
	from.disk.settle(w.now)
	to.disk.settle(w.now)
	from.sees(to)
	to.sees(from)
	from.told(to.marks[from.id])
	to.told(from.marks[to.id])
}

// sees keeps a peer's mark, if it is later than what is known of that directory.
func (n *node) sees(peer *node) {
	s := peer.disk.ledger.Slot
	if old := &n.marks[peer.id]; old.incarnation != peer.incarnation || old.slot < s.Number {
		*old = seen{peer.incarnation, s.Number, s.Mark}
	}
}

// told is what a node makes of what a peer saw of it, as the handler of package node does.
func (n *node) told(s seen) {
	d, w := &n.disk, n.w
	if s.incarnation != n.incarnation || s.slot <= d.ledger.Slot.Number {
		return
	}
	slot, news, err := d.ledger.Witness(s.slot, s.mark)
	if err != nil {
		w.fail("node %d can't take what a peer saw of it: %v", n.id, err)
	}
	if news {
		d.put(slot)
		d.ledger.WroteSlot(slot)
	}
	n.core.Witnessed(s.mark, n.clock())
	n.turn()
	r := d.ledger.Recovering
	lost := d.mark != nil && d.record.End.Before(s.mark)
	switch {
	case r != nil && d.mark == nil:
		w.fail("node %d believes a peer that it lost what it had up to %d/%d; it lost nothing", n.id, r.Last, r.LastTerm)
	case r == nil && lost:
		w.fail("node %d was told that it had entries up to %d/%d, lacks them, and takes itself for whole", n.id, s.mark.Last, s.mark.LastTerm)
	case lost && d.unaware:
		d.unaware = r.Before(*d.mark)
		w.operated("told what it lost")
	}
}
