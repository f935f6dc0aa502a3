package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// considerSnapshot takes a snapshot of what is applied, now and then.
func (n *node) considerSnapshot() {
	has := uint64(0)
	if n.disk.snap != nil {
		has = n.disk.snap.meta.Index
	}
	if n.saving || n.machine.applied < has+n.patience || !n.rnd.chance(4) {
		return
	}
	n.saving = true
	n.checkHash()
	s := n.machine.snapshot()
	took := n.rnd.between(time.Millisecond, 40*time.Millisecond)
	if n.rnd.chance(8) {
		took = n.rnd.between(40*time.Millisecond, time.Second)
	}
	n.later(took, func() { n.save(s) })
}

// save makes a snapshot durable once the log has its last entry durably: what is applied here may be ahead of this
// member's own disk.
func (n *node) save(s *snapshot) {
	d, w := &n.disk, n.w
	if at, known := d.segment.at(s.meta.Index); s.meta.Index > d.base && (!known || at.term != s.meta.Term) {
		n.later(5*time.Millisecond, func() { n.save(s) })
		return
	}
	n.saving = false
	if s.meta.Index <= d.base || (d.snap != nil && s.meta.Index <= d.snap.meta.Index) {
		return // overtaken by a leader's
	}
	s.meta.Hash = d.markOf(s.meta.Index).Hash
	d.snap, d.broken = s, false
	w.operated("snapshot taken")
	w.note("node %d has a snapshot at %d/%d", n.id, s.meta.Index, s.meta.Term)
	if w.faulty && n.rnd.chance(12) {
		w.happened("crash between a snapshot and the cut")
		n.stop()
		w.after(n.rnd.between(20*time.Millisecond, time.Second), n.start)
		return
	}
	n.core.SetSnapshot(s.meta, n.clock())
	n.turn()
	n.later(n.rnd.between(0, 5*time.Millisecond), func() { n.cut(s.meta.Index) })
}

// cut lets the log begin later; a random tail stays. The core is told first, so that it asks for nothing that is about to
// go, and the log has to know that what goes is committed.
func (n *node) cut(index uint64) {
	n.cutTo(pipeline.Tail{Snapshot: index, Commit: n.soft.Commit, Trailing: pipeline.Behind(index, n.rnd.intn(60))}.CutAt())
}

func (n *node) cutTo(to uint64) {
	w := n.w
	if to <= n.log.base {
		return
	}
	if n.disk.hard.Commit < to {
		n.write(pipeline.Item{Commit: to})
		n.later(10*time.Millisecond, func() { n.cutTo(to) })
		return
	}
	n.core.Compacted(to, n.clock())
	n.log.compact(to)
	w.operated("log cut")
	w.note("node %d cuts its log up to %d", n.id, to)
	n.turn()
	n.later(n.rnd.between(0, 10*time.Millisecond), func() { n.compact(to) })
}

// carry brings a snapshot to a peer, outside the network of messages: it takes its time, and may never arrive.
func (n *node) carry(m raft.Message) {
	w, d := n.w, &n.disk
	at := m.Snapshot.Mark()
	s := d.take(&at)
	if s == nil {
		w.fail("node %d sends the snapshot at %d/%d, which it does not have", n.id, m.Snapshot.Index, m.Snapshot.Term)
	}
	m.Incarnation = n.incarnation
	w.operated("snapshot sent")
	w.note("node %d sends node %d its snapshot at %d in term %d", n.id, m.To, s.meta.Index, m.Term)
	took := n.rnd.between(time.Millisecond, 100*time.Millisecond)
	if w.faulty && n.rnd.chance(5) {
		w.happened("slow snapshot")
		took = n.rnd.between(100*time.Millisecond, 2500*time.Millisecond)
	}
	told := func(ok bool) {
		n.later(n.rnd.between(50*time.Microsecond, 5*time.Millisecond), func() {
			n.core.SnapshotDone(m.To, s.meta.Index, ok, n.clock())
			n.turn()
		})
	}
	n.later(took, func() {
		to := w.byID[m.To]
		switch {
		case to == nil || !to.awake() || w.net.blocked(m.From, m.To) || !w.linked(n, to):
			told(false)
			return
		case w.faulty && n.rnd.chance(6):
			w.happened("snapshot lost")
			told(false)
			return
		}
		to.receive(s, m, told)
	})
}

// receive makes a snapshot durable and hands it to the core, once or more.
func (n *node) receive(s *snapshot, m raft.Message, told func(ok bool)) {
	w := n.w
	if w.faulty && n.disk.rnd.chance(12) {
		w.happened("torn snapshot") // its checksum says so, and the sender is told
		told(false)
		return
	}
	n.disk.received = append(n.disk.received, s)
	life := n.life
	hand := func() {
		w.hash = w.hash.message(w.now, &m)
		w.show("%d→%d snapshot at %d/%d of term %d", m.From, m.To, s.meta.Index, s.meta.Term, m.Term)
		n.step(m)
		if w.faulty && n.rnd.chance(8) {
			// Mostly while the batch that installs it is on its way to the disk.
			n.later(n.rnd.between(0, 2*time.Millisecond), func() {
				w.happened("crash at an install")
				n.stop()
				w.after(n.rnd.between(20*time.Millisecond, time.Second), n.start)
			})
		}
	}
	n.later(n.rnd.between(0, 3*time.Millisecond), hand)
	if w.faulty && n.rnd.chance(6) {
		w.happened("snapshot repeated")
		n.later(n.rnd.between(time.Millisecond, 1500*time.Millisecond), hand)
	}
	w.after(3*time.Millisecond, func() { told(n.life == life && n.core != nil) })
}

// restore puts a leader's snapshot in the place of the state machine's state, in its turn among what is applied.
func (n *node) restore(meta *raft.SnapshotMeta) {
	w := n.w
	at := meta.Mark()
	s := n.disk.take(&at)
	if s == nil {
		w.fail("node %d is to restore the snapshot at %d/%d, which it does not have", n.id, meta.Index, meta.Term)
	}
	if meta.Index <= n.handed {
		w.fail("node %d is to restore the snapshot at %d, and was handed %d", n.id, meta.Index, n.handed)
	}
	n.handed = meta.Index
	n.applyAt = max(n.applyAt, w.now) + n.rnd.between(100*time.Microsecond, 30*time.Millisecond)
	n.later(n.applyAt-w.now, func() {
		n.machine = s.load(w)
		n.checkHash()
		n.lookAll()
		n.checkMachine()
		n.core.ApplyDone(meta.Index)
		n.turn()
	})
}
