package snapstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// The parts of a file, all numbers big-endian:
//
//	header   magic (8), version (2), length of the description (4), description, CRC-32C (4)
//	block    'b', number (4), length (4), bytes, CRC-32C (4); numbered from 0
//	end      'e', blocks (8), bytes in them (8), SHA-256 of all parts before it (32), CRC-32C (4)
//
// Each checksum is over its part from the first byte on. All blocks have BlockBytes bytes but the last, which has
// at least one; so there is one file for one content.
const (
	magic   = "coordsnp"
	version = 1

	// BlockBytes is how many of the state machine's bytes are verified at once.
	BlockBytes = 64 << 10

	headerFixed = len(magic) + 2 + 4
	blockFixed  = 1 + 4 + 4
	sumBytes    = 4
	endBytes    = 1 + 8 + 8 + 32 + sumBytes
	maxBlock    = blockFixed + BlockBytes + sumBytes

	// maxMetaBytes bounds the description, of which the configuration is the most.
	maxMetaBytes = 1 << 20

	kindBlock = 'b'
	kindEnd   = 'e'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What is wrong with a file, beside storage.ErrSnapshotDamaged.
var (
	errChecksum = errors.New("checksum mismatch")
	errMagic    = errors.New("not a snapshot")
)

func seal(b []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

func sealed(b []byte) bool {
	n := len(b) - sumBytes
	return n >= 0 && crc32.Checksum(b[:n], castagnoli) == binary.BigEndian.Uint32(b[n:])
}

// appendHeader fails for a description that nobody could read again.
func appendHeader(dst []byte, meta *raft.SnapshotMeta) ([]byte, error) {
	b := meta.Encode()
	if len(b) > maxMetaBytes {
		return nil, fmt.Errorf("description of %d bytes, at most %d", len(b), maxMetaBytes)
	}
	if _, err := raft.DecodeSnapshotMeta(b); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(append(dst, magic...), version)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
	return seal(append(dst, b...), start), nil
}

// headerBytes is the size of the header that begins with these headerFixed bytes.
func headerBytes(b []byte) (int, error) {
	if string(b[:len(magic)]) != magic {
		return 0, errMagic
	}
	if v := binary.BigEndian.Uint16(b[len(magic):]); v != version {
		return 0, fmt.Errorf("version %d, this program knows version %d: %w", v, version, storage.ErrSnapshotVersion)
	}
	n := binary.BigEndian.Uint32(b[len(magic)+2:])
	if n > maxMetaBytes {
		return 0, fmt.Errorf("description of %d bytes, at most %d", n, maxMetaBytes)
	}
	return headerFixed + int(n) + sumBytes, nil
}

// parseHeader reads a header of headerBytes bytes.
func parseHeader(b []byte) (raft.SnapshotMeta, error) {
	if !sealed(b) {
		return raft.SnapshotMeta{}, errChecksum
	}
	return raft.DecodeSnapshotMeta(b[headerFixed : len(b)-sumBytes])
}

func appendBlock(dst []byte, number uint32, data []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(append(dst, kindBlock), number)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(data)))
	return seal(append(dst, data...), start)
}

// blockBytes is the size of the block that begins with these blockFixed bytes and has to be this number.
func blockBytes(b []byte, number uint32) (int, error) {
	if got := binary.BigEndian.Uint32(b[1:]); got != number {
		return 0, fmt.Errorf("block %d in its place", got)
	}
	n := binary.BigEndian.Uint32(b[5:])
	if n == 0 || n > BlockBytes {
		return 0, fmt.Errorf("a length of %d bytes", n)
	}
	return blockFixed + int(n) + sumBytes, nil
}

// end is the last part of a file.
type end struct {
	blocks, bytes uint64
	sum           [32]byte
}

func appendEnd(dst []byte, e *end) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(append(dst, kindEnd), e.blocks)
	dst = binary.BigEndian.AppendUint64(dst, e.bytes)
	return seal(append(dst, e.sum[:]...), start)
}

func parseEnd(b []byte) (e end, err error) {
	if len(b) != endBytes || b[0] != kindEnd {
		return e, errors.New("no end")
	}
	if !sealed(b) {
		return e, errChecksum
	}
	e.blocks, e.bytes = binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	e.sum = [32]byte(b[17:])
	return e, nil
}

// fileBytes is the size of the file with this end, whose header has so many bytes; false: there is none.
func (e *end) fileBytes(header int) (int64, bool) {
	if e.blocks > 1<<32 || e.blocks != (e.bytes+BlockBytes-1)/BlockBytes {
		return 0, false
	}
	return int64(header) + int64(e.bytes) + int64(e.blocks)*(blockFixed+sumBytes) + endBytes, true
}
