package snapstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// receiver is a storage.SnapshotReceiver. Only parts that are sound come to its sink.
type receiver struct {
	path string // for messages
	size int64  // that the whole is to have; 0: not known

	mu      sync.Mutex
	sink    sink // nil: over
	meta    []byte
	checker *checker
	err     error // sticks
}

// newReceiver goes on behind what have holds: all of it that is sound. It returns how many bytes that are. A nil
// meta takes any snapshot.
func newReceiver(meta *raft.SnapshotMeta, size int64, have io.Reader, path string) (*receiver, int64, error) {
	r := &receiver{path: path, size: size}
	if meta != nil {
		r.meta = meta.Encode()
		if _, err := raft.DecodeSnapshotMeta(r.meta); err != nil {
			return nil, 0, fmt.Errorf("receiving a snapshot: %w", err)
		}
		if min := int64(headerFixed + len(r.meta) + sumBytes + endBytes); size < min {
			return nil, 0, fmt.Errorf("receiving a snapshot of %d bytes: it has at least %d: %w", size, min, storage.ErrSnapshotDamaged)
		}
	}
	r.checker = newChecker(r.take)
	if have == nil {
		return r, 0, nil
	}
	b := make([]byte, maxBlock)
	for {
		n, err := have.Read(b)
		if r.checker.give(b[:n]) != nil || err == io.EOF { // what is not sound is sent again
			r.checker.restart()
			return r, r.checker.offset, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("reading what was received before: %w", err)
		}
	}
}

// take passes a part on. Without a sink it is one that was there before.
func (r *receiver) take(p part) error {
	c := r.checker
	if c.meta == nil && r.meta != nil && !bytes.Equal(p.raw[headerFixed:len(p.raw)-sumBytes], r.meta) {
		return errors.New("it is not the snapshot that was announced")
	}
	behind := c.offset + int64(len(p.raw))
	last := p.raw[0] == kindEnd && c.meta != nil
	if r.size > 0 && (behind > r.size || last != (behind == r.size)) {
		return fmt.Errorf("it does not end at byte %d, as was announced", r.size)
	}
	if r.sink == nil {
		return nil
	}
	if _, err := r.sink.Write(p.raw); err != nil {
		return &writeError{err}
	}
	return nil
}

// writeError is an error of the sink, not of what was received.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// Offset implements storage.SnapshotReceiver.
func (r *receiver) Offset() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checker.offset + int64(len(r.checker.buf))
}

// Write implements storage.SnapshotReceiver. An error other than storage.ErrSnapshotDamaged and
// ErrSnapshotVersion is this side's. After storage.ErrNoSpace, what was received stays for a later Receive.
func (r *receiver) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return 0, err
	}
	before := r.checker.offset + int64(len(r.checker.buf))
	err := r.checker.give(p)
	if err == nil {
		return len(p), nil
	}
	var ours *writeError
	if errors.As(err, &ours) {
		r.err = fmt.Errorf("receiving a snapshot: %w", ours.error)
	} else {
		r.err = damaged(r.path, err)
	}
	if errors.Is(err, storage.ErrNoSpace) {
		_ = r.end(sink.keep)
	} else {
		_ = r.end(discard) // what a disk did not take once it may call written later
	}
	return int(max(r.checker.offset-before, 0)), r.err
}

func (r *receiver) usable() error {
	if r.err == nil && r.sink == nil {
		return errOver
	}
	return r.err
}

// end gives the sink up.
func (r *receiver) end(how func(sink) error) error {
	if r.sink == nil {
		return nil
	}
	err := how(r.sink)
	r.sink = nil
	return err
}

// Commit implements storage.SnapshotReceiver. Before the end has come it is an error, and Write may go on.
func (r *receiver) Commit() (storage.SnapshotInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return storage.SnapshotInfo{}, err
	}
	c := r.checker
	if c.end == nil {
		return storage.SnapshotInfo{}, fmt.Errorf("the snapshot ends at byte %d: %w", c.offset+int64(len(c.buf)), io.ErrUnexpectedEOF)
	}
	info := storage.SnapshotInfo{Meta: *c.meta, Size: c.offset}
	if err := r.sink.commit(info); err != nil {
		r.err = fmt.Errorf("receiving a snapshot: %w", err)
		_ = r.end(discard)
		return storage.SnapshotInfo{}, r.err
	}
	r.sink = nil
	return info, nil
}

// Close implements storage.SnapshotReceiver.
func (r *receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end(sink.keep)
}

// Abort implements storage.SnapshotReceiver.
func (r *receiver) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.end(discard)
}

func discard(s sink) error {
	s.discard()
	return nil
}
