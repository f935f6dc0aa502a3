package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coordd/coordd/internal/canary"
)

// An entry's data is: version (1 byte), number of commands, commands. A command is: kind (1 byte), flags
// (1 byte), the secret's hash if flagged, the envelope if flagged, and what is compared when a seq comes
// again: namespace, name and body. A command has the same bytes in each version that knows it.

// CommandVersion is the highest version of an entry's data that this program writes and reads. It reads all lower
// ones too. Version 1 knows exclusive locks, sessions and sequences; version 2 all kinds of commands.
const CommandVersion = 2

const (
	flagSecret   = 1 << 0
	flagEnvelope = 1 << 1
	flagExtended = 1 << 2 // an acquire with what version 1 doesn't know behind the rest
)

// ErrEncode is wrapped by what EncodeCommands refuses: a command whose body is not that of its kind.
var ErrEncode = errors.New("machine: command can't be encoded")

// ErrVersion is wrapped by what EncodeCommandsAs refuses because the version doesn't know it yet.
var ErrVersion = errors.New("machine: the command needs a later version than all members have")

// EncodeCommands encodes the data of one log entry, one command or more, in the lowest version that knows all of
// them. Equal commands give equal bytes.
func EncodeCommands(cs []Command) ([]byte, error) {
	version := byte(1)
	for i := range cs {
		version = max(version, versionOf(&cs[i]))
	}
	return encode(version, cs)
}

// EncodeCommandsAs encodes the data of one log entry in the version that all members read (0 counts as 1), or in this
// program's where theirs is higher. ErrVersion: a command needs a higher one, and may be proposed later.
func EncodeCommandsAs(members uint32, cs []Command) ([]byte, error) {
	version := byte(min(max(members, 1), CommandVersion))
	for i := range cs {
		if need := versionOf(&cs[i]); need > version && !canary.Broken(canary.VersionOfCommands) {
			return nil, fmt.Errorf("%w: command %d of kind %d needs version %d, all members have %d", ErrVersion, i, cs[i].Kind, need, version)
		}
	}
	return encode(version, cs)
}

func encode(version byte, cs []Command) ([]byte, error) {
	if len(cs) == 0 {
		return nil, fmt.Errorf("%w: no command", ErrEncode)
	}
	b := appendUint(append(make([]byte, 0, 96*len(cs)), version), uint64(len(cs)))
	for i := range cs {
		if err := checkBody(&cs[i]); err != nil {
			return nil, fmt.Errorf("%w: command %d: %w", ErrEncode, i, err)
		}
		b = appendCommand(b, &cs[i])
	}
	return b, nil
}

// versionOf returns the lowest version that knows a command.
func versionOf(c *Command) byte {
	switch c.Kind {
	case KindLockAcquireAll, KindLockHandOver, KindElectionProclaim, KindBarrierWait, KindLatchSet, KindLatchCountDown, KindLatchWait:
		return 2
	case KindLockAcquire:
		if a := c.Acquire; a != nil && (a.Mode == Shared || a.Mode == Semaphore || a.extended()) {
			return 2
		}
	}
	return 1
}

// extended reports whether an acquire has what version 1 doesn't know.
func (a *Acquire) extended() bool {
	return a.Count|a.Limit != 0 || a.Delay|a.MaxHold != 0 || a.Reentrant || len(a.Holding) > 0 || len(a.Value) > 0
}

// DecodeCommands is the reverse of EncodeCommandsAs. It accepts nothing that EncodeCommandsAs doesn't write.
func DecodeCommands(data []byte) ([]Command, error) {
	_, cs, _, err := decodeCommands(data, nil, nil, nil)
	return cs, err
}

// decodeCommands also returns the version, and the hash of each command that can come again under one seq. The lists
// that it returns take the place of the given empty ones, if these have room; the most frequent bodies go to
// lists too, if there are any.
func decodeCommands(data []byte, cs []Command, hashes []uint64, in *bodies) (byte, []Command, []uint64, error) {
	r := &reader{data: data, bodies: in}
	r.version = r.byte()
	if v := r.version; r.err == nil && (v < 1 || v > CommandVersion) {
		return 0, nil, nil, fmt.Errorf("%w: commands of version %d, this program reads up to %d", errWire, v, CommandVersion)
	}
	n := r.uint()
	const least = 4 // bytes of a command: kind, flags, two lengths
	if r.err == nil && (n == 0 || n > uint64(len(r.data)/least)) {
		r.fail("impossible number of commands")
	}
	if r.err != nil {
		return 0, nil, nil, r.err
	}
	if n > uint64(cap(cs)) || n > uint64(cap(hashes)) {
		cs, hashes = make([]Command, n), make([]uint64, n)
	}
	cs, hashes = cs[:n], hashes[:n]
	for i := range cs {
		hashes[i] = r.command(&cs[i])
		if r.err != nil {
			return 0, nil, nil, fmt.Errorf("command %d: %w", i, r.err)
		}
	}
	return r.version, cs, hashes, r.done()
}

// bodies are those of the commands of one entry, of the kinds that nearly all commands have.
type bodies struct {
	acquires []Acquire
	releases []Release
}

func (b *bodies) acquire() *Acquire {
	if b == nil {
		return new(Acquire)
	}
	return placeFor(&b.acquires)
}

