package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/coordd/coordd/pkg/transport"
)

// BodyLimit is the largest payload of a frame that carries a body: the largest body and what stands before it.
const BodyLimit = transport.MaxBodyBytes + 64

// maxErrorBytes bounds the text of a handler's error.
const maxErrorBytes = 4 << 10

// Status is how a request or an announcement went.
type Status uint8

// The statuses.
const (
	StatusDone   Status = iota // Body is the answer
	StatusFailed               // Body is the text of the handler's error
	StatusBusy                 // it was not begun and may come again later; no body
	numStatuses
)

// Request is a request or, seen from its receiver, a repeat of one.
type Request struct {
	ID   transport.RequestID
	Body []byte
}

// Reply answers a request.
type Reply struct {
	ID     transport.RequestID
	Status Status
	Body   []byte
}

// ReplyOf is the reply with a handler's answer.
func ReplyOf(id transport.RequestID, a transport.Answer) Reply {
	if a.Failed {
		return Reply{ID: id, Status: StatusFailed, Body: a.Body}
	}
	return Reply{ID: id, Body: a.Body}
}

// ErrorText is an error's text as a body: cut to its bound, and without what an operator must not see.
func ErrorText(err error) []byte { return appendText(nil, err.Error(), maxErrorBytes)[2:] }

// AppendRequest appends a whole frame.
func AppendRequest(dst []byte, r *Request) []byte {
	start := len(dst)
	dst = append(BeginFrame(dst, KindRequest), r.ID[:]...)
	return EndFrame(append(dst, r.Body...), start)
}

// DecodeRequest reads the body of a KindRequest. Its Body is a part of b.
func DecodeRequest(b []byte) (Request, error) {
	c := cursor{rest: b}
	r := Request{ID: c.array16(), Body: c.rest}
	if c.bad || len(r.Body) > transport.MaxBodyBytes {
		return Request{}, fmt.Errorf("%w: request of %d bytes", ErrMalformed, len(b))
	}
	return r, nil
}

// AppendReply appends a whole frame.
func AppendReply(dst []byte, r *Reply) []byte {
	start := len(dst)
	dst = append(append(BeginFrame(dst, KindReply), r.ID[:]...), byte(r.Status))
	return EndFrame(append(dst, r.Body...), start)
}

// DecodeReply reads the body of a KindReply. Its Body is a part of b.
func DecodeReply(b []byte) (Reply, error) {
	c := cursor{rest: b}
	r := Reply{ID: c.array16()}
	if r.Status, r.Body = outcome(&c); c.bad {
		return Reply{}, fmt.Errorf("%w: reply of %d bytes", ErrMalformed, len(b))
	}
	return r, nil
}

// outcome reads a status and, to the end, the body that belongs to it.
func outcome(c *cursor) (Status, []byte) {
	status := Status(c.byte())
	body := c.rest
	switch {
	case status >= numStatuses, len(body) > transport.MaxBodyBytes:
		c.fail()
	case status == StatusFailed && (len(body) > maxErrorBytes || !printable(body)):
		c.fail()
	case status == StatusBusy && len(body) > 0:
		c.fail()
	}
	return status, body
}

// AppendNotify appends a whole frame.
func AppendNotify(dst, body []byte) []byte {
	start := len(dst)
	return EndFrame(append(BeginFrame(dst, KindNotify), body...), start)
}

// DecodeNotify reads the body of a KindNotify, which is nothing but the body that was sent.
func DecodeNotify(b []byte) ([]byte, error) {
	if len(b) > transport.MaxBodyBytes {
		return nil, fmt.Errorf("%w: notification of %d bytes", ErrMalformed, len(b))
	}
	return b, nil
}

// Announce is what a stranger says to a node of which it knows the address. It begins as a Hello does.
type Announce struct {
	MinVersion, MaxVersion uint16
	Self                   transport.Identity
	Address                string // that was called
	Body                   []byte
}

// Announced is the answer.
type Announced struct {
	Version uint16
	Self    transport.Identity // of the node that answers
	Status  Status
	Body    []byte
}

// AppendAnnounce appends a whole frame. Texts beyond their bounds are cut.
func AppendAnnounce(dst []byte, a *Announce) []byte {
	start := len(dst)
	dst = appendPreamble(BeginFrame(dst, KindAnnounce), a.MinVersion, a.MaxVersion)
	dst = appendMore(appendIdentity(dst, &a.Self), &a.Self)
	dst = appendText(dst, a.Address, maxAddressBytes)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(a.Body)))
	return EndFrame(append(dst, a.Body...), start)
}

// DecodeAnnounce reads the body of a KindAnnounce. With ErrVersion the versions are filled in, and no more.
func DecodeAnnounce(b []byte) (Announce, error) {
	c := cursor{rest: b}
	var a Announce
	a.MinVersion, a.MaxVersion = preamble(&c)
	if c.bad || a.MinVersion > a.MaxVersion {
		return Announce{}, fmt.Errorf("%w: announcement of %d bytes", ErrMalformed, len(b))
	}
	if version, err := Choose(a.MinVersion, a.MaxVersion); err != nil || version < messagesVersion {
		return Announce{MinVersion: a.MinVersion, MaxVersion: a.MaxVersion},
			fmt.Errorf("%w: peer announces itself in %d to %d", ErrVersion, a.MinVersion, a.MaxVersion)
	}
	a.Self = identity(&c)
	more(&c, &a.Self)
	a.Address = c.text(maxAddressBytes)
	n := c.uint16()
	if n > transport.MaxAnnounceBytes {
		c.fail()
	}
	if a.Body = c.bytes(uint64(n)); c.bad {
		return Announce{}, fmt.Errorf("%w: announcement of %d bytes", ErrMalformed, len(b))
	}
	return a, nil
}

// AppendAnnounced appends a whole frame.
func AppendAnnounced(dst []byte, a *Announced) []byte {
	start := len(dst)
	dst = appendPreamble(BeginFrame(dst, KindAnnounced), a.Version, a.Version)
	dst = appendMore(appendIdentity(dst, &a.Self), &a.Self)
	dst = append(dst, byte(a.Status))
	return EndFrame(append(dst, a.Body...), start)
}

// AnnouncedLimit is the largest payload of a KindAnnounced.
const AnnouncedLimit = BodyLimit + 1<<10

// DecodeAnnounced reads the body of a KindAnnounced. Its Body is a part of b.
func DecodeAnnounced(b []byte) (Announced, error) {
	c := cursor{rest: b}
	var a Announced
	lowest, highest := preamble(&c)
	a.Version = highest
	if !c.bad && lowest == highest && (highest < messagesVersion || highest > MaxVersion) {
		return Announced{}, fmt.Errorf("%w: peer chose %d", ErrVersion, highest)
	}
	a.Self = identity(&c)
	more(&c, &a.Self)
	if a.Status, a.Body = outcome(&c); c.bad || lowest != highest {
		return Announced{}, fmt.Errorf("%w: answer to an announcement of %d bytes", ErrMalformed, len(b))
	}
	return a, nil
}
