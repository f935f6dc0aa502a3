package snapstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// file makes a snapshot outside of any store and returns its path and bytes.
func file(t testing.TB, state []byte) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	w, err := CreateFile(path, storagetest.Meta(70, 3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(state); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, raw
}

// bounds are the places where a file's parts begin, and its end.
func bounds(t testing.TB, raw []byte) (at []int64) {
	t.Helper()
	c := newChecker(func(part) error { return nil })
	for i := range raw {
		if n := len(at); n == 0 || at[n-1] != c.offset {
			at = append(at, c.offset)
		}
		if err := c.give(raw[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return append(at, int64(len(raw)))
}

// replaced is the one harm that no block shows: the checksum of the whole has to.
const replaced = "a block replaced by a sound one"

// wantBad checks what a file that was harmed is taken for: by Verify and, in a store, by Open, Read and List.
func wantBad(t *testing.T, raw []byte, cause error, what string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, id{70, 3}.fileName())
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(by string, err error) {
		t.Helper()
		var bad *FileError
		if !errors.Is(err, cause) || !errors.As(err, &bad) || bad.Path != path || bad.Advice == "" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %s: %v, want %v with the path and what to do", what, by, err, cause)
		}
	}
	_, err := Verify(path)
	check("Verify", err)
	s := mustOpen(t, Options{Dir: dir})
	defer s.Close()
	r, err := s.Open(70, 3)
	if err != nil {
		check("Open", err)
		if len(s.List()) != 0 || len(s.Damaged()) != 1 {
			t.Errorf("%s: %d listed, %d damaged", what, len(s.List()), len(s.Damaged()))
		}
		return
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	check("Read", err)
	if what == replaced {
		return
	}
	if want := storagetest.State(200_000); len(got)%BlockBytes != 0 || !bytes.HasPrefix(want, got) {
		t.Errorf("%s: %d bytes were given that are not whole, verified blocks", what, len(got))
	}
	if _, again := r.Read(make([]byte, 1)); !errors.Is(again, cause) {
		t.Errorf("%s: read again: %v", what, again)
	}
}

func TestTruncatedFiles(t *testing.T) {
	t.Parallel()
	_, raw := file(t, storagetest.State(200_000))
	at := bounds(t, raw)
	if len(at) != 7 { // header, four blocks, end
		t.Fatalf("parts at %v", at)
	}
	for _, n := range append(at[:len(at)-1], 1, 9, 13, at[1]-1, at[1]+1, at[2]+5, at[2]+500, int64(len(raw))-1) {
		wantBad(t, raw[:n], storage.ErrSnapshotDamaged, "truncated")
	}
	wantBad(t, append(bytes.Clone(raw), 0), storage.ErrSnapshotDamaged, "a byte more")
	wantBad(t, append(bytes.Clone(raw), raw...), storage.ErrSnapshotDamaged, "twice")
}

// TestFlippedBytes flips every byte of the header, of the head and the tail of each block and of the end, and some
// inside the blocks.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	_, raw := file(t, storagetest.State(200_000))
	at := bounds(t, raw)
	flip := map[int64]bool{}
	for i, from := range at[:len(at)-1] {
		to := at[i+1]
		for off := from; off < to; off++ {
			if i == 0 || off < from+20 || off >= to-6 || i == len(at)-2 || (off-from)%9973 == 0 {
				flip[off] = true
			}
		}
	}
	for off := range flip {
		b := bytes.Clone(raw)
		b[off] ^= 0x40
		cause := storage.ErrSnapshotDamaged
		if off == 8 || off == 9 {
			cause = storage.ErrSnapshotVersion
		}
		wantBad(t, b, cause, "flipped")
	}
	t.Logf("%d places in %d bytes", len(flip), len(raw))
}

// Parts that are sound in themselves and in the wrong place.
func TestRearrangedFiles(t *testing.T) {
	t.Parallel()
	_, raw := file(t, storagetest.State(200_000))
	at := bounds(t, raw)
	part := func(i int) []byte { return raw[at[i]:at[i+1]] }
	join := func(ps ...[]byte) []byte { return bytes.Join(ps, nil) }
	for name, b := range map[string][]byte{
		"a block left out":    join(part(0), part(1), part(3), part(4), part(5)),
		"a block twice":       join(part(0), part(1), part(1), part(2), part(3), part(4), part(5)),
		"two blocks in turn":  join(part(0), part(2), part(1), part(3), part(4), part(5)),
		"the last block left": join(part(0), part(1), part(2), part(3), part(5)),
		replaced:              join(part(0), part(1), appendBlock(nil, 1, storagetest.State(BlockBytes)), part(3), part(4), part(5)),
		"two headers":         join(part(0), part(0), part(1), part(2), part(3), part(4), part(5)),
		"nothing":             nil,
		"only an end":         part(5),
	} {
		wantBad(t, b, storage.ErrSnapshotDamaged, name)
	}
	_, other := file(t, storagetest.State(200_001))
	otherAt := bounds(t, other)
	wantBad(t, join(raw[:at[5]], other[otherAt[5]:]), storage.ErrSnapshotDamaged, "the end of another")
}

// One content has one file: blocks that are shorter than they have to be are another one, however sound.
func TestShortBlocks(t *testing.T) {
	t.Parallel()
	meta := storagetest.Meta(70, 3)
	raw, err := appendHeader(nil, &meta)
	if err != nil {
		t.Fatal(err)
	}
	raw = appendBlock(raw, 0, storagetest.State(100))
	raw = appendBlock(raw, 1, storagetest.State(200))
	raw = appendEnd(raw, &end{blocks: 2, bytes: 300, sum: sha256.Sum256(raw)})
	wantBad(t, raw, storage.ErrSnapshotDamaged, "short blocks")
	if _, err := ReceiveFile(filepath.Join(t.TempDir(), "copy"), bytes.NewReader(raw)); !errors.Is(err, storage.ErrSnapshotDamaged) {
		t.Errorf("received: %v, want ErrSnapshotDamaged", err)
	}
}

// A file under a name that is not its own.
func TestWrongName(t *testing.T) {
	t.Parallel()
	path, raw := file(t, storagetest.State(100))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, id{71, 3}.fileName()), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Options{Dir: dir})
	defer s.Close()
	if _, err := s.Open(71, 3); !errors.Is(err, storage.ErrSnapshotDamaged) {
		t.Errorf("%v, want ErrSnapshotDamaged", err)
	}
	if _, err := Verify(path); err != nil { // outside of a store the name says nothing
		t.Error(err)
	}
}

