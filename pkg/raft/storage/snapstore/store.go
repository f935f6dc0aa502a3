package snapstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
)

// defaultReserve is a little more than what a log with badgerlog's default options keeps free: snapshots stop
// before batches are refused.
const defaultReserve = 20 << 20

// Options say where a store is. Dir is needed.
type Options struct {
	Dir    string       // made if it does not exist; nothing else belongs there
	Logger hclog.Logger // nil: nothing is logged
	// ReserveBytes is the free space that no snapshot goes into: then it is ErrNoSpace; 0: 20 MiB.
	ReserveBytes int64

	free func(dir string) (int64, error) // nil: the file system's; tests fill the disk
}

// Store is a storage.Snapshots in a directory.
type Store struct {
	opt  Options
	room room

	// oneReceive is held while a copy is taken up again, which may have much to read. Neither mutex is asked for
	// under a writer's or receiver's, but mu, when one has become whole.
	oneReceive sync.Mutex

	mu        sync.Mutex
	list      []storage.SnapshotInfo // newest first
	damaged   map[id]error           // files that are there and not listed
	writers   map[*writer]bool
	receiving *receiver // the last one; it may be over
	closed    bool
}

// Open opens a store, or makes it. What a crash left of snapshots that were being written is removed; a copy that
// was being received stays. Each snapshot's header and end are looked at; one that is not sound is not listed, is
// told by Damaged and by Store.Open, and stays until a newer snapshot is there.
func Open(opt Options) (*Store, error) {
	if opt.Dir == "" {
		return nil, errors.New("opening the snapshots: no directory given")
	}
	if opt.ReserveBytes == 0 {
		opt.ReserveBytes = defaultReserve
	}
	if opt.free == nil {
		opt.free = disk.FreeBytes
	}
	if opt.Logger == nil {
		opt.Logger = hclog.NewNullLogger()
	}
	s := &Store{opt: opt, room: room{dir: opt.Dir, reserve: opt.ReserveBytes, free: opt.free},
		damaged: map[id]error{}, writers: map[*writer]bool{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("opening the snapshots in %s: %w", opt.Dir, err)
	}
	return s, nil
}

func (s *Store) load() error {
	if err := os.MkdirAll(s.opt.Dir, 0o700); err != nil {
		return err
	}
	if err := disk.SyncDir(filepath.Dir(filepath.Clean(s.opt.Dir))); err != nil {
		return err
	}
	files, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := s.loadFile(f.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadFile(name string) error {
	path := filepath.Join(s.opt.Dir, name)
	if strings.Contains(name, newMark) {
		return os.Remove(path)
	}
	i, ok := parseName(name)
	if !ok {
		return nil // a part, or not ours
	}
	d, err := Inspect(path)
	if err == nil && (d.Meta.Index != i.index || d.Meta.Term != i.term) {
		err = damaged(path, fmt.Errorf("it is of index %d, term %d", d.Meta.Index, d.Meta.Term))
	}
	var bad *FileError
	if errors.As(err, &bad) {
		s.damaged[i] = err
		s.opt.Logger.Error("a snapshot can't be used", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.list = insert(s.list, d.SnapshotInfo)
	return nil
}

// Damaged tells of the snapshots that are there and can't be used, in no order.
func (s *Store) Damaged() (out []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.damaged {
		out = append(out, err)
	}
	return out
}

// List implements storage.Snapshots.
func (s *Store) List() []storage.SnapshotInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// Create implements storage.Snapshots.
func (s *Store) Create(meta raft.SnapshotMeta) (storage.SnapshotWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	path := s.path(id{meta.Index, meta.Term}.fileName())
	f, err := os.CreateTemp(s.opt.Dir, filepath.Base(path)+strings.TrimPrefix(newMark, snapEnding)+"*")
	if err != nil {
		return nil, fmt.Errorf("making a snapshot: %w", err)
	}
	w, err := newWriter(meta, &fileSink{f: f, temp: f.Name(), path: path, room: &s.room, listed: s.add})
	if err != nil {
		return nil, err
	}
	w.over = s.forget
	s.writers[w] = true
	return w, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.opt.Dir, name) }

func (s *Store) forget(w *writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writers, w)
}

// add lists a snapshot that is whole. Damaged ones that it is newer than are of no more use.
func (s *Store) add(info storage.SnapshotInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	new := idOf(info)
	s.list = insert(s.list, info)
	delete(s.damaged, new) // it was replaced
	for old := range s.damaged {
		if old.index <= new.index {
			s.opt.Logger.Info("removing a damaged snapshot: there is a newer one", "file", old.fileName())
			if err := s.remove(old); err != nil {
				s.opt.Logger.Warn("a damaged snapshot stays", "err", err)
			}
		}
	}
}

// Open implements storage.Snapshots.
func (s *Store) Open(index, term uint64) (storage.SnapshotReader, error) {
	i := id{index, term}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	if err := s.damaged[i]; err != nil {
		return nil, err
	}
	if !has(s.list, i) {
		return nil, fmt.Errorf("%s: %w", s.path(i.fileName()), storage.ErrNoSnapshot)
	}
	r, err := openFile(s.path(i.fileName()))
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Receive implements storage.Snapshots. A receiver that is still there of an earlier call is over.
func (s *Store) Receive(meta raft.SnapshotMeta, size int64) (storage.SnapshotReceiver, error) {
	s.oneReceive.Lock()
	defer s.oneReceive.Unlock()
	if err := s.setReceiving(nil); err != nil {
		return nil, err
	}
	i := id{meta.Index, meta.Term}
	part := s.path(i.partName(size))
	if err := s.removeParts(part); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("receiving a snapshot: %w", err)
	}
	r, have, err := newReceiver(&meta, size, f, part)
	if err == nil {
		err = s.room.check(size - have)
	}
	if err == nil {
		err = f.Truncate(have)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	r.sink = &fileSink{f: f, temp: part, path: s.path(i.fileName()), room: &s.room, at: have, begun: have, listed: s.add}
	if err := s.setReceiving(r); err != nil {
		return nil, err
	}
	return r, nil
}

// setReceiving ends the receiver that was there, and the new one where the store is closed.
func (s *Store) setReceiving(r *receiver) error {
	s.mu.Lock()
	closed, old := s.closed, s.receiving
	s.receiving = r
	if closed {
		s.receiving = nil
	}
	s.mu.Unlock()
	var err error
	if old != nil {
		err = old.Close()
	}
	if closed {
		if r != nil {
			_ = r.Close()
		}
		return storage.ErrClosed
	}
	return err
}

// removeParts removes all copies that were being received, but for one.
func (s *Store) removeParts(except string) error {
	parts, err := filepath.Glob(s.path("*" + partEnding))
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p == except {
			continue
		}
		if err := os.Remove(p); err != nil {
			return fmt.Errorf("removing a copy that was broken off: %w", err)
		}
	}
	return nil
}

// SetAside implements storage.Snapshots: the file stays where it is.
func (s *Store) SetAside(index, term uint64, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	if i := (id{index, term}); has(s.list, i) {
		s.list = without(s.list, i)
		s.damaged[i] = why
	}
	return nil
}

// Remove implements storage.Snapshots.
func (s *Store) Remove(index, term uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return storage.ErrClosed
	}
	return s.remove(id{index, term})
}

func (s *Store) remove(i id) error {
	s.list = without(s.list, i)
	delete(s.damaged, i)
	if err := os.Remove(s.path(i.fileName())); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing a snapshot: %w", err)
	}
	return nil
}

// Close implements storage.Snapshots: snapshots that are being written are thrown away, one that is being received
// stays for a later Receive. It is safe to call twice.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	writers := s.writers
	s.writers = map[*writer]bool{}
	s.mu.Unlock()
	for w := range writers {
		w.Abort()
	}
	if err := s.setReceiving(nil); !errors.Is(err, storage.ErrClosed) {
		return err
	}
	return nil
}

var _ storage.Snapshots = (*Store)(nil)
