package badgerlog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// acknowledged is a log with tables and a write-ahead log, as a running process leaves it, and what it holds.
func acknowledged(t testing.TB) (Options, []raft.Entry) {
	t.Helper()
	opt := testOptions(t, t.TempDir())
	opt.MemTableBytes = minMemTableBytes
	l := mustOpen(t, opt)
	es := []raft.Entry{storagetest.Config(1, 1, raft.ClusterID{9})}
	es = append(es, storagetest.Entries(2, 300, 1, 900)...)
	es = append(es, storagetest.Entries(301, 700, 4, 900)...)
	for i := 0; i < len(es); i += 10 {
		storagetest.Append(t, l, hs(4, 1, uint64(i)), es[i:i+10]...)
	}
	settled(t, l)
	eventually(t, "full memtables are tables", func() bool {
		return len(files(t, filepath.Join(opt.Dir, badgerDir), "*"+walEnding)) == 1
	})
	opt.Dir = copyDir(t, opt.Dir)
	l.Close()
	return opt, es
}

// The rule of storage.md for whatever happens to a file: the directory is refused, or the member knows that it
// is recovering, or it holds all that it acknowledged; and what it holds is right.
func wantHonest(t *testing.T, opt Options, es []raft.Entry, what string) string {
	t.Helper()
	opt.Logger = nil
	l, err := Open(opt)
	if err != nil {
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Advice == "" {
			t.Errorf("%s: %v: not a refusal that says what to do", what, err)
		}
		return "refused: " + refused.Cause.Error()
	}
	defer l.Close()
	s := l.State()
	if err := storagetest.Equal(es[:s.Last], read(t, l)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if s.ClusterID != (raft.ClusterID{9}) || s.HardState.Term != 4 || s.HardState.Vote != 1 || s.HardState.Commit > s.Last {
		t.Errorf("%s: state %+v", what, s)
	}
	if s.Recovering == nil && s.Last < uint64(len(es)) {
		t.Errorf("%s: %d of %d entries, and the member trusts itself", what, s.Last, len(es))
	}
	if s.Recovering != nil {
		return "recovering"
	}
	return "unharmed"
}

// TestFlippedBytes flips one byte at many places of every file that Badger left.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	opt, es := acknowledged(t)
	outcomes := map[string]map[string]int{}
	tables := map[string]map[string]int{} // outcomes by table file
	for _, path := range files(t, filepath.Join(opt.Dir, badgerDir), "*") {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		kind := filepath.Ext(path)
		if kind == "" {
			kind = filepath.Base(path)
		}
		if kind == "LOCK" {
			continue
		}
		var offs []int64
		if size := info.Size(); size < 64 {
			for off := range size {
				offs = append(offs, off)
			}
		} else {
			offs = []int64{0, 9, 21, 22, 24, 30, size - 1, size - 3, size - 6, size - 12, size - 20, size - 40}
			// Most of a write-ahead log is a hole; its content is at the front.
			for used, i := min(disk.UsedBytes(info), size), int64(1); i < 12; i++ {
				offs = append(offs, used*i/12)
			}
		}
		for _, off := range offs {
			dir := copyDir(t, opt.Dir)
			flip(t, filepath.Join(dir, badgerDir, filepath.Base(path)), off)
			o := opt
			o.Dir = dir
			got := wantHonest(t, o, es, filepath.Base(path))
			if outcomes[kind] == nil {
				outcomes[kind] = map[string]int{}
			}
			outcomes[kind][got]++
			if kind == ".sst" {
				if tables[path] == nil {
					tables[path] = map[string]int{}
				}
				tables[path][got]++
			}
			os.RemoveAll(dir)
		}
	}
	for kind, got := range outcomes {
		t.Logf("%s: %v", kind, got)
	}
	// A table that a compaction has replaced may still be there; Badger takes it away unread. Any other is read
	// in whole at open, so that no flip in it goes unseen.
	live := 0
	for path, n := range tables {
		if len(n) != 1 || n["recovering"] > 0 {
			t.Errorf("table %s: %v, want one outcome for all places", filepath.Base(path), n)
		}
		if n["unharmed"] == 0 {
			live++
		}
	}
	if live == 0 {
		t.Errorf("tables: %v, want some of which every flip is refused", tables)
	}
	if n := outcomes[".mem"]; n["recovering"] == 0 {
		t.Errorf("write-ahead logs: %v, want some recovering", n)
	}
}

// A file that is gone or shorter is no better than one with wrong bytes.
func TestMissingAndShortFiles(t *testing.T) {
	t.Parallel()
	opt, es := acknowledged(t)
	for _, path := range files(t, filepath.Join(opt.Dir, badgerDir), "*") {
		name := filepath.Base(path)
		for what, harm := range map[string]func(string) error{
			"gone":  os.Remove,
			"empty": func(p string) error { return os.Truncate(p, 0) },
			"half": func(p string) error {
				info, err := os.Stat(p)
				if err != nil {
					return err
				}
				return os.Truncate(p, min(info.Size(), disk.UsedBytes(info))/2)
			},
		} {
			dir := copyDir(t, opt.Dir)
			if err := harm(filepath.Join(dir, badgerDir, name)); err != nil {
				t.Fatal(err)
			}
			o := opt
			o.Dir = dir
			t.Logf("%s %s: %s", name, what, wantHonest(t, o, es, name+" "+what))
			os.RemoveAll(dir)
		}
	}
}

