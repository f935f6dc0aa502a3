package badgerlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// keysOf lists the indexes of all entry keys, of the log or garbage.
func keysOf(t testing.TB, l *Log) (keys []uint64) {
	t.Helper()
	err := l.db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			index, ok := ledger.EntryKeyIndex(it.Item().Key())
			if !ok {
				t.Errorf("key %x", it.Item().Key())
			}
			keys = append(keys, index)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantKeys waits until the only keys left are those of the log.
func wantKeys(t testing.TB, l *Log, first, last uint64) {
	t.Helper()
	eventually(t, "only the log's own keys are left", func() bool {
		keys := keysOf(t, l)
		n := int(last + 1 - first)
		return len(keys) == n && (n == 0 || keys[0] == first && keys[n-1] == last)
	})
}

// unswept makes a log whose keys in front of the base are all still there: the crash that comes right behind
// the transaction that moved the base.
func unswept(t testing.TB, change func(l *Log)) Options {
	t.Helper()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	storagetest.Append(t, l, hs(2, 1, 30), storagetest.Entries(1, 40, 2, 30)...)
	settled(t, l)
	if err := l.sweeper.end(false); err != nil {
		t.Fatal(err)
	}
	l.sweeper = &sweeper{log: l, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	close(l.sweeper.done) // it has nothing to do any more
	change(l)
	opt.Dir = copyDir(t, opt.Dir)
	return opt
}

// Keys outside of the bounds are no entries, wherever they lie, and the next life removes them on both sides.
func TestKeysOutsideOfTheBounds(t *testing.T) {
	t.Parallel()
	base := raft.Mark{Last: 35, LastTerm: 3, Hash: storage.Hash{3}}
	for name, c := range map[string]struct {
		change      func(t *testing.T, l *Log)
		first, last uint64
	}{
		"compacted": {func(t *testing.T, l *Log) {
			if err := l.Compact(30); err != nil {
				t.Fatal(err)
			}
		}, 31, 40},
		"installed": {func(t *testing.T, l *Log) {
			if err := l.Append(storage.Batch{HardState: hs(3, 1, 0), TruncateAfter: 35, Base: &base}); err != nil {
				t.Fatal(err)
			}
		}, 36, 35},
		"installed, with entries": {func(t *testing.T, l *Log) {
			if err := l.Append(storage.Batch{HardState: hs(3, 1, 0), TruncateAfter: 35, Base: &base, Entries: storagetest.Entries(36, 37, 3, 5)}); err != nil {
				t.Fatal(err)
			}
		}, 36, 37},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := unswept(t, func(l *Log) {
				c.change(t, l)
				if keys := keysOf(t, l); len(keys) != 40 {
					t.Fatalf("%d keys, want all 40: there was a sweep", len(keys))
				}
			})
			l := mustOpen(t, opt)
			if s := l.State(); s.First != c.first || s.Last != c.last || s.Recovering != nil {
				t.Fatalf("state %+v", s)
			}
			wantKeys(t, l, c.first, c.last)
		})
	}
}

// While the log is in use, old keys go without a restart.
func TestSweepBeside(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, testOptions(t, t.TempDir()))
	storagetest.Append(t, l, hs(1, 1, 20_000), storagetest.Entries(1, 20_000, 1, 10)...)
	if err := l.Compact(7_000); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(19_990); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, l, 19_991, 20_000)
	base := raft.Mark{Last: 1 << 40, LastTerm: 2}
	if err := l.Append(storage.Batch{HardState: hs(2, 1, 0), TruncateAfter: base.Last, Base: &base}); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, l, 1, 0)
}

// A log that has come to rest gives the space back.
func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, testOptions(t, t.TempDir()))
	const n = flattenKeys + 10_000
	storagetest.Append(t, l, hs(1, 1, n), storagetest.Entries(1, n, 1, 150)...)
	full := diskUse(t, l)
	if err := l.Compact(n - 10); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the space comes back", func() bool { return diskUse(t, l) < full/2 })
	storagetest.WantBehind(t, l, n-10, storagetest.Entries(n-9, n, 1, 150))
}

