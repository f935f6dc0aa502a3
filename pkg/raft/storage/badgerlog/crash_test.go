package badgerlog

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// inTurn is a crash's view of the two writes of a batch: one after the other, in either order, with a look at
// the directory in between.
func inTurn(slotGoesFirst bool, between func()) func(bool, func() error, func() error) error {
	return func(slotFirst bool, slot, txn func() error) error {
		first, second := txn, slot
		if slotFirst || slotGoesFirst {
			first, second = slot, txn
		}
		if err := first(); err != nil {
			return err
		}
		between()
		return second()
	}
}

// A crash between the transaction and the slot is no loss: whichever of the two got through, the member trusts
// itself, the vote counts, and the log is that of before or of after the batch.
func TestCrashBetweenTransactionAndSlot(t *testing.T) {
	t.Parallel()
	before := append(storagetest.Entries(1, 10, 2, 30), storagetest.Entries(11, 14, 5, 30)...)
	batches := map[string]storage.Batch{
		"append":                {HardState: hs(5, 1, 10), TruncateAfter: 14, Entries: storagetest.Entries(15, 17, 5, 9)},
		"append of a new term":  {HardState: hs(6, 0, 10), TruncateAfter: 14, Entries: storagetest.Entries(15, 15, 6, 9)},
		"vote":                  {HardState: hs(7, 2, 10), TruncateAfter: 14},
		"overwrite":             {HardState: hs(7, 0, 10), TruncateAfter: 11, Entries: storagetest.Entries(12, 12, 7, 9)},
		"overwrite, lower term": {HardState: hs(7, 0, 10), TruncateAfter: 10, Entries: storagetest.Entries(11, 11, 4, 9)},
		"cut":                   {HardState: hs(7, 0, 10), TruncateAfter: 10},
		"install":               {HardState: hs(7, 0, 10), TruncateAfter: 90, Base: &raft.Mark{Last: 90, LastTerm: 6, Hash: storage.Hash{1}}},
		"install, with entries": {HardState: hs(7, 0, 10), TruncateAfter: 90, Base: &raft.Mark{Last: 90, LastTerm: 6, Hash: storage.Hash{1}}, Entries: storagetest.Entries(91, 95, 7, 9)},
		"install inside":        {HardState: hs(7, 0, 10), TruncateAfter: 11, Base: &raft.Mark{Last: 11, LastTerm: 6, Hash: storage.Hash{1}}, Entries: storagetest.Entries(12, 13, 7, 9)},
		"install, lower term":   {HardState: hs(7, 0, 10), TruncateAfter: 12, Base: &raft.Mark{Last: 12, LastTerm: 4, Hash: storage.Hash{1}}},
	}
	for name, b := range batches {
		for _, slotGoesFirst := range []bool{true, false} {
			for _, marked := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, slot first %v, marked %v", name, slotGoesFirst, marked), func(t *testing.T) {
					t.Parallel()
					l := mustOpen(t, testOptions(t, t.TempDir()))
					storagetest.Append(t, l, hs(5, 1, 3), before[:12]...)
					storagetest.Append(t, l, hs(5, 1, 3), before[12:]...)
					if marked {
						settled(t, l)
					}
					var dir string
					l.both = inTurn(slotGoesFirst, func() { dir = copyDir(t, l.opt.Dir) })
					if err := l.Append(b); err != nil {
						t.Fatal(err)
					}
					m := &storagetest.Model{Log: before}
					m.Append(b)
					m.CheckContent(t, l)

					c := mustOpen(t, testOptions(t, dir))
					s := c.State()
					if s.Recovering != nil {
						t.Fatalf("recovering to %+v", *s.Recovering)
					}
					if s.HardState.Term != b.HardState.Term || s.HardState.Vote != b.HardState.Vote {
						t.Errorf("hard state %+v, want term %d, vote %d", s.HardState, b.HardState.Term, b.HardState.Vote)
					}
					wasThere, isThere := storagetest.Equal(before, read(t, c)), storagetest.Equal(m.Log, read(t, c))
					if (wasThere != nil || s.Base.Last > 0) && (isThere != nil || s.Base != m.Base) {
						t.Fatalf("neither the log of before (%v) nor that of after (%v)", wasThere, isThere)
					}
				})
			}
		}
	}
}

