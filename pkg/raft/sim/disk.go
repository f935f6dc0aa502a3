package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// disk is one directory: what is durable, and the writes that are under way, in order. It behaves like the appender
// of the daemon: what waits while one write runs is the next write.
type disk struct {
	hard raft.HardState
	log  []raft.Entry // index i is at i − base − 1
	segment
	snap     *snapshot        // the newest that the log goes on from; nil: none
	received []*snapshot      // brought here by leaders, and not installed
	machine  *machine         // of a state machine that keeps its own state; nil: none, or lost
	mark     *raft.Mark       // what was durable once and is lost; nil: nothing
	lost     []held           // all that was durable once and is not any more
	peak     uint64           // the highest index that was ever durable
	waiting  []pipeline.Item  // for the writer
	writing  *pipeline.Joined // under way; nil: none
	stalled  bool
	rnd      stream
	epoch    int // raised by a crash, so that an old completion does nothing
}

// append makes a batch durable.
func (d *disk) append(w *world, b *storage.Batch) {
	d.hard = b.HardState
	if b.Base != nil {
		d.install(w, b.Base)
	}
	if b.TruncateAfter > d.segment.last() || b.TruncateAfter < d.base {
		w.fail("a batch truncates after %d, the log on disk is %d to %d", b.TruncateAfter, d.base, d.segment.last())
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
func (d *disk) install(w *world, base *raft.Mark) {
	s := d.take(base)
	if s == nil {
		w.fail("a batch installs the snapshot at %d/%d, which was not received", base.Last, base.LastTerm)
	}
	d.snap, d.log = s, nil
	d.received = slices.DeleteFunc(d.received, func(o *snapshot) bool { return o.meta.Index <= base.Last })
	d.segment = segment{base: base.Last, baseRef: w.truth.committed[base.Last-1].ref}
	d.hard.Commit = max(d.hard.Commit, base.Last)
	w.operated("snapshot installed")
}

// take returns a received snapshot.
func (d *disk) take(at *raft.Mark) *snapshot {
	is := func(s *snapshot) bool { return s.meta.Index == at.Last && s.meta.Term == at.LastTerm }
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

// write queues something for the writer of the log, and starts it where it is idle.
func (n *node) write(item pipeline.Item) {
	n.disk.waiting = append(n.disk.waiting, item)
	if n.disk.writing == nil {
		n.startWrite()
	}
}

// startWrite makes one write of what waits. What changes nothing on disk takes no time.
func (n *node) startWrite() {
	d := &n.disk
	if len(d.waiting) == 0 {
		return
	}
	joined, count, err := n.writer.Join(d.waiting)
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	d.waiting = d.waiting[:copy(d.waiting, d.waiting[count:])]
	d.writing = &joined
	took := time.Duration(0)
	if joined.Any {
		took = d.rnd.between(100*time.Microsecond, 3*time.Millisecond)
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
		if epoch == d.epoch {
			n.written()
		}
	})
}

// written is the end of a write: what waited for it leaves, and the core is told.
func (n *node) written() {
	d := &n.disk
	done := d.writing
	d.writing = nil
	if done.Any {
		n.checkBatch(&done.Write)
		d.append(n.w, &done.Write)
		n.checkDurable()
	}
	for i := range done.Send {
		n.emit(&done.Send[i])
	}
	if done.Seq > 0 {
		n.core.AppendDone(done.Seq, done.Term, done.Last, n.clock())
	}
	n.turn()
	if d.writing == nil {
		n.startWrite()
	}
}

// crash loses what was not synced. A write that was under way may have come to its end without anybody knowing; it is one
// transaction, of which all is there or nothing.
func (n *node) crash() {
	d := &n.disk
	if j := d.writing; j != nil && j.Any {
		switch {
		case d.rnd.chance(2):
			n.checkBatch(&j.Write)
			d.append(n.w, &j.Write)
			n.checkDurable()
		case j.Write.Base != nil:
			n.w.happened("crash before an install is durable")
		}
	}
	d.writing, d.waiting, d.stalled = nil, d.waiting[:0], false
	d.epoch++
}
