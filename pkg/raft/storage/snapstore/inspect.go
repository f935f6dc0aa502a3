package snapstore

import (
	"fmt"
	"io"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Details is what a snapshot says of itself.
type Details struct {
	storage.SnapshotInfo
	Version int      // of the file's format
	Blocks  uint64   // of the state machine's bytes
	Bytes   uint64   // of the state machine
	SHA256  [32]byte // of the file up to its end
}

// Inspect reads what a file says of itself: its header and its end, which have to fit each other and the file's
// size. What lies between them is not read; Verify does.
func Inspect(path string) (Details, error) {
	r, err := openFile(path)
	if err != nil {
		return Details{}, err
	}
	defer r.Close()
	return r.details(), nil
}

// Verify is Inspect, and reads all of the file.
func Verify(path string) (Details, error) {
	r, err := openFile(path)
	if err != nil {
		return Details{}, err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return Details{}, err
	}
	return r.details(), nil
}

func (r *reader) details() Details {
	return Details{SnapshotInfo: r.info, Version: version, Blocks: r.end.blocks, Bytes: r.end.bytes, SHA256: r.end.sum}
}

func readHeader(src io.ReaderAt, size int64) (*raft.SnapshotMeta, int, error) {
	b := make([]byte, headerFixed)
	if err := readFull(src, b, 0); err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	n, err := headerBytes(b)
	if err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	if int64(n) > size {
		return nil, 0, fmt.Errorf("header of %d bytes in a file of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	b = make([]byte, n)
	if err := readFull(src, b, 0); err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	meta, err := parseHeader(b)
	if err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	return &meta, n, nil
}

// readEnd reads the end and holds it against the size of the header and of the file.
func readEnd(src io.ReaderAt, size int64, header int) (end, error) {
	if size < int64(header)+endBytes {
		return end{}, fmt.Errorf("no end in a file of %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	b := make([]byte, endBytes)
	if err := readFull(src, b, size-endBytes); err != nil {
		return end{}, fmt.Errorf("end: %w", err)
	}
	e, err := parseEnd(b)
	if err != nil {
		return end{}, fmt.Errorf("end: %w", err)
	}
	if want, ok := e.fileBytes(header); !ok || want != size {
		return end{}, fmt.Errorf("%d blocks with %d bytes do not make a file of %d bytes", e.blocks, e.bytes, size)
	}
	return e, nil
}
