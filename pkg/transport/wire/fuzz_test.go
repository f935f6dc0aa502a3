package wire_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/allocs"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// seeds are messages of each type, those with entries with none, one, and the kinds of all and data of many sizes, and
// each with its numbers as large as they get.
func seeds() (ms []raft.Message) {
	entries := [][]raft.Entry{
		{{Index: 5, Term: 3, Time: 9, Wall: 9, Kind: raft.EntryCommand, Data: []byte("data")}, {Index: 6, Term: 3}},
		{{Index: 5, Term: 4}},
		{{Index: 5, Term: 3, Kind: raft.EntryNoOp}, {Index: 6, Term: 4, Time: -1, Wall: math.MinInt64, Kind: raft.EntryConfig, Data: []byte{1}},
			{Index: 7, Term: 4, Kind: raft.EntryCommand, Data: make([]byte, 127)}, {Index: 8, Term: 5, Kind: raft.EntryCommand, Data: make([]byte, 128)}},
		{{Index: math.MaxUint64, Term: math.MaxUint64, Time: math.MaxInt64, Wall: math.MaxInt64, Kind: raft.EntryCommand, Data: make([]byte, 4096)}},
		make([]raft.Entry, 128),
	}
	for kind := raft.MessageType(1); kind < raft.MsgSnapshot; kind++ {
		m := raft.Message{Type: kind, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 3, Commit: 2, Round: 1 << 40, Promise: 1e8, Reject: kind%2 == 0}
		ms = append(ms, raft.Message{Type: kind}, raft.Message{Type: kind, From: math.MaxUint64, To: math.MaxUint64, Term: math.MaxUint64,
			Index: math.MaxUint64, LogTerm: math.MaxUint64, Commit: math.MaxUint64, Hint: math.MaxUint64, Round: math.MaxUint64,
			Session: math.MaxUint64, Promise: math.MaxInt64, Reject: true, Transfer: true, Blank: true})
		if kind == raft.MsgAppend {
			for _, m.Entries = range entries {
				ms = append(ms, m)
			}
			continue
		}
		ms = append(ms, m)
	}
	return ms
}

// A decoder may take this much memory for its error, and for each byte of its input this much: an entry of six bytes
// is a struct of some eighty.
const (
	someMemory    = 256 << 10
	memoryPerByte = 32
)

// refused checks that an error of a decoder says what it is about and is told from an error of the connection.
func refused(t *testing.T, err error) {
	t.Helper()
	if err != nil && (!wire.Broken(err) && !errors.Is(err, wire.ErrVersion) || len(err.Error()) < 16) {
		t.Fatalf("a refusal that says too little: %q", err)
	}
}

