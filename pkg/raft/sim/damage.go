package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// harm is what was done to a directory, and what its next opening may find.
type harm struct {
	kind              string
	whole, recovering bool
	refused           []error
	older             bool // what is there now was there before, and may have been cut since
	before            *backup
}

func (h *harm) String() string {
	if h == nil {
		return "was not harmed"
	}
	return "suffered a " + h.kind
}

func (h *harm) allows(cause error) bool { return h != nil && slices.Contains(h.refused, cause) }

// hurt is one kind of damage: what it does to a directory that is closed and whole, and what may come of it. It is false
// where there is nothing that could be damaged so.
type hurt func(w *world, n *node, h *harm) bool

// damages are all kinds.
var damages = []fault{
	damaging("bit flip in an entry", flipEntry),
	damaging("bit flip in the hard state", flipRecord),
	sparing("bit flip in a slot", flipSlot),
	damaging("both slots unreadable", flipSlots),
	sparing("slot missing", loseSlot),
	damaging("sidecar deleted", deleteSidecar),
	damaging("manifest deleted", deleteManifest),
	damaging("log deleted", deleteLog),
	{oldCopy, 4, (*world).restoreCopy},
	where(hasOlder, damaging("old log beside the sidecar", restoreLog)),
	sparing("old sidecar beside the log", restoreSidecar),
	damaging("another member's directory", swapDirectory),
	damaging("another member's log", swapLog),
	damaging("sidecar of a copy that voted", otherVote),
	damaging("lost suffix", loseSuffix),
	damaging("lost middle", loseMiddle),
	where(hasCut, damaging("batch that cuts the log undone", undoCut)),
	where(hasStale, damaging("old version of an entry", staleEntry)),
	damaging("other content at the end", otherEnd),
	sparing("deleted entries behind the end back", resurrect),
	damaging("snapshot damaged", breakSnapshot),
	damaging("snapshot missing", deleteSnapshot),
}

// damaging is a fault that costs a node what it acknowledged, so the cluster has to bear its loss.
func damaging(kind string, do hurt) fault {
	return fault{kind, 1, func(w *world, n *node) bool { return w.damage(n, kind, do, true) }}
}

// sparing is one after which everything is there.
func sparing(kind string, do hurt) fault {
	return fault{kind, 1, func(w *world, n *node) bool { return w.damage(n, kind, do, false) }}
}

// where looks for a node to which a rare kind can happen, if it can't to the one that was drawn.
func where(can func(w *world, d *disk) bool, f fault) fault {
	return fault{f.kind, 3 * f.weight, func(w *world, n *node) bool {
		for _, o := range append([]*node{n}, w.nodes...) {
			if o.disk.harm == nil && can(w, &o.disk) && f.do(w, o) {
				return true
			}
		}
		return false
	}}
}

func hasOlder(_ *world, d *disk) bool { return d.backup != nil && d.backup.end.Before(d.end()) }
func hasCut(_ *world, d *disk) bool   { return d.uncut != nil && d.uncut.record.End.Before(d.end()) }
func hasStale(w *world, d *disk) bool { return d.stale(w) != nil }

// damage stops a node, damages its directory, and starts it again. The last mark has followed by then: damage within
// the 5 ms before that is the double fault that nothing here defends against (docs/guarantees.md).
func (w *world) damage(n *node, kind string, do hurt, costs bool) bool {
	d := &n.disk
	if n.gone || n.refused != nil || d.mark != nil || d.harm != nil || !d.recorded || d.segment.last() == 0 || costs && !w.mayLose(n) {
		return false
	}
	after := w.between(20*time.Millisecond, time.Second)
	n.stop()
	if _, ok := n.open(); !ok || d.mark != nil {
		w.fail("node %d does not open a whole directory", n.id)
	}
	d.ledger, d.markAt = nil, 0
	n.restoreConfigs()
	h := &harm{kind: kind, before: d.copy()}
	done := do(w, n, h)
	if done {
		d.harm = h
		if costs {
			d.lose()
		}
		w.note("node %d: %s", n.id, kind)
	}
	w.after(after, n.start)
	return done
}

// lose counts all that a directory has as lost.
func (d *disk) lose() {
	end := d.end()
	d.mark, d.machine = &end, nil
	d.keepForTheRecord(raft.Incarnation{})
}

