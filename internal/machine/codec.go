package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// An entry's data is: version (1 byte), number of commands, commands. A command is: kind (1 byte), flags
// (1 byte), the secret's hash if flagged, the envelope if flagged, and what is compared when a seq comes
// again: namespace, name and body.

// CommandVersion is the version of an entry's data that this program writes and reads.
const CommandVersion = 1

const (
	flagSecret   = 1 << 0
	flagEnvelope = 1 << 1
)

// ErrEncode is wrapped by what EncodeCommands refuses: a command whose body is not that of its kind.
var ErrEncode = errors.New("machine: command can't be encoded")

// EncodeCommands encodes the data of one log entry: one command or more. Equal commands give equal bytes.
func EncodeCommands(cs []Command) ([]byte, error) {
	if len(cs) == 0 {
		return nil, fmt.Errorf("%w: no command", ErrEncode)
	}
	b := appendUint(append(make([]byte, 0, 96*len(cs)), CommandVersion), uint64(len(cs)))
	for i := range cs {
		if err := checkBody(&cs[i]); err != nil {
			return nil, fmt.Errorf("%w: command %d: %w", ErrEncode, i, err)
		}
		b = appendCommand(b, &cs[i])
	}
	return b, nil
}

// DecodeCommands is the reverse of EncodeCommands. It accepts nothing that EncodeCommands doesn't write.
func DecodeCommands(data []byte) ([]Command, error) {
	cs, _, err := decodeCommands(data)
	return cs, err
}

// decodeCommands also returns the hash of each command that can come again under one seq.
func decodeCommands(data []byte) ([]Command, []uint64, error) {
	r := &reader{data: data}
	if v := r.byte(); r.err == nil && v != CommandVersion {
		return nil, nil, fmt.Errorf("%w: commands of version %d, this program reads %d", errWire, v, CommandVersion)
	}
	n := r.uint()
	const least = 4 // bytes of a command: kind, flags, two lengths
	if r.err == nil && (n == 0 || n > uint64(len(r.data)/least)) {
		r.fail("impossible number of commands")
	}
	if r.err != nil {
		return nil, nil, r.err
	}
	cs, hashes := make([]Command, n), make([]uint64, n)
	for i := range cs {
		hashes[i] = r.command(&cs[i])
		if r.err != nil {
			return nil, nil, fmt.Errorf("command %d: %w", i, r.err)
		}
	}
	return cs, hashes, r.done()
}

// checkBody makes sure that a command has the body of its kind and no other.
func checkBody(c *Command) error {
	has := [...]bool{c.Init != nil, c.Serving != nil, c.Open != nil, c.Resume != nil, c.Acquire != nil, c.Cancel != nil,
		c.Release != nil, c.Force != nil, c.Create != nil, c.Alloc != nil, c.Advance != nil}
	want := -1
	switch c.Kind {
	case KindInit:
		want = 0
	case KindServing:
		want = 1
	case KindSessionOpen:
		want = 2
	case KindSessionResume:
		want = 3
	case KindLockAcquire:
		want = 4
	case KindLockCancel:
		want = 5
	case KindLockRelease:
		want = 6
	case KindLockForceRelease:
		want = 7
	case KindSeqCreate:
		want = 8
	case KindSeqAlloc:
		want = 9
	case KindSeqAdvance:
		want = 10
	case KindTick, KindNotServing, KindSessionKeepalive, KindSessionClose, KindSeqDelete:
	default:
		return fmt.Errorf("kind %d is not known", c.Kind)
	}
	for i, set := range has {
		if set != (i == want) {
			return fmt.Errorf("kind %d has not exactly the body of its kind", c.Kind)
		}
	}
	return nil
}

func appendCommand(b []byte, c *Command) []byte {
	flags := byte(0)
	if c.Secret != (SecretHash{}) {
		flags |= flagSecret
	}
	if c.Session|c.Generation|c.Seq|c.Ack|c.EventsSeen != 0 || c.NotAfter != 0 {
		flags |= flagEnvelope
	}
	b = append(b, byte(c.Kind), flags)
	if flags&flagSecret != 0 {
		b = append(b, c.Secret[:]...)
	}
	if flags&flagEnvelope != 0 {
		b = appendUint(b, c.Session)
		b = appendUint(b, c.Generation)
		b = appendUint(b, c.Seq)
		b = appendUint(b, c.Ack)
		b = appendUint(b, c.EventsSeen)
		b = appendInt(b, c.NotAfter)
	}
	b = appendString(b, c.Namespace)
	b = appendString(b, c.Name)
	return appendBody(b, c)
}

