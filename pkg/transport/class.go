package transport

import "github.com/coordd/coordd/pkg/raft"

// Class tells apart the messages that must not wait from those that carry the log, and both from what programs say to
// each other. Each class of each direction has a queue and, where there are connections, a connection of its own.
type Class uint8

// The classes.
const (
	Control  Class = iota // heartbeats, votes, reads, acknowledgements: small, and leadership depends on them
	Bulk                  // appends
	Messages              // what a Messenger carries
	NumClasses
)

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case Control:
		return "control"
	case Bulk:
		return "bulk"
	case Messages:
		return "messages"
	}
	return "unknown"
}

// ClassOf returns the class of a core's message. All appends are of one class, with and without entries, so
// that they keep their order among each other.
func ClassOf(t raft.MessageType) Class {
	if t == raft.MsgAppend {
		return Bulk
	}
	return Control
}
