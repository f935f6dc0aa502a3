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

// sent makes a snapshot in another store and returns its raw bytes.
func sent(t testing.TB, s storage.Snapshots, meta raft.SnapshotMeta, state []byte) ([]byte, storage.SnapshotInfo) {
	t.Helper()
	info := Save(t, s, meta, state)
	raw := WantSnapshot(t, s, info, state)
	if err := s.Remove(meta.Index, meta.Term); err != nil {
		t.Fatal(err)
	}
	return raw, info
}

func copies(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	for _, n := range []int{0, 1, 64 << 10, 333_333} {
		for _, piece := range []int{1 << 30, 64 << 10, 999} {
			raw, info := sent(t, s, Meta(5, 2), State(n))
			r, err := s.Receive(info.Meta, info.Size)
			if err != nil {
				t.Fatal(err)
			}
			for rest := raw; len(rest) > 0; {
				if off := r.Offset(); off != int64(len(raw)-len(rest)) {
					t.Fatalf("offset %d, %d bytes were written", off, len(raw)-len(rest))
				}
				if _, err := r.Commit(); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("commit before the end: %v", err)
				}
				wantList(t, s)
				k, err := r.Write(rest[:min(piece, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			got, err := r.Commit()
			if err != nil || !cmp.Equal(got, info) {
				t.Fatalf("%+v (%v), want %+v", got, err, info)
			}
			wantList(t, s, info)
			if again := WantSnapshot(t, s, info, State(n)); !bytes.Equal(again, raw) {
				t.Fatal("another file")
			}
			r.Abort() // does no harm any more
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			wantList(t, s, info)
		}
	}
}

func copyResumes(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	state := State(500_000)
	raw, info := sent(t, s, Meta(5, 2), state)
	begin := func() storage.SnapshotReceiver {
		t.Helper()
		r, err := s.Receive(info.Meta, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := begin()
	if r.Offset() != 0 {
		t.Fatalf("a new copy begins at %d", r.Offset())
	}
	for have := 100_000; ; have += 100_000 {
		off := r.Offset()
		if _, err := r.Write(raw[off:min(have, len(raw))]); err != nil {
			t.Fatal(err)
		}
		if have >= len(raw) {
			break
		}
		switch have % 300_000 {
		case 0: // the connection broke
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		case 100_000: // the process ended
			s = again(t, open, s)
		} // or nobody said anything
		old := r
		r = begin()
		if got := r.Offset(); got < int64(have)-(64<<10)-100 || got > int64(have) {
			t.Fatalf("it goes on at %d, %d bytes had come", got, have)
		}
		if _, err := old.Write(raw[have : have+1]); err == nil {
			t.Fatal("a receiver that is over takes bytes")
		}
	}
	got, err := r.Commit()
	if err != nil || !cmp.Equal(got, info) {
		t.Fatalf("%+v (%v), want %+v", got, err, info)
	}
	WantSnapshot(t, s, info, state)
	if r := begin(); r.Offset() != 0 {
		t.Fatalf("a copy that was committed goes on at %d", r.Offset())
	}
	s = again(t, open, s)
	WantSnapshot(t, s, info, state)
}

func copyReplaced(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	raw, info := sent(t, s, Meta(5, 2), State(500_000))
	half := func(meta raft.SnapshotMeta, size int64) storage.SnapshotReceiver {
		t.Helper()
		r, err := s.Receive(meta, size)
		if err != nil {
			t.Fatal(err)
		}
		if r.Offset() != 0 {
			t.Fatalf("it goes on at %d", r.Offset())
		}
		return r
	}
	other := info.Meta
	other.Hash[0]++ // the same name, another snapshot
	for _, next := range []struct {
		meta raft.SnapshotMeta
		size int64
	}{{Meta(6, 2), info.Size}, {other, info.Size}, {info.Meta, info.Size + 1000}} {
		r := half(info.Meta, info.Size)
		if _, err := r.Write(raw[:300_000]); err != nil {
			t.Fatal(err)
		}
		r.Close()
		half(next.meta, next.size).Close()
	}
	r := half(info.Meta, info.Size)
	if _, err := r.Write(raw[:300_000]); err != nil {
		t.Fatal(err)
	}
	r.Abort()
	half(info.Meta, info.Size)
	wantList(t, s)
}

func copyDamaged(t *testing.T, open SnapshotsOpener) {
	s := open(t)
	defer func() { s.Close() }()
	raw, info := sent(t, s, Meta(5, 2), State(200_000))
	flipped := func(off int) []byte {
		b := bytes.Clone(raw)
		b[off] ^= 0x10
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		size int64
		want error
	}{
		{"not a snapshot", flipped(0), info.Size, storage.ErrSnapshotDamaged},
		{"another version", flipped(9), info.Size, storage.ErrSnapshotVersion},
		{"a huge header", flipped(10), info.Size, storage.ErrSnapshotDamaged},
		{"the description", flipped(40), info.Size, storage.ErrSnapshotDamaged},
		{"the first block", flipped(1000), info.Size, storage.ErrSnapshotDamaged},
		{"a later block", flipped(150_000), info.Size, storage.ErrSnapshotDamaged},
		{"the end", flipped(len(raw) - 30), info.Size, storage.ErrSnapshotDamaged},
		{"the last byte", flipped(len(raw) - 1), info.Size, storage.ErrSnapshotDamaged},
		{"something behind it", append(bytes.Clone(raw), 'e'), info.Size, storage.ErrSnapshotDamaged},
		{"shorter than announced", raw, info.Size + 1, storage.ErrSnapshotDamaged},
		{"longer than announced", raw, info.Size - 1, storage.ErrSnapshotDamaged},
		{"a block left out", append(bytes.Clone(raw[:70_000]), raw[135_549:]...), info.Size, storage.ErrSnapshotDamaged},
	} {
		r, err := s.Receive(info.Meta, c.size)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if r.Offset() != 0 {
			t.Fatalf("%s: the one before left %d bytes", c.name, r.Offset())
		}
		_, err = io.Copy(r, bytes.NewReader(c.b))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if _, err := r.Commit(); err == nil {
			t.Errorf("%s: committed", c.name)
		}
		wantList(t, s)
	}
	// One that is sound and not the one that was asked for.
	r, err := s.Receive(Meta(6, 2), info.Size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write(raw); !errors.Is(err, storage.ErrSnapshotDamaged) {
		t.Errorf("another snapshot: %v, want ErrSnapshotDamaged", err)
	}
	wantList(t, s)
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
