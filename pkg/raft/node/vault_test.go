package node

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// vault is a state machine that keeps the data of all commands, and of which snapshots can be taken.
type vault struct {
	mu       sync.Mutex
	at       uint64
	kept     [][]byte
	applied  int // entries that this process applied
	restored int // times that it was restored
	open     int // views that are not released
	gate     chan struct{}
	saveErr  error
}

func (v *vault) Apply(e raft.Entry) (any, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Index != v.at+1 {
		return nil, fmt.Errorf("entry %d behind %d", e.Index, v.at)
	}
	v.at = e.Index
	v.applied++
	if e.Kind == raft.EntryCommand {
		v.kept = append(v.kept, e.Data)
	}
	return len(v.kept), nil
}

type vaultView struct {
	v    *vault
	at   uint64
	kept [][]byte
	gate chan struct{}
	err  error
}

func (v *vault) Snapshot() (SnapshotView, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open++
	return &vaultView{v, v.at, v.kept[:len(v.kept):len(v.kept)], v.gate, v.saveErr}, nil
}

func (s *vaultView) Save(w io.Writer) error {
	if s.gate != nil {
		<-s.gate
	}
	if s.err != nil {
		return s.err
	}
	b := bufio.NewWriter(w)
	head := binary.BigEndian.AppendUint64(nil, s.at)
	head = binary.BigEndian.AppendUint64(head, uint64(len(s.kept)))
	b.Write(head)
	for _, k := range s.kept {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(k))))
		b.Write(k)
	}
	return b.Flush()
}

func (s *vaultView) Release() {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	s.v.open--
}

func (v *vault) Restore(r io.Reader) error {
	b := bufio.NewReader(r)
	var head [16]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		return err
	}
	var kept [][]byte
	for range binary.BigEndian.Uint64(head[8:]) {
		var size [4]byte
		if _, err := io.ReadFull(b, size[:]); err != nil {
			return err
		}
		k := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(b, k); err != nil {
			return err
		}
		kept = append(kept, k)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at, v.kept = binary.BigEndian.Uint64(head[:]), kept
	v.restored++
	return nil
}

// state returns a copy of what is kept and up to which index.
func (v *vault) state() (at uint64, kept []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.kept {
		kept = append(kept, string(k))
	}
	return v.at, kept
}

func (v *vault) counts() (applied, restored, open int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.applied, v.restored, v.open
}

// shelf is a storage.Snapshots in memory whose files can be damaged. A file is the length of the meta, the meta, the
// machine's bytes, and a CRC of all that.
type shelf struct {
	mu     sync.Mutex
	files  []shelved
	halves map[uint64]*half // by index
	aside  map[[2]uint64]error
	err    error // of Create
	took   int64 // raw bytes that receivers were given

	unusable []error // what Damaged tells of
}

// Damaged tells of files that are not listed.
func (s *shelf) Damaged() []error { return s.unusable }

type shelved struct {
	info storage.SnapshotInfo
	raw  []byte
}

func (s *shelf) List() (out []storage.SnapshotInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if s.aside[f.key()] == nil {
			out = append(out, f.info)
		}
	}
	return out
}

func (f *shelved) key() [2]uint64 { return [2]uint64{f.info.Meta.Index, f.info.Meta.Term} }

// SetAside implements storage.Snapshots.
func (s *shelf) SetAside(index, term uint64, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aside == nil {
		s.aside = make(map[[2]uint64]error)
	}
	s.aside[[2]uint64{index, term}] = why
	return nil
}

// reopen makes it what a store is that is opened on the same files: what is damaged within is listed.
func (s *shelf) reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside = nil
}

func (s *shelf) add(info storage.SnapshotInfo, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := shelved{info, raw}
	s.files = slices.DeleteFunc(s.files, func(f shelved) bool {
		return f.key() == fresh.key() || (s.aside[f.key()] != nil && f.info.Meta.Index <= info.Meta.Index)
	})
	delete(s.aside, fresh.key())
	s.files = append(s.files, fresh)
	slices.SortFunc(s.files, func(a, b shelved) int { return int(b.info.Meta.Index) - int(a.info.Meta.Index) })
}