func (b *bodies) release() *Release {
	if b == nil {
		return new(Release)
	}
	return placeFor(&b.releases)
}

// placeFor returns a place for one more element. Those that were given out before stay where they are.
func placeFor[T any](list *[]T) *T {
	if len(*list) == cap(*list) {
		*list = make([]T, 0, max(1, min(2*cap(*list), scratchKept)))
	}
	*list = (*list)[:len(*list)+1]
	return &(*list)[len(*list)-1]
}

// checkBody makes sure that a command has the body of its kind and no other.
func checkBody(c *Command) error {
	has := [...]bool{c.Init != nil, c.Serving != nil, c.Open != nil, c.Resume != nil, c.Acquire != nil, c.Cancel != nil,
		c.Release != nil, c.Force != nil, c.Create != nil, c.Alloc != nil, c.Advance != nil, c.AcquireAll != nil, c.HandOver != nil,
		c.Proclaim != nil, c.BarrierWait != nil, c.LatchSet != nil, c.LatchCountDown != nil, c.LatchWait != nil}
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
	case KindLockAcquireAll:
		want = 11
	case KindLockHandOver:
		want = 12
	case KindElectionProclaim:
		want = 13
	case KindBarrierWait:
		want = 14
	case KindLatchSet:
		want = 15
	case KindLatchCountDown:
		want = 16
	case KindLatchWait:
		want = 17
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
	if c.Kind == KindLockAcquire && c.Acquire.extended() {
		flags |= flagExtended
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
		if c.Acquire.extended() {
			b = appendUint(b, c.Acquire.Count)
			b = appendUint(b, c.Acquire.Limit)
			b = appendInt(b, c.Acquire.Delay)
			b = appendInt(b, c.Acquire.MaxHold)
			b = appendBool(b, c.Acquire.Reentrant)
			b = appendUints(b, c.Acquire.Holding)
			b = appendBytes(b, c.Acquire.Value)
		}
	case KindLockAcquireAll:
		b = appendStrings(b, c.AcquireAll.Names)
		b = appendInt(b, c.AcquireAll.Wait)
		b = appendInt(b, c.AcquireAll.Delay)
		b = appendInt(b, c.AcquireAll.MaxHold)
		b = appendMap(b, c.AcquireAll.Metadata)
		b = appendUints(b, c.AcquireAll.Holding)
	case KindLockHandOver:
		b = appendUint(b, c.HandOver.Fence)
		b = appendUint(b, c.HandOver.To)
	case KindElectionProclaim:
		b = appendUint(b, c.Proclaim.Fence)
		b = appendBytes(b, c.Proclaim.Value)
	case KindBarrierWait:
		b = appendUint(b, c.BarrierWait.Parties)
		b = appendInt(b, c.BarrierWait.Wait)
	case KindLatchSet:
		b = appendUint(b, c.LatchSet.Count)
	case KindLatchCountDown:
		b = appendUint(b, c.LatchCountDown.N)
	case KindLatchWait:
		b = appendInt(b, c.LatchWait.Wait)
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
	known := byte(flagSecret | flagEnvelope)
	if c.Kind == KindLockAcquire && r.version >= 2 {
		known |= flagExtended
	}
	if flags&^known != 0 {
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
	r.body(c, flags&flagExtended != 0)
	if r.err == nil && r.version < versionOf(c) {
		r.fail(fmt.Sprintf("a command that needs version %d in an entry of version %d", versionOf(c), r.version))
	}
	if r.err != nil {
		return 0
	}
	return commandHash(c.Kind, compared[:len(compared)-len(r.data)])
}

func (r *reader) body(c *Command, extended bool) {
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
		a := r.bodies.acquire()
		a.Mode, a.Wait, a.Metadata = Mode(r.byte()), r.int(), r.stringMap()
		if c.Acquire = a; extended {
			a.Count, a.Limit, a.Delay, a.MaxHold, a.Reentrant = r.uint(), r.uint(), r.int(), r.int(), r.bool()
			a.Holding, a.Value = r.uints(), r.bytes()
			if !a.extended() {
				r.fail("an empty extension is flagged")
			}
		}
	case KindLockAcquireAll:
		c.AcquireAll = &AcquireAll{Names: r.strings(), Wait: r.int(), Delay: r.int(), MaxHold: r.int(), Metadata: r.stringMap(), Holding: r.uints()}
	case KindLockHandOver:
		c.HandOver = &HandOver{Fence: r.uint(), To: r.uint()}
	case KindElectionProclaim:
		c.Proclaim = &Proclaim{Fence: r.uint(), Value: r.bytes()}
	case KindBarrierWait:
		c.BarrierWait = &BarrierWait{Parties: r.uint(), Wait: r.int()}
	case KindLatchSet:
		c.LatchSet = &LatchSet{Count: r.uint()}
	case KindLatchCountDown:
		c.LatchCountDown = &LatchCountDown{N: r.uint()}
	case KindLatchWait:
		c.LatchWait = &LatchWait{Wait: r.int()}
	case KindLockCancel:
		c.Cancel = &Cancel{Ticket: r.uint()}
	case KindLockRelease:
		c.Release = r.bodies.release()
		c.Release.Fence = r.uint()
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