// putBack is an operator who has what was damaged, and undoes the damage.
func (n *node) putBack() {
	d := &n.disk
	if n.refused == nil || n.gone || d.harm == nil {
		return
	}
	b := d.harm.before
	d.directory, d.snap, d.broken = b.directory, b.snap, false
	d.mark, d.harm, n.refused = nil, nil, nil
	n.w.operated("damage undone")
	n.start()
}

// anyIndex draws one of the log; 0: it is empty.
func (w *world) anyIndex(d *disk) uint64 {
	n := d.segment.last() - d.base
	switch {
	case n == 0:
		return 0
	case w.chance(3):
		return d.segment.last() - w.act.below(min(n, 5))
	}
	return d.base + 1 + w.act.below(n)
}

// cutShort is what comes of a log that ends too early.
func (h *harm) cutShort() { h.recovering, h.refused = true, []error{ledger.ErrLogLost, errLostState} }

func flip(w *world, b []byte, below int) []byte {
	b = slices.Clone(b)
	b[w.act.intn(below)] ^= 1 << w.act.intn(8)
	return b
}

func flipEntry(w *world, n *node, h *harm) bool {
	d := &n.disk
	i := w.anyIndex(d)
	if i == 0 {
		return false
	}
	h.cutShort()
	it := *d.key(i)
	it.raw = it.value()
	it.raw = flip(w, it.raw, len(it.raw))
	d.set(i, &it)
	return true
}

func flipRecord(w *world, n *node, h *harm) bool {
	h.refused = []error{ledger.ErrDamaged}
	n.disk.rawRec = flip(w, ledger.AppendRecord(nil, &n.disk.record), ledger.RecordBytes)
	return true
}

// readable reports whether both slots can be read: after a crash that tore one, the other is all there is.
func (d *directory) readable() bool { return d.pages[0].raw == nil && d.pages[1].raw == nil }

func flipSlot(w *world, n *node, h *harm) bool {
	if !n.disk.readable() {
		return false
	}
	h.whole = true
	p := &n.disk.pages[w.act.intn(2)]
	below := 120 // what the slot says
	if w.chance(4) {
		below = ledger.SlotBytes
	}
	p.raw = flip(w, p.bytes(), below)
	return true
}

func flipSlots(w *world, n *node, h *harm) bool {
	if !n.disk.readable() {
		return false
	}
	h.refused = []error{ledger.ErrBadSidecar}
	for i := range n.disk.pages {
		p := &n.disk.pages[i]
		p.raw = flip(w, p.bytes(), 120)
	}
	return true
}

func loseSlot(w *world, n *node, h *harm) bool {
	if !n.disk.readable() {
		return false
	}
	h.whole = true
	n.disk.pages[w.act.intn(2)].raw = []byte{}
	return true
}

func deleteSidecar(w *world, n *node, h *harm) bool {
	h.refused = []error{ledger.ErrNoSidecar}
	n.disk.sidecar = false
	return true
}

func deleteManifest(w *world, n *node, h *harm) bool {
	h.refused = []error{ledger.ErrLogLost}
	n.disk.manifest = false
	return true
}

func deleteLog(w *world, n *node, h *harm) bool {
	h.refused = []error{ledger.ErrLogLost}
	d := &n.disk
	d.manifest, d.recorded, d.keys = false, false, nil
	return true
}

func restoreLog(w *world, n *node, h *harm) bool {
	d, b := &n.disk, n.disk.backup
	if b == nil || !b.end.Before(d.end()) {
		return false
	}
	h.cutShort()
	h.older = true
	d.record, d.rawRec, d.from, d.keys = b.record, nil, b.from, slices.Clone(b.keys)
	return true
}

func restoreSidecar(w *world, n *node, h *harm) bool {
	if n.disk.backup == nil {
		return false
	}
	h.whole = true
	n.disk.pages = n.disk.backup.pages
	return true
}

func swapDirectory(w *world, n *node, h *harm) bool {
	o := w.anyNode()
	if o == n || o.disk.harm != nil || !o.disk.sidecar {
		return false
	}
	h.refused = []error{ledger.ErrForeign}
	n.disk.directory = o.disk.directory.copied()
	return true
}

func swapLog(w *world, n *node, h *harm) bool {
	o := w.anyNode()
	if o == n || o.disk.harm != nil || !o.disk.recorded {
		return false
	}
	h.refused = []error{ledger.ErrMismatch}
	c, d := o.disk.directory.copied(), &n.disk
	d.record, d.rawRec, d.from, d.keys = c.record, c.rawRec, c.from, c.keys
	return true
}