// Badger empties its files before it removes them; a crash in between is no damage.
func TestEmptiedFilesAreNoDamage(t *testing.T) {
	t.Parallel()
	es := storagetest.Entries(1, 20, 2, 40)
	opt := made(t, es)
	for _, name := range []string{"00099" + walEnding, "000001.vlog", "000099.vlog"} {
		if err := os.WriteFile(filepath.Join(opt.Dir, badgerDir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, opt)
	wantPrefix(t, l, es, 20)
	if s := l.State(); s.Recovering != nil {
		t.Fatalf("state %+v", s)
	}
}

func TestWithoutManifestNothingIsDeleted(t *testing.T) {
	t.Parallel()
	opt, _ := acknowledged(t)
	path := filepath.Join(opt.Dir, badgerDir)
	tables := files(t, path, "*.sst")
	if err := os.Remove(filepath.Join(path, badger.ManifestFilename)); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, opt, ErrLogLost)
	if got := files(t, path, "*.sst"); len(got) != len(tables) {
		t.Errorf("%d tables, there were %d", len(got), len(tables))
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, opt, ErrLogLost)
}

func TestSidecarDamage(t *testing.T) {
	t.Parallel()
	opt, es := acknowledged(t)
	harm := func(change func(path string)) Options {
		o := opt
		o.Dir = copyDir(t, opt.Dir)
		change(filepath.Join(o.Dir, sidecarName))
		return o
	}
	for _, off := range []int64{0, 4, 6, 7, 20, 60, 100, 3000} {
		for slot := range int64(2) {
			o := harm(func(path string) { flip(t, path, slot*ledger.SlotBytes+off) })
			if got := wantHonest(t, o, es, "one slot"); got != "unharmed" {
				t.Errorf("slot %d, byte %d flipped: %s", slot, off, got)
			}
			// It is whole again after the next writes.
			l := mustOpen(t, o)
			storagetest.Append(t, l, hs(4, 1, 0), storagetest.Entry(701, 4, 5))
			storagetest.Append(t, l, hs(4, 1, 0), storagetest.Entry(702, 4, 5))
			l.Close()
			sc, slots, err := openSidecar(o.Dir)
			if err != nil || slots.Older == nil || slots.Older.Number+1 != slots.Latest.Number {
				t.Fatalf("the sidecar is not whole: %+v, %v", slots, err)
			}
			sc.close()
		}
		o := harm(func(path string) { flip(t, path, off); flip(t, path, ledger.SlotBytes+off) })
		wantRefused(t, o, ErrBadSidecar)
	}
	wantRefused(t, harm(func(path string) { os.Remove(path) }), ErrNoSidecar)
	wantRefused(t, harm(func(path string) { os.Truncate(path, 0) }), ErrBadSidecar)
}

// change replaces the value of an entry, chain and checksum included as the test likes.
func change(t *testing.T, dir string, index uint64, f func(e *raft.Entry, prev *storage.Hash)) {
	t.Helper()
	in(t, dir, func(txn *badger.Txn) error {
		item, err := txn.Get(ledger.AppendEntryKey(nil, index))
		if err != nil {
			return err
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		e, prev, _, err := ledger.ParseEntryValue(value)
		if err != nil {
			return err
		}
		f(&e, &prev)
		value, _ = ledger.AppendEntryValue(nil, prev, &e)
		return txn.Set(ledger.AppendEntryKey(nil, index), value)
	})
}

func TestBrokenLogs(t *testing.T) {
	t.Parallel()
	es := append(storagetest.Entries(1, 30, 2, 40), storagetest.Entries(31, 60, 3, 40)...)
	for name, c := range map[string]struct {
		harm  func(t *testing.T, dir string)
		sound uint64
	}{
		"a hole": {func(t *testing.T, dir string) {
			in(t, dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 40)) })
		}, 39},
		"a hole at the end": {func(t *testing.T, dir string) {
			in(t, dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 60)) })
		}, 59},
		"wrong bytes": {func(t *testing.T, dir string) {
			in(t, dir, func(txn *badger.Txn) error { return txn.Set(ledger.AppendEntryKey(nil, 40), []byte("nonsense")) })
		}, 39},
		"an empty value": {func(t *testing.T, dir string) {
			in(t, dir, func(txn *badger.Txn) error { return txn.Set(ledger.AppendEntryKey(nil, 40), nil) })
		}, 39},
		"the entry of another index": {func(t *testing.T, dir string) {
			change(t, dir, 40, func(e *raft.Entry, _ *storage.Hash) { e.Index = 41 })
		}, 39},
		"another chain": {func(t *testing.T, dir string) {
			change(t, dir, 40, func(_ *raft.Entry, prev *storage.Hash) { prev[3]++ })
		}, 39},
		// The entry itself looks right; the next one knows better.
		"other data": {func(t *testing.T, dir string) {
			change(t, dir, 40, func(e *raft.Entry, _ *storage.Hash) { e.Data[0]++ })
		}, 40},
		"other data at the end": {func(t *testing.T, dir string) {
			change(t, dir, 60, func(e *raft.Entry, _ *storage.Hash) { e.Data[0]++ })
		}, 59},
		"a term that goes back": {func(t *testing.T, dir string) {
			change(t, dir, 40, func(e *raft.Entry, _ *storage.Hash) { e.Term = 2 })
		}, 39},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := made(t, es)
			c.harm(t, opt.Dir)
			for range 2 { // it stays what it is, however often it is opened
				l := mustOpen(t, opt)
				s := l.State()
				if s.Recovering == nil || s.Recovering.Last != 60 || s.Recovering.LastTerm != 3 {
					t.Fatalf("recovering %+v, want to 60", s.Recovering)
				}
				if s.Last != c.sound || s.HardState.Commit != 0 || s.HardState.Term != 3 {
					t.Fatalf("state %+v, want last %d, and nothing known as committed", s, c.sound)
				}
				l.Close()
			}
			// The leader sends what is missing, from where the log is right.
			l := mustOpen(t, opt)
			from := min(c.sound, 39)
			if err := l.Append(storage.Batch{HardState: hs(3, 1, 0), TruncateAfter: from, Entries: es[from:]}); err != nil {
				t.Fatal(err)
			}
			l.Close()
			l = mustOpen(t, opt)
			wantPrefix(t, l, es, 60)
			if s := l.State(); s.Recovering != nil {
				t.Fatalf("still recovering: %+v", s)
			}
		})
	}
}

