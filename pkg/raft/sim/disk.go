package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// disk is one directory: what is durable, and the writes that are under way, in order. It behaves like the appender
// of the daemon: what waits while one write runs is the next write.
type disk struct {
	hard raft.HardState
	log  []raft.Entry // index i is at i − base − 1
	segment
	snap     *snapshot   // the newest that the log goes on from; nil: none
	received []*snapshot // brought here by leaders, and not installed
	machine  *machine    // of a state machine that keeps its own state; nil: none, or lost
	mark     *raft.Mark  // what was durable once and is lost; nil: nothing
	lost     []held      // all that was durable once and is not any more
	peak     uint64      // the highest index that was ever durable
	waiting  []*raft.AppendBatch
	writing  []*raft.AppendBatch
	stalled  bool
	rnd      stream
	epoch    int // raised by a crash, so that an old completion does nothing
}

// apply makes a batch durable.
func (d *disk) apply(w *world, b *raft.AppendBatch) {
	if !b.MustWrite {
		return
	}
	d.hard = b.HardState
	if s := b.Snapshot; s != nil {
		d.install(w, s)
	}
	if b.TruncateAfter > d.segment.last() || b.TruncateAfter < d.base {
		w.fail("batch %d truncates after %d, the log on disk is %d to %d", b.Seq, b.TruncateAfter, d.base, d.segment.last())
	}
	n := b.TruncateAfter - d.base
	d.log = append(d.log[:n:n], b.Entries...)
	d.segment.cut(b.TruncateAfter)
	for i := range b.Entries {
		d.refs = append(d.refs, ref{b.Entries[i].Term, digest(&b.Entries[i])})
	}
	d.peak = max(d.peak, d.segment.last())
	if d.mark != nil && !d.end().Before(*d.mark) {
		d.mark = nil
	}
}

// install puts a snapshot that was received in the place of the log.
func (d *disk) install(w *world, meta *raft.SnapshotMeta) {
	s := d.take(meta)
	if s == nil {
		w.fail("a batch installs the snapshot at %d/%d, which was not received", meta.Index, meta.Term)
	}
	d.snap, d.log = s, nil
	d.received = slices.DeleteFunc(d.received, func(o *snapshot) bool { return o.meta.Index <= meta.Index })
	d.segment = segment{base: meta.Index, baseRef: w.truth.committed[meta.Index-1].ref}
	w.operated("snapshot installed")
}

// take returns a received snapshot.
func (d *disk) take(meta *raft.SnapshotMeta) *snapshot {
	is := func(s *snapshot) bool { return s.meta.Index == meta.Index && s.meta.Term == meta.Term }
	if d.snap != nil && is(d.snap) {
		return d.snap
	}
	if i := slices.IndexFunc(d.received, is); i >= 0 {
		return d.received[i]
	}
	return nil
}

// compact removes what a snapshot has.
func (d *disk) compact(to uint64) {
	if to > d.base && to < d.segment.last() && to <= d.hard.Commit {
		d.log = append([]raft.Entry(nil), d.log[to-d.base:]...)
		d.segment.compact(to)
	}
}

// lose takes away the end of the log, as damage does, and keeps the mark of what was there.
func (d *disk) lose(after uint64) {
	if end := d.end(); d.mark == nil || d.mark.Before(end) {
		d.mark = &end
	}
	d.keepForTheRecord(raft.Incarnation{})
	d.log = d.log[:after-d.base]
	d.segment.cut(after)
	d.hard.Commit = min(d.hard.Commit, after)
	d.machine = nil
}

// keepForTheRecord remembers what the checker has to count as durable once.
func (d *disk) keepForTheRecord(in raft.Incarnation) {
	d.lost = append(d.lost, held{in, segment{d.base, d.baseRef, append([]ref(nil), d.refs...)}})
}

func (d *disk) end() raft.Mark {
	at, _ := d.segment.at(d.segment.last())
	return raft.Mark{LastTerm: at.term, Last: d.segment.last()}
}

// had reports whether an entry is durable, or was, before damage.
func (d *disk) had(index uint64, r ref) bool {
	if (&held{log: d.segment}).has(index, r) {
		return true
	}
	for i := range d.lost {
		if d.lost[i].has(index, r) {
			return true
		}
	}
	return false
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
	took := d.rnd.between(100*time.Microsecond, 3*time.Millisecond)
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
			d.apply(n.w, b)
			n.checkDurable()
		}
		for _, b := range done {
			for i := range b.ThenSend {
				n.emit(&b.ThenSend[i])
			}
			n.core.AppendDone(b.Seq, b.LastTerm, b.Last, n.clock())
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
		kept = d.rnd.intn(len(d.writing) + 1)
	}
	for i, b := range pending {
		if i < kept {
			d.apply(n.w, b)
			n.checkDurable()
		} else if b.Snapshot != nil {
			n.w.happened("crash before an install is durable")
		}
	}
	d.writing, d.waiting, d.stalled = nil, nil, false
	d.epoch++
}
