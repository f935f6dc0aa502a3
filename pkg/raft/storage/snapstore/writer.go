package snapstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// sink is where a file's parts go.
type sink interface {
	Write([]byte) (int, error)
	// commit makes what was written durable and whole, under its name.
	commit(storage.SnapshotInfo) error
	// keep ends the writing and leaves what is there for a later time.
	keep() error
	// discard throws it away.
	discard()
}

// errOver is what a writer says that was committed, aborted, or ended by Close.
var errOver = errors.New("snapstore: the snapshot is not being written any more")

// writer is a storage.SnapshotWriter.
type writer struct {
	over func(*writer) // tells the store; may be nil

	mu    sync.Mutex
	sink  sink // nil: over
	meta  raft.SnapshotMeta
	data  []byte // of the next block
	buf   []byte // one part
	sum   hash.Hash
	end   end
	bytes int64 // written
	err   error // sticks
}

// newWriter writes the header.
func newWriter(meta raft.SnapshotMeta, to sink) (*writer, error) {
	w := &writer{sink: to, meta: meta, sum: sha256.New(), data: make([]byte, 0, BlockBytes)}
	header, err := appendHeader(nil, &meta)
	if err == nil {
		err = w.put(header)
	}
	if err != nil {
		to.discard()
		return nil, w.named(err)
	}
	return w, nil
}

func (w *writer) named(err error) error {
	return fmt.Errorf("writing the snapshot of index %d, term %d: %w", w.meta.Index, w.meta.Term, err)
}

func (w *writer) put(part []byte) error {
	w.sum.Write(part)
	n, err := w.sink.Write(part)
	w.bytes += int64(n)
	return err
}

// Write implements storage.SnapshotWriter.
func (w *writer) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return 0, err
	}
	for len(p) > 0 {
		k := min(len(p), BlockBytes-len(w.data))
		w.data, p = append(w.data, p[:k]...), p[k:]
		if len(w.data) == BlockBytes {
			if err := w.block(); err != nil {
				w.err = w.named(err)
				return n, w.err
			}
		}
		n += k
	}
	return n, nil
}

func (w *writer) usable() error {
	if w.err == nil && w.sink == nil {
		return errOver
	}
	return w.err
}

func (w *writer) block() error {
	w.buf = appendBlock(w.buf[:0], uint32(w.end.blocks), w.data)
	w.end.blocks, w.end.bytes = w.end.blocks+1, w.end.bytes+uint64(len(w.data))
	w.data = w.data[:0]
	return w.put(w.buf)
}

// Commit implements storage.SnapshotWriter. After an error nothing is left.
func (w *writer) Commit() (storage.SnapshotInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		w.abort()
		return storage.SnapshotInfo{}, err
	}
	info, err := w.commit()
	if err != nil {
		w.err = w.named(err)
		w.abort()
		return storage.SnapshotInfo{}, w.err
	}
	w.sink = nil
	w.finished()
	return info, nil
}

func (w *writer) commit() (storage.SnapshotInfo, error) {
	if len(w.data) > 0 {
		if err := w.block(); err != nil {
			return storage.SnapshotInfo{}, err
		}
	}
	w.end.sum = [32]byte(w.sum.Sum(nil))
	if err := w.put(appendEnd(w.buf[:0], &w.end)); err != nil {
		return storage.SnapshotInfo{}, err
	}
	info := storage.SnapshotInfo{Meta: w.meta, Size: w.bytes}
	return info, w.sink.commit(info)
}

// Abort implements storage.SnapshotWriter.
func (w *writer) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abort()
}

func (w *writer) abort() {
	if w.sink == nil {
		return
	}
	w.sink.discard()
	w.sink = nil
	w.finished()
}

func (w *writer) finished() {
	if w.over != nil {
		w.over(w)
	}
}
