package raft

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// errConfiguration is what every error about a malformed configuration wraps.
var errConfiguration = errors.New("raft: bad configuration")

func byID(a, b Member) int { return cmp.Compare(a.ID, b.ID) }

// Member returns the member with an ID.
func (c Configuration) Member(id MemberID) (Member, bool) {
	for i := range c.Members {
		if c.Members[i].ID == id {
			return c.Members[i], true
		}
	}
	return Member{}, false
}

// Voters returns the IDs of the members that count in the quorum, in order.
func (c Configuration) Voters() []MemberID {
	var ids []MemberID
	for i := range c.Members {
		if !c.Members[i].Learner {
			ids = append(ids, c.Members[i].ID)
		}
	}
	return ids
}

// isVoter reports whether a member counts in the quorum.
func (c Configuration) isVoter(id MemberID) bool {
	m, ok := c.Member(id)
	return ok && !m.Learner
}

// Clone returns a copy that shares nothing with c.
func (c Configuration) Clone() Configuration {
	c.Members = slices.Clone(c.Members)
	for i := range c.Members {
		c.Members[i].Metadata = maps.Clone(c.Members[i].Metadata)
	}
	return c
}

// valid checks what holds for each configuration: IDs ascend and none is 0, and somebody votes.
func (c Configuration) valid() error {
	voters := 0
	for i := range c.Members {
		if c.Members[i].ID == 0 {
			return fmt.Errorf("%w: a member without an ID", errConfiguration)
		}
		if i > 0 && c.Members[i].ID <= c.Members[i-1].ID {
			return fmt.Errorf("%w: member %v is out of order or repeated", errConfiguration, c.Members[i].ID)
		}
		if m := &c.Members[i]; !m.Former.IsZero() && m.Former == m.Incarnation {
			return fmt.Errorf("%w: member %v has the incarnation that it gave up", errConfiguration, m.ID)
		}
		if !c.Members[i].Learner {
			voters++
			if c.Members[i].Promote {
				return fmt.Errorf("%w: voter %v is to be promoted", errConfiguration, c.Members[i].ID)
			}
		}
	}
	if voters == 0 {
		return fmt.Errorf("%w: no voter", errConfiguration)
	}
	return nil
}

// The layout of an encoded configuration: layout, cluster ID, version of commands, voters that were set, number
// of members; each member: ID, flags, version, incarnation, the former one, name, address, number of metadata pairs, pairs ordered
// by key. Numbers are uvarints, strings carry their length. One configuration has exactly one encoding. Layout 1,
// of before the first release, had no versions, no voters that were set, no former incarnations and no promotion; it is still read.
const (
	configurationLayout = 2
	firstLayout         = 1
	flagLearner         = 1
	flagStandby         = 2
	flagPromote         = 4
	// maxMembers and maxMetadata bound what a decoder believes.
	maxMembers  = 1024
	maxMetadata = 1024
)

// Encode returns the content of an EntryConfig.
func (c Configuration) Encode() []byte {
	return c.append(nil)
}

func (c Configuration) append(b []byte) []byte {
	b = append(append(b, configurationLayout), c.ClusterID[:]...)
	b = binary.AppendUvarint(b, uint64(c.Version))
	b = binary.AppendUvarint(b, uint64(c.SetVoters))
	b = binary.AppendUvarint(b, uint64(len(c.Members)))
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for i := range c.Members {
		m := &c.Members[i]
		var flags byte
		if m.Learner {
			flags |= flagLearner
		}
		if m.Standby {
			flags |= flagStandby
		}
		if m.Promote {
			flags |= flagPromote
		}
		b = binary.AppendUvarint(b, uint64(m.ID))
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(m.Version))
		b = append(b, m.Incarnation[:]...)
		b = append(b, m.Former[:]...)
		str(m.Name)
		str(m.Address)
		b = binary.AppendUvarint(b, uint64(len(m.Metadata)))
		for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
			str(k)
			str(m.Metadata[k])
		}
	}
	return b
}

// DecodeConfiguration reads what Encode wrote. It refuses anything else, however it came about.
func DecodeConfiguration(data []byte) (Configuration, error) {
	d := decoder{rest: data}
	c := d.configuration()
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return Configuration{}, d.err
	}
	if err := c.valid(); err != nil {
		return Configuration{}, err
	}
	return c, nil
}

func (d *decoder) configuration() (c Configuration) {
	layout := d.byte()
	if d.err == nil && layout != configurationLayout && layout != firstLayout {
		d.fail("layout %d is not known", layout)
	}
	copy(c.ClusterID[:], d.bytes(len(c.ClusterID)))
	known := byte(flagLearner | flagStandby)
	if layout >= configurationLayout {
		c.Version, c.SetVoters = d.uint32(), d.uint32()
		known |= flagPromote
	}
	for range d.count(maxMembers) {
		var m Member
		m.ID = MemberID(d.uvarint())
		flags := d.byte()
		if flags&^known != 0 {
			d.fail("unknown flags %#x", flags)
		}
		m.Learner, m.Standby, m.Promote = flags&flagLearner != 0, flags&flagStandby != 0, flags&flagPromote != 0
		if layout >= configurationLayout {
			m.Version = d.uint32()
		}
		copy(m.Incarnation[:], d.bytes(len(m.Incarnation)))
		if layout >= configurationLayout {
			copy(m.Former[:], d.bytes(len(m.Former)))
		}
		m.Name, m.Address = d.string(), d.string()
		prev := ""
		for i := range d.count(maxMetadata) {
			k, v := d.string(), d.string()
			if d.err != nil {
				break
			}
			if i > 0 && k <= prev {
				d.fail("metadata out of order")
			}
			if m.Metadata == nil {
				m.Metadata = make(map[string]string)
			}
			m.Metadata[k], prev = v, k
		}
		if d.err != nil {
			break
		}
		c.Members = append(c.Members, m)
	}
	return c
}

// decoder reads fields and remembers the first error, so that its caller checks once.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errConfiguration, fmt.Sprintf(format, args...))
	}
	d.rest = nil
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.rest) {
		d.fail("cut short")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || (n > 1 && d.rest[n-1] == 0) { // the second: a longer form than needed
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.fail("number %d is too large", v)
		return 0
	}
	return uint32(v)
}

func (d *decoder) count(limit uint64) uint64 {
	n := d.uvarint()
	if n > limit {
		d.fail("count %d is beyond %d", n, limit)
		return 0
	}
	return n
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail("cut short")
		return ""
	}
	return string(d.bytes(int(n)))
}
