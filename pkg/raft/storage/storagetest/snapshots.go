package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// SnapshotsOpener opens one store of snapshots; it is called again only after the one that it returned was closed.
type SnapshotsOpener func(t testing.TB) storage.Snapshots

// RunSnapshots runs the suite of storage.Snapshots; fresh makes a new, empty store.
func RunSnapshots(t *testing.T, fresh func(t testing.TB) SnapshotsOpener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, SnapshotsOpener)
	}{
		{"a new store is empty", noSnapshots},
		{"snapshots of all sizes come back", snapshotSizes},
		{"nothing is listed before it is whole", snapshotsWhole},
		{"the newest one is first", snapshotsOrdered},
		{"one that is set aside goes when a newer one is there", setAside},
		{"a reader stays good", readerStays},
		{"many read one snapshot", manyReaders},
		{"a copy is what was sent", copies},
		{"a copy that broke off goes on", copyResumes},
		{"another copy begins anew", copyReplaced},
		{"what is wrong with a copy is found", copyDamaged},
		{"a description that contradicts itself is refused", badMeta},
		{"a closed store takes nothing", snapshotsClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, fresh(t))
		})
	}
}

// Meta makes the description of a snapshot.
func Meta(index, term uint64) raft.SnapshotMeta {
	return raft.SnapshotMeta{Index: index, Term: term, Time: int64(index) * 1000, Hash: storage.Hash{byte(index), byte(term)}, ConfigIndex: 1,
		Config: raft.Configuration{ClusterID: raft.ClusterID{7}, Version: 1, Members: []raft.Member{{ID: 1, Name: "a", Address: "127.0.0.1:1"}, {ID: 2, Name: "b", Address: "127.0.0.1:2", Learner: true}}}}
}

// State makes n bytes of a state machine, no two blocks of which are alike.
func State(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// Save puts a snapshot into a store.
func Save(t testing.TB, s storage.Snapshots, meta raft.SnapshotMeta, state []byte) storage.SnapshotInfo {
	t.Helper()
	w, err := s.Create(meta)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	defer w.Abort()
	for rest := state; len(rest) > 0; { // pieces that fit no block
		n := min(len(rest), 10_007)
		if k, err := w.Write(rest[:n]); err != nil || k != n {
			t.Fatalf("write: %d of %d, %v", k, n, err)
		}
		rest = rest[n:]
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return info
}

// WantSnapshot checks what a store has of a snapshot, and returns the raw bytes of it.
func WantSnapshot(t testing.TB, s storage.Snapshots, info storage.SnapshotInfo, state []byte) []byte {
	t.Helper()
	r, err := s.Open(info.Meta.Index, info.Meta.Term)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer r.Close()
	if d := cmp.Diff(info, r.Info()); d != "" {
		t.Fatalf("info (-want +got):\n%s", d)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, state) {
		t.Fatalf("%d bytes, want %d as they were written (%v)", len(got), len(state), err)
	}
	raw := make([]byte, info.Size)
	if n, err := r.ReadAt(raw, 0); int64(n) != info.Size || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("raw bytes: %d of %d, %v", n, info.Size, err)
	}
	if n, err := r.ReadAt(make([]byte, 1), info.Size); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("raw bytes behind the end: %d, %v", n, err)
	}
	return raw
}

func wantList(t testing.TB, s storage.Snapshots, want ...storage.SnapshotInfo) {
	t.Helper()
	if d := cmp.Diff(want, s.List()); len(want)+len(s.List()) > 0 && d != "" {
		t.Fatalf("list (-want +got):\n%s", d)
	}
}

func again(t testing.TB, open SnapshotsOpener, s storage.Snapshots) storage.Snapshots {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t)
}

func noSnapshots(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	for range 2 {
		wantList(t, s)
		if _, err := s.Open(1, 1); !errors.Is(err, storage.ErrNoSnapshot) {
			t.Fatalf("open: %v, want ErrNoSnapshot", err)
		}
		if err := s.Remove(1, 1); err != nil {
			t.Fatalf("removing what is not there: %v", err)
		}
		s = again(t, open, s)
	}
}

func snapshotSizes(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	var infos []storage.SnapshotInfo
	sizes := []int{0, 1, 5000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 5<<20 + 77}
	for i, n := range sizes {
		info := Save(t, s, Meta(uint64(i)+1, 3), State(n))
		if info.Size < int64(n) || !cmp.Equal(info.Meta, Meta(uint64(i)+1, 3)) {
			t.Fatalf("info %+v of %d bytes", info, n)
		}
		infos = append(infos, info)
	}
	for range 2 {
		for i, n := range sizes {
			WantSnapshot(t, s, infos[i], State(n))
		}
		s = again(t, open, s)
	}
}

