package ledger

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/allocs"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Whatever is decoded is encoded to the same bytes: no two values for one meaning, and no field forgotten.

// parsed runs a parser, which may take little memory beside its input's size and has to say what is wrong.
func parsed(t *testing.T, input []byte, parse func() error) {
	t.Helper()
	allocs.Within(t, len(input), 256<<10, 16, func() {
		if err := parse(); err != nil && len(err.Error()) < 8 {
			t.Fatalf("an error that says too little: %q", err)
		}
	})
}

func FuzzEntryValue(f *testing.F) {
	for kind := raft.EntryNoOp; kind <= raft.EntryConfig+1; kind++ {
		for _, n := range []int{0, 1, 127, 128, 4096} {
			value, _ := AppendEntryValue(nil, storage.Hash{1}, &raft.Entry{Index: math.MaxUint64, Term: math.MaxUint64, Time: math.MinInt64,
				Wall: math.MaxInt64, Kind: kind, Data: make([]byte, n)})
			f.Add(value)
			f.Add(value[:len(value)-4]) // gets its checksum below
		}
	}
	for _, e := range []raft.Entry{{}, {Index: 1, Term: 1, Kind: raft.EntryNoOp}, {Index: 1 << 60, Term: 7, Time: -1, Wall: 5, Kind: raft.EntryCommand, Data: []byte("data")}} {
		value, _ := AppendEntryValue(nil, storage.Hash{1, 2}, &e)
		f.Add(value)
		f.Add(value[:len(value)-5])
	}
	f.Add([]byte{})
	f.Add(seal([]byte{entryVersion}, 0))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, seal(bytes.Clone(value), 0)} {
			parsed(t, v, func() error { _, _, _, err := ParseEntryValue(v); return err })
			e, prev, link, err := ParseEntryValue(v)
			if err != nil {
				continue
			}
			again, hash := AppendEntryValue(nil, prev, &e)
			if !bytes.Equal(again, v) || hash != storage.HashLink(link) {
				t.Fatalf("%x became %+v and %x", v, e, again)
			}
		}
	})
}

func FuzzHardState(f *testing.F) {
	r := Record{Incarnation: raft.Incarnation{1}, Member: 3, First: 1,
		HardState: raft.HardState{Term: 4, Vote: 2, Commit: 7, Promise: time.Second},
		End:       raft.Mark{LastTerm: 4, Last: 9, Hash: storage.Hash{5}}}
	f.Add(AppendRecord(nil, &r))
	f.Add(appendRecordV1(&r))
	f.Add(AppendRecord(nil, &Record{}))
	r.Base, r.First, r.Cluster = raft.Mark{LastTerm: 3, Last: 6, Hash: storage.Hash{4}}, 7, raft.ClusterID{9}
	f.Add(AppendRecord(nil, &r))
	r.HardState = raft.HardState{Term: math.MaxUint64, Vote: math.MaxUint64, Commit: math.MaxUint64, Promise: math.MaxInt64}
	r.First, r.Base.Last, r.End.Last = 0, math.MaxUint64, math.MaxUint64 // what comes behind the last index is 0
	f.Add(AppendRecord(nil, &r))
	f.Add(append(AppendRecord(nil, &r), 0))
	f.Add(AppendRecord(nil, &r)[:RecordBytes-4])
	f.Add(AppendRecord(nil, &r)[:RecordBytes-5])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, seal(bytes.Clone(value), 0)} {
			parsed(t, v, func() error { _, err := ParseRecord(v); return err })
			r, err := ParseRecord(v)
			if err != nil {
				continue
			}
			again := AppendRecord(nil, &r)
			if v[0] == recordVersion1 {
				again = appendRecordV1(&r)
			}
			if !bytes.Equal(again, v) {
				t.Fatalf("%x became %+v and %x", v, r, again)
			}
			r.valid()
		}
	})
}

// appendRecordV1 is how records were written before a log could lose its front.
func appendRecordV1(r *Record) []byte {
	b := AppendRecord(nil, r)
	b[0] = recordVersion1
	return seal(b[:len(b)-len(r.Cluster)-4], 0)
}

func FuzzSidecarSlot(f *testing.F) {
	page := make([]byte, SlotBytes)
	for _, s := range []Slot{{}, {Number: 7, Owner: Identity{"cluster", 3, "member", raft.Incarnation{9}}, ClusterID: raft.ClusterID{8}, Term: 4, Vote: 2,
		Promise: time.Second, Mark: raft.Mark{LastTerm: 3, Last: 99, Hash: storage.Hash{1}}}} {
		s.Encode(page)
		f.Add(bytes.Clone(page))
	}
	for _, n := range []int{0, 1, 254, MaxNameBytes} {
		name := strings.Repeat("n", n)
		s := Slot{Number: math.MaxUint64, Owner: Identity{name, math.MaxUint64, name, raft.Incarnation{1}}, Term: math.MaxUint64,
			Vote: math.MaxUint64, Promise: math.MinInt64, Mark: raft.Mark{LastTerm: math.MaxUint64, Last: math.MaxUint64}}
		s.Encode(page)
		f.Add(bytes.Clone(page))
		f.Add(page[:SlotBytes-1])
		f.Add(append(bytes.Clone(page), 0))
		f.Add(append(bytes.Clone(page), 1))
	}
	f.Add([]byte{})
	f.Add([]byte(slotMagic))
	f.Fuzz(func(t *testing.T, page []byte) {
		for _, page := range [][]byte{page, resealed(page)} {
			parsed(t, page, func() error { _, err := ParseSlot(page); return err })
			s, err := ParseSlot(page)
			if err != nil {
				continue
			}
			again := make([]byte, SlotBytes)
			s.Encode(again)
			if n := min(len(page), len(again)); !bytes.Equal(again[:n], page[:n]) {
				t.Fatalf("%x became %+v", page, s)
			}
		}
	})
}

// resealed is a slot with the right checksum where its length says that it stands, so that a fuzzer gets behind it.
func resealed(page []byte) []byte {
	const at = len(slotMagic) + 1
	page = bytes.Clone(page)
	if len(page) < at+2 {
		return page
	}
	if n := int(page[at])<<8 | int(page[at+1]); n >= 4 && n <= len(page) {
		copy(page[n-4:], seal(bytes.Clone(page[:n-4]), 0)[n-4:])
	}
	return page
}