// otherVote is the sidecar of a copy of this directory that ran elsewhere for a while, and voted there.
func otherVote(w *world, n *node, h *harm) bool {
	d := &n.disk
	if d.record.HardState.Vote == 0 {
		return false
	}
	h.refused = []error{ledger.ErrVoteConflict}
	s := d.latest()
	s.Number++
	s.Term, s.Vote = d.record.HardState.Term, d.record.HardState.Vote%maxID+1
	d.put(s)
	return true
}

// loseSuffix is what Badger makes of one flipped byte in the file that it wrote last: it drops every transaction behind.
func loseSuffix(w *world, n *node, h *harm) bool {
	d := &n.disk
	i := w.anyIndex(d)
	if i == 0 {
		return false
	}
	h.cutShort()
	r := &d.record
	r.End = r.Base
	if i > r.First {
		r.End = d.key(i - 1).mark()
	}
	r.HardState.Commit = min(r.HardState.Commit, r.End.Last)
	if w.chance(2) && r.End.LastTerm > 0 && r.End.LastTerm < r.HardState.Term {
		r.HardState.Term, r.HardState.Vote = r.End.LastTerm, 0
	}
	d.removeAbove(r.End.Last)
	return true
}

func loseMiddle(w *world, n *node, h *harm) bool {
	i := w.anyIndex(&n.disk)
	if i == 0 {
		return false
	}
	h.cutShort()
	n.disk.set(i, nil)
	return true
}

// undoCut drops a batch that cut the log, and what came after it: what was cut is there again.
func undoCut(w *world, n *node, h *harm) bool {
	d, u := &n.disk, n.disk.uncut
	if u == nil || !u.record.End.Before(d.end()) {
		return false
	}
	h.cutShort()
	h.older = true
	d.record, d.rawRec, d.from, d.keys = u.record, nil, u.from, slices.Clone(u.keys)
	return true
}

// stale finds what once stood at an index of the log, and was cut.
func (d *disk) stale(w *world) *item {
	for i := d.segment.last(); i > d.base && i+300 > d.segment.last(); i-- {
		for term, now := d.firstTerm(i), d.key(i).entry.Term; term < now; term++ {
			if it := w.items[position{i, term}]; it != nil {
				return it
			}
		}
	}
	return nil
}

// firstTerm is the lowest term of which an entry may have stood at an index, as far as it is worth a look.
func (d *disk) firstTerm(index uint64) uint64 {
	if now := d.key(index).entry.Term; now > 20 {
		return now - 20
	}
	return 1
}

// staleEntry is a whole value of another time: what once stood at an index, and was cut, is there again.
func staleEntry(w *world, n *node, h *harm) bool {
	it := n.disk.stale(w)
	if it == nil {
		return false
	}
	h.cutShort()
	h.older = true
	n.disk.set(it.entry.Index, it)
	return true
}

// otherEnd is a last entry that has changed before it was written, checksum and all.
func otherEnd(w *world, n *node, h *harm) bool {
	d := &n.disk
	if d.segment.last() == d.base {
		return false
	}
	h.cutShort()
	it := *d.key(d.segment.last())
	it.entry.Kind, it.entry.Data = raft.EntryCommand, append(slices.Clone(it.entry.Data), 0)
	it.hash = storage.HashLink(storage.AppendLink(nil, it.prev, &it.entry))
	it.ref.digest = digest(&it.entry)
	d.set(it.entry.Index, &it)
	return true
}

// resurrect brings keys back that were removed behind the end of the log.
func resurrect(w *world, n *node, h *harm) bool {
	d := &n.disk
	last := d.record.End.Last
	it := d.key(last)
	if it == nil {
		return false
	}
	h.whole = true
	for i := range uint64(1 + w.act.intn(5)) {
		back := *it
		back.entry.Index = last + 1 + i
		d.set(back.entry.Index, &back)
	}
	return true
}

func breakSnapshot(w *world, n *node, h *harm) bool {
	if n.disk.snap == nil {
		return false
	}
	h.whole, h.refused = n.disk.base == 0, []error{errLostState}
	n.disk.broken = true
	return true
}

func deleteSnapshot(w *world, n *node, h *harm) bool {
	if n.disk.snap == nil {
		return false
	}
	h.whole, h.refused = n.disk.base == 0, []error{errLostState}
	n.disk.snap = nil
	return true
}
