package badgerlog

import (
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// A log that lost an acknowledged end is recovering until it has it again, through restarts, and then not.
func TestLostSuffix(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	es := storagetest.Entries(1, 20, 3, 40)
	storagetest.Append(t, l, hs(3, 1, 5), es[:12]...)
	settled(t, l)
	old := copyDir(t, opt.Dir)
	storagetest.Append(t, l, hs(4, 2, 11), es[12:]...)
	settled(t, l)
	_, mark := l.Mark()
	l.Close()
	// The log goes back, the sidecar does not.
	opt.Dir = old
	if err := copyFile(filepath.Join(old, sidecarName), filepath.Join(l.opt.Dir, sidecarName)); err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	opt.Observer = w
	want := func(last uint64, recovering bool) {
		t.Helper()
		wantPrefix(t, l, es, last)
		s := l.State()
		if (s.Recovering != nil) != recovering || recovering && *s.Recovering != mark {
			t.Fatalf("recovering %+v, want %v to %+v", s.Recovering, recovering, mark)
		}
		if s.HardState.Term != 4 || s.HardState.Vote != 2 {
			t.Fatalf("hard state %+v: the sidecar's is newer", s.HardState)
		}
	}
	l = mustOpen(t, opt)
	want(12, true)
	storagetest.Append(t, l, hs(4, 2, 5), es[12:15]...)
	settledTo := func(m raft.Mark) {
		t.Helper()
		if _, got := l.Mark(); got != m {
			t.Fatalf("mark %+v, want %+v", got, m)
		}
	}
	settledTo(mark)
	l.Close()
	l = mustOpen(t, opt)
	want(15, true)
	// A leader may even cut it: what was acknowledged is still not there.
	if err := l.Append(storage.Batch{HardState: hs(4, 2, 5), TruncateAfter: 13}); err != nil {
		t.Fatal(err)
	}
	settledTo(mark)
	l.Close()
	l = mustOpen(t, opt)
	want(13, true)
	storagetest.Append(t, l, hs(4, 2, 5), es[13:]...)
	settled(t, l)
	settledTo(mark)
	l.Close()
	l = mustOpen(t, opt)
	want(20, false)
	if got := len(w.recovering); got < 5 || !w.recovering[got-3] || w.recovering[got-2] || w.recovering[got-1] {
		t.Errorf("the observer saw %v", w.recovering)
	}
}

// A higher term is beyond any mark of a lower one: the cluster has gone on without what was lost.
func TestLostSuffixOvertaken(t *testing.T) {
	t.Parallel()
	opt := made(t, storagetest.Entries(1, 20, 3, 40))
	in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 15)) })
	l := mustOpen(t, opt)
	if s := l.State(); s.Last != 14 || s.Recovering == nil || s.Recovering.Last != 20 {
		t.Fatalf("state %+v", s)
	}
	storagetest.Append(t, l, hs(5, 0, 0), storagetest.Entries(15, 16, 5, 9)...)
	l.Close()
	if s := mustOpen(t, opt).State(); s.Recovering != nil || s.Last != 16 {
		t.Fatalf("state %+v", s)
	}
}
