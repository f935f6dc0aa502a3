package ledger

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// EntryPrefix begins the key of an entry; its index follows big-endian, so that key order is index order.
const EntryPrefix = 'e'

// RecordKey is the key of the Record.
var RecordKey = []byte{'h'}

// EntryKeyBytes is the size of an entry's key.
const EntryKeyBytes = 9

// AppendEntryKey appends the key of the entry at index.
func AppendEntryKey(dst []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, EntryPrefix), index)
}

// EntryKeyIndex is the reverse of AppendEntryKey; false: it is no entry's key.
func EntryKeyIndex(key []byte) (uint64, bool) {
	if len(key) != EntryKeyBytes || key[0] != EntryPrefix {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// The versions of the encodings. A reader refuses what it does not know. A record of version 1 is of a log that
// was never cut at its front: its base is zero, and it has no cluster ID for it.
const (
	entryVersion   = 1
	recordVersion1 = 1
	recordVersion  = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errShort    = errors.New("too short")
	errVersion  = errors.New("unknown version")
	errChecksum = errors.New("checksum mismatch")
	errLength   = errors.New("wrong length")
	errMagic    = errors.New("not written by this program")
	errNotZero  = errors.New("bytes behind the end")
)

// seal appends the CRC-32C of b[from:].
func seal(b []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// unseal checks and removes the checksum that seal appended.
func unseal(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, errShort
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) && !canary.Broken(canary.ChecksumVerified) {
		return nil, errChecksum
	}
	return body, nil
}

// EntryValueBytes is the size of an entry's value, version, link and checksum, where its data has dataBytes bytes.
func EntryValueBytes(dataBytes int) int { return 1 + storage.LinkBytes(dataBytes) + 4 }

// AppendEntryValue appends e's value and returns its hash.
func AppendEntryValue(dst []byte, prev storage.Hash, e *raft.Entry) ([]byte, storage.Hash) {
	start := len(dst)
	dst = storage.AppendLink(append(dst, entryVersion), prev, e)
	hash := storage.HashLink(dst[start+1:])
	return seal(dst, start), hash
}

// ParseEntryValue checks the checksum and returns the link; the entry's Data is a part of value.
func ParseEntryValue(value []byte) (e raft.Entry, prev storage.Hash, link []byte, err error) {
	body, err := unseal(value)
	switch {
	case err != nil:
		return e, prev, nil, err
	case len(body) == 0:
		return e, prev, nil, errShort
	case body[0] != entryVersion:
		return e, prev, nil, errVersion
	}
	e, prev, err = storage.ParseLink(body[1:])
	return e, prev, body[1:], err
}

// Record is what stands beside the entries in every transaction.
type Record struct {
	Incarnation raft.Incarnation
	Member      raft.MemberID
	HardState   raft.HardState
	First       uint64
	// Base is the entry before First, from which the chain goes on: zero, until a log is cut at its front.
	Base raft.Mark
	// Cluster is the cluster ID as of the base, because the configuration that says it may be gone.
	Cluster raft.ClusterID
	// End is the log's last entry; End.Last + 1 == First for an empty log.
	End raft.Mark
}

// RecordBytes is the size of an encoded Record.
const RecordBytes = 1 + 16 + 8 + 4*8 + 8 + 2*(2*8+16) + 16 + 4

func appendMark(dst []byte, m raft.Mark) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.LastTerm)
	dst = binary.BigEndian.AppendUint64(dst, m.Last)
	return append(dst, m.Hash[:]...)
}

// AppendRecord appends r's value.
func AppendRecord(dst []byte, r *Record) []byte {
	start := len(dst)
	dst = append(dst, recordVersion)
	dst = append(dst, r.Incarnation[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Member))
	dst = binary.BigEndian.AppendUint64(dst, r.HardState.Term)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.HardState.Vote))
	dst = binary.BigEndian.AppendUint64(dst, r.HardState.Commit)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.HardState.Promise))
	dst = binary.BigEndian.AppendUint64(dst, r.First)
	dst = appendMark(dst, r.Base)
	dst = appendMark(dst, r.End)
	dst = append(dst, r.Cluster[:]...)
	return seal(dst, start)
}

// ParseRecord is the reverse of AppendRecord.
func ParseRecord(b []byte) (Record, error) {
	body, err := unseal(b)
	if err != nil {
		return Record{}, err
	}
	d := decoder{b: body}
	version := d.byte()
	if version != recordVersion && version != recordVersion1 && d.err == nil {
		return Record{}, errVersion
	}
	r := Record{Incarnation: raft.Incarnation(d.bytes16()), Member: raft.MemberID(d.uint64())}
	r.HardState = raft.HardState{Term: d.uint64(), Vote: raft.MemberID(d.uint64()), Commit: d.uint64(), Promise: time.Duration(d.uint64())}
	r.First, r.Base, r.End = d.uint64(), d.mark(), d.mark()
	if version == recordVersion {
		r.Cluster = raft.ClusterID(d.bytes16())
	}
	if err := d.done(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// valid: the log lies behind its base, which is committed, and neither terms nor the promise go back.
func (r *Record) valid() bool {
	return r.First == r.Base.Last+1 && r.End.Last >= r.Base.Last && r.End.LastTerm >= r.Base.LastTerm &&
		(r.End.Last > r.Base.Last || r.End == r.Base) &&
		r.HardState.Term >= r.End.LastTerm && r.HardState.Commit >= r.Base.Last && r.HardState.Promise >= 0
}

// decoder reads fields in order; the first one that is missing makes it fail.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || len(d.b) < n {
		if d.err == nil {
			d.err = errShort
		}
		return make([]byte, min(n, 256)) // every field is smaller
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte        { return d.take(1)[0] }
func (d *decoder) uint64() uint64    { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) bytes16() [16]byte { return [16]byte(d.take(16)) }
func (d *decoder) string() string    { return string(d.take(int(d.byte()))) }

func (d *decoder) mark() raft.Mark {
	return raft.Mark{LastTerm: d.uint64(), Last: d.uint64(), Hash: d.bytes16()}
}

func (d *decoder) done() error {
	if d.err == nil && len(d.b) != 0 {
		d.err = errLength
	}
	return d.err
}
