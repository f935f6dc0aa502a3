package idgen

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// LayoutV8 is the number in the layout field of version 8 UUIDs: the one layout that there is so far.
const LayoutV8 = 4

// The errors of Inspect.
var (
	ErrOtherUUID = errors.New("not one of coordd's version 8 UUIDs")
	ErrChecksum  = errors.New("checksum is wrong: mistyped, or not made by coordd")
)

// Info is what a version 8 UUID is made of.
type Info struct {
	Version    int
	Layout     int
	Seq        uint64 // the number that was drawn, as 64 bits
	Domain     uint16 // of the cluster
	SequenceID uint32 // of the sequence, 24 bits
}

// V8 writes a number of a sequence as a UUID version 8. Bits, 0 being the most significant:
// 0–47 seq[63:16] · 48–51 1000 · 52–63 seq[15:4] · 64–65 10 · 66–69 seq[3:0] · 70–85 domain ·
// 86–109 sequence ID · 110–113 layout · 114–127 CRC-14/GSM over the 114 bits before it.
// Bits of sequenceID above 24 are dropped: the caller has it from a Range. It doesn't allocate.
func V8(seq uint64, domain uint16, sequenceID uint32) UUID {
	hi := seq&^0xffff | 8<<12 | seq>>4&0xfff
	lo := 0b10<<62 | seq&0xf<<58 | uint64(domain)<<42 | uint64(sequenceID&MaxSequenceID)<<18 | LayoutV8<<14
	lo |= uint64(crc14(hi, lo))
	var u UUID
	binary.BigEndian.PutUint64(u[0:], hi)
	binary.BigEndian.PutUint64(u[8:], lo)
	return u
}

// Inspect is the reverse of V8. It refuses a UUID of another version, variant or layout with
// ErrOtherUUID, and one whose checksum is wrong with ErrChecksum.
func Inspect(u UUID) (Info, error) {
	hi, lo := binary.BigEndian.Uint64(u[0:]), binary.BigEndian.Uint64(u[8:])
	info := Info{
		Version:    u.Version(),
		Layout:     int(lo >> 14 & 0xf),
		Seq:        hi&^0xffff | hi&0xfff<<4 | lo>>58&0xf,
		Domain:     uint16(lo >> 42),
		SequenceID: uint32(lo>>18) & MaxSequenceID,
	}
	switch {
	case !u.IsRFC():
		return Info{}, fmt.Errorf("%w: its variant is not that of RFC 9562", ErrOtherUUID)
	case info.Version != 8:
		return Info{}, fmt.Errorf("%w: it is of version %d", ErrOtherUUID, info.Version)
	case info.Layout != LayoutV8 && uint16(lo&crcMask) == crc14(hi, lo):
		return Info{}, fmt.Errorf("%w: layout %d is not known", ErrOtherUUID, info.Layout)
	case uint16(lo&crcMask) != crc14(hi, lo):
		return Info{}, ErrChecksum
	}
	return info, nil
}
