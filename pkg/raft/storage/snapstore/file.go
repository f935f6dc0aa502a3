package snapstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
)

// portionBytes is how much is written before the disk has to have what was written before it. Without that, the
// sync at the end would have a whole snapshot to write, and the log's syncs beside it would wait for all of it.
const portionBytes = 2 << 20

// room watches the space on a disk that others need, too.
type room struct {
	dir     string
	reserve int64
	free    func(string) (int64, error)
}

// check fails with storage.ErrNoSpace if a write of n bytes would go into the reserve.
func (r *room) check(n int64) error {
	free, err := r.free(r.dir)
	if err != nil {
		return fmt.Errorf("asking for the free space: %w", err)
	}
	if free < r.reserve+n {
		return fmt.Errorf("%w: %d bytes free under %s, %d needed", storage.ErrNoSpace, free, r.dir, r.reserve+n)
	}
	return nil
}

// fileSink is a file that gets its name when it is whole.
type fileSink struct {
	f      *os.File
	temp   string // where it is written
	path   string // where it goes
	room   *room
	at     int64 // end of what was written
	begun  int64 // up to here the kernel was told to write
	listed func(storage.SnapshotInfo)
}

// Write implements sink.
func (s *fileSink) Write(b []byte) (int, error) {
	if s.at == s.begun { // the first of a portion
		if err := s.room.check(portionBytes); err != nil {
			return 0, err
		}
	}
	n, err := s.f.WriteAt(b, s.at)
	s.at += int64(n)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	}
	if err != nil {
		return n, err
	}
	if s.at-s.begun >= portionBytes {
		return n, s.portion()
	}
	return n, nil
}

// portion has the kernel write the portion that is full and waits for the one before it.
func (s *fileSink) portion() error {
	if before := max(s.begun-2*portionBytes, 0); before < s.begun {
		if err := disk.WaitWritten(s.f, before, s.begun-before); err != nil {
			return err
		}
	}
	if err := disk.StartWriting(s.f, s.begun, s.at-s.begun); err != nil {
		return err
	}
	s.begun = s.at
	return nil
}

// commit implements sink.
func (s *fileSink) commit(info storage.SnapshotInfo) error {
	err := s.f.Sync()
	if err := errors.Join(err, s.f.Close()); err != nil {
		return err
	}
	if err := os.Rename(s.temp, s.path); err != nil {
		return err
	}
	if err := disk.SyncDir(filepath.Dir(s.path)); err != nil {
		return err
	}
	if s.listed != nil {
		s.listed(info)
	}
	return nil
}

// keep implements sink.
func (s *fileSink) keep() error { return s.f.Close() }

// discard implements sink.
func (s *fileSink) discard() {
	s.f.Close()
	os.Remove(s.temp)
}

// openFile opens a whole file.
func openFile(path string) (*reader, error) {
	f, err := os.Open(path)
	var missing *os.PathError
	if errors.As(err, &missing) && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshot %s: %w (%w)", path, storage.ErrNoSnapshot, missing.Err) // without the path again
	}
	if err != nil {
		return nil, fmt.Errorf("opening a snapshot: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the snapshot %s: %w", path, err)
	}
	r, err := newReader(f, info.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// OpenFile opens a snapshot that need not be in any store.
func OpenFile(path string) (storage.SnapshotReader, error) {
	r, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// newFile makes the temporary file for a snapshot outside of any store.
func newFile(path string) (*fileSink, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("making a snapshot: %w", err)
	}
	return &fileSink{f: f, temp: f.Name(), path: path, room: &room{dir: filepath.Dir(path), free: disk.FreeBytes}}, nil
}

// CreateFile makes a snapshot at a path, outside of any store. A file that is there is replaced by Commit.
func CreateFile(path string, meta raft.SnapshotMeta) (storage.SnapshotWriter, error) {
	s, err := newFile(path)
	if err != nil {
		return nil, err
	}
	w, err := newWriter(meta, s)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// ReceiveFile makes a snapshot at a path, outside of any store, of a whole snapshot's raw bytes, which it verifies.
// A file that is there is replaced when all of it has come.
func ReceiveFile(path string, from io.Reader) (storage.SnapshotInfo, error) {
	s, err := newFile(path)
	if err != nil {
		return storage.SnapshotInfo{}, err
	}
	r, _, err := newReceiver(nil, 0, nil, path)
	if err != nil {
		s.discard()
		return storage.SnapshotInfo{}, err
	}
	r.sink = s
	defer r.Abort() // nothing, after Commit
	if _, err := io.CopyBuffer(r, from, make([]byte, BlockBytes)); err != nil {
		return storage.SnapshotInfo{}, fmt.Errorf("receiving the snapshot %s: %w", path, err)
	}
	info, err := r.Commit()
	if err != nil {
		return storage.SnapshotInfo{}, fmt.Errorf("receiving the snapshot %s: %w", path, err)
	}
	return info, nil
}
