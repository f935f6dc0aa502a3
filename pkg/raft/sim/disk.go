package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// disk is one node's storage: what is durable, and the writes that are under way, in order. It behaves like
// the appender of the daemon: what waits while one write runs is the next write.
type disk struct {
	hard    raft.HardState
	log     []raft.Entry // index i is at i − 1
	waiting []*raft.AppendBatch
	writing []*raft.AppendBatch
	stalled bool
	epoch   int // raised by a crash, so that an old completion does nothing
}

// apply makes a batch durable.
func (d *disk) apply(b *raft.AppendBatch) {
	if !b.MustWrite {
		return
	}
	d.hard = b.HardState
	d.log = append(d.log[:b.TruncateAfter:b.TruncateAfter], b.Entries...)
}

func (d *disk) last() (index, term uint64) {
	if len(d.log) == 0 {
		return 0, 0
	}
	e := d.log[len(d.log)-1]
	return e.Index, e.Term
}

// write queues a batch and starts the disk where it is idle.
func (n *node) write(b *raft.AppendBatch) {
	n.disk.waiting = append(n.disk.waiting, b)
	if n.disk.writing == nil {
		n.startWrite()
	}
}

func (n *node) startWrite() {
	d := &n.disk
	if len(d.waiting) == 0 {
		return
	}
	d.writing, d.waiting = d.waiting, nil
	took := n.w.between(100*time.Microsecond, 3*time.Millisecond)
	must := false
	for _, b := range d.writing {
		must = must || b.MustWrite
	}
	if !must {
		took = 0
	}
	epoch := d.epoch
	n.w.after(took, func() { n.finishWrite(epoch) })
}

func (n *node) finishWrite(epoch int) {
	d := &n.disk
	if epoch != d.epoch {
		return
	}
	if d.stalled {
		n.w.after(20*time.Millisecond, func() { n.finishWrite(epoch) })
		return
	}
	n.whenAwake(func() {
		if epoch != d.epoch {
			return
		}
		done := d.writing
		d.writing = nil
		for _, b := range done {
			n.checkBatch(b)
			d.apply(b)
			n.checkDurable()
		}
		for _, b := range done {
			for _, m := range b.ThenSend {
				n.checkPromise(m)
				n.w.send(n, m)
			}
			// What the batch itself ended with: a later batch of the same write may have cut it again.
			index, term := b.TruncateAfter, uint64(0)
			if len(b.Entries) > 0 {
				e := b.Entries[len(b.Entries)-1]
				index, term = e.Index, e.Term
			} else if index > 0 && index <= uint64(len(d.log)) {
				term = d.log[index-1].Term
			}
			n.core.AppendDone(b.Seq, term, index, n.clock())
		}
		n.turn()
		if d.writing == nil {
			n.startWrite()
		}
	})
}

// crash loses what was not synced. A write that was under way, and any that waited behind it, may have come
// to its end without anybody knowing: a random part of them, from the first on, is kept.
func (n *node) crash() {
	d := &n.disk
	pending := append(append([]*raft.AppendBatch(nil), d.writing...), d.waiting...)
	kept := 0
	if len(d.writing) > 0 {
		kept = n.w.rnd.IntN(len(d.writing) + 1)
	}
	for _, b := range pending[:kept] {
		d.apply(b)
		n.checkDurable()
	}
	d.writing, d.waiting, d.stalled = nil, nil, false
	d.epoch++
}
