package pipeline

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
		var j Joined
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
		joined.write(j.Write.HardState, j.Write.TruncateAfter, j.Write.Entries)
		if d := cmp.Diff(one, joined, cmp.AllowUnexported(modelLog{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("one by one (-) and joined (+) differ:\n%s", d)
		}
		if j.Bytes != EntriesBytes(j.Write.Entries) {
			t.Fatalf("%d bytes counted, %d there", j.Bytes, EntriesBytes(j.Write.Entries))
		}
		if d := cmp.Diff(copies, given, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("the core's entries were changed:\n%s", d)
		}
	})
}

func TestJoinedBatchRefusesAGap(t *testing.T) {
	t.Parallel()
	var j Joined
	if err := j.add(&raft.AppendBatch{Seq: 1, TruncateAfter: 3, Entries: []raft.Entry{{Index: 4, Term: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := j.add(&raft.AppendBatch{Seq: 2, TruncateAfter: 5}); !errors.Is(err, ErrGap) {
		t.Fatalf("a gap gave %v", err)
	}
}

// A snapshot in the place of the log is no part of the write before it, but what follows it is of its own.
func TestASnapshotBeginsAWriteOfItsOwn(t *testing.T) {
	t.Parallel()
	hs := raft.HardState{Term: 3}
	meta := &raft.SnapshotMeta{Index: 100, Term: 2, Config: raft.Configuration{ClusterID: raft.ClusterID{7}}}
	items := []Item{
		{Batch: raft.AppendBatch{Seq: 1, HardState: hs, Entries: []raft.Entry{{Index: 1, Term: 1}}, Last: 1, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
		{Batch: raft.AppendBatch{Seq: 2, HardState: hs, TruncateAfter: 100, Snapshot: meta, Last: 100, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
		{Batch: raft.AppendBatch{Seq: 3, HardState: hs, TruncateAfter: 100, Entries: []raft.Entry{{Index: 101, Term: 3}}, Last: 101, MustWrite: true, ThenSend: make([]raft.Message, 1)}},
	}
	w := NewWriter(raft.HardState{}, 0, 1<<20)
	var got []storage.Batch
	var sent int
	committed := uint64(0)
	for rest := items; len(rest) > 0; {
		j, n, err := w.Join(rest)
		if err != nil {
			t.Fatal(err)
		}
		got, sent, committed = append(got, j.Write), sent+len(j.Send), j.Committed()
		if last := &rest[n-1].Batch; j.Seq != last.Seq || j.Last != last.Last {
			t.Errorf("batch %d up to %d is reported as %d up to %d", last.Seq, last.Last, j.Seq, j.Last)
		}
		rest = rest[n:]
	}
	mark := meta.Mark()
	want := []storage.Batch{
		{HardState: hs, Entries: items[0].Batch.Entries},
		{HardState: hs, TruncateAfter: 100, Base: &mark, ClusterID: raft.ClusterID{7}, Entries: items[2].Batch.Entries},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("written (-want, +got):\n%s", d)
	}
	if sent != 3 || committed != 100 {
		t.Errorf("%d messages sent, committed %d", sent, committed)
	}
	var j Joined
	if err := j.add(&items[1].Batch); err != nil {
		t.Fatal(err)
	}
	if err := j.add(&items[0].Batch); !errors.Is(err, ErrGap) {
		t.Errorf("a batch that begins before the snapshot: %v", err)
	}
}

// A write that changes nothing is left out by logs: a probe must change something, and a commit index that is known to be
// durable is never written as less by what comes after it.
func TestWhatIsWrittenBesideBatches(t *testing.T) {
	t.Parallel()
	w := NewWriter(raft.HardState{Term: 2, Commit: 3, Promise: time.Second}, 9, 1<<20)
	join := func(item Item) Joined {
		t.Helper()
		j, n, err := w.Join([]Item{item})
		if err != nil || n != 1 {
			t.Fatalf("%d items, %v", n, err)
		}
		return j
	}
	first, second := join(Item{Probe: true}), join(Item{Probe: true})
	if !first.Any || !first.Probed || first.Seq != 0 || first.Write.TruncateAfter != 9 || first.Write.HardState == second.Write.HardState {
		t.Errorf("two probes: %+v and %+v", first, second)
	}
	if j := join(Item{Commit: 20}); j.Write.HardState.Commit != 9 || j.Committed() != 9 {
		t.Errorf("commit index 20 of a log up to 9: %+v", j)
	}
	if j := join(Item{Commit: 9}); j.Any {
		t.Errorf("a commit index that is durable is written again: %+v", j)
	}
	b := raft.AppendBatch{Seq: 5, HardState: raft.HardState{Term: 2, Commit: 4}, TruncateAfter: 9, Last: 9, LastTerm: 2, MustWrite: true}
	if j := join(Item{Batch: b}); j.Write.HardState.Commit != 9 || j.Seq != 5 || j.Term != 2 || j.Last != 9 {
		t.Errorf("a batch with an older commit index: %+v", j)
	}
	b.Seq, b.MustWrite, b.ThenSend = 6, false, make([]raft.Message, 2)
	if j := join(Item{Batch: b}); j.Any || len(j.Send) != 2 || j.Seq != 6 {
		t.Errorf("a batch for the order alone: %+v", j)
	}
}