func snapshotsWhole(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	w, err := s.Create(Meta(5, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(State(200_000)); err != nil {
		t.Fatal(err)
	}
	wantList(t, s)
	if _, err := s.Open(5, 2); !errors.Is(err, storage.ErrNoSnapshot) {
		t.Fatalf("open: %v, want ErrNoSnapshot", err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("written after Abort")
	}
	if _, err := w.Commit(); err == nil {
		t.Error("committed after Abort")
	}
	wantList(t, s)
	if w, err = s.Create(Meta(6, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(State(200_000)); err != nil {
		t.Fatal(err)
	}
	s = again(t, open, s) // as a crash would
	wantList(t, s)
	if _, err := w.Commit(); err == nil {
		t.Error("committed into a closed store")
	}
	info := Save(t, s, Meta(5, 2), State(9))
	wantList(t, s, info)
	s = again(t, open, s)
	wantList(t, s, info)
}

func snapshotsOrdered(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	var infos [3]storage.SnapshotInfo
	for _, i := range []int{1, 2, 0} {
		infos[i] = Save(t, s, Meta([]uint64{1000, 200, 99}[i], []uint64{7, 9, 9}[i]), State(i*100))
	}
	wantList(t, s, infos[:]...)
	s = again(t, open, s)
	wantList(t, s, infos[:]...)
	infos[1] = Save(t, s, infos[1].Meta, State(77)) // once more
	wantList(t, s, infos[:]...)
	WantSnapshot(t, s, infos[1], State(77))
	if err := s.Remove(200, 9); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, infos[0], infos[2])
	s = again(t, open, s)
	wantList(t, s, infos[0], infos[2])
}

func setAside(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	older := Save(t, s, Meta(10, 2), State(100))
	bad := Save(t, s, Meta(20, 2), State(200))
	why := fmt.Errorf("block 3: %w", storage.ErrSnapshotDamaged)
	for range 2 {
		if err := s.SetAside(20, 2, why); err != nil {
			t.Fatal(err)
		}
	}
	wantList(t, s, older)
	if _, err := s.Open(20, 2); !errors.Is(err, why) {
		t.Errorf("one that was set aside was opened: %v", err)
	}
	newer := Save(t, s, Meta(30, 2), State(300))
	wantList(t, s, newer, older)
	if _, err := s.Open(20, 2); !errors.Is(err, storage.ErrNoSnapshot) {
		t.Errorf("with a newer one: %v, want ErrNoSnapshot", err)
	}
	if err := s.SetAside(30, 2, why); err != nil {
		t.Fatal(err)
	}
	newer = Save(t, s, newer.Meta, State(300)) // in its place
	wantList(t, s, newer, older)
	WantSnapshot(t, s, newer, State(300))
	if err := s.SetAside(bad.Meta.Index, bad.Meta.Term, why); err != nil { // it is gone
		t.Error(err)
	}
	s = again(t, open, s)
	wantList(t, s, newer, older)
}

func readerStays(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	state := State(300_000)
	Save(t, s, Meta(5, 2), state)
	r, err := s.Open(5, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(5, 2); err != nil {
		t.Fatal(err)
	}
	wantList(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(first, rest...), state) {
		t.Fatalf("%d bytes of %d (%v)", len(first)+len(rest), len(state), err)
	}
}

func manyReaders(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	state := State(400_000)
	info := Save(t, s, Meta(5, 2), state)
	raw := WantSnapshot(t, s, info, state)
	r, err := s.Open(5, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	results := make(chan error)
	for i := range 8 {
		go func() { // one handle for all
			b := make([]byte, 1000+i*777)
			for off := int64(0); off < info.Size; off += int64(len(b)) {
				n, err := r.ReadAt(b, off)
				if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(b[:n], raw[off:off+int64(n)]) {
					results <- fmt.Errorf("at byte %d: %d bytes, %w", off, n, err)
					return
				}
			}
			results <- nil
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func badMeta(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	meta := Meta(5, 2)
	meta.ConfigIndex = 6
	if _, err := s.Create(meta); err == nil {
		t.Error("a description that can't be read again")
	}
	if _, err := s.Receive(meta, 1000); err == nil {
		t.Error("a description that can't be read again")
	}
	if _, err := s.Receive(Meta(5, 2), 3); !errors.Is(err, storage.ErrSnapshotDamaged) {
		t.Errorf("a size that is none: %v, want ErrSnapshotDamaged", err)
	}
	s = again(t, open, s)
	wantList(t, s)
}

func snapshotsClosed(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	info := Save(t, s, Meta(5, 2), State(10))
	r, err := s.Receive(Meta(6, 2), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(Meta(7, 2))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if _, err := r.Write([]byte("c")); err == nil {
		t.Error("received")
	}
	if _, err := w.Write([]byte("c")); err == nil {
		t.Error("written")
	}
	_, openErr := s.Open(5, 2)
	_, createErr := s.Create(Meta(8, 2))
	_, receiveErr := s.Receive(Meta(8, 2), 1000)
	for _, err := range []error{openErr, createErr, receiveErr, s.Remove(5, 2), s.SetAside(5, 2, storage.ErrSnapshotDamaged)} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%v, want ErrClosed", err)
		}
	}
	s = open(t)
	defer s.Close()
	wantList(t, s, info)
}
