package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// TestFrameRefused damages each bit of a frame.
func TestFrameRefused(t *testing.T) {
	t.Parallel()
	good := wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgVote, From: 1, To: 2, Term: 7})
	for bit := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		// Enough behind it for a length that has grown.
		stream := append(bad, make([]byte, 1<<12)...)
		if f, err := wire.NewReader(bytes.NewReader(stream), 1<<12).Next(); !wire.Broken(err) {
			t.Errorf("bit %d: %+v, %v", bit, f, err)
		}
	}
}

// TestFrameEnds tells the end of a stream from the middle of a frame.
func TestFrameEnds(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 600, 300 << 10, 3 << 20} {
		good := wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgAppend, Entries: []raft.Entry{{Data: make([]byte, size)}}})
		for _, cut := range []int{0, 1, 7, 8, 9, len(good) / 2, len(good) - 1} {
			want := io.ErrUnexpectedEOF
			if cut == 0 {
				want = io.EOF
			}
			if _, err := wire.NewReader(bytes.NewReader(good[:cut]), 4<<20).Next(); !errors.Is(err, want) || wire.Broken(err) {
				t.Errorf("%d bytes of data, cut at %d: %v, want %v", size, cut, err, want)
			}
		}
		f, err := wire.NewReader(iotest.HalfReader(bytes.NewReader(good)), 4<<20).Next()
		if err != nil || f.Bytes() != len(good) {
			t.Errorf("%d bytes of data in pieces: %d of %d bytes, %v", size, f.Bytes(), len(good), err)
		}
	}
}

// TestFrameLimit checks that lengths are refused before memory is taken, and that memory for the rest comes
// with the bytes.
func TestFrameLimit(t *testing.T) {
	header := func(length uint32) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, length), 0, 0, 0, 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := wire.NewReader(bytes.NewReader(header(1<<31)), 1<<30).Next(); !errors.Is(err, wire.ErrTooLarge) {
			t.Fatalf("2 GiB: %v", err)
		}
		if _, err := wire.NewReader(bytes.NewReader(header(1<<30)), 1<<30).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("1 GiB that does not come: %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 100<<20 {
		t.Fatalf("claims of 100 GiB took %d bytes", took)
	}
	if _, err := wire.NewReader(bytes.NewReader(header(0)), 10).Next(); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("empty frame: %v", err)
	}
	reader := wire.NewReader(bytes.NewReader(wire.AppendPong(nil, 1)), 9)
	if _, err := reader.Next(); err != nil {
		t.Errorf("frame at the limit: %v", err)
	}
	reader = wire.NewReader(bytes.NewReader(wire.AppendPong(nil, 1)), 9)
	reader.SetLimit(8)
	if _, err := reader.Next(); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("frame beyond the limit: %v", err)
	}
}

// TestAllocations counts what the hot path takes.
func TestAllocations(t *testing.T) {
	heartbeat := raft.Message{Type: raft.MsgHeartbeat, From: 1 << 60, To: 1 << 61, Term: 9, Commit: 1 << 30, Round: 1 << 20}
	batch := raft.Message{Type: raft.MsgAppend, From: 1 << 60, To: 1 << 61, Term: 9}
	for i := range uint64(64) {
		batch.Entries = append(batch.Entries, raft.Entry{Index: i + 1, Term: 9, Time: int64(i), Data: make([]byte, 128)})
	}
	buffer := make([]byte, 0, 1<<16)
	for _, m := range []*raft.Message{&heartbeat, &batch} {
		if n := testing.AllocsPerRun(100, func() { buffer = wire.AppendMessageFrame(buffer[:0], m) }); n != 0 {
			t.Errorf("encoding a %s takes %v allocations", m.Type, n)
		}
		stream := &loop{frame: wire.AppendMessageFrame(nil, m)}
		reader := wire.NewReader(stream, 1<<20)
		want := 0.0
		if len(m.Entries) > 0 {
			want = 2 // the payload, and the list of entries
		}
		if n := testing.AllocsPerRun(100, func() {
			f, _ := reader.Next()
			if _, err := f.Message(); err != nil {
				t.Fatal(err)
			}
		}); n != want {
			t.Errorf("decoding a %s takes %v allocations, want %v", m.Type, n, want)
		}
	}
}

// loop is a stream that repeats one frame.
type loop struct {
	frame []byte
	at    int
}

func (l *loop) Read(b []byte) (int, error) {
	n := copy(b, l.frame[l.at:])
	l.at = (l.at + n) % len(l.frame)
	return n, nil
}
