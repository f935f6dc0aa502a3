package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A snapshot is: magic (8 bytes), version (2 bytes, big endian), blocks. A block is: length, number and
// CRC-32C (4 bytes each, big endian) and that many bytes of whole records. The CRC is over length, number and
// bytes, so that a block that is changed, missing, repeated or moved is found. Blocks are numbered from 0. The
// last one is empty; nothing behind it is read.

// SnapshotVersion is the version of snapshots that this program writes. It reads version 1 too, which had exclusive
// locks alone.
const SnapshotVersion = 2

// ErrSnapshot is wrapped by every refusal of Restore that is not an error of its reader.
var ErrSnapshot = errors.New("machine: snapshot can't be restored")

const (
	snapshotMagic = "coordSM\n"
	blockHeader   = 12
	blockTarget   = 64 << 10 // a block is closed when it has this many bytes
	blockLimit    = 1 << 20  // and never has more than this: no record is nearly as large
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func blockSum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, header[:8]), castagnoli, payload)
}

// blockWriter writes records in blocks. After an error it does nothing more.
type blockWriter struct {
	w      io.Writer
	number uint32
	buf    []byte // header and records of the block that is being filled
	err    error
}

func newBlockWriter(w io.Writer) *blockWriter {
	b := &blockWriter{w: w, buf: make([]byte, blockHeader, blockHeader+blockTarget+4<<10)}
	_, b.err = w.Write(binary.BigEndian.AppendUint16([]byte(snapshotMagic), SnapshotVersion))
	return b
}

func (b *blockWriter) record(rec []byte) {
	b.buf = append(b.buf, rec...)
	if len(b.buf) >= blockHeader+blockTarget {
		b.flush()
	}
}

func (b *blockWriter) flush() {
	if b.err == nil {
		binary.BigEndian.PutUint32(b.buf[0:], uint32(len(b.buf)-blockHeader))
		binary.BigEndian.PutUint32(b.buf[4:], b.number)
		binary.BigEndian.PutUint32(b.buf[8:], blockSum(b.buf, b.buf[blockHeader:]))
		_, b.err = b.w.Write(b.buf)
	}
	b.number++
	b.buf = b.buf[:blockHeader]
}

// end writes what is left and the empty block.
func (b *blockWriter) end() error {
	if len(b.buf) > blockHeader {
		b.flush()
	}
	b.flush()
	return b.err
}

// blockReader reads what blockWriter wrote.
type blockReader struct {
	r       io.Reader
	version byte
	number  uint32
	buf     []byte
}

func newBlockReader(r io.Reader) (*blockReader, error) {
	var head [len(snapshotMagic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, cut(err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it is not a snapshot", ErrSnapshot)
	}
	v := binary.BigEndian.Uint16(head[len(snapshotMagic):])
	if v < 1 || v > SnapshotVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads up to %d", ErrSnapshot, v, SnapshotVersion)
	}
	return &blockReader{r: r, version: byte(v)}, nil
}

// next returns the records of the next block, good until the call after; none at the end.
func (b *blockReader) next() ([]byte, error) {
	var head [blockHeader]byte
	if _, err := io.ReadFull(b.r, head[:]); err != nil {
		return nil, cut(err)
	}
	n := binary.BigEndian.Uint32(head[0:])
	if n > blockLimit || binary.BigEndian.Uint32(head[4:]) != b.number {
		return nil, fmt.Errorf("%w: header of block %d", ErrSnapshot, b.number)
	}
	if uint32(cap(b.buf)) < n {
		b.buf = make([]byte, n)
	}
	payload := b.buf[:n]
	if _, err := io.ReadFull(b.r, payload); err != nil {
		return nil, cut(err)
	}
	if blockSum(head[:], payload) != binary.BigEndian.Uint32(head[8:]) {
		return nil, fmt.Errorf("%w: checksum of block %d", ErrSnapshot, b.number)
	}
	b.number++
	return payload, nil
}

// cut turns the end of a stream in the middle of a snapshot into a refusal; other errors are the reader's.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrSnapshot)
	}
	return fmt.Errorf("reading a snapshot: %w", err)
}