// Directories that were made before a log could lose its front go on as they are.
func TestVersion1Record(t *testing.T) {
	t.Parallel()
	es := storagetest.Entries(1, 20, 2, 40)
	opt := made(t, es)
	in(t, opt.Dir, func(txn *badger.Txn) error {
		item, err := txn.Get(ledger.RecordKey)
		if err != nil {
			return err
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		r, err := ledger.ParseRecord(value)
		if err != nil {
			return err
		}
		return txn.Set(ledger.RecordKey, recordV1(&r))
	})
	l := mustOpen(t, opt)
	wantPrefix(t, l, es, 20)
	if s := l.State(); s.Recovering != nil || s.HardState.Term != 2 || s.First != 1 {
		t.Fatalf("state %+v", s)
	}
	storagetest.Append(t, l, hs(2, 1, 15), storagetest.Entry(21, 2, 3))
	if err := l.Compact(15); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if s := mustOpen(t, opt).State(); s.First != 16 || s.Last != 21 || s.Recovering != nil {
		t.Fatalf("state %+v", s)
	}
}

// based makes a closed log that begins behind entry 30 of 40.
func based(t testing.TB) (Options, []raft.Entry) {
	t.Helper()
	es := append(storagetest.Entries(1, 25, 2, 40), storagetest.Entries(26, 40, 3, 40)...)
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	storagetest.Append(t, l, hs(3, 1, 35), es...)
	if err := l.Compact(30); err != nil {
		t.Fatal(err)
	}
	l.Close()
	return opt, es
}

// What is damaged behind a base is cut, down to the base if need be; the snapshot has the rest.
func TestBrokenBehindTheBase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm  func(t *testing.T, dir string)
		sound uint64
	}{
		"the first entry does not continue the base": {func(t *testing.T, dir string) {
			change(t, dir, 31, func(_ *raft.Entry, prev *storage.Hash) { prev[0]++ })
		}, 30},
		"the first entry is gone": {func(t *testing.T, dir string) {
			in(t, dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 31)) })
		}, 30},
		"a term below the base's": {func(t *testing.T, dir string) {
			change(t, dir, 31, func(e *raft.Entry, _ *storage.Hash) { e.Term = 2 })
		}, 30},
		"an entry in the middle": {func(t *testing.T, dir string) {
			change(t, dir, 34, func(_ *raft.Entry, prev *storage.Hash) { prev[0]++ })
		}, 33},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt, es := based(t)
			c.harm(t, opt.Dir)
			for range 2 {
				l := mustOpen(t, opt)
				s := l.State()
				if s.Recovering == nil || s.Recovering.Last != 40 || s.First != 31 || s.Last != c.sound || s.HardState.Commit != 30 || s.LastTerm != 3 {
					t.Fatalf("state %+v", s)
				}
				l.Close()
			}
			l := mustOpen(t, opt)
			if err := l.Append(storage.Batch{HardState: hs(3, 1, 0), TruncateAfter: c.sound, Entries: es[c.sound:]}); err != nil {
				t.Fatal(err)
			}
			l.Close()
			l = mustOpen(t, opt)
			storagetest.WantBehind(t, l, 30, es[30:])
			if s := l.State(); s.Recovering != nil {
				t.Fatalf("still recovering: %+v", s)
			}
		})
	}
}

// setBase changes the base in the record.
func setBase(t *testing.T, dir string, f func(r *ledger.Record)) {
	t.Helper()
	in(t, dir, func(txn *badger.Txn) error {
		item, err := txn.Get(ledger.RecordKey)
		if err != nil {
			return err
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		r, err := ledger.ParseRecord(value)
		if err != nil {
			return err
		}
		f(&r)
		return txn.Set(ledger.RecordKey, ledger.AppendRecord(nil, &r))
	})
}

// A base is the one part of a log that can't be cut. One that contradicts what was acknowledged, or itself, is
// damage.
func TestWrongBase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f     func(r *ledger.Record)
		cause error
	}{
		"another hash at the mark": {func(r *ledger.Record) {
			r.End.Hash[0]++
			r.Base, r.First = r.End, r.End.Last+1
			r.HardState.Commit = r.End.Last
		}, ErrDiverged},
		"behind the end":              {func(r *ledger.Record) { r.Base.Last, r.First = 41, 42 }, ErrDamaged},
		"of a higher term":            {func(r *ledger.Record) { r.Base.LastTerm = 4 }, ErrDamaged},
		"not before the first":        {func(r *ledger.Record) { r.First++ }, ErrDamaged},
		"not committed":               {func(r *ledger.Record) { r.HardState.Commit = 29 }, ErrDamaged},
		"an empty log ends elsewhere": {func(r *ledger.Record) { r.End = r.Base; r.End.Hash[0]++ }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt, _ := based(t)
			setBase(t, opt.Dir, c.f)
			wantRefused(t, opt, c.cause)
		})
	}
}

