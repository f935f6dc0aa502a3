package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// disk is one directory with what the checker knows of it, and the writes that are under way, in order. It behaves like
// the appender of the daemon: what waits while one write runs is the next write.
type disk struct {
	directory
	ledger *ledger.Ledger // of the process that runs on it

	// What the checker knows: what is durable, by the last transaction.
	hard raft.HardState
	segment
	snap     *snapshot   // the newest that the log goes on from; nil: none
	broken   bool        // snap's file is damaged
	received []*snapshot // brought here by leaders, and not installed
	machine  *machine    // of a state machine that keeps its own state; nil: none, or lost
	mark     *raft.Mark  // what was durable once and is lost; nil: nothing
	unaware  bool        // this is an old copy, and nobody has told it of the mark yet
	harm     *harm       // what was done to it since it was opened last; nil: nothing
	lost     []held      // all that was durable once and is not any more
	peak     uint64      // the highest index that was ever durable
	backup   *backup     // an old copy, which may come back
	uncut    *directory  // before the last batch that cut the log; nil: there was none

	waiting []pipeline.Item  // for the writer
	writing *pipeline.Joined // under way; nil: none
	markAt  time.Duration    // when the mark of the last write follows it; 0: it has
	part    int              // entries that fit into one transaction
	slow    int              // the disk takes so many times as long; 0: it does not
	stalled bool
	full    bool
	failing bool // the next sync fails
	rnd     stream
	epoch   int // raised by a crash, so that an old completion does nothing
}

// markDelay is how long the mark of a write waits for another write to carry it, as in package badgerlog.
const markDelay = 5 * time.Millisecond

// reach is how much of one part of a batch became durable.
type reach uint8

const (
	slotThere reach = 1 << iota
	transactionThere
	slotTorn
	allThere = slotThere | transactionThere
)

// store makes a batch durable, part by part, in the order in which badgerlog does; until says how far each part comes,
// and the first one that does not come to its end is the last. It reports whether all of it is durable.
func (n *node) store(b storage.Batch, until func(p *ledger.Plan, cut, more bool) reach) bool {
	d, g, w := &n.disk, n.disk.ledger, n.w
	base, write, err := g.Begin(&b, d.markOf(min(b.TruncateAfter, d.segment.last())))
	if err != nil {
		w.fail("node %d: the log refuses a batch behind %d: %v", n.id, b.TruncateAfter, err)
	}
	for write {
		part := b
		part.Entries = b.Entries[:min(len(b.Entries), d.part)]
		items, next := make([]*item, len(part.Entries)), base
		for i := range part.Entries {
			items[i] = w.item(&part.Entries[i], next.Hash)
			if next = items[i].mark(); g.Reaches(next) != nil {
				w.fail("node %d: entry %d of term %d is not what was acknowledged", n.id, next.Last, next.LastTerm)
			}
		}
		cut := b.Base == nil && base.Last < d.segment.last()
		p := g.Plan(&part, base, next)
		far := until(&p, cut, len(part.Entries) < len(b.Entries))
		if far&slotThere != 0 {
			d.put(p.Slot)
		} else if far&slotTorn != 0 {
			d.tear(p.Slot)
		}
		if far&transactionThere != 0 {
			if cut {
				before := d.directory.copied()
				d.uncut = &before
			}
			d.directory.commit(&p.Record, items)
			d.follow(n, &part, items)
			n.checkDurable()
		}
		if far != allThere {
			return false
		}
		g.Wrote(&p, part.Entries)
		base, b.TruncateAfter, b.Base = next, next.Last, nil
		b.Entries = b.Entries[len(part.Entries):]
		write = len(b.Entries) > 0
	}
	d.hard.Commit = g.Record.HardState.Commit
	return true
}

// follow notes what a transaction changed.
func (d *disk) follow(n *node, b *storage.Batch, items []*item) {
	d.hard = b.HardState
	if b.Base != nil {
		d.install(n.w, b.Base)
	}
	d.segment.cut(b.TruncateAfter)
	for _, it := range items {
		d.refs = append(d.refs, it.ref)
	}
	d.peak = max(d.peak, d.segment.last())
	if d.mark != nil && !d.end().Before(*d.mark) {
		d.mark, d.unaware = nil, false
	}
}

