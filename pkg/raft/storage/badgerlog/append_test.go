package badgerlog

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// The mark of a batch is told only after the batch is durable: with the next one, when nothing follows, at stop.
func TestTheMarkLags(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, testOptions(t, t.TempDir()))
	var beside raft.Mark
	l.both = inTurn(true, func() { _, beside = l.Mark() })
	es := storagetest.Entries(1, 9, 1, 10)
	at := func(n uint64) raft.Mark {
		m := raft.Mark{}
		for i := range es[:n] {
			_, m.Hash = ledger.AppendEntryValue(nil, m.Hash, &es[i])
			m.Last, m.LastTerm = es[i].Index, es[i].Term
		}
		return m
	}
	storagetest.Append(t, l, hs(1, 1, 0), es[:3]...)
	if beside != at(0) {
		t.Fatalf("mark %+v beside the first batch", beside)
	}
	storagetest.Append(t, l, hs(1, 1, 0), es[3:5]...)
	if beside != at(3) {
		t.Fatalf("mark %+v beside the second batch, want that of the first", beside)
	}
	eventually(t, "the mark follows", func() bool { _, m := l.Mark(); return m == at(5) })
	slot, _ := l.Mark()
	storagetest.Append(t, l, hs(1, 1, 0), es[5:]...)
	if next, _ := l.Mark(); next != slot+1 {
		t.Fatalf("slot %d after %d", next, slot)
	}
	l.Close()
	sc, slots, err := openSidecar(l.opt.Dir)
	if err != nil || slots.Latest.Mark != at(9) {
		t.Fatalf("mark %+v after closing (%v)", slots.Latest.Mark, err)
	}
	sc.close()
}

