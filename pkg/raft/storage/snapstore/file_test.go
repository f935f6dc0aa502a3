package snapstore

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

func TestStandaloneFiles(t *testing.T) {
	t.Parallel()
	state := storagetest.State(150_000)
	path, raw := file(t, state)
	for name, look := range map[string]func(string) (Details, error){"Inspect": Inspect, "Verify": Verify} {
		d, err := look(path)
		if err != nil || d.Bytes != 150_000 || d.Blocks != 3 || d.Size != int64(len(raw)) || d.Meta.Index != 70 || d.Version != 1 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	r, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, state) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// A download, which may break off: what was there stays until all has come.
	to := filepath.Join(t.TempDir(), "download")
	if _, err := ReceiveFile(to, bytes.NewReader(raw[:100_000])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("half a snapshot: %v", err)
	}
	if _, err := ReceiveFile(to, bytes.NewReader(append(bytes.Clone(raw), 1))); !errors.Is(err, storage.ErrSnapshotDamaged) {
		t.Fatalf("more than a snapshot: %v", err)
	}
	if got := names(t, filepath.Dir(to)); len(got) != 0 {
		t.Fatalf("left behind: %v", got)
	}
	for range 2 {
		info, err := ReceiveFile(to, bytes.NewReader(raw))
		if err != nil || info.Size != int64(len(raw)) || info.Meta.Index != 70 {
			t.Fatalf("%+v, %v", info, err)
		}
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, raw) {
		t.Fatalf("another file (%v)", err)
	}
	if _, err := Inspect(filepath.Join(t.TempDir(), "none")); !errors.Is(err, storage.ErrNoSnapshot) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Inspect(t.TempDir()); err == nil {
		t.Error("a directory is no snapshot")
	}
}

// What a crash leaves: a snapshot that was being written goes, a copy that was being received stays.
func TestLeftOvers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	info := storagetest.Save(t, s, storagetest.Meta(70, 3), storagetest.State(300_000))
	raw := storagetest.WantSnapshot(t, s, info, storagetest.State(300_000))
	w, err := s.Create(storagetest.Meta(80, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	r, err := s.Receive(info.Meta, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Write(raw[:200_000]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	crashed := t.TempDir()
	for _, name := range names(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(crashed, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, crashed); len(got) != 4 {
		t.Fatalf("%v: want a snapshot, a new one, a part and a stranger", got)
	}
	c := mustOpen(t, Options{Dir: crashed})
	defer c.Close()
	part := id{70, 3}.partName(info.Size)
	if got := names(t, crashed); len(got) != 3 || !slices.Contains(got, part) || !slices.Contains(got, "README") {
		t.Fatalf("%v", got)
	}
	if got := c.List(); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	// A part's end may be anything after a crash: what is sound counts.
	path := filepath.Join(crashed, part)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := int64(len(b))
	for _, harm := range []func(){
		func() { b = append(b, make([]byte, 5000)...) },
		func() { b = b[:len(b)-5001] },
		func() { b[70_000] ^= 1 },
		func() { b[3] ^= 1 },
	} {
		harm()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := c.Receive(info.Meta, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		off := r.Offset()
		if off > whole || !bytes.Equal(b[:off], raw[:off]) {
			t.Fatalf("it goes on at %d", off)
		}
		whole = off
		r.Close()
	}
	if whole != 0 {
		t.Errorf("a part without a header goes on at %d", whole)
	}
}

func TestNoSpace(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(1 << 40)
	opt := Options{Dir: t.TempDir(), free: func(string) (int64, error) { return free.Load(), nil }}
	s := mustOpen(t, opt)
	defer s.Close()
	state := storagetest.State(3 * portionBytes)
	info := storagetest.Save(t, s, storagetest.Meta(70, 3), state)
	raw := storagetest.WantSnapshot(t, s, info, state)
	w, err := s.Create(storagetest.Meta(80, 3))
	if err != nil {
		t.Fatal(err)
	}
	free.Store(defaultReserve) // the log needs it
	if _, err := w.Write(state); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("write: %v, want ErrNoSpace", err)
	}
	if _, err := w.Commit(); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("commit: %v, want ErrNoSpace", err)
	}
	if _, err := s.Create(storagetest.Meta(80, 3)); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("create: %v, want ErrNoSpace", err)
	}
	free.Store(defaultReserve + info.Size - 1)
	if _, err := s.Receive(info.Meta, info.Size); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("receive: %v, want ErrNoSpace", err)
	}
	free.Store(defaultReserve + info.Size)
	r, err := s.Receive(info.Meta, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	free.Store(defaultReserve)
	n, err := r.Write(raw)
	if !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("receive: %v, want ErrNoSpace", err)
	}
	r.Close()
	free.Store(1 << 40)
	if r, err = s.Receive(info.Meta, info.Size); err != nil || r.Offset() != int64(n) {
		t.Fatalf("it goes on at %d, %d bytes were taken (%v)", r.Offset(), n, err)
	}
	if _, err := r.Write(raw[r.Offset():]); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	storagetest.WantSnapshot(t, s, info, state)
	if got := names(t, opt.Dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

// A snapshot that a failed write left is none, and what the disk did not take is not trusted later.
func TestFailedWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	defer s.Close()
	info := storagetest.Save(t, s, storagetest.Meta(70, 3), storagetest.State(300_000))
	raw := storagetest.WantSnapshot(t, s, info, storagetest.State(300_000))
	if err := s.Remove(70, 3); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 100_000, len(raw)} { // len(raw): at the sync
		sw, err := s.Create(info.Meta)
		if err != nil {
			t.Fatal(err)
		}
		sr, err := s.Receive(info.Meta, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		if sr.Offset() != 0 {
			t.Fatalf("it goes on at %d", sr.Offset())
		}
		w, r := sw.(*writer), sr.(*receiver)
		_, err = w.Write(storagetest.State(300_000)[:min(at, 300_000)])
		_, err2 := r.Write(raw[:at])
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		w.sink.(*fileSink).f.Close()
		r.sink.(*fileSink).f.Close()
		_, _ = w.Write(make([]byte, BlockBytes))
		if _, err := w.Commit(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("commit: %v", err)
		}
		if at < len(raw) {
			_, err = r.Write(raw[at:])
		} else {
			_, err = r.Commit()
		}
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("receive: %v", err)
		}
		if got := names(t, dir); len(got) != 0 || len(s.List()) != 0 {
			t.Errorf("left behind: %v, %v", got, s.List())
		}
	}
}
