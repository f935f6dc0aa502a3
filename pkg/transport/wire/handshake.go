package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// The protocol versions that this code speaks. Version 1 did not say whose incarnation a witnessed mark
// was of, which the receiver must know; so it is not spoken any more. Version 3 brought the hash of the cluster's name,
// the index of the configuration, and the class of messages with its frames; between versions 2 and 3 there are none.
const (
	MinVersion uint16 = 2
	MaxVersion uint16 = 3
)

// messagesVersion is the first version with the class of messages, announcements, and names' hashes.
const messagesVersion = 3

// HandshakeLimit is the largest payload of a frame before both sides know each other. The largest of them is an
// announcement.
const HandshakeLimit = 12 << 10

// MinVersionOf is the lowest version that can carry a class.
func MinVersionOf(class transport.Class) uint16 {
	if class == transport.Messages {
		return messagesVersion
	}
	return MinVersion
}

// Bounds on the texts of a handshake, in bytes.
const (
	maxNameBytes    = 255
	maxAddressBytes = 512
	maxKindBytes    = 32
	maxTextBytes    = 1024
)

// magic begins every body of a handshake.
const magic = "coorddPR"

// Hello is the dialler's first word.
type Hello struct {
	MinVersion, MaxVersion uint16
	Class                  transport.Class
	Expected               raft.MemberID // who the dialler believes to call
	Self                   transport.Identity
	Address                string // where the dialler can be called back
	// Witnessed is the newest mark that the dialler saw of the member that it calls.
	Witnessed transport.Witnessed
}

// Accept is the listener's answer to a Hello that it takes.
type Accept struct {
	Version uint16 // the one to be spoken from now on
	Self    transport.Identity
	// Witnessed is the newest mark that the listener saw of the dialler.
	Witnessed transport.Witnessed
}

// Refuse is the listener's answer to a Hello that it does not take.
type Refuse struct {
	MinVersion, MaxVersion uint16 // what the listener speaks
	Kind                   transport.Rejection
	Text                   string
}

// AppendHello appends a whole frame. Texts beyond their bounds are cut.
func AppendHello(dst []byte, h *Hello) []byte {
	start := len(dst)
	dst = appendPreamble(BeginFrame(dst, KindHello), h.MinVersion, h.MaxVersion)
	dst = append(dst, byte(h.Class))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Expected))
	dst = appendIdentity(dst, &h.Self)
	dst = appendText(dst, h.Address, maxAddressBytes)
	dst = appendWitnessed(dst, &h.Witnessed)
	if h.MaxVersion >= messagesVersion {
		dst = appendMore(dst, &h.Self)
	}
	return EndFrame(dst, start)
}

// DecodeHello reads the body of a KindHello. With ErrVersion the versions are filled in, and no more.
func DecodeHello(b []byte) (Hello, error) {
	c := cursor{rest: b}
	var h Hello
	h.MinVersion, h.MaxVersion = preamble(&c)
	if c.bad || h.MinVersion > h.MaxVersion {
		return Hello{}, fmt.Errorf("%w: hello of %d bytes", ErrMalformed, len(b))
	}
	if _, err := Choose(h.MinVersion, h.MaxVersion); err != nil {
		return h, err
	}
	h.Class = transport.Class(c.byte())
	h.Expected = raft.MemberID(c.uint64())
	h.Self = identity(&c)
	h.Address = c.text(maxAddressBytes)
	h.Witnessed = witnessed(&c)
	if h.MaxVersion >= messagesVersion {
		more(&c, &h.Self)
	}
	if c.bad || h.Class >= transport.NumClasses || h.MaxVersion < MinVersionOf(h.Class) {
		return Hello{}, fmt.Errorf("%w: hello of %d bytes", ErrMalformed, len(b))
	}
	return h, nil
}

// AppendAccept appends a whole frame.
func AppendAccept(dst []byte, a *Accept) []byte {
	start := len(dst)
	dst = appendPreamble(BeginFrame(dst, KindAccept), a.Version, a.Version)
	dst = appendIdentity(dst, &a.Self)
	dst = appendWitnessed(dst, &a.Witnessed)
	if a.Version >= messagesVersion {
		dst = appendMore(dst, &a.Self)
	}
	return EndFrame(dst, start)
}

