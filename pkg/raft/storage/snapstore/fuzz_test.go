package snapstore

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/internal/allocs"
	"github.com/coordd/coordd/pkg/raft"
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
	f.Add(append([]byte(magic), 0, version, 0xff, 0xff, 0xff, 0xff)) // a description of 4 GiB
	f.Add(append([]byte(magic), 0, version+1, 0, 0, 0, 0))
	for _, n := range []int{1, 7} { // members
		meta := raft.SnapshotMeta{Index: 1<<62 - 1, Term: 1<<62 - 1, Time: -1, ConfigIndex: 1, Config: raft.Configuration{ClusterID: raft.ClusterID{1}}}
		for i := range n {
			meta.Config.Members = append(meta.Config.Members, raft.Member{ID: raft.MemberID(i + 1), Name: "n", Address: "host:1",
				Learner: i == 1, Metadata: map[string]string{"zone": "a", "": ""}})
		}
		header, err := appendHeader(nil, &meta)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(header)
		f.Add(header[:len(header)-sumBytes])
		f.Add(header[:len(header)-sumBytes-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(bytes.Clone(b), 0)} {
			if len(b) < headerFixed {
				continue
			}
			n, err := headerBytes(b)
			if err != nil || n > len(b) {
				continue
			}
			allocs.Within(t, n, 256<<10, 64, func() {
				if _, err := parseHeader(b[:n]); err != nil && len(err.Error()) < 8 {
					t.Fatalf("an error that says too little: %q", err)
				}
			})
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
	for _, n := range []int{0, 1, 500, BlockBytes - 1, BlockBytes, BlockBytes + 3} {
		raw, _ := snapshot(f, n)
		f.Add(raw, 77)
		f.Add(raw[:len(raw)-1], 1<<20)
		f.Add(append(raw, raw...), 1000)
	}
	// Behind a right header: a block that says that it is large, larger than blocks get, or another one.
	raw, _ := snapshot(f, 0)
	header := raw[:len(raw)-endBytes]
	for _, block := range [][]byte{{kindBlock, 0, 0, 0, 0, 0, 1, 0, 0}, {kindBlock, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, {kindBlock, 0, 0, 0, 1, 0, 0, 0, 1},
		appendBlock(nil, 0, nil), appendBlock(nil, 0, make([]byte, 100))} {
		f.Add(append(bytes.Clone(header), block...), 1<<20)
	}
	f.Add(append(bytes.Clone(header), appendEnd(nil, &end{blocks: 1 << 32, bytes: 1 << 48})...), 1<<20)
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		piece = max(piece, 1+len(raw)/1000)
		// A receiver takes a block's memory at most, or a description's, before their bytes are there.
		allocs.Within(t, len(raw), 1<<20+maxMetaBytes, 64, func() {
			r, _, err := newReceiver(nil, 0, nil, "")
			if err != nil {
				t.Fatal(err)
			}
			r.sink = &memorySink{to: NewMemory()}
			if _, err := r.Write(raw); err != nil && len(err.Error()) < 8 {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
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
