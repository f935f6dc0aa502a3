package node

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// modelLog is what batches leave behind when they are written one by one.
type modelLog struct {
	hs      raft.HardState
	entries []raft.Entry
}

func (m *modelLog) write(hs raft.HardState, after uint64, es []raft.Entry) {
	m.hs = hs
	m.entries = append(append([]raft.Entry(nil), m.entries[:after]...), es...)
}

func TestJoinedBatchLeavesWhatTheBatchesLeave(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var one, joined modelLog
		for i := range uint64(rapid.IntRange(0, 5).Draw(t, "before")) {
			one.entries = append(one.entries, raft.Entry{Index: i + 1, Term: 1})
		}
		joined.entries = append(joined.entries, one.entries...)
		var j joinedBatch
		var given, copies [][]raft.Entry
		for k := range rapid.IntRange(1, 8).Draw(t, "batches") {
			term := uint64(k + 2)
			after := uint64(rapid.IntRange(0, len(one.entries)).Draw(t, "after"))
			if rapid.Bool().Draw(t, "no cut") {
				after = uint64(len(one.entries))
			}
			n := rapid.IntRange(0, 4).Draw(t, "entries")
			es := make([]raft.Entry, n, n+rapid.IntRange(0, 3).Draw(t, "spare")) // spare room invites an overwrite
			for i := range es {
				es[i] = raft.Entry{Index: after + 1 + uint64(i), Term: term, Data: make([]byte, k)}
			}
			b := raft.AppendBatch{Seq: uint64(k), HardState: raft.HardState{Term: term}, TruncateAfter: after, Entries: es, MustWrite: true}
			one.write(b.HardState, after, es)
			if err := j.add(&b); err != nil {
				t.Fatal(err)
			}
			given, copies = append(given, es[:cap(es)]), append(copies, append([]raft.Entry(nil), es[:cap(es)]...))
		}
		joined.write(j.write.HardState, j.write.TruncateAfter, j.write.Entries)
		if d := cmp.Diff(one, joined, cmp.AllowUnexported(modelLog{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("one by one (-) and joined (+) differ:\n%s", d)
		}
		if j.bytes != entriesBytes(j.write.Entries) {
			t.Fatalf("%d bytes counted, %d there", j.bytes, entriesBytes(j.write.Entries))
		}
		if d := cmp.Diff(copies, given, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("the core's entries were changed:\n%s", d)
		}
	})
}

func TestJoinedBatchRefusesAGap(t *testing.T) {
	t.Parallel()
	var j joinedBatch
	if err := j.add(&raft.AppendBatch{Seq: 1, TruncateAfter: 3, Entries: []raft.Entry{{Index: 4, Term: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := j.add(&raft.AppendBatch{Seq: 2, TruncateAfter: 5}); !errors.Is(err, errGap) {
		t.Fatalf("a gap gave %v", err)
	}
}

// writes is a log that remembers what it was given.
type writes struct {
	storage.Log
	batches []storage.Batch
}

func (w *writes) Append(b storage.Batch) error {
	w.batches = append(w.batches, b)
	return nil
}

func TestASnapshotBeginsAWriteOfItsOwn(t *testing.T) {
	t.Parallel()
	log := &writes{}
	var sent []raft.Message
	a := appender{log: log, maxBytes: 1 << 20, send: func(ms []raft.Message) { sent = append(sent, ms...) }, report: func(written) {},
		observer: NoObserver{}, now: func() time.Duration { return 0 }}
	hs := raft.HardState{Term: 3}
	meta := &raft.SnapshotMeta{Index: 100, Term: 2, Config: raft.Configuration{ClusterID: raft.ClusterID{7}}}
	items := []toWrite{
		{batch: raft.AppendBatch{Seq: 1, HardState: hs, Entries: []raft.Entry{{Index: 1, Term: 1}}, Last: 1, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
		{batch: raft.AppendBatch{Seq: 2, HardState: hs, TruncateAfter: 100, Snapshot: meta, Last: 100, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
		{batch: raft.AppendBatch{Seq: 3, HardState: hs, TruncateAfter: 100, Entries: []raft.Entry{{Index: 101, Term: 3}}, Last: 101, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
	}
	for rest := items; len(rest) > 0; {
		n, err := a.write(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	mark := meta.Mark()
	want := []storage.Batch{
		{HardState: hs, Entries: items[0].batch.Entries},
		{HardState: hs, TruncateAfter: 100, Base: &mark, ClusterID: raft.ClusterID{7}, Entries: items[2].batch.Entries},
	}
	if d := cmp.Diff(want, log.batches); d != "" {
		t.Errorf("written (-want, +got):\n%s", d)
	}
	if len(sent) != 3 || a.committed.Load() != 100 {
		t.Errorf("%d messages sent, committed %d", len(sent), a.committed.Load())
	}
	var j joinedBatch
	if err := j.add(&items[1].batch); err != nil {
		t.Fatal(err)
	}
	if err := j.add(&items[0].batch); !errors.Is(err, errGap) {
		t.Errorf("a batch that begins before the snapshot: %v", err)
	}
}
