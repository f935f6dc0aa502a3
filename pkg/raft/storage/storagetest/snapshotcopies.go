package storagetest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

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
