package storage_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Each field of an entry, and the one before it, has to count in the hash.
func TestHashCoversTheEntry(t *testing.T) {
	t.Parallel()
	base := raft.Entry{Index: 5, Term: 2, Time: 9, Wall: 8, Kind: raft.EntryCommand, Data: []byte("x")}
	seen := map[storage.Hash]string{}
	add := func(name string, prev storage.Hash, change func(*raft.Entry)) {
		e := base
		change(&e)
		link := storage.AppendLink(nil, prev, &e)
		if len(link) != storage.LinkBytes(len(e.Data)) {
			t.Errorf("%s: %d bytes, want %d", name, len(link), storage.LinkBytes(len(e.Data)))
		}
		got, gotPrev, err := storage.ParseLink(link)
		if err != nil || gotPrev != prev || !cmp.Equal(got, e) {
			t.Errorf("%s: %+v came back as %+v (%v)", name, e, got, err)
		}
		h := storage.HashLink(link)
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[h] = name
	}
	none := func(*raft.Entry) {}
	add("base", storage.Hash{1}, none)
	add("previous", storage.Hash{2}, none)
	add("index", storage.Hash{1}, func(e *raft.Entry) { e.Index++ })
	add("term", storage.Hash{1}, func(e *raft.Entry) { e.Term++ })
	add("time", storage.Hash{1}, func(e *raft.Entry) { e.Time++ })
	add("wall", storage.Hash{1}, func(e *raft.Entry) { e.Wall++ })
	add("kind", storage.Hash{1}, func(e *raft.Entry) { e.Kind = raft.EntryNoOp })
	add("data", storage.Hash{1}, func(e *raft.Entry) { e.Data = []byte("y") })
	add("no data", storage.Hash{1}, func(e *raft.Entry) { e.Data = nil })
}

func BenchmarkLink(b *testing.B) {
	e := raft.Entry{Index: 5, Term: 2, Kind: raft.EntryCommand, Data: bytes.Repeat([]byte{7}, 150)}
	var buf []byte
	var h storage.Hash
	b.ReportAllocs()
	for b.Loop() {
		buf = storage.AppendLink(buf[:0], h, &e)
		h = storage.HashLink(buf)
	}
}
