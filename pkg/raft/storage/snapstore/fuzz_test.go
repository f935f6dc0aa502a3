package snapstore

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// snapshot is the raw bytes of one in memory.
func snapshot(t testing.TB, n int) ([]byte, storage.SnapshotInfo) {
	t.Helper()
	m := NewMemory()
	info := storagetest.Save(t, m, storagetest.Meta(5, 2), storagetest.State(n))
	return storagetest.WantSnapshot(t, m, info, storagetest.State(n)), info
}

// FuzzSnapshotHeader: what is read is written to the same bytes, but for layouts of the description that are only
// read any more; and written once, it stays as it is.
func FuzzSnapshotHeader(f *testing.F) {
	raw, _ := snapshot(f, 0)
	header := raw[:len(raw)-endBytes]
	f.Add(header)
	f.Add(header[:len(header)-sumBytes])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(bytes.Clone(b), 0)} {
			if len(b) < headerFixed {
				continue
			}
			n, err := headerBytes(b)
			if err != nil || n > len(b) {
				continue
			}
			meta, err := parseHeader(b[:n])
			if err != nil {
				continue
			}
			again, err := appendHeader(nil, &meta)
			if err != nil {
				t.Fatalf("%x became %+v: %v", b[:n], meta, err)
			}
			if bytes.Equal(again, b[:n]) {
				continue
			}
			second, err := parseHeader(again)
			if d := cmp.Diff(meta, second); err != nil || d != "" || bytes.Equal(meta.Encode(), b[headerFixed:n-sumBytes]) {
				t.Fatalf("%x became %x (%v):\n%s", b[:n], again, err, d)
			}
		}
	})
}

// FuzzReceive: whatever comes, in whatever pieces, a copy is either refused or whole; what is whole reads back
// without an error and would be written to the same bytes again.
func FuzzReceive(f *testing.F) {
	for _, n := range []int{0, 1, 500, BlockBytes + 3} {
		raw, _ := snapshot(f, n)
		f.Add(raw, 77)
		f.Add(raw[:len(raw)-1], 1<<20)
		f.Add(append(raw, raw...), 1000)
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		piece = max(piece, 1+len(raw)/1000)
		m := NewMemory()
		r, _, err := newReceiver(nil, 0, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		r.sink = &memorySink{to: m}
		for rest := raw; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := r.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		info, err := r.Commit()
		if err != nil {
			return
		}
		b, err := newReader(content{bytes.NewReader(raw)}, int64(len(raw)), "")
		if err != nil {
			t.Fatalf("received, and not opened: %v", err)
		}
		state, err := io.ReadAll(b)
		if err != nil {
			t.Fatalf("received, and not read: %v", err)
		}
		storagetest.Save(t, m, info.Meta, state)
		again, err := m.Open(info.Meta.Index, info.Meta.Term)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, again.Info().Size)
		_, err = again.ReadAt(got, 0)
		if oldLayout := !bytes.Contains(raw, info.Meta.Encode()); err != nil || !oldLayout && !bytes.Equal(got, raw) {
			t.Fatalf("two files for one content (%v)", err)
		}
	})
}
