package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// frameKind is the first byte of what nodes send each other with a Messenger: it tells what the nodes say among
// themselves from what their programs say.
type frameKind byte

const (
	frameUser     frameKind = iota // for OnRequest and OnNotify
	frameChunk                     // a part of a snapshot
	frameAnnounce                  // what a member says of itself, to be brought to the leader
	frameOrder                     // what a member asks of the leader
)

// framed puts a kind before a body.
func framed(kind frameKind, body []byte) []byte {
	return append(append(make([]byte, 0, len(body)+1), byte(kind)), body...)
}

// chunk is a part of a snapshot on its way to a member. One without data asks where to begin.
type chunk struct {
	term        uint64
	session     uint64 // the core's number for the receiver
	incarnation raft.Incarnation
	meta        raft.SnapshotMeta
	size        int64 // of the whole file
	offset      int64 // of data
	data        []byte
}

func (c *chunk) encode() []byte {
	meta := c.meta.Encode()
	b := append(make([]byte, 0, 64+len(meta)+len(c.data)), byte(frameChunk))
	b = binary.AppendUvarint(b, c.term)
	b = binary.AppendUvarint(b, c.session)
	b = append(b, c.incarnation[:]...)
	b = binary.AppendUvarint(b, uint64(c.size))
	b = binary.AppendUvarint(b, uint64(c.offset))
	b = binary.AppendUvarint(b, uint64(len(meta)))
	b = append(b, meta...)
	return append(b, c.data...)
}

// errFrame says that what another node sent can't be read.
var errFrame = errors.New("node: malformed message")

// maxFileBytes bounds the size of a snapshot that is believed.
const maxFileBytes = 1 << 50

// decodeChunk reads what follows the kind.
func decodeChunk(b []byte) (c chunk, err error) {
	number := func(limit uint64) uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > limit {
			b, err = nil, errFrame
			return 0
		}
		b = b[n:]
		return v
	}
	c.term, c.session = number(1<<63), number(1<<63)
	if len(b) < len(c.incarnation) {
		return c, errFrame
	}
	b = b[copy(c.incarnation[:], b):]
	c.size, c.offset = int64(number(maxFileBytes)), int64(number(maxFileBytes))
	length := number(uint64(len(b)))
	if err != nil || length > uint64(len(b)) {
		return c, errFrame
	}
	if c.meta, err = raft.DecodeSnapshotMeta(b[:length]); err != nil {
		return c, fmt.Errorf("%w: %w", errFrame, err)
	}
	if c.data = b[length:]; c.offset+int64(len(c.data)) > c.size {
		return c, errFrame
	}
	return c, nil
}

// progress is the answer to a chunk.
type progress struct {
	state  progressState
	offset int64 // where the receiver goes on
}

type progressState byte

const (
	progressMore    progressState = iota // send from offset on
	progressDone                         // the receiver's core has it
	progressDamaged                      // what came was not whole; it begins anew
	progressNotNow                       // there is no room, or another snapshot is on its way
	numProgressStates
)

func (p progress) encode() []byte {
	return binary.AppendUvarint([]byte{byte(p.state)}, uint64(p.offset))
}

func decodeProgress(b []byte) (progress, error) {
	if len(b) < 2 || progressState(b[0]) >= numProgressStates {
		return progress{}, errFrame
	}
	offset, n := binary.Uvarint(b[1:])
	if n != len(b)-1 || offset > maxFileBytes {
		return progress{}, errFrame
	}
	return progress{progressState(b[0]), int64(offset)}, nil
}