// A damaged snapshot stays for whoever wants to look at it, until a newer one is there.
func TestDamagedFilesGoLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"3-70.snap", "3-90.snap"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, Options{Dir: dir})
	defer s.Close()
	if len(s.Damaged()) != 2 {
		t.Fatalf("%v", s.Damaged())
	}
	storagetest.Save(t, s, storagetest.Meta(80, 3), storagetest.State(10))
	if got := names(t, dir); strings.Join(got, " ") != "3-80.snap 3-90.snap" || len(s.Damaged()) != 1 {
		t.Fatalf("%v, %v", got, s.Damaged())
	}
	info := storagetest.Save(t, s, storagetest.Meta(90, 3), storagetest.State(20)) // in its place
	storagetest.WantSnapshot(t, s, info, storagetest.State(20))
	if len(s.Damaged()) != 0 {
		t.Fatalf("%v", s.Damaged())
	}
}

// What is set aside stays as it is, also for a store that is opened later.
func TestWhatIsSetAsideStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Dir: dir})
	info := storagetest.Save(t, s, storagetest.Meta(70, 3), storagetest.State(300000))
	path := filepath.Join(dir, "3-70.snap")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(70, 3, storage.ErrSnapshotDamaged); err != nil {
		t.Fatal(err)
	}
	if len(s.Damaged()) != 1 || len(s.List()) != 0 {
		t.Errorf("damaged: %v, listed: %v", s.Damaged(), s.List())
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, raw) {
		t.Errorf("the file changed: %v", err)
	}
	s.Close()
	s = mustOpen(t, Options{Dir: dir})
	defer s.Close()
	storagetest.WantSnapshot(t, s, info, storagetest.State(300000))
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

// TestLayout writes a file by hand: files that exist stay readable, and a change of the format needs another version.
// The description in the header is the core's, which has a layout of its own.
func TestLayout(t *testing.T) {
	t.Parallel()
	meta := storagetest.Meta(70, 3)
	state := storagetest.State(70_000)
	sum := func(b []byte) []byte {
		return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	description := meta.Encode()
	want := binary.BigEndian.AppendUint32([]byte("coordsnp\x00\x01"), uint32(len(description)))
	want = sum(append(want, description...))
	want = append(want, sum(append([]byte("b\x00\x00\x00\x00\x00\x01\x00\x00"), state[:65536]...))...)
	want = append(want, sum(append([]byte("b\x00\x00\x00\x01\x00\x00\x11\x70"), state[65536:]...))...)
	whole := sha256.Sum256(want)
	end := append([]byte("e\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x01\x11\x70"), whole[:]...)
	want = append(want, sum(end)...)
	if _, got := file(t, state); !bytes.Equal(got, want) {
		t.Errorf("written are %d bytes, by hand %d, and they differ", len(got), len(want))
	}
	path := filepath.Join(t.TempDir(), "by hand")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Verify(path)
	if err != nil || d.Version != 1 || d.Bytes != 70_000 || d.Blocks != 2 || d.SHA256 != whole {
		t.Errorf("%+v, %v", d, err)
	}
}
