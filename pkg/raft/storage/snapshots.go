package storage

import (
	"errors"
	"io"

	"github.com/coordd/coordd/pkg/raft"
)

// Snapshots keeps a member's snapshots. A snapshot is an immutable file: a header with its SnapshotMeta, the state
// machine's bytes in checksummed blocks, and an end that counts both. It is listed only when it is whole, verified
// and durable: written to a temporary name, synced, renamed, directory synced. All methods may be called from any
// goroutine.
type Snapshots interface {
	// List returns the snapshots that are whole, newest (highest index) first.
	List() []SnapshotInfo
	// Create begins a snapshot of this member's own. Nothing is listed before Commit.
	Create(raft.SnapshotMeta) (SnapshotWriter, error)
	// Open opens a listed snapshot. The reader stays good after Remove.
	Open(index, term uint64) (SnapshotReader, error)
	// Receive begins, or goes on with, a copy of another member's snapshot of so many bytes in all. A copy of the
	// same (meta, size) that was broken off goes on where its last verified block ended; another one that was under
	// way is thrown away.
	Receive(meta raft.SnapshotMeta, size int64) (SnapshotReceiver, error)
	// SetAside takes a snapshot that was found damaged off the list. It may be the last that has its entries, so it
	// stays, for whoever can put a whole copy in its place, until a snapshot at or above its index is whole; Open says
	// why. A store that is opened again may list it again. One that isn't listed is no error.
	SetAside(index, term uint64, why error) error
	// Remove removes a snapshot; one that isn't there is no error.
	Remove(index, term uint64) error
	// Close ends what is under way. It does not wait for readers.
	Close() error
}

// SnapshotInfo is a snapshot that is there.
type SnapshotInfo struct {
	Meta raft.SnapshotMeta
	Size int64 // of the whole file, in bytes
}

// SnapshotWriter takes the state machine's bytes.
type SnapshotWriter interface {
	io.Writer
	// Commit makes the snapshot whole and durable.
	Commit() (SnapshotInfo, error)
	// Abort throws it away; after Commit it does nothing.
	Abort()
}

// SnapshotReader reads a snapshot in two ways. Read gives the state machine's bytes and verifies each block before
// any byte of it is given; its error is ErrSnapshotDamaged, or io.EOF after the whole was verified. ReadAt gives the file's
// raw bytes, to be sent to another member, who verifies them.
type SnapshotReader interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Info() SnapshotInfo
}

// SnapshotReceiver puts a copy together from raw bytes.
type SnapshotReceiver interface {
	// Offset is how many raw bytes are there: where the next Write begins.
	Offset() int64
	// Write takes the next raw bytes and verifies each block and the header as soon as they are whole. After an
	// error (ErrSnapshotDamaged) the copy is thrown away and has to begin anew.
	io.Writer
	// Commit verifies the end and makes the snapshot whole, durable and listed.
	Commit() (SnapshotInfo, error)
	// Close keeps what was received, for a later Receive.
	Close() error
	// Abort throws it away.
	Abort()
}

// The errors of snapshots.
var (
	ErrSnapshotDamaged = errors.New("storage: snapshot damaged")
	ErrNoSnapshot      = errors.New("storage: no such snapshot")
	ErrSnapshotVersion = errors.New("storage: snapshot of another version")
)
