package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/tidwall/btree"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// cells is a state machine of many cells whose snapshot is a persistent tree, as a real machine's is.
type cells struct {
	tree *btree.BTreeG[cell]

	last  time.Time     // when the last entry was applied
	worst time.Duration // between two entries
	view  time.Duration // the longest that a view took
}

type cell struct {
	key   uint64
	value [64]byte
}

func newCells(n int) *cells {
	c := &cells{tree: btree.NewBTreeGOptions(func(a, b cell) bool { return a.key < b.key }, btree.Options{NoLocks: true})}
	for i := range n {
		c.tree.Set(cell{key: uint64(i)})
	}
	return c
}

func (c *cells) Apply(e raft.Entry) (any, error) {
	now := time.Now()
	if !c.last.IsZero() {
		c.worst = max(c.worst, now.Sub(c.last))
	}
	c.tree.Set(cell{key: e.Index * 7919 % uint64(c.tree.Len())})
	c.last = time.Now()
	return nil, nil
}

func (c *cells) Snapshot() (SnapshotView, error) {
	start := time.Now()
	view := cellsView{c.tree.Copy()}
	c.view = max(c.view, time.Since(start))
	return view, nil
}

func (c *cells) Restore(io.Reader) error { return nil }

type cellsView struct{ tree *btree.BTreeG[cell] }

func (v cellsView) Save(w io.Writer) (err error) {
	b := bufio.NewWriterSize(w, 64<<10)
	v.tree.Scan(func(c cell) bool {
		b.Write(binary.BigEndian.AppendUint64(nil, c.key))
		_, err = b.Write(c.value[:])
		return err == nil
	})
	return errors.Join(err, b.Flush())
}

func (v cellsView) Release() {}

// BenchmarkStallWhileASnapshotIsTaken applies at full speed while a snapshot of a million cells is saved to a disk, and
// reports the longest pause between two entries, and what the view alone took; "none" is what the machine does without.
func BenchmarkStallWhileASnapshotIsTaken(b *testing.B) {
	for _, way := range []struct {
		name    string
		mode    CompactionMode
		entries uint64
	}{
		{"none", CompactionBackground, 1 << 60}, {"background", CompactionBackground, 20_000},
		{"foreground", CompactionForeground, 20_000}, {"sequential", CompactionSequential, 20_000},
	} {
		b.Run(way.name, func(b *testing.B) {
			machine := newCells(1_000_000)
			store, err := snapstore.Open(snapstore.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			n, err := Start(Config{ID: 1, Name: "n1", Members: []raft.Member{{ID: 1, Name: "n1"}}, Log: storage.NewMemory(), Snapshots: store,
				StateMachine: machine, Compaction: way.mode, CompactionPolicy: LogSize{Bytes: 1 << 40, Entries: way.entries}})
			if err != nil {
				b.Fatal(err)
			}
			<-n.Ready()
			proposeFrom(b, n, 64)
			stalls := make(chan [2]time.Duration, 1)
			n.Inspect(func(uint64) { stalls <- [2]time.Duration{machine.worst, machine.view} })
			got := <-stalls
			b.ReportMetric(float64(got[0].Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(got[1].Microseconds()), "view-µs")
			if err := n.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// The limit is on the age of the oldest append that has to be written, whatever else was handed out or is finished.
func TestTheOldestAppendIsJudged(t *testing.T) {
	t.Parallel()
	d := diskWatch{limit: time.Second}
	d.handOut(&raft.AppendBatch{Seq: 1}, 0) // nothing to write
	d.handOut(&raft.AppendBatch{Seq: 2, MustWrite: true}, time.Second)
	d.handOut(&raft.AppendBatch{Seq: 3, MustWrite: true}, 2*time.Second)
	if d.late(2*time.Second-1) || !d.late(2*time.Second) {
		t.Errorf("an append of 1 s: late after 1 s − 1 ns %v, after 1 s %v", d.late(2*time.Second-1), d.late(2*time.Second))
	}
	d.finished(2)
	if d.late(3*time.Second-1) || !d.late(3*time.Second) {
		t.Error("the next one is judged by another's age")
	}
	if d.finished(3); d.late(time.Hour) {
		t.Error("late with nothing under way")
	}
}