// read returns the whole log.
func read(t testing.TB, l *Log) []raft.Entry {
	t.Helper()
	l.mu.Lock()
	first := l.ledger.Record.First
	l.mu.Unlock()
	es, err := l.Entries(first, 1<<40, 1<<30)
	if err != nil && !errors.Is(err, storage.ErrUnavailable) {
		t.Fatal(err)
	}
	return es
}

// A batch of several transactions that crashes between two leaves a log that ends earlier and is right.
func TestCrashBetweenParts(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	opt.MemTableBytes = minMemTableBytes
	l := mustOpen(t, opt)
	before := append(storagetest.Entries(1, 10, 2, 2000), storagetest.Entries(11, 40, 4, 2000)...)
	storagetest.Append(t, l, hs(4, 1, 0), before[:20]...)
	storagetest.Append(t, l, hs(4, 1, 0), before[20:]...)
	settled(t, l)
	b := storage.Batch{HardState: hs(9, 3, 0), TruncateAfter: 10}
	b.Entries = append(storagetest.Entries(11, 40, 3, 2000), storagetest.Entries(41, 70, 9, 2000)...)
	var dirs []string
	for _, slotGoesFirst := range []bool{true, false} {
		l.both = inTurn(slotGoesFirst, func() { dirs = append(dirs, copyDir(t, opt.Dir)) })
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
		b.HardState.Term++
		b.HardState.Vote = 0
	}
	if len(dirs) < 6 {
		t.Fatalf("%d parts, want at least 3 for each batch", len(dirs)/2)
	}
	after := append(before[:10:10], b.Entries...)
	for i, dir := range dirs {
		o := opt
		o.Dir = dir
		c := mustOpen(t, o)
		got := read(t, c)
		if c.State().Recovering != nil || c.State().HardState.Term < 9 {
			t.Errorf("crash %d: state %+v", i, c.State())
		}
		if i == 0 && storagetest.Equal(before, got) == nil {
			continue // the slot got through, the first part did not
		}
		if len(got) > len(after) || storagetest.Equal(after[:len(got)], got) != nil {
			t.Errorf("crash %d: %v", i, storagetest.Equal(after[:min(len(got), len(after))], got))
		}
	}
}

// The same for a snapshot that comes with more entries than fit into one transaction: the base is in the first part.
func TestCrashBetweenPartsOfAnInstall(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	opt.MemTableBytes = minMemTableBytes
	l := mustOpen(t, opt)
	before := storagetest.Entries(1, 20, 2, 2000)
	storagetest.Append(t, l, hs(4, 1, 5), before...)
	settled(t, l)
	base := raft.Mark{Last: 12, LastTerm: 3, Hash: storage.Hash{1}}
	b := storage.Batch{HardState: hs(9, 3, 0), TruncateAfter: 12, Base: &base, Entries: storagetest.Entries(13, 72, 9, 2000)}
	var dirs []string
	l.both = inTurn(false, func() { dirs = append(dirs, copyDir(t, opt.Dir)) })
	if err := l.Append(b); err != nil {
		t.Fatal(err)
	}
	if len(dirs) < 3 {
		t.Fatalf("%d parts, want at least 3", len(dirs))
	}
	for i, dir := range dirs {
		o := opt
		o.Dir = dir
		c := mustOpen(t, o)
		s := c.State()
		if s.Base != base || s.Recovering != nil || s.HardState.Term != 9 || s.HardState.Commit != 12 || s.Last <= 12 {
			t.Fatalf("crash %d: state %+v", i, s)
		}
		storagetest.WantBehind(t, c, 12, b.Entries[:s.Last-12])
	}
}

