package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/coordd/coordd/pkg/raft"
)

// Kind says what a frame's body is.
type Kind uint8

// The kinds of frames.
const (
	KindHello   Kind = iota + 1 // dialler's first frame
	KindAccept                  // answer to it
	KindRefuse                  // other answer to it; the connection ends
	KindMessage                 // a raft.Message
	KindPing                    // answered by KindPong at once
	KindPong
	KindRequest   // answered by KindReply with the same ID
	KindReply     // on the connection that the request came on
	KindNotify    // not answered
	KindAnnounce  // a stranger's first frame and, with KindAnnounced, its only one
	KindAnnounced // answer to it; or KindRefuse
	numKinds
)

// HeaderBytes is what a frame costs before its payload.
const HeaderBytes = 8

// smallFrameBytes is the largest payload that is read into the reader's own memory.
const smallFrameBytes = 512

// firstReadBytes is how much memory a frame gets before any of its payload has arrived.
const firstReadBytes = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BeginFrame appends the room for a header and the kind; the body is to be appended behind it, and then
// EndFrame is called with the length that dst had before.
func BeginFrame(dst []byte, kind Kind) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind))
}

// EndFrame fills in the header of the frame that begins at start.
func EndFrame(dst []byte, start int) []byte {
	frame := dst[start:]
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-HeaderBytes))
	binary.LittleEndian.PutUint32(frame[4:], checksum(frame[:4], frame[HeaderBytes:]))
	return dst
}

// AppendMessageFrame appends a whole frame with a message.
func AppendMessageFrame(dst []byte, m *raft.Message) []byte {
	start := len(dst)
	return EndFrame(AppendMessage(BeginFrame(dst, KindMessage), m), start)
}

// checksum covers the length too, so that a damaged length cannot pass.
func checksum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// Frame is one frame as it was read.
type Frame struct {
	Kind Kind
	Body []byte
	// Owned is true when Body has memory of its own; otherwise it is valid until the next read.
	Owned bool
}

// Bytes is the size of the frame on the wire.
func (f Frame) Bytes() int { return HeaderBytes + 1 + len(f.Body) }

// Message decodes the body of a KindMessage. The message shares no memory with the reader.
func (f Frame) Message() (raft.Message, error) { return decodeMessage(f.Body, f.Owned) }

// Reader reads frames from a stream. It is for one goroutine.
type Reader struct {
	source io.Reader
	limit  int
	header [HeaderBytes]byte
	small  [smallFrameBytes]byte
}

// NewReader reads from source, which should be buffered. A frame whose payload is larger than limit
// bytes is refused before memory is taken for it.
func NewReader(source io.Reader, limit int) *Reader { return &Reader{source: source, limit: limit} }

// SetLimit changes the limit for the frames that follow.
func (r *Reader) SetLimit(limit int) { r.limit = limit }

// Next reads one frame. io.EOF means that the stream ended between two frames; an error for which
// Broken holds, that it makes no sense from here on.
func (r *Reader) Next() (Frame, error) {
	if _, err := io.ReadFull(r.source, r.header[:]); err != nil {
		return Frame{}, err
	}
	claimed := binary.LittleEndian.Uint32(r.header[:])
	if uint64(claimed) > uint64(r.limit) {
		return Frame{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, claimed, r.limit)
	}
	length := int(claimed)
	if length == 0 {
		return Frame{}, fmt.Errorf("%w: empty frame", ErrMalformed)
	}
	payload, owned, err := r.payload(length)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	if checksum(r.header[:4], payload) != binary.LittleEndian.Uint32(r.header[4:]) {
		return Frame{}, fmt.Errorf("%w in a frame of %d bytes", ErrChecksum, length)
	}
	kind := Kind(payload[0])
	if kind == 0 || kind >= numKinds {
		return Frame{}, fmt.Errorf("%w: frame of kind %d", ErrMalformed, kind)
	}
	return Frame{Kind: kind, Body: payload[1:], Owned: owned}, nil
}

// payload reads length bytes: small ones into the reader's memory, large ones into memory that grows
// with what arrives, so that a mere claim of a length costs the claimer as much as it costs us.
func (r *Reader) payload(length int) (b []byte, owned bool, err error) {
	if length <= smallFrameBytes {
		_, err = io.ReadFull(r.source, r.small[:length])
		return r.small[:length], false, err
	}
	b = make([]byte, min(length, firstReadBytes))
	for read := 0; ; {
		if _, err = io.ReadFull(r.source, b[read:]); err != nil {
			return nil, true, err
		}
		read = len(b)
		if read == length {
			return b, true, nil
		}
		b = append(b, make([]byte, min(length-read, read))...)
	}
}