// A snapshot is one way for a recovering member to come to its mark.
func TestRecoveringBySnapshot(t *testing.T) {
	t.Parallel()
	es := storagetest.Entries(1, 20, 3, 40)
	mark := storagetest.Chain(raft.Mark{}, es)
	for name, c := range map[string]struct {
		base       raft.Mark
		es         []raft.Entry
		recovering bool
		fail       error
	}{
		"before the mark":           {base: storagetest.Chain(raft.Mark{}, es[:17]), recovering: true},
		"before it, with entries":   {base: storagetest.Chain(raft.Mark{}, es[:17]), es: es[17:]},
		"at the mark":               {base: mark},
		"of a higher term":          {base: raft.Mark{Last: 16, LastTerm: 4, Hash: storage.Hash{1}}},
		"beyond it":                 {base: raft.Mark{Last: 21, LastTerm: 3, Hash: storage.Hash{1}}},
		"at the mark, another hash": {base: raft.Mark{Last: 20, LastTerm: 3, Hash: storage.Hash{1}}, fail: ErrDiverged},
		"at the end, another hash":  {base: raft.Mark{Last: 14, LastTerm: 3, Hash: storage.Hash{1}}, fail: ErrDiverged},
		"inside it, another hash":   {base: raft.Mark{Last: 9, LastTerm: 3, Hash: storage.Hash{1}}, fail: ErrDiverged},
		"reaching it another way":   {base: raft.Mark{Last: 17, LastTerm: 3, Hash: storage.Hash{1}}, es: es[17:], fail: ErrDiverged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := made(t, es)
			in(t, opt.Dir, func(txn *badger.Txn) error { return txn.Delete(ledger.AppendEntryKey(nil, 15)) })
			l := mustOpen(t, opt)
			if s := l.State(); s.Recovering == nil || *s.Recovering != mark || s.Last != 14 {
				t.Fatalf("state %+v", s)
			}
			b := storage.Batch{HardState: hs(5, 0, 0), TruncateAfter: c.base.Last, Base: &c.base, Entries: c.es}
			if err := l.Append(b); !errors.Is(err, c.fail) {
				t.Fatalf("append: %v, want %v", err, c.fail)
			}
			l.Close()
			s := mustOpen(t, opt).State()
			if c.fail != nil {
				if s.Recovering == nil || s.Last != 14 || s.Base != (raft.Mark{}) {
					t.Fatalf("state %+v: something was written", s)
				}
				return
			}
			if (s.Recovering != nil) != c.recovering || s.Base != c.base {
				t.Fatalf("recovering %+v, want %v; base %+v", s.Recovering, c.recovering, s.Base)
			}
		})
	}
}

// The sidecar knows the cluster, too, of a log that is nothing but a snapshot.
func TestInstallTellsTheCluster(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	storagetest.Append(t, l, hs(1, 0, 1), storagetest.Config(1, 1, raft.ClusterID{9})) // what it was before counts no more
	base := raft.Mark{Last: 20, LastTerm: 3, Hash: storage.Hash{1}}
	if err := l.Append(storage.Batch{HardState: hs(5, 0, 0), TruncateAfter: 20, Base: &base, ClusterID: raft.ClusterID{4}}); err != nil {
		t.Fatal(err)
	}
	settled(t, l)
	l.Close()
	sc, slots, err := openSidecar(opt.Dir)
	if err != nil || slots.Latest.ClusterID != (raft.ClusterID{4}) || slots.Latest.Mark != base {
		t.Fatalf("slot %+v (%v)", slots.Latest, err)
	}
	sc.close()
	if s := mustOpen(t, opt).State(); s.ClusterID != (raft.ClusterID{4}) {
		t.Fatalf("state %+v", s)
	}
}

// Removing entries gives space back, so it may use some of what batches have to leave.
func TestCompactOnAFullDisk(t *testing.T) {
	t.Parallel()
	free := int64(1 << 40)
	opt := testOptions(t, t.TempDir())
	opt.free = func(string) (int64, error) { return free, nil }
	l := mustOpen(t, opt)
	storagetest.Append(t, l, hs(1, 1, 20), storagetest.Entries(1, 20, 1, 10)...)
	settled(t, l)
	l.sweeper.end(false)
	free = opt.ReserveBytes / 2
	if err := l.Append(storage.Batch{HardState: hs(1, 1, 20), TruncateAfter: 20, Entries: storagetest.Entries(21, 21, 1, 1)}); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("append: %v, want ErrNoSpace", err)
	}
	if err := l.Compact(5); err != nil {
		t.Fatal(err)
	}
	free--
	if err := l.Compact(9); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("compact: %v, want ErrNoSpace", err)
	}
	free = 1 << 40
	if err := l.Compact(9); err != nil {
		t.Fatal(err)
	}
	storagetest.WantBehind(t, l, 9, storagetest.Entries(10, 20, 1, 10))
	l.sweeper = startSweeper(l)
}

// recordV1 is how records were written before a log could lose its front.
func recordV1(r *ledger.Record) []byte {
	b := ledger.AppendRecord(nil, r)
	b[0] = 1
	b = b[:len(b)-len(r.Cluster)-4]
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
