package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Whatever is decoded is encoded to the same bytes: no two values for one meaning, and no field forgotten.

func FuzzEntryValue(f *testing.F) {
	for _, e := range []raft.Entry{{}, {Index: 1, Term: 1, Kind: raft.EntryNoOp}, {Index: 1 << 60, Term: 7, Time: -1, Wall: 5, Kind: raft.EntryCommand, Data: []byte("data")}} {
		value, _ := AppendEntryValue(nil, storage.Hash{1, 2}, &e)
		f.Add(value)
		f.Add(value[:len(value)-5])
	}
	f.Add([]byte{})
	f.Add(seal([]byte{entryVersion}, 0))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, seal(bytes.Clone(value), 0)} {
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
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, seal(bytes.Clone(value), 0)} {
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
	f.Add([]byte{})
	f.Add([]byte(slotMagic))
	f.Fuzz(func(t *testing.T, page []byte) {
		s, err := ParseSlot(page)
		if err != nil {
			return
		}
		again := make([]byte, SlotBytes)
		s.Encode(again)
		if n := min(len(page), len(again)); !bytes.Equal(again[:n], page[:n]) {
			t.Fatalf("%x became %+v", page, s)
		}
	})
}
