package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// SlotBytes is a slot's place in the file: a page, so that a torn write of one can't touch the other.
const SlotBytes = 4096

// MaxNameBytes bounds the cluster's and the member's name.
const MaxNameBytes = 255

const slotMagic = "crdS"

const slotVersion = 1

// Identity says whose a data directory is. It never changes, but for the member's name.
type Identity struct {
	ClusterName string
	Member      raft.MemberID
	MemberName  string // for messages
	Incarnation raft.Incarnation
}

// Slot is the content of one slot of the sidecar.
type Slot struct {
	Number    uint64 // from 1, one more with each write; the slot's place is Number mod 2
	Owner     Identity
	ClusterID raft.ClusterID // of the configuration in the log, as of the mark
	Term      uint64
	Vote      raft.MemberID
	Promise   time.Duration
	Mark      raft.Mark
}

// Encode fills page, which has SlotBytes bytes, and is zero behind the checksum.
func (s *Slot) Encode(page []byte) {
	b := append(page[:0], slotMagic...)
	b = append(b, slotVersion, 0, 0) // the length comes last
	b = binary.BigEndian.AppendUint64(b, s.Number)
	b = append(b, byte(len(s.Owner.ClusterName)))
	b = append(b, s.Owner.ClusterName...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Owner.Member))
	b = append(b, byte(len(s.Owner.MemberName)))
	b = append(b, s.Owner.MemberName...)
	b = append(b, s.Owner.Incarnation[:]...)
	b = append(b, s.ClusterID[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Vote))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Promise))
	b = appendMark(b, s.Mark)
	binary.BigEndian.PutUint16(b[len(slotMagic)+1:], uint16(len(b)+4))
	b = seal(b, 0)
	clear(page[len(b):])
}

// ParseSlot is the reverse of encode.
func ParseSlot(page []byte) (Slot, error) {
	const head = len(slotMagic) + 3
	if len(page) < head {
		return Slot{}, errShort
	}
	if string(page[:len(slotMagic)]) != slotMagic {
		return Slot{}, errMagic
	}
	n := int(binary.BigEndian.Uint16(page[len(slotMagic)+1:]))
	if n < head || n > len(page) {
		return Slot{}, errLength
	}
	body, err := unseal(page[:n])
	if err != nil {
		return Slot{}, err
	}
	if body[len(slotMagic)] != slotVersion {
		return Slot{}, errVersion
	}
	for _, c := range page[n:] {
		if c != 0 {
			return Slot{}, errNotZero
		}
	}
	d := decoder{b: body[head:]}
	s := Slot{Number: d.uint64()}
	s.Owner.ClusterName = d.string()
	s.Owner.Member = raft.MemberID(d.uint64())
	s.Owner.MemberName = d.string()
	s.Owner.Incarnation = raft.Incarnation(d.bytes16())
	s.ClusterID = raft.ClusterID(d.bytes16())
	s.Term, s.Vote, s.Promise = d.uint64(), raft.MemberID(d.uint64()), time.Duration(d.uint64())
	s.Mark = d.mark()
	if err := d.done(); err != nil {
		return Slot{}, err
	}
	return s, nil
}

// Slots is what the two slots of a sidecar say.
type Slots struct {
	Latest Slot
	Older  *Slot // nil: it can't be read, which a crash in the middle of its write leaves
	Damage error // of the one that can't be read
}

// ReadSlots reads both slots, the one of even numbers first. With one that can't be read the other one counts;
// without any, the sidecar is refused.
func ReadSlots(dir string, pages [2][]byte) (Slots, error) {
	var sound []Slot
	var causes []error
	for i, page := range pages {
		s, err := ParseSlot(page)
		if err == nil && s.Number%2 != uint64(i) {
			err = fmt.Errorf("number %d in the wrong place", s.Number)
		}
		if err != nil {
			causes = append(causes, fmt.Errorf("slot %d: %w", i, err))
			continue
		}
		sound = append(sound, s)
	}
	switch len(sound) {
	case 0:
		return Slots{}, Refuse(dir, ErrBadSidecar, AdviceReplace, "%v", errors.Join(causes...))
	case 1:
		return Slots{Latest: sound[0], Damage: causes[0]}, nil
	}
	latest, older := sound[0], sound[1]
	if older.Number > latest.Number {
		latest, older = older, latest
	}
	return Slots{Latest: latest, Older: &older}, nil
}

// FirstSlots is what the sidecar of a directory says that is made for its owner.
func FirstSlots(owner Identity) Slots {
	return Slots{Latest: Slot{Number: 2, Owner: owner}, Older: &Slot{Number: 1, Owner: owner}}
}
