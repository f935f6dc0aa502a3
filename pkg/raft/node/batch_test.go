package node

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
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
