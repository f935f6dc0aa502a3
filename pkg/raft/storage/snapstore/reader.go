package snapstore

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/coordd/coordd/pkg/raft/storage"
)

// source is a whole file, or what stands for one.
type source interface {
	io.ReaderAt
	io.Closer
}

// reader is a storage.SnapshotReader.
type reader struct {
	src  source
	path string // for messages
	info storage.SnapshotInfo
	end  end

	mu      sync.Mutex // guards Read; ReadAt needs no lock
	checker *checker
	data    []byte // of the last block, not yet given
	raw     []byte
	err     error // sticks
}

// newReader looks at the header and the end. What lies between them is verified by Read.
func newReader(src source, size int64, path string) (*reader, error) {
	r := &reader{src: src, path: path}
	meta, header, err := readHeader(src, size)
	if err == nil {
		r.info = storage.SnapshotInfo{Meta: *meta, Size: size}
		r.end, err = readEnd(src, size, header)
	}
	if err != nil {
		return nil, r.judge(err)
	}
	r.checker = newChecker(func(p part) error {
		r.data = p.data
		return nil
	})
	return r, nil
}

// errDisk marks an error that says nothing about the file's content.
var errDisk = errors.New("reading")

// judge tells what is wrong with the content from what is wrong with the disk.
func (r *reader) judge(err error) error {
	if errors.Is(err, errDisk) {
		return fmt.Errorf("snapshot %s: %w", r.path, err)
	}
	return damaged(r.path, err)
}

// readFull reads len(b) bytes at off. A file that ends before them is damaged, anything else is the disk's.
func readFull(src io.ReaderAt, b []byte, off int64) error {
	n, err := src.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("it ends at byte %d: %w", off+int64(n), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w at byte %d: %w", errDisk, off, err)
}

// Read implements storage.SnapshotReader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.data) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.checker.end != nil {
			r.err = io.EOF
			return 0, r.err
		}
		if err := r.step(); err != nil {
			r.err, r.data = r.judge(err), nil
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// step gives the checker as much as it asks for, so that no more than one part comes out.
func (r *reader) step() error {
	c := r.checker
	n := c.want - len(c.buf)
	if cap(r.raw) < n {
		r.raw = make([]byte, max(n, maxBlock))
	}
	raw := r.raw[:n]
	if err := readFull(r.src, raw, c.offset+int64(len(c.buf))); err != nil {
		return err
	}
	if err := c.give(raw); err != nil {
		return err
	}
	if c.end != nil && c.offset != r.info.Size {
		return fmt.Errorf("%d bytes behind the end", r.info.Size-c.offset)
	}
	return nil
}

// ReadAt implements storage.SnapshotReader. It may be called by many at once.
func (r *reader) ReadAt(p []byte, off int64) (int, error) { return r.src.ReadAt(p, off) }

// Info implements storage.SnapshotReader.
func (r *reader) Info() storage.SnapshotInfo { return r.info }

// Close implements storage.SnapshotReader.
func (r *reader) Close() error { return r.src.Close() }
