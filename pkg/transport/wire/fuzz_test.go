package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// seeds are one message of each type.
func seeds() (ms []raft.Message) {
	for kind := raft.MessageType(1); kind < raft.MsgSnapshot; kind++ {
		m := raft.Message{Type: kind, From: 1, To: 2, Term: 3, Index: 4, LogTerm: 3, Commit: 2, Round: 1 << 40, Promise: 1e8, Reject: kind%2 == 0}
		if kind == raft.MsgAppend {
			m.Entries = []raft.Entry{{Index: 5, Term: 3, Time: 9, Wall: 9, Kind: raft.EntryCommand, Data: []byte("data")}, {Index: 6, Term: 3}}
		}
		ms = append(ms, m)
	}
	return ms
}

// FuzzMessage decodes bytes: an error, or a message that encodes to the same bytes.
func FuzzMessage(f *testing.F) {
	for _, m := range seeds() {
		f.Add(wire.AppendMessage(nil, &m))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkCanonical(t, b) })
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
	f.Fuzz(func(t *testing.T, b []byte) {
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
			frame.Message()
			wire.DecodePing(frame.Body)
			wire.DecodePong(frame.Body)
			wire.DecodeRequest(frame.Body)
			wire.DecodeReply(frame.Body)
			wire.DecodeNotify(frame.Body)
			wire.DecodeAnnounce(frame.Body)
			wire.DecodeAnnounced(frame.Body)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x\nwas read as %x", b, again)
		}
	})
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
	f.Fuzz(func(t *testing.T, b []byte) {
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
	f.Fuzz(func(t *testing.T, b []byte) {
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
