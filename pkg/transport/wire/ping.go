package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// Ping keeps a connection from being idle, measures its round trip, and carries the newest mark of its
// sender: connections live for weeks, and a witness must not be as old as its connection.
type Ping struct {
	Stamp uint64 // any number; the pong brings it back
	Slot  uint64 // of the sender's mark; 0: none
	Mark  raft.Mark
}

// AppendPing appends a whole frame.
func AppendPing(dst []byte, p Ping) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(BeginFrame(dst, KindPing), p.Stamp)
	return EndFrame(appendMark(dst, p.Slot, p.Mark), start)
}

// DecodePing reads the body of a KindPing.
func DecodePing(b []byte) (Ping, error) {
	c := cursor{rest: b}
	p := Ping{Stamp: c.uint64()}
	p.Slot, p.Mark = mark(&c)
	if c.bad {
		return Ping{}, fmt.Errorf("%w: ping of %d bytes", ErrMalformed, len(b))
	}
	return p, nil
}

// AppendPong appends a whole frame.
func AppendPong(dst []byte, stamp uint64) []byte {
	start := len(dst)
	return EndFrame(binary.LittleEndian.AppendUint64(BeginFrame(dst, KindPong), stamp), start)
}

// DecodePong reads the body of a KindPong.
func DecodePong(b []byte) (stamp uint64, err error) {
	c := cursor{rest: b}
	stamp = c.uint64()
	if c.bad {
		return 0, fmt.Errorf("%w: pong of %d bytes", ErrMalformed, len(b))
	}
	return stamp, nil
}
