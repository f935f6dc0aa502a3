package badgerlog

import (
	"encoding/binary"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// slotBytes is a slot's place in the file: a page, so that a torn write of one can't touch the other.
const slotBytes = 4096

// maxNameBytes bounds the cluster's and the member's name.
const maxNameBytes = 255

const slotMagic = "crdS"

const slotVersion = 1

// identity is whose directory it is; it never changes.
type identity struct {
	clusterName string
	member      raft.MemberID
	memberName  string
	incarnation raft.Incarnation
}

// slot is the content of one slot of the sidecar.
type slot struct {
	number    uint64 // from 1, one more with each write; the slot's place is number mod 2
	id        identity
	clusterID raft.ClusterID // of the configuration in the log, as of the mark
	term      uint64
	vote      raft.MemberID
	promise   time.Duration
	mark      raft.Mark
}

// encode fills page, which has slotBytes bytes, and is zero behind the checksum.
func (s *slot) encode(page []byte) {
	b := append(page[:0], slotMagic...)
	b = append(b, slotVersion, 0, 0) // the length comes last
	b = binary.BigEndian.AppendUint64(b, s.number)
	b = append(b, byte(len(s.id.clusterName)))
	b = append(b, s.id.clusterName...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.id.member))
	b = append(b, byte(len(s.id.memberName)))
	b = append(b, s.id.memberName...)
	b = append(b, s.id.incarnation[:]...)
	b = append(b, s.clusterID[:]...)
	b = binary.BigEndian.AppendUint64(b, s.term)
	b = binary.BigEndian.AppendUint64(b, uint64(s.vote))
	b = binary.BigEndian.AppendUint64(b, uint64(s.promise))
	b = appendMark(b, s.mark)
	binary.BigEndian.PutUint16(b[len(slotMagic)+1:], uint16(len(b)+4))
	b = seal(b, 0)
	clear(page[len(b):])
}

// parseSlot is the reverse of encode.
func parseSlot(page []byte) (slot, error) {
	const head = len(slotMagic) + 3
	if len(page) < head {
		return slot{}, errShort
	}
	if string(page[:len(slotMagic)]) != slotMagic {
		return slot{}, errMagic
	}
	n := int(binary.BigEndian.Uint16(page[len(slotMagic)+1:]))
	if n < head || n > len(page) {
		return slot{}, errLength
	}
	body, err := unseal(page[:n])
	if err != nil {
		return slot{}, err
	}
	if body[len(slotMagic)] != slotVersion {
		return slot{}, errVersion
	}
	for _, c := range page[n:] {
		if c != 0 {
			return slot{}, errNotZero
		}
	}
	d := decoder{b: body[head:]}
	s := slot{number: d.uint64()}
	s.id.clusterName = d.string()
	s.id.member = raft.MemberID(d.uint64())
	s.id.memberName = d.string()
	s.id.incarnation = raft.Incarnation(d.bytes16())
	s.clusterID = raft.ClusterID(d.bytes16())
	s.term, s.vote, s.promise = d.uint64(), raft.MemberID(d.uint64()), time.Duration(d.uint64())
	s.mark = d.mark()
	if err := d.done(); err != nil {
		return slot{}, err
	}
	return s, nil
}