// flip changes one bit of the newest file, or of an older one; once more makes it whole.
func (s *shelf) flip(older int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := slices.Clone(s.files[older].raw)
	raw[len(raw)-10] ^= 0x40
	s.files[older].raw = raw
}

type shelfWriter struct {
	s    *shelf
	meta raft.SnapshotMeta
	raw  []byte
}

func (s *shelf) Create(m raft.SnapshotMeta) (storage.SnapshotWriter, error) {
	if s.err != nil {
		return nil, s.err
	}
	enc := m.Encode()
	return &shelfWriter{s, m, append(binary.BigEndian.AppendUint32(nil, uint32(len(enc))), enc...)}, nil
}

func (w *shelfWriter) Write(p []byte) (int, error) {
	w.raw = append(w.raw, p...)
	return len(p), nil
}

func (w *shelfWriter) Commit() (storage.SnapshotInfo, error) {
	w.raw = binary.BigEndian.AppendUint32(w.raw, crc32.ChecksumIEEE(w.raw))
	info := storage.SnapshotInfo{Meta: w.meta, Size: int64(len(w.raw))}
	w.s.add(info, w.raw)
	return info, nil
}

func (w *shelfWriter) Abort() {}

type shelfReader struct {
	shelved
	at int
}

func (s *shelf) Open(index, term uint64) (storage.SnapshotReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if f.info.Meta.Index == index && f.info.Meta.Term == term {
			if why := s.aside[f.key()]; why != nil {
				return nil, why
			}
			return &shelfReader{f, 4 + int(binary.BigEndian.Uint32(f.raw))}, nil
		}
	}
	return nil, storage.ErrNoSnapshot
}

func whole(raw []byte) bool {
	n := len(raw) - 4
	return n > 4 && crc32.ChecksumIEEE(raw[:n]) == binary.BigEndian.Uint32(raw[n:])
}

func (r *shelfReader) Info() storage.SnapshotInfo { return r.info }

func (r *shelfReader) Read(p []byte) (int, error) {
	if !whole(r.raw) {
		return 0, storage.ErrSnapshotDamaged
	}
	n := copy(p, r.raw[r.at:len(r.raw)-4])
	if r.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *shelfReader) ReadAt(p []byte, at int64) (int, error) {
	n := copy(p, r.raw[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *shelfReader) Close() error { return nil }

type half struct {
	s    *shelf
	meta raft.SnapshotMeta
	size int64
	raw  []byte
}

func (s *shelf) Receive(m raft.SnapshotMeta, size int64) (storage.SnapshotReceiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.halves[m.Index]
	if h == nil || h.size != size || h.meta.Mark() != m.Mark() {
		h = &half{s: s, meta: m, size: size}
	}
	s.halves = map[uint64]*half{m.Index: h}
	return h, nil
}

func (h *half) Offset() int64 { return int64(len(h.raw)) }

func (h *half) Write(p []byte) (int, error) {
	h.s.mu.Lock()
	h.s.took += int64(len(p))
	h.s.mu.Unlock()
	h.raw = append(h.raw, p...)
	return len(p), nil
}

func (h *half) Commit() (storage.SnapshotInfo, error) {
	h.Abort()
	if !whole(h.raw) || int64(len(h.raw)) != h.size {
		return storage.SnapshotInfo{}, storage.ErrSnapshotDamaged
	}
	enc := h.raw[4 : 4+binary.BigEndian.Uint32(h.raw)]
	m, err := raft.DecodeSnapshotMeta(enc)
	if err != nil {
		return storage.SnapshotInfo{}, errors.Join(storage.ErrSnapshotDamaged, err)
	}
	info := storage.SnapshotInfo{Meta: m, Size: h.size}
	h.s.add(info, h.raw)
	return info, nil
}

func (h *half) Close() error { return nil }

func (h *half) Abort() {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	delete(h.s.halves, h.meta.Index)
}

func (s *shelf) Remove(index, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = slices.DeleteFunc(s.files, func(f shelved) bool { return f.info.Meta.Index == index && f.info.Meta.Term == term })
	return nil
}

func (s *shelf) Close() error { return nil }