// Where the chain comes to the mark with another hash, something before it is not what was acknowledged.
func TestDivergedFromTheMark(t *testing.T) {
	t.Parallel()
	es := storagetest.Entries(1, 20, 2, 40)
	opt := made(t, es)
	in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 15)) })
	l := mustOpen(t, opt)
	bad := append([]raft.Entry(nil), es[14:]...)
	bad[1].Wall++
	err := l.Append(storage.Batch{HardState: hs(2, 1, 0), TruncateAfter: 14, Entries: bad})
	if !errors.Is(err, ErrDiverged) {
		t.Fatalf("%v, want ErrDiverged", err)
	}
	if again := l.Append(storage.Batch{HardState: hs(2, 1, 0), TruncateAfter: 14, Entries: es[14:]}); !errors.Is(again, ErrDiverged) {
		t.Fatalf("%v: the failure has to stick", again)
	}
	l.Close()
	if s := mustOpen(t, opt).State(); s.Recovering == nil || s.Last != 14 {
		t.Fatalf("state %+v", s)
	}
}

func TestNothingLeft(t *testing.T) {
	t.Parallel()
	es := storagetest.Entries(1, 20, 2, 40)
	t.Run("the first entry is gone", func(t *testing.T) {
		t.Parallel()
		opt := made(t, es)
		in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 1)) })
		for range 2 {
			wantRefused(t, opt, ErrLogLost)
		}
	})
	t.Run("the bounds are gone", func(t *testing.T) {
		t.Parallel()
		opt := made(t, es)
		in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Delete(ledger.RecordKey) })
		wantRefused(t, opt, ErrDamaged)
	})
	t.Run("the bounds are wrong", func(t *testing.T) {
		t.Parallel()
		opt := made(t, es)
		in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Set(ledger.RecordKey, []byte("nonsense")) })
		wantRefused(t, opt, ErrDamaged)
	})
	t.Run("everything is gone", func(t *testing.T) {
		t.Parallel()
		opt := made(t, es)
		in(t, opt.Dir, func(txn *badger.Txn) error {
			for i := range es {
				if err := txn.Delete(ledger.AppendEntryKey(nil, uint64(i)+1)); err != nil {
					return err
				}
			}
			return txn.Delete(ledger.RecordKey)
		})
		wantRefused(t, opt, ErrLogLost)
	})
	t.Run("an empty directory is a new member", func(t *testing.T) {
		t.Parallel()
		opt := made(t, es)
		first := mustOpen(t, opt)
		was := first.State().Incarnation
		first.Close()
		if err := os.RemoveAll(opt.Dir); err != nil {
			t.Fatal(err)
		}
		if s := mustOpen(t, opt).State(); s.Incarnation == was || s.Last != 0 {
			t.Fatalf("state %+v", s)
		}
	})
}

// Keys behind the end are not the log: they go at the next open and never come back.
func TestGarbageIsSwept(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	es := storagetest.Entries(1, 9000, 2, 10)
	storagetest.Append(t, l, hs(2, 1, 0), es...)
	if err := l.Append(storage.Batch{HardState: hs(3, 1, 0), TruncateAfter: 7}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = mustOpen(t, opt)
	wantPrefix(t, l, es, 7)
	keys := 0
	if err := l.db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			keys++
		}
		return nil
	}); err != nil || keys != 7 {
		t.Fatalf("%d keys, want 7 (%v)", keys, err)
	}
}
