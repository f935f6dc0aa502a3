package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/coordd/coordd/pkg/raft"
)

// Hash is an entry's place in the chain: a hash over the entry and over the Hash of the entry before it. Equal
// hashes at one index mean equal logs up to there, on every member, whatever the kind of log: the hash is over
// the link's canonical bytes, not over what a store makes of them. The chain begins with the zero Hash.
//
// It is SHA-256 cut to 128 bits: damage and stale data are what it has to notice, and with the processor's
// instructions it costs less than the write (BenchmarkLink).
type Hash = [16]byte

// linkHeaderBytes: kind, index, term, time, wall, hash of the entry before.
const linkHeaderBytes = 1 + 4*8 + 16

// LinkBytes is the size of the link of an entry whose data has dataBytes bytes.
func LinkBytes(dataBytes int) int { return linkHeaderBytes + dataBytes }

var errShortLink = errors.New("storage: link too short")

// AppendLink appends the link of e, which follows the entry whose hash is prev. It is the same on every member:
// all fields are of fixed width, big-endian, and the data takes the rest.
func AppendLink(dst []byte, prev Hash, e *raft.Entry) []byte {
	dst = append(dst, byte(e.Kind))
	dst = binary.BigEndian.AppendUint64(dst, e.Index)
	dst = binary.BigEndian.AppendUint64(dst, e.Term)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Time))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Wall))
	dst = append(dst, prev[:]...)
	return append(dst, e.Data...)
}

// ParseLink is the reverse of AppendLink. The entry's Data is a part of link, nil where there is none.
func ParseLink(link []byte) (e raft.Entry, prev Hash, err error) {
	if len(link) < linkHeaderBytes {
		return e, prev, errShortLink
	}
	e.Kind = raft.EntryKind(link[0])
	e.Index = binary.BigEndian.Uint64(link[1:])
	e.Term = binary.BigEndian.Uint64(link[9:])
	e.Time = int64(binary.BigEndian.Uint64(link[17:]))
	e.Wall = int64(binary.BigEndian.Uint64(link[25:]))
	prev = Hash(link[33:linkHeaderBytes])
	if data := link[linkHeaderBytes:]; len(data) > 0 {
		e.Data = data[:len(data):len(data)]
	}
	return e, prev, nil
}

// HashLink is the Hash of the entry whose link this is.
func HashLink(link []byte) Hash {
	sum := sha256.Sum256(link)
	return Hash(sum[:16])
}