// TestAgainstModel lives through random batches, restarts and crashes. A crash is a copy of the directory, taken
// before, between or after the writes of a batch; life goes on in the copy. What was acknowledged is there, and
// a member that lost nothing never believes that it did.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	var crashes, restarts, batches, installs, compactions int
	rapid.Check(t, func(rt *rapid.T) {
		opt := testOptions(t, t.TempDir())
		opt.MemTableBytes, opt.Logger = minMemTableBytes, nil
		l := mustOpen(t, opt)
		m, used := &storagetest.Model{}, storagetest.Terms{}
		check := func(models ...*storagetest.Model) {
			got := l.State()
			if got.Recovering != nil {
				rt.Fatalf("recovering to %+v", *got.Recovering)
			}
			// Term and vote may come from the slot and the log from the transaction.
			ballot := func(h raft.HardState) raft.HardState { return raft.HardState{Term: h.Term, Vote: h.Vote} }
			for _, one := range models {
				if got.Base != one.Base || storagetest.Equal(one.Log, read(t, l)) != nil {
					continue
				}
				if !slices.ContainsFunc(models, func(o *storagetest.Model) bool { return ballot(o.HardState) == ballot(got.HardState) }) ||
					got.HardState.Commit > models[0].HardState.Commit { // a crash may lose the commit index, and nothing else
					rt.Fatalf("hard state %+v", got.HardState)
				}
				if got.ClusterID != one.State().ClusterID {
					rt.Fatalf("cluster %v, want %v", got.ClusterID, one.State().ClusterID)
				}
				m = one.Copy()
				m.HardState = got.HardState
				m.CheckContent(t, l)
				return
			}
			rt.Fatalf("%+v with a log of %d entries is none of %d that it may be", got, got.Last, len(models))
		}
		restart := func(dir string) {
			l.Close()
			opt.Dir = dir
			l = mustOpen(t, opt)
		}
		compact := func() {
			index, ok := m.DrawCompact(rt)
			if !ok {
				return
			}
			compactions++
			if err := l.Compact(index); err != nil {
				rt.Fatalf("compact: %v", err)
			}
			m.Compact(index)
			m.CheckContent(t, l)
			if rapid.Bool().Draw(rt, "crash in the sweep") {
				crashes++
				restart(copyDir(t, opt.Dir))
				check(m)
			}
		}
		for range rapid.IntRange(2, 8).Draw(rt, "batches") {
			batches++
			if rapid.IntRange(0, 3).Draw(rt, "compacts") == 0 {
				compact()
			}
			b := m.Draw(rt, used)
			next := m.Copy()
			next.Append(b)
			if b.Base != nil {
				installs++
			}
			kind := rapid.SampledFrom([]string{"", "", "", "", "restart", "crash before", "slot only", "transaction only", "crash after", "crash later"}).Draw(rt, "then")
			dir := ""
			look := func() { dir = copyDir(t, opt.Dir) }
			l.both = together
			switch kind {
			case "crash before":
				look()
			case "slot only", "transaction only":
				l.both = inTurn(kind == "slot only", look)
			}
			if err := l.Append(b); err != nil {
				rt.Fatalf("append: %v", err)
			}
			if kind == "crash later" {
				settled(t, l)
			}
			if kind == "crash after" || kind == "crash later" {
				look()
			}
			switch {
			case kind == "":
				m = next
				m.CheckContent(t, l)
			case kind == "restart":
				restarts++
				restart(opt.Dir)
				m = next
				m.Check(t, l)
			case dir == "": // the batch changed nothing: nothing to crash in
				m = next
			default:
				crashes++
				restart(dir)
				if kind == "crash after" || kind == "crash later" {
					check(next)
				} else {
					check(next, m)
				}
			}
		}
		l.Close()
	})
	t.Logf("%d batches, %d of them snapshots, %d compactions, %d restarts, %d crashes", batches, installs, compactions, restarts, crashes)
	if crashes == 0 || restarts == 0 || installs == 0 || compactions == 0 {
		t.Error("nothing happened")
	}
}
