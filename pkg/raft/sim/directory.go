package sim

import (
	"slices"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// directory is what is durable of a member's log and sidecar, as package badgerlog leaves it on real files. Values that
// no fault has touched are kept decoded, and are encoded when somebody looks.
type directory struct {
	owner    ledger.Identity // whom it is made for, when it is opened first
	sidecar  bool            // the file is there
	pages    [2]page         // its slots, by number mod 2
	manifest bool            // the file without which the key space opens empty is there
	record   ledger.Record
	recorded bool   // there is a record
	rawRec   []byte // the record's value where damage changed it; nil: as it is encoded
	from     uint64 // index of keys[0]
	keys     []*item
}

// page is a slot of the sidecar.
type page struct {
	slot ledger.Slot
	raw  []byte // what stands there where it is not the slot; nil: the slot, encoded
}

func (p *page) bytes() []byte {
	if p.raw != nil {
		return p.raw
	}
	b := make([]byte, ledger.SlotBytes)
	p.slot.Encode(b)
	return b
}

// item is an entry's key with its value. It never changes, so all directories that have the entry share it; damage makes
// another one.
type item struct {
	entry      raft.Entry
	prev, hash storage.Hash
	ref        ref
	raw        []byte // the value where damage changed it; nil: as it is encoded
}

func (it *item) mark() raft.Mark {
	return raft.Mark{LastTerm: it.entry.Term, Last: it.entry.Index, Hash: it.hash}
}

// value is the item's value as it stands on the disk.
func (it *item) value() []byte {
	if it.raw != nil {
		return it.raw
	}
	b, _ := ledger.AppendEntryValue(nil, it.prev, &it.entry)
	return b
}

// item makes the item of an entry behind the one whose hash is prev.
func (w *world) item(e *raft.Entry, prev storage.Hash) *item {
	at := position{e.Index, e.Term}
	if it := w.items[at]; it != nil && it.prev == prev && it.ref.digest == digest(e) {
		return it
	}
	w.link = storage.AppendLink(w.link[:0], prev, e)
	it := &item{entry: *e, prev: prev, hash: storage.HashLink(w.link), ref: ref{e.Term, digest(e)}}
	w.items[at] = it
	return it
}

// key returns the item at an index; nil: there is no such key.
func (d *directory) key(index uint64) *item {
	if index < d.from || index-d.from >= uint64(len(d.keys)) {
		return nil
	}
	return d.keys[index-d.from]
}

func (d *directory) set(index uint64, it *item) {
	if len(d.keys) == 0 {
		d.from = index
	}
	if index < d.from {
		d.keys = slices.Insert(d.keys, 0, make([]*item, d.from-index)...)
		d.from = index
	}
	for index-d.from >= uint64(len(d.keys)) {
		d.keys = append(d.keys, nil)
	}
	d.keys[index-d.from] = it
}

// removeAbove and removeBelow are the sweeper's work.
func (d *directory) removeAbove(index uint64) {
	switch {
	case index < d.from:
		d.keys = nil
	case index-d.from+1 < uint64(len(d.keys)):
		clear(d.keys[index-d.from+1:])
		d.keys = d.keys[:index-d.from+1]
	}
}

func (d *directory) removeBelow(first uint64) {
	switch {
	case first <= d.from:
	case first-d.from >= uint64(len(d.keys)):
		d.keys = nil
	default:
		d.keys, d.from = slices.Clone(d.keys[first-d.from:]), first
	}
}

// put makes a slot durable.
func (d *directory) put(s ledger.Slot) { d.pages[s.Number%2] = page{slot: s} }

// latest is the latest slot that can be read.
func (d *directory) latest() ledger.Slot {
	a, b := &d.pages[0], &d.pages[1]
	if b.raw != nil || a.raw == nil && a.slot.Number > b.slot.Number {
		return a.slot
	}
	return b.slot
}

// commit makes a transaction durable.
func (d *directory) commit(r *ledger.Record, items []*item) {
	for _, it := range items {
		d.set(it.entry.Index, it)
	}
	d.record, d.recorded, d.rawRec, d.manifest = *r, true, nil, true
}

// copied is the directory as it is now, to come back later.
func (d *directory) copied() directory {
	c := *d
	c.keys = slices.Clone(d.keys)
	return c
}

func (d *directory) files() ledger.Files {
	f := ledger.Files{Path: "badger"}
	if d.recorded || len(d.keys) > 0 {
		f.Data, f.All = 1, 1
	}
	if d.manifest {
		f.Index = true
		f.All++
	}
	return f
}

// open judges the directory as badgerlog's Open does, in its order, and makes durable what comes of it. whole reads every
// value from its encoding; otherwise those that no fault has touched are taken as they are.
func (d *directory) open(whole bool) (*ledger.Ledger, storage.State, error) {
	var none storage.State
	const dir = "simulated"
	var slots ledger.Slots
	if !d.sidecar {
		if err := ledger.CheckNew(dir, d.files()); err != nil {
			return nil, none, err
		}
		slots = ledger.FirstSlots(d.owner)
		d.put(slots.Latest)
		d.put(*slots.Older)
		d.sidecar = true
	} else {
		var err error
		if slots, err = ledger.ReadSlots(dir, [2][]byte{d.pages[0].bytes(), d.pages[1].bytes()}); err != nil {
			return nil, none, err
		}
		if err := ledger.CheckOwner(dir, slots.Latest.Owner, d.owner); err != nil {
			return nil, none, err
		}
		if err := ledger.CheckFiles(dir, "MANIFEST", d.files(), slots.Latest.Mark); err != nil {
			return nil, none, err
		}
	}
	if !d.manifest {
		d.manifest, d.recorded, d.rawRec, d.keys = true, false, nil, nil
	}
	rec, err := d.readRecord(&slots.Latest)
	if err != nil {
		return nil, none, ledger.RefuseUnread(dir, err)
	}
	scan, err := d.scan(&rec, slots.Latest.Mark, whole)
	if err != nil {
		return nil, none, err
	}
	g, err := ledger.Judge(dir, &slots, &rec, d.recorded, scan)
	if err != nil {
		return nil, none, err
	}
	slot, putSlot, putRecord := g.Settle()
	if putSlot {
		d.put(slot)
		g.WroteSlot(slot)
	}
	if putRecord {
		d.commit(&g.Record, nil)
		g.WroteRecord()
	}
	d.removeAbove(scan.End.Last)
	return g, g.State(scan), nil
}

func (d *directory) readRecord(s *ledger.Slot) (ledger.Record, error) {
	if !d.recorded {
		return ledger.NoRecord(slices.ContainsFunc(d.keys, func(it *item) bool { return it != nil }))
	}
	value := d.rawRec
	if value == nil {
		value = ledger.AppendRecord(nil, &d.record)
	}
	return ledger.ReadRecord(value, s.Owner.Member, s.Owner.Incarnation)
}

func (d *directory) scan(rec *ledger.Record, mark raft.Mark, whole bool) (*ledger.Scan, error) {
	scan := ledger.NewScan(rec, mark)
	var key []byte
	for i := max(rec.First, d.from) - d.from; i < uint64(len(d.keys)) && scan.More(); i++ {
		it := d.keys[i]
		if it == nil {
			continue
		}
		if key = ledger.AppendEntryKey(key[:0], d.from+i); !scan.Want(key) {
			break
		}
		var err error
		if whole || it.raw != nil {
			err = scan.Add(it.value())
		} else {
			err = scan.AddKnown(&it.entry, it.prev, it.hash)
		}
		if err != nil {
			return nil, err
		}
	}
	scan.Finish()
	return scan, nil
}