func appendBody(b []byte, c *Command) []byte {
	switch c.Kind {
	case KindInit:
		b = appendUint(b, uint64(c.Init.Domain))
	case KindServing:
		b = appendInt(b, c.Serving.ElectionTimeout)
	case KindSessionOpen:
		b = appendInt(b, c.Open.TTL)
		b = appendString(b, c.Open.Owner)
		b = appendMap(b, c.Open.Metadata)
		b = appendBytes(b, c.Open.Nonce)
	case KindSessionResume:
		b = appendBytes(b, c.Resume.Nonce)
	case KindLockAcquire:
		b = append(b, byte(c.Acquire.Mode))
		b = appendInt(b, c.Acquire.Wait)
		b = appendMap(b, c.Acquire.Metadata)
	case KindLockCancel:
		b = appendUint(b, c.Cancel.Ticket)
	case KindLockRelease:
		b = appendUint(b, c.Release.Fence)
	case KindLockForceRelease:
		b = appendUint(b, c.Force.Fence)
		b = appendString(b, c.Force.Reason)
		b = appendBool(b, c.Force.Now)
	case KindSeqCreate:
		b = appendInt(b, c.Create.Min)
		b = appendInt(b, c.Create.Max)
		b = appendInt(b, c.Create.Step)
		b = appendInt(b, c.Create.Start)
		b = appendBool(b, c.Create.HasMin)
		b = appendBool(b, c.Create.HasMax)
		b = appendBool(b, c.Create.HasStart)
		b = appendBool(b, c.Create.Cycle)
		b = appendBool(b, c.Create.Strict)
		b = appendInt(b, c.Create.MaxRange)
	case KindSeqAlloc:
		b = appendInt(b, c.Alloc.Count)
		b = appendInt(b, c.Alloc.MinCount)
	case KindSeqAdvance:
		b = appendInt(b, c.Advance.To)
	}
	return b
}

// command reads one command and returns its hash.
func (r *reader) command(c *Command) uint64 {
	c.Kind = Kind(r.byte())
	flags := r.byte()
	if flags&^(flagSecret|flagEnvelope) != 0 {
		r.fail("unknown flags")
	}
	if flags&flagSecret != 0 {
		copy(c.Secret[:], r.take(uint64(len(c.Secret))))
		if c.Secret == (SecretHash{}) {
			r.fail("an empty secret is flagged")
		}
	}
	if flags&flagEnvelope != 0 {
		c.Session = r.uint()
		c.Generation = r.uint()
		c.Seq = r.uint()
		c.Ack = r.uint()
		c.EventsSeen = r.uint()
		c.NotAfter = r.int()
		if c.Session|c.Generation|c.Seq|c.Ack|c.EventsSeen == 0 && c.NotAfter == 0 {
			r.fail("an empty envelope is flagged")
		}
	}
	compared := r.data
	c.Namespace = r.string()
	c.Name = r.string()
	r.body(c)
	if r.err != nil {
		return 0
	}
	return commandHash(c.Kind, compared[:len(compared)-len(r.data)])
}

func (r *reader) body(c *Command) {
	switch c.Kind {
	case KindTick, KindNotServing, KindSessionKeepalive, KindSessionClose, KindSeqDelete:
	case KindInit:
		domain := r.uint()
		if domain > 1<<16-1 {
			r.fail("a domain has 16 bits")
		}
		c.Init = &Init{Domain: uint16(domain)}
	case KindServing:
		c.Serving = &Serving{ElectionTimeout: r.int()}
	case KindSessionOpen:
		c.Open = &Open{TTL: r.int(), Owner: r.string(), Metadata: r.stringMap(), Nonce: r.bytes()}
	case KindSessionResume:
		c.Resume = &Resume{Nonce: r.bytes()}
	case KindLockAcquire:
		c.Acquire = &Acquire{Mode: Mode(r.byte()), Wait: r.int(), Metadata: r.stringMap()}
	case KindLockCancel:
		c.Cancel = &Cancel{Ticket: r.uint()}
	case KindLockRelease:
		c.Release = &Release{Fence: r.uint()}
	case KindLockForceRelease:
		c.Force = &Force{Fence: r.uint(), Reason: r.string(), Now: r.bool()}
	case KindSeqCreate:
		c.Create = &SeqCreate{Min: r.int(), Max: r.int(), Step: r.int(), Start: r.int(), HasMin: r.bool(), HasMax: r.bool(),
			HasStart: r.bool(), Cycle: r.bool(), Strict: r.bool(), MaxRange: r.int()}
	case KindSeqAlloc:
		c.Alloc = &SeqAlloc{Count: r.int(), MinCount: r.int()}
	case KindSeqAdvance:
		c.Advance = &SeqAdvance{To: r.int()}
	default:
		r.fail(fmt.Sprintf("command kind %d is not known to this version", c.Kind))
	}
}

// commandHash identifies a command by what it asks for: not by who asks, when, and with which ack. 64 bits
// do, since it only tells a client's own requests under one seq apart.
func commandHash(k Kind, compared []byte) uint64 {
	var small [128]byte
	sum := sha256.Sum256(append(append(small[:0], byte(k)), compared...))
	return binary.BigEndian.Uint64(sum[:8])
}