// FuzzMessage decodes bytes: an error, or a message that encodes to the same bytes.
func FuzzMessage(f *testing.F) {
	for _, m := range seeds() {
		b := wire.AppendMessage(nil, &m)
		f.Add(b)
		f.Add(append(b, 0))
		f.Add(b[:len(b)-1])
	}
	// A count of entries and a length of data that are far beyond the end.
	head := wire.AppendMessage(nil, &raft.Message{Type: raft.MsgAppend})
	head = head[:len(head)-1]
	f.Add(append(bytes.Clone(head), 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Add(append(bytes.Clone(head), 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		allocs.Within(t, len(b), someMemory, memoryPerByte, func() {
			_, err := wire.DecodeMessage(b)
			refused(t, err)
		})
		checkCanonical(t, b)
	})
}

// FuzzFrame reads a stream of frames to its end; everything that was read encodes to the same stream.
func FuzzFrame(f *testing.F) {
	var all []byte
	for _, m := range seeds() {
		f.Add(wire.AppendMessageFrame(nil, &m))
		all = wire.AppendMessageFrame(all, &m)
	}
	all = wire.AppendPing(all, wire.Ping{Stamp: 1})
	all = wire.AppendRequest(all, &wire.Request{ID: transport.RequestID{1}, Body: []byte("chunk")})
	all = wire.AppendReply(all, &wire.Reply{ID: transport.RequestID{1}, Status: wire.StatusFailed, Body: []byte("no")})
	all = wire.AppendNotify(all, []byte("note"))
	f.Add(wire.AppendPong(all, 1))
	// Payloads at the end of the reader's own memory, and behind it; at the limit, and behind it; claimed, and not there.
	for _, n := range []int{0, 510, 511, 512, 1<<16 - 1, 1 << 16} {
		frame := wire.AppendNotify(nil, make([]byte, n))
		f.Add(frame)
		f.Add(frame[:wire.HeaderBytes+1])
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(wire.EndFrame(wire.BeginFrame(nil, 0), 0))
	f.Add(wire.EndFrame(wire.BeginFrame(nil, wire.KindAnnounced+1), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The reader takes a frame's memory when its length is claimed: a limit's worth for the last, broken one.
		allocs.Within(t, len(b), someMemory+1<<16, memoryPerByte, func() {
			reader := wire.NewReader(bytes.NewReader(b), 1<<16)
			for _, err := reader.Next(); err == nil; _, err = reader.Next() {
			}
		})
		reader := wire.NewReader(bytes.NewReader(b), 1<<16)
		var again []byte
		for {
			frame, err := reader.Next()
			if err != nil {
				if !wire.Broken(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("unknown kind of error: %v", err)
				}
				break
			}
			start := len(again)
			again = wire.EndFrame(append(wire.BeginFrame(again, frame.Kind), frame.Body...), start)
			if len(again)-start != frame.Bytes() {
				t.Fatalf("a frame of %d bytes says that it has %d", len(again)-start, frame.Bytes())
			}
			checkFrame(t, frame)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x\nwas read as %x", b, again)
		}
	})
}

// checkFrame decodes a body as what its frame says that it is; what the decoder takes, the encoder writes the same way.
// It has the body as an instance of every other kind too: no panic.
func checkFrame(t *testing.T, frame wire.Frame) {
	t.Helper()
	body, whole := frame.Body, []byte(nil)
	for _, err := range []error{errorOf(wire.DecodePing(body)), errorOf(wire.DecodePong(body)), errorOf(wire.DecodeRequest(body)), errorOf(wire.DecodeReply(body)),
		errorOf(wire.DecodeNotify(body)), errorOf(wire.DecodeAnnounce(body)), errorOf(wire.DecodeAnnounced(body)), errorOf(frame.Message())} {
		refused(t, err)
	}
	var err error
	switch frame.Kind {
	case wire.KindMessage:
		var m raft.Message
		if m, err = frame.Message(); err == nil {
			whole = wire.AppendMessageFrame(nil, &m)
		}
	case wire.KindPing:
		var p wire.Ping
		if p, err = wire.DecodePing(body); err == nil {
			whole = wire.AppendPing(nil, p)
		}
	case wire.KindPong:
		var stamp uint64
		if stamp, err = wire.DecodePong(body); err == nil {
			whole = wire.AppendPong(nil, stamp)
		}
	case wire.KindRequest:
		var r wire.Request
		if r, err = wire.DecodeRequest(body); err == nil {
			whole = wire.AppendRequest(nil, &r)
		}
	case wire.KindReply:
		var r wire.Reply
		if r, err = wire.DecodeReply(body); err == nil {
			whole = wire.AppendReply(nil, &r)
		}
	case wire.KindNotify:
		var note []byte
		if note, err = wire.DecodeNotify(body); err == nil {
			whole = wire.AppendNotify(nil, note)
		}
	default: // handshakes and announcements have more to them: FuzzHandshake and FuzzRequest
		return
	}
	more := frame.Kind == wire.KindPing || frame.Kind == wire.KindPong // what later versions may append to them is let pass
	if again := whole[min(len(whole), wire.HeaderBytes+1):]; err == nil && !bytes.Equal(again, body) && (!more || !bytes.HasPrefix(body, again)) {
		t.Fatalf("a frame of kind %d with %x became %x", frame.Kind, body, whole)
	}
}

// FuzzHandshake decodes bytes as each part of a handshake. What can be decoded must mean the same after
// another round.
func FuzzHandshake(f *testing.F) {
	id := transport.Identity{Cluster: raft.ClusterID{1}, Member: 2, Name: "n2", Incarnation: raft.Incarnation{3}, MarkSlot: 4, Mark: raft.Mark{LastTerm: 5, Last: 6}}
	skip := wire.HeaderBytes + 1
	f.Add(wire.AppendHello(nil, &wire.Hello{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Class: transport.Bulk, Expected: 1, Self: id, Address: "host:1",
		Witnessed: transport.Witnessed{Incarnation: raft.Incarnation{7}, Slot: 1}})[skip:])
	f.Add(wire.AppendAccept(nil, &wire.Accept{Version: wire.MaxVersion, Self: id})[skip:])
	f.Add(wire.AppendRefuse(nil, &wire.Refuse{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Kind: transport.RejectMember, Text: "no"})[skip:])
	f.Add(wire.AppendHello(nil, &wire.Hello{})[skip:])
	f.Add(wire.AppendAccept(nil, &wire.Accept{})[skip:])
	f.Add(wire.AppendRefuse(nil, &wire.Refuse{})[skip:])
	for v := uint16(wire.MinVersion); v <= wire.MaxVersion+1; v++ {
		for _, n := range []int{0, 1, 255, 256, 512, 513, 1024, 1025} { // texts up to their bounds, and cut at them
			id.Name = strings.Repeat("n", n)
			f.Add(wire.AppendHello(nil, &wire.Hello{MinVersion: v, MaxVersion: v, Class: transport.Bulk, Self: id, Address: strings.Repeat("a", n)})[skip:])
			f.Add(wire.AppendAccept(nil, &wire.Accept{Version: v, Self: id})[skip:])
			f.Add(wire.AppendRefuse(nil, &wire.Refuse{MinVersion: v, MaxVersion: v, Kind: transport.RejectMember, Text: strings.Repeat("t", n)})[skip:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		allocs.Within(t, len(b), someMemory, memoryPerByte, func() {
			_, err := wire.DecodeHello(b)
			refused(t, err)
			_, err = wire.DecodeAccept(b)
			refused(t, err)
			_, err = wire.DecodeRefuse(b)
			refused(t, err)
		})
		if h, err := wire.DecodeHello(b); err == nil {
			if again, err := wire.DecodeHello(wire.AppendHello(nil, &h)[skip:]); err != nil || again != h {
				t.Fatalf("hello %+v became %+v, %v", h, again, err)
			}
		}
		if a, err := wire.DecodeAccept(b); err == nil {
			if again, err := wire.DecodeAccept(wire.AppendAccept(nil, &a)[skip:]); err != nil || again != a {
				t.Fatalf("accept %+v became %+v, %v", a, again, err)
			}
		}
		if r, err := wire.DecodeRefuse(b); err == nil {
			if again, err := wire.DecodeRefuse(wire.AppendRefuse(nil, &r)[skip:]); err != nil || again != r {
				t.Fatalf("refusal %+v became %+v, %v", r, again, err)
			}
		}
	})
}

// FuzzRequest decodes bytes as each frame of a Messenger. What can be decoded must be the same bytes when it is encoded,
// or, for an announcement, mean the same.
func FuzzRequest(f *testing.F) {
	skip := wire.HeaderBytes + 1
	id := transport.RequestID{1, 2, 3}
	f.Add(wire.AppendRequest(nil, &wire.Request{ID: id, Body: []byte("body")})[skip:])
	for s := wire.StatusDone; s <= wire.StatusBusy+1; s++ {
		f.Add(wire.AppendReply(nil, &wire.Reply{ID: id, Status: s, Body: []byte("text")})[skip:])
	}
	f.Add(wire.AppendReply(nil, &wire.Reply{ID: id, Status: wire.StatusBusy})[skip:])
	self := transport.Identity{Cluster: raft.ClusterID{1}, Member: 2, Name: "n2", NameHash: [16]byte{9}}
	f.Add(wire.AppendAnnounce(nil, &wire.Announce{MinVersion: 2, MaxVersion: 3, Self: self, Address: "host:1", Body: []byte("join")})[skip:])
	f.Add(wire.AppendAnnounced(nil, &wire.Announced{Version: 3, Self: self, Body: []byte("welcome")})[skip:])
	for _, n := range []int{0, 1, 4096, 4097, transport.MaxAnnounceBytes, transport.MaxAnnounceBytes + 1} { // 4096: the largest text of an error
		body := bytes.Repeat([]byte("b"), n)
		f.Add(wire.AppendRequest(nil, &wire.Request{ID: id, Body: body})[skip:])
		f.Add(wire.AppendReply(nil, &wire.Reply{ID: id, Status: wire.StatusFailed, Body: body})[skip:])
		f.Add(wire.AppendAnnounce(nil, &wire.Announce{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Self: self, Address: "host:1", Body: body})[skip:])
		f.Add(wire.AppendAnnounced(nil, &wire.Announced{Version: wire.MaxVersion, Self: self, Status: wire.StatusFailed, Body: body})[skip:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		allocs.Within(t, len(b), someMemory, memoryPerByte, func() {
			_, err := wire.DecodeRequest(b)
			refused(t, err)
			_, err = wire.DecodeReply(b)
			refused(t, err)
			_, err = wire.DecodeAnnounce(b)
			refused(t, err)
			_, err = wire.DecodeAnnounced(b)
			refused(t, err)
		})
		if r, err := wire.DecodeRequest(b); err == nil {
			if again := wire.AppendRequest(nil, &r)[skip:]; !bytes.Equal(again, b) {
				t.Fatalf("request %x became %x", b, again)
			}
		}
		if r, err := wire.DecodeReply(b); err == nil {
			if again := wire.AppendReply(nil, &r)[skip:]; !bytes.Equal(again, b) {
				t.Fatalf("reply %x became %x", b, again)
			}
		}
		if a, err := wire.DecodeAnnounce(b); err == nil {
			again, err := wire.DecodeAnnounce(wire.AppendAnnounce(nil, &a)[skip:])
			if err != nil || !bytes.Equal(again.Body, a.Body) || again.Self != a.Self || again.Address != a.Address {
				t.Fatalf("announcement %+v became %+v, %v", a, again, err)
			}
		}
		if a, err := wire.DecodeAnnounced(b); err == nil {
			if again := wire.AppendAnnounced(nil, &a)[skip:]; !bytes.Equal(again, b) {
				t.Fatalf("answer %x became %x", b, again)
			}
		}
	})
}

func errorOf[T any](_ T, err error) error { return err }
