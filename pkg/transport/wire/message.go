package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// messageVersion is the layout of messages; it is the first byte of each.
const messageVersion = 1

// The flags of a message.
const (
	flagReject = 1 << iota
	flagTransfer
	flagBlank
	knownFlags = flagReject | flagTransfer | flagBlank
)

// minEntryBytes is the least that an entry takes: five differences or numbers of one byte, and the kind.
const minEntryBytes = 6

// AppendMessage appends a message's body to dst. Incarnation is not part of it. Of entries without data
// it is not kept whether Data was nil or empty. A raft.MsgSnapshot has no encoding: what it makes of one is refused by
// every reader.
func AppendMessage(dst []byte, m *raft.Message) []byte {
	var flags byte
	if m.Reject {
		flags |= flagReject
	}
	if m.Transfer {
		flags |= flagTransfer
	}
	if m.Blank {
		flags |= flagBlank
	}
	dst = append(dst, messageVersion, byte(m.Type), flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.From))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.To))
	dst = binary.AppendUvarint(dst, m.Term)
	dst = binary.AppendUvarint(dst, m.Index)
	dst = binary.AppendUvarint(dst, m.LogTerm)
	dst = binary.AppendUvarint(dst, m.Commit)
	dst = binary.AppendUvarint(dst, m.Hint)
	dst = binary.AppendUvarint(dst, m.Round)
	dst = binary.AppendUvarint(dst, m.Session)
	dst = binary.AppendUvarint(dst, zigzag(uint64(m.Promise)))
	dst = binary.AppendUvarint(dst, uint64(len(m.Entries)))
	index, term, at, wall := m.Index, m.LogTerm, uint64(0), uint64(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		dst = appendDelta(dst, index+1, e.Index)
		dst = appendDelta(dst, term, e.Term)
		dst = appendDelta(dst, at, uint64(e.Time))
		dst = appendDelta(dst, wall, uint64(e.Wall))
		dst = append(dst, byte(e.Kind))
		dst = binary.AppendUvarint(dst, uint64(len(e.Data)))
		dst = append(dst, e.Data...)
		index, term, at, wall = e.Index, e.Term, uint64(e.Time), uint64(e.Wall)
	}
	return dst
}

// DecodeMessage reads a message's body. The data of its entries are parts of b, which must not be
// changed afterwards.
func DecodeMessage(b []byte) (raft.Message, error) { return decodeMessage(b, true) }

// decodeMessage reads a message's body; unless b is owned, the entries are given a copy of their part.
func decodeMessage(b []byte, owned bool) (raft.Message, error) {
	c := cursor{rest: b}
	if v := c.byte(); v != messageVersion {
		return raft.Message{}, fmt.Errorf("%w: message of layout %d", ErrMalformed, v)
	}
	m := raft.Message{Type: raft.MessageType(c.byte())}
	flags := c.byte()
	if !m.Type.Valid() || m.Type == raft.MsgSnapshot || flags&^knownFlags != 0 {
		return raft.Message{}, fmt.Errorf("%w: message of type %d with flags %#x", ErrMalformed, uint8(m.Type), flags)
	}
	m.Reject, m.Transfer, m.Blank = flags&flagReject != 0, flags&flagTransfer != 0, flags&flagBlank != 0
	m.From = raft.MemberID(c.uint64())
	m.To = raft.MemberID(c.uint64())
	m.Term = c.uvarint()
	m.Index = c.uvarint()
	m.LogTerm = c.uvarint()
	m.Commit = c.uvarint()
	m.Hint = c.uvarint()
	m.Round = c.uvarint()
	m.Session = c.uvarint()
	m.Promise = time.Duration(unzigzag(c.uvarint()))
	count := c.uvarint()
	if c.bad || count > uint64(len(c.rest)/minEntryBytes) {
		return raft.Message{}, fmt.Errorf("%w: %s message of %d bytes", ErrMalformed, m.Type, len(b))
	}
	if count > 0 {
		m.Entries = make([]raft.Entry, count)
		if !owned {
			c.rest = bytes.Clone(c.rest)
		}
		decodeEntries(&c, &m)
	}
	if c.bad || len(c.rest) != 0 {
		return raft.Message{}, fmt.Errorf("%w: %s message of %d bytes and %d entries", ErrMalformed, m.Type, len(b), count)
	}
	return m, nil
}

// decodeEntries fills m.Entries.
func decodeEntries(c *cursor, m *raft.Message) {
	index, term, at, wall := m.Index, m.LogTerm, uint64(0), uint64(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		index = c.delta(index + 1)
		term = c.delta(term)
		at = c.delta(at)
		wall = c.delta(wall)
		kind := raft.EntryKind(c.byte())
		if kind > raft.EntryConfig {
			c.fail()
		}
		*e = raft.Entry{Index: index, Term: term, Time: int64(at), Wall: int64(wall), Kind: kind}
		if n := c.uvarint(); n > 0 {
			e.Data = c.bytes(n)
		}
		if c.bad {
			return
		}
	}
}