// DecodeAccept reads the body of a KindAccept.
func DecodeAccept(b []byte) (Accept, error) {
	c := cursor{rest: b}
	var a Accept
	lowest, highest := preamble(&c)
	a.Version = highest
	a.Self = identity(&c)
	a.Witnessed = witnessed(&c)
	if a.Version >= messagesVersion {
		more(&c, &a.Self)
	}
	if c.bad || lowest != highest {
		return Accept{}, fmt.Errorf("%w: accept of %d bytes", ErrMalformed, len(b))
	}
	if a.Version < MinVersion || a.Version > MaxVersion {
		return a, fmt.Errorf("%w: peer chose %d", ErrVersion, a.Version)
	}
	return a, nil
}

// AppendRefuse appends a whole frame. Texts beyond their bounds are cut.
func AppendRefuse(dst []byte, r *Refuse) []byte {
	start := len(dst)
	dst = appendPreamble(BeginFrame(dst, KindRefuse), r.MinVersion, r.MaxVersion)
	dst = appendText(dst, string(r.Kind), maxKindBytes)
	dst = appendText(dst, r.Text, maxTextBytes)
	return EndFrame(dst, start)
}

// DecodeRefuse reads the body of a KindRefuse.
func DecodeRefuse(b []byte) (Refuse, error) {
	c := cursor{rest: b}
	var r Refuse
	r.MinVersion, r.MaxVersion = preamble(&c)
	r.Kind = transport.Rejection(c.text(maxKindBytes))
	r.Text = c.text(maxTextBytes)
	if c.bad {
		return Refuse{}, fmt.Errorf("%w: refusal of %d bytes", ErrMalformed, len(b))
	}
	return r, nil
}

// Choose returns the highest version that both sides speak.
func Choose(theirMin, theirMax uint16) (uint16, error) {
	chosen := min(theirMax, MaxVersion)
	if chosen < max(theirMin, MinVersion) {
		return 0, fmt.Errorf("%w: peer speaks %d to %d, this node %d to %d", ErrVersion, theirMin, theirMax, MinVersion, MaxVersion)
	}
	return chosen, nil
}

// appendPreamble writes the part that is the same in all versions.
func appendPreamble(dst []byte, lowest, highest uint16) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint16(dst, lowest)
	return binary.LittleEndian.AppendUint16(dst, highest)
}

// preamble reads the part that is the same in all versions.
func preamble(c *cursor) (lowest, highest uint16) {
	if string(c.bytes(uint64(len(magic)))) != magic {
		c.fail()
	}
	return c.uint16(), c.uint16()
}

func appendIdentity(dst []byte, id *transport.Identity) []byte {
	dst = append(dst, id.Cluster[:]...)
	dst = append(dst, id.ClusterHash[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.Member))
	dst = append(dst, id.Incarnation[:]...)
	dst = appendText(dst, id.Name, maxNameBytes)
	return appendMark(dst, id.MarkSlot, id.Mark)
}

func identity(c *cursor) (id transport.Identity) {
	id.Cluster = c.array16()
	id.ClusterHash = c.array16()
	id.Member = raft.MemberID(c.uint64())
	id.Incarnation = c.array16()
	id.Name = c.text(maxNameBytes)
	id.MarkSlot, id.Mark = mark(c)
	return id
}

// appendMore writes what version 3 added to an identity.
func appendMore(dst []byte, id *transport.Identity) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, id.NameHash[:]...), id.ConfigIndex)
}

func more(c *cursor, id *transport.Identity) { id.NameHash, id.ConfigIndex = c.array16(), c.uint64() }

// appendWitnessed writes slot and mark where version 1 had them, and behind them whose they are.
func appendWitnessed(dst []byte, w *transport.Witnessed) []byte {
	dst = appendMark(dst, w.Slot, w.Mark)
	return append(dst, w.Incarnation[:]...)
}

func witnessed(c *cursor) (w transport.Witnessed) {
	w.Slot, w.Mark = mark(c)
	w.Incarnation = c.array16()
	return w
}

func appendMark(dst []byte, slot uint64, m raft.Mark) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, slot)
	dst = binary.LittleEndian.AppendUint64(dst, m.LastTerm)
	dst = binary.LittleEndian.AppendUint64(dst, m.Last)
	return append(dst, m.Hash[:]...)
}

func mark(c *cursor) (slot uint64, m raft.Mark) {
	slot = c.uint64()
	m.LastTerm, m.Last = c.uint64(), c.uint64()
	m.Hash = c.array16()
	return slot, m
}
