package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

const (
	// saveTimeout bounds the taking of one snapshot for an operator.
	saveTimeout = 2 * time.Minute
	// saveKept is how long a snapshot that an operator fetches is kept after the last request for it.
	saveKept = 30 * time.Second
	// savePartBytes is the largest part in one answer; in JSON it is a third longer.
	savePartBytes = 256 << 10
)

// saver keeps the one snapshot that an operator is fetching, in a file without a name: it is gone with the process.
// Answers of NATS are small, so it is fetched in parts, each asked for by its offset: the one who fetches sets the
// pace, and asks again for what got lost.
type saver struct {
	take func(ctx context.Context, w io.Writer) (index uint64, err error)
	open func() (*os.File, error)

	mu    sync.Mutex
	saved *saved
}

// saved is a snapshot that is being taken or has been. What follows done is set before done is closed.
type saved struct {
	id    string
	done  chan struct{}
	file  *os.File
	index uint64
	size  int64
	err   error

	mu      sync.Mutex
	whole   bool // its last part was given once
	expires *time.Timer
	reading sync.WaitGroup
	closed  bool
}

// errSaving says that somebody else is fetching one.
var errSaving = errors.New("another snapshot is being fetched")

// begin returns the snapshot of that id. With first set, one that is not there is taken.
func (v *saver) begin(ctx context.Context, id string, first bool) (*saved, error) {
	v.mu.Lock()
	old := v.saved
	if old != nil && old.id == id && !old.over() {
		v.mu.Unlock()
		select {
		case <-old.done:
			return old, old.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !first {
		v.mu.Unlock()
		return nil, nil
	}
	if old != nil && !old.replaceable() {
		v.mu.Unlock()
		return nil, errSaving
	}
	next := &saved{id: id, done: make(chan struct{})}
	v.saved = next
	v.mu.Unlock()
	if old != nil {
		old.close()
	}
	next.err = next.fill(ctx, v)
	close(next.done)
	if next.err != nil {
		next.close()
	}
	return next, next.err
}

// fill takes the snapshot.
func (s *saved) fill(ctx context.Context, v *saver) (err error) {
	if s.file, err = v.open(); err != nil {
		return fmt.Errorf("making room for a snapshot: %w", err)
	}
	if s.index, err = v.take(ctx, s.file); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	if s.size, err = s.file.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	s.mu.Lock()
	s.expires = time.AfterFunc(saveKept, s.close)
	s.mu.Unlock()
	return nil
}

// over reports whether nothing can be read of it any more.
func (s *saved) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// replaceable reports whether nobody fetches it any more, as far as one can tell.
func (s *saved) replaceable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.whole
}

// part reads one part, and keeps the snapshot for a while longer.
func (s *saved) part(offset uint64, most int) ([]byte, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, os.ErrClosed
	}
	s.reading.Add(1)
	s.expires.Reset(saveKept)
	s.mu.Unlock()
	defer s.reading.Done()
	b := make([]byte, min(uint64(most), uint64(s.size)-offset))
	if _, err := s.file.ReadAt(b, int64(offset)); err != nil {
		return nil, fmt.Errorf("reading the snapshot: %w", err)
	}
	if offset+uint64(len(b)) == uint64(s.size) {
		s.mu.Lock()
		s.whole = true
		s.mu.Unlock()
	}
	return b, nil
}

func (s *saved) close() {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	if s.expires != nil {
		s.expires.Stop()
	}
	s.mu.Unlock()
	if was {
		return
	}
	s.reading.Wait()
	if s.file != nil {
		_ = s.file.Close() // it has no name: nothing of it stays
	}
}

// stop gives up what is kept; nothing is under way any more.
func (v *saver) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.saved != nil {
		v.saved.close()
	}
}

func runSnapshotSave(ctx context.Context, r *reign, m *coorddv1.SnapshotSaveRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	if m.Snapshot == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		m.Snapshot = hex.EncodeToString(b[:])
	}
	if !plainMember.MatchString(m.Snapshot) {
		return nil, badRequest("snapshot %s is not 1 to 64 of A-Za-z0-9_-", quote(m.Snapshot))
	}
	snap, err := s.saver.begin(ctx, m.Snapshot, m.Offset == 0)
	switch {
	case errors.Is(err, errSaving):
		return nil, refuse(coorddv1.CodeBusy, "%s: try again in %v at the latest", errSaving, saveKept)
	case err != nil:
		return nil, s.refusalOf("save a snapshot", err)
	case snap == nil:
		return nil, refuse(coorddv1.CodeNotFound, "there is no snapshot %s at %s: another member leads now, or it was not asked for in %v; begin anew at offset 0",
			quote(m.Snapshot), s.cfg.Name, saveKept)
	case m.Offset > uint64(snap.size):
		return nil, badRequest("offset %d is beyond the snapshot's %d bytes", m.Offset, snap.size)
	}
	data, err := snap.part(m.Offset, min(savePartBytes, (s.answerBytes()-1024)*5/8))
	if err != nil {
		return nil, refuse(coorddv1.CodeNotFound, "snapshot %s is not kept any more: begin anew at offset 0", quote(m.Snapshot))
	}
	return &coorddv1.SnapshotSaveReply{Index: snap.index, Snapshot: m.Snapshot, Size: uint64(snap.size), Offset: m.Offset, Data: data}, nil
}
