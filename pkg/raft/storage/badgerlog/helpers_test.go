package badgerlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// copyDir copies a directory as it is at this moment: what a crash would leave if the kernel lost nothing. Badger
// makes and removes files in the background; a copy during which it did is none of one moment and is made again.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	for {
		to := filepath.Join(t.TempDir(), "copy")
		before := listing(t, from)
		for _, f := range before {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(to, f.path)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := copyFile(filepath.Join(to, f.path), filepath.Join(from, f.path)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if slices.Equal(before, listing(t, from)) {
			return to
		}
	}
}

type listed struct {
	path string
	size int64
}

func listing(t testing.TB, dir string) []listed {
	t.Helper()
	var out []listed
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		rel, relErr := filepath.Rel(dir, path)
		if err = errors.Join(err, relErr); err == nil {
			out = append(out, listed{rel, info.Size()})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copyFile copies a file; holes stay holes.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	for end := int64(0); ; {
		start, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole up to the end
			return out.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
	}
}

// files lists the files of a directory that match a pattern, at least one.
func files(t testing.TB, dir, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s (%v)", pattern, dir, err)
	}
	return list
}

// flip changes one byte of a file.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x5a
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within two minutes", what)
		}
	}
}

// settled waits until the mark of the last batch is in the sidecar.
func settled(t testing.TB, l *Log) {
	t.Helper()
	eventually(t, "the mark follows", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ledger.Slot.Mark == l.ledger.Record.End
	})
}

// in changes a closed log behind its back.
func in(t testing.TB, dir string, change func(txn *badger.Txn) error) {
	t.Helper()
	opt := testOptions(t, dir)
	if err := opt.complete(); err != nil {
		t.Fatal(err)
	}
	db, err := badger.Open(opt.badgerOptions(filepath.Join(dir, badgerDir), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}

// wantRefused opens a directory and wants it refused for a cause.
func wantRefused(t testing.TB, opt Options, cause error) *RefusedError {
	t.Helper()
	l, err := Open(opt)
	if err == nil {
		l.Close()
		t.Fatalf("opened, want %v; state %+v", cause, l.State())
	}
	var refused *RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, cause) {
		t.Fatalf("%v, want %v", err, cause)
	}
	if refused.Dir != opt.Dir || refused.Advice == "" {
		t.Errorf("%v: it has to name the directory and say what to do", err)
	}
	if strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%q: a log and a shell want one line", err)
	}
	return refused
}

func hs(term uint64, vote raft.MemberID, commit uint64) raft.HardState {
	return raft.HardState{Term: term, Vote: vote, Commit: commit}
}

// made makes a closed log of these entries and returns its options.
func made(t testing.TB, es []raft.Entry) Options {
	t.Helper()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	term := es[len(es)-1].Term
	for i := 0; i < len(es); i += 50 {
		storagetest.Append(t, l, hs(term, 1, uint64(i)), es[i:min(i+50, len(es))]...)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return opt
}

// wantPrefix checks that a log has the first n of these entries and nothing else.
func wantPrefix(t testing.TB, l *Log, es []raft.Entry, n uint64) {
	t.Helper()
	if got := l.State().Last; got != n {
		t.Fatalf("last %d, want %d", got, n)
	}
	storagetest.Want(t, l, es[:n])
}

var _ storage.Observer = (*watcher)(nil)

type watcher struct {
	syncs, entries, bytes int
	size                  int64
	recovering            []bool
}

func (w *watcher) LogSync(_ float64, bytes, entries int) {
	w.syncs++
	w.bytes += bytes
	w.entries += entries
}
func (w *watcher) DBSize(bytes int64) { w.size = bytes }
func (w *watcher) Recovering(r bool)  { w.recovering = append(w.recovering, r) }