// install puts a snapshot that was received in the place of the log. The keys that it replaces are removed later.
func (d *disk) install(w *world, base *raft.Mark) {
	s := d.take(base)
	if s == nil {
		w.fail("a batch installs the snapshot at %d/%d, which was not received", base.Last, base.LastTerm)
	}
	d.snap, d.broken = s, false
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

// compact lets the log begin later, because a snapshot has what was before.
func (n *node) compact(to uint64) {
	d := &n.disk
	if todo, err := d.ledger.Compactable(to); !todo || err != nil {
		return
	}
	d.ledger.Compact(d.markOf(to))
	d.directory.commit(&d.ledger.Record, nil)
	d.ledger.WroteRecord()
	d.segment.compact(to)
	if d.rnd.chance(3) {
		d.backUp()
	}
	n.later(d.rnd.between(0, 50*time.Millisecond), func() { d.removeBelow(d.record.First) })
}

// markOf is the mark of what stands at an index of the log, or of its base.
func (d *disk) markOf(index uint64) raft.Mark {
	r := &d.ledger.Record
	switch it := d.key(index); {
	case index == r.End.Last:
		return r.End
	case index <= r.Base.Last || it == nil:
		return r.Base
	default:
		return it.mark()
	}
}

// entry is one of the durable log.
func (d *disk) entry(index uint64) *raft.Entry {
	if index <= d.base || index > d.segment.last() {
		return nil
	}
	return &d.key(index).entry
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
	d.settle(n.w.now)
	joined, count, err := n.writer.Join(d.waiting)
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	d.waiting = d.waiting[:copy(d.waiting, d.waiting[count:])]
	d.writing = &joined
	took := time.Duration(0)
	if joined.Any {
		took = d.rnd.between(100*time.Microsecond, 3*time.Millisecond) * time.Duration(max(d.slow, 1))
		if joined.Write.Base == nil && joined.Write.TruncateAfter < d.segment.last() {
			n.crashInCut(took)
		}
	}
	epoch := d.epoch
	n.w.after(took, func() { n.finishWrite(epoch) })
}

// crashInCut crashes the node now and then while it writes a batch that cuts its log.
func (n *node) crashInCut(took time.Duration) {
	d, w := &n.disk, n.w
	if !w.faulty || !d.rnd.chance(2) {
		return
	}
	epoch := d.epoch
	w.after(d.rnd.between(0, took), func() {
		if epoch == d.epoch && d.writing != nil {
			n.stop()
			w.after(d.rnd.between(20*time.Millisecond, time.Second), n.start)
		}
	})
}

func (n *node) finishWrite(epoch int) {
	d := &n.disk
	if epoch != d.epoch {
		return
	}
	if d.stalled || d.full {
		n.w.after(20*time.Millisecond, func() { n.finishWrite(epoch) })
		return
	}
	n.whenAwake(func() {
		switch {
		case epoch != d.epoch:
		case d.failing && d.writing.Any:
			n.failSync()
		default:
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
		n.store(done.Write, func(*ledger.Plan, bool, bool) reach { return allThere })
		d.markAt = n.w.now + markDelay
		n.checkAcknowledged()
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

// settle writes the mark of the last write, if that has waited for long enough, and nothing was being written.
func (d *disk) settle(now time.Duration) {
	if d.markAt == 0 || now < d.markAt || d.writing != nil || d.ledger == nil {
		return
	}
	d.markAt = 0
	if s, behind := d.ledger.CatchUp(); behind {
		d.put(s)
		d.ledger.WroteSlot(s)
	}
}

// crash loses what was not synced. A write that was under way may have come to its end without anybody knowing, or to any
// point before it; one that the full disk refused has not begun.
func (n *node) crash() {
	d, w := &n.disk, n.w
	d.settle(w.now)
	if j := d.writing; j != nil && j.Any {
		switch {
		case !d.full && d.rnd.chance(2):
			n.checkBatch(&j.Write)
			n.store(j.Write, n.crashInPart)
		case j.Write.Base != nil:
			w.happened("crash before an install is durable")
		}
	}
	if d.recorded && d.from < d.record.First && d.key(d.from) != nil {
		w.happened("crash before old entries are removed")
	}
	d.waiting, d.writing, d.stalled, d.full, d.failing, d.slow = d.waiting[:0], nil, false, false, false, 0
	d.markAt, d.ledger = 0, nil
	d.epoch++
}

// crashInPart draws how far one part of a batch came before a crash.
func (n *node) crashInPart(p *ledger.Plan, cut, more bool) reach {
	d, w := &n.disk, n.w
	far := reach(d.rnd.below(4))
	if far == transactionThere && p.SlotFirst {
		far = slotThere
	}
	if far&slotThere == 0 && d.rnd.chance(3) {
		w.happened("torn slot")
		far |= slotTorn
	}
	switch {
	case far == allThere && more:
		w.happened("crash between the parts of a batch")
	case far == slotThere:
		w.happened("crash with the slot alone durable")
	case far&transactionThere != 0 && far != allThere:
		w.happened("crash with the transaction alone durable")
	}
	if cut && far != allThere {
		w.happened("crash in a batch that cuts the log")
	}
	return far
}

// tear leaves a slot half written over the older one.
func (d *disk) tear(s ledger.Slot) {
	old := d.pages[s.Number%2]
	fresh := page{slot: s}
	b := append([]byte(nil), fresh.bytes()...)
	at := 16 + d.rnd.intn(100) // the slot's number, and all behind it, are where the halves may differ
	copy(b[at:], old.bytes()[at:])
	d.pages[s.Number%2] = page{slot: old.slot, raw: b}
}