// A mark that goes back is durable before the log goes back.
func TestAMarkGoesBackFirst(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, testOptions(t, t.TempDir()))
	storagetest.Append(t, l, hs(5, 1, 0), append(storagetest.Entries(1, 5, 1, 9), storagetest.Entries(6, 9, 4, 9)...)...)
	settled(t, l)
	for _, c := range []struct {
		b     storage.Batch
		first bool
	}{
		{storage.Batch{HardState: hs(5, 1, 0), TruncateAfter: 7, Entries: storagetest.Entries(8, 8, 5, 9)}, false},
		{storage.Batch{HardState: hs(6, 1, 0), TruncateAfter: 5, Entries: storagetest.Entries(6, 9, 2, 9)}, true},
		{storage.Batch{HardState: hs(6, 1, 0), TruncateAfter: 3}, true},
		{storage.Batch{HardState: hs(6, 1, 0), TruncateAfter: 3, Entries: storagetest.Entries(4, 4, 6, 9)}, false},
	} {
		settled(t, l)
		seen := false
		l.both = func(first bool, slot, txn func() error) error {
			seen = first
			return together(first, slot, txn)
		}
		if err := l.Append(c.b); err != nil {
			t.Fatal(err)
		}
		if seen != c.first {
			t.Errorf("cut behind %d: slot first %v, want %v", c.b.TruncateAfter, seen, c.first)
		}
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	most := l.MaxDataBytes()
	if most < int(opt.MemTableBytes)/7 {
		t.Errorf("at most %d bytes in an entry: less than what storage.md says", most)
	}
	es := []raft.Entry{storagetest.Entry(1, 1, 5), storagetest.Entry(2, 1, most+1)}
	if err := l.Append(storage.Batch{HardState: hs(1, 1, 0), Entries: es}); !errors.Is(err, storage.ErrTooLarge) {
		t.Fatalf("%v, want ErrTooLarge", err)
	}
	storagetest.Want(t, l, nil)
	// The largest entries, alone and among others.
	es = []raft.Entry{storagetest.Entry(1, 1, most), storagetest.Entry(2, 1, 1), storagetest.Entry(3, 1, most), storagetest.Entry(4, 1, most)}
	storagetest.Append(t, l, hs(1, 1, 0), es...)
	storagetest.Want(t, l, es)
	l.Close()
	l = mustOpen(t, opt)
	storagetest.Want(t, l, es)
	l.Close()
	for _, path := range files(t, filepath.Join(opt.Dir, badgerDir), "*.vlog") {
		if info, err := os.Stat(path); err != nil || disk.UsedBytes(info) > 4096 {
			t.Errorf("%s has %d bytes: the value log is in use (%v)", path, disk.UsedBytes(info), err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(1 << 40)
	opt := testOptions(t, t.TempDir())
	opt.BallastBytes = 1 << 20
	opt.free = func(string) (int64, error) { return free.Load(), nil }
	l := mustOpen(t, opt)
	ballast := filepath.Join(opt.Dir, ballastName)
	if info, err := os.Stat(ballast); err != nil || disk.UsedBytes(info) < opt.BallastBytes {
		t.Fatalf("ballast: %v", err)
	}
	es := storagetest.Entries(1, 3, 1, 100)
	storagetest.Append(t, l, hs(1, 1, 0), es[0])
	free.Store(opt.ReserveBytes)
	if err := l.Append(storage.Batch{HardState: hs(1, 1, 0), TruncateAfter: 1, Entries: es[1:2]}); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	free.Store(1 << 40) // an operator made room: the refusal was before anything was touched
	storagetest.Append(t, l, hs(1, 1, 0), es[1])
	l.Close()

	free.Store(opt.ReserveBytes - 1)
	l = mustOpen(t, opt)
	if _, err := os.Stat(ballast); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ballast was not given back (%v)", err)
	}
	storagetest.Want(t, l, es[:2]) // it reads
	l.Close()
	free.Store(1000)
	if _, err := Open(opt); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	free.Store(1 << 40)
	l = mustOpen(t, opt)
	if _, err := os.Stat(ballast); err != nil {
		t.Errorf("no ballast again: %v", err)
	}
	storagetest.Append(t, l, hs(1, 1, 0), es[2])
}

// A failed write is final: nothing is tried again, and nothing is read that may not be durable.
func TestFailuresStick(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, fail := range map[string]func(first bool, slot, txn func() error) error{
		"slot":        func(_ bool, _, txn func() error) error { return errors.Join(txn(), boom) },
		"transaction": func(_ bool, slot, _ func() error) error { return errors.Join(slot(), boom) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := testOptions(t, t.TempDir())
			l := mustOpen(t, opt)
			es := storagetest.Entries(1, 4, 1, 10)
			storagetest.Append(t, l, hs(1, 1, 0), es[:2]...)
			l.both = fail
			for range 2 {
				if err := l.Append(storage.Batch{HardState: hs(1, 1, 0), TruncateAfter: 2, Entries: es[2:]}); !errors.Is(err, boom) {
					t.Fatalf("%v, want the failure", err)
				}
				l.both = together
			}
			if _, err := l.Entries(1, 2, 1); !errors.Is(err, boom) {
				t.Fatalf("entries: %v, want the failure", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			opt.Dir = copyDir(t, opt.Dir) // this process still has Badger open, as one has that is about to end
			l = mustOpen(t, opt)
			if s := l.State(); s.Recovering != nil || s.Last < 2 {
				t.Fatalf("state %+v", s)
			}
		})
	}
}

// What fails while no batch is under way is told at once.
func TestFailureBeside(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(l *Log){
		"the sidecar": func(l *Log) { l.sidecar.f.Close() },
		"badger":      func(l *Log) { l.badger.Errorf("error flushing memtable to disk: %v, retrying", os.ErrInvalid) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := testOptions(t, t.TempDir())
			told := make(chan error, 2)
			opt.Fatal = func(err error) { told <- err }
			l := mustOpen(t, opt)
			settled(t, l)
			l.both = func(_ bool, slot, txn func() error) error {
				defer fail(l)
				return errors.Join(slot(), txn())
			}
			storagetest.Append(t, l, hs(1, 1, 0), storagetest.Entry(1, 1, 1))
			err := <-told
			if again := l.Append(storage.Batch{HardState: hs(2, 1, 0), TruncateAfter: 1}); again == nil || again.Error() != err.Error() {
				t.Fatalf("append: %v, told was %v", again, err)
			}
			l.Close()
			if len(told) > 0 {
				t.Error("told twice")
			}
		})
	}
}

func TestObserver(t *testing.T) {
	t.Parallel()
	w := &watcher{}
	opt := testOptions(t, t.TempDir())
	opt.Observer = w
	l := mustOpen(t, opt)
	storagetest.Append(t, l, hs(1, 1, 0), storagetest.Entries(1, 5, 1, 100)...)
	storagetest.Append(t, l, hs(1, 1, 0), storagetest.Entries(6, 7, 1, 100)...)
	if err := l.Append(storage.Batch{HardState: hs(1, 1, 6), TruncateAfter: 7}); err != nil { // the commit index alone
		t.Fatal(err)
	}
	eventually(t, "the size is measured", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return w.size > 0 })
	if w.syncs != 2 || w.entries != 7 || w.bytes < 700 || len(w.recovering) != 1 || w.recovering[0] {
		t.Errorf("the observer saw %+v", w)
	}
}

// A peer that saw a later slot than ours knows that this directory is an old copy.
func TestWitnessed(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	es := storagetest.Entries(1, 30, 2, 10)
	storagetest.Append(t, l, hs(2, 1, 0), es[:10]...)
	settled(t, l)
	old := copyDir(t, opt.Dir)
	for i := 10; i < 30; i++ {
		storagetest.Append(t, l, hs(2, 1, 0), es[i])
	}
	settled(t, l)
	slot, mark := l.Mark()
	if r, err := l.Witnessed(slot, mark); r || err != nil {
		t.Fatalf("its own mark makes it recovering: %v, %v", r, err)
	}
	l.Close()
	for _, seen := range []uint64{slot, slot + 1} { // whichever slot comes next, it must not be over the latest
		opt.Dir = copyDir(t, old)
		l = mustOpen(t, opt)
		if s := l.State(); s.Recovering != nil {
			t.Fatalf("state %+v", s)
		}
		latest, _ := l.Mark()
		if r, err := l.Witnessed(seen, mark); !r || err != nil {
			t.Fatalf("%v, %v: want recovering", r, err)
		}
		if next, m := l.Mark(); next <= seen || m != mark {
			t.Fatalf("slot %d, mark %+v; the peer saw %d", next, m, seen)
		}
		l.Close()
		sc, slots, err := openSidecar(opt.Dir)
		if err != nil || slots.Older == nil || slots.Older.Number != latest {
			t.Fatalf("the slot that was the latest is gone: %+v, %v", slots, err)
		}
		sc.close()
		l = mustOpen(t, opt)
		if s := l.State(); s.Recovering == nil || *s.Recovering != mark {
			t.Fatalf("state %+v: a restart forgot it", s)
		}
		storagetest.Append(t, l, hs(2, 1, 0), es[10:]...)
		l.Close()
		if s := mustOpen(t, opt).State(); s.Recovering != nil || s.Last != 30 {
			t.Fatalf("state %+v", s)
		}
	}
}
