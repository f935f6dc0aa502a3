package wire_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// number draws small numbers, whole ranges and the ends of types alike.
func number() *rapid.Generator[uint64] {
	return rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64(), rapid.Just(^uint64(0)), rapid.Just(uint64(1)<<63))
}

// entries draws runs of a log as well as entries that have nothing to do with each other.
func entries() *rapid.Generator[[]raft.Entry] {
	return rapid.Custom(func(t *rapid.T) []raft.Entry {
		es := make([]raft.Entry, rapid.IntRange(0, 20).Draw(t, "count"))
		run := rapid.Bool().Draw(t, "run")
		for i := range es {
			e := &es[i]
			if run && i > 0 {
				e.Index, e.Term, e.Time = es[i-1].Index+1, es[i-1].Term, es[i-1].Time+int64(rapid.IntRange(0, 1e9).Draw(t, "step"))
			} else {
				e.Index, e.Term, e.Time = number().Draw(t, "index"), number().Draw(t, "term"), int64(number().Draw(t, "time"))
			}
			e.Wall = int64(number().Draw(t, "wall"))
			e.Kind = raft.EntryKind(rapid.IntRange(0, int(raft.EntryConfig)).Draw(t, "kind"))
			if data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data"); len(data) > 0 {
				e.Data = data
			}
		}
		if len(es) == 0 {
			return nil
		}
		return es
	})
}

// message draws any message that can be sent.
func message() *rapid.Generator[raft.Message] {
	return rapid.Custom(func(t *rapid.T) raft.Message {
		return raft.Message{
			Type: raft.MessageType(rapid.IntRange(1, int(raft.MsgHelloResp)).Draw(t, "type")),
			From: raft.MemberID(number().Draw(t, "from")), To: raft.MemberID(number().Draw(t, "to")),
			Term: number().Draw(t, "term"), Index: number().Draw(t, "index"), LogTerm: number().Draw(t, "logterm"),
			Commit: number().Draw(t, "commit"), Hint: number().Draw(t, "hint"), Round: number().Draw(t, "round"),
			Session: number().Draw(t, "session"), Promise: time.Duration(number().Draw(t, "promise")),
			Reject: rapid.Bool().Draw(t, "reject"), Transfer: rapid.Bool().Draw(t, "transfer"), Blank: rapid.Bool().Draw(t, "blank"),
			Entries: entries().Draw(t, "entries"),
		}
	})
}

// TestMessageRoundTrip sends any messages through frames of one stream.
func TestMessageRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(message(), 1, 5).Draw(t, "messages")
		var stream []byte
		for i := range sent {
			stream = wire.AppendMessageFrame(stream, &sent[i])
		}
		reader := wire.NewReader(bytes.NewReader(stream), 1<<20)
		var got []raft.Message
		for range sent {
			frame, err := reader.Next()
			if err != nil || frame.Kind != wire.KindMessage {
				t.Fatalf("frame %+v, %v", frame, err)
			}
			m, err := frame.Message()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m)
		}
		// Compared when all are read: none may live in the reader's memory.
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Fatalf("-sent +got:\n%s", diff)
		}
	})
}

// TestMessageCutOrChanged cuts and changes encoded messages: an error, or a message that encodes to the same
// bytes.
func TestMessageCutOrChanged(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := message().Draw(t, "message")
		body := wire.AppendMessage(nil, &m)
		cut := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
		if _, err := wire.DecodeMessage(body[:cut]); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%d of %d bytes were taken: %v", cut, len(body), err)
		}
		if _, err := wire.DecodeMessage(append(bytes.Clone(body), 0)); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("a byte too many was taken: %v", err)
		}
		body[rapid.IntRange(0, len(body)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		checkCanonical(t, body)
	})
}

// checkCanonical fails unless what can be decoded encodes to the same bytes.
func checkCanonical(t interface{ Fatalf(string, ...any) }, body []byte) {
	m, err := wire.DecodeMessage(body)
	if err != nil {
		if !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("unknown kind of error: %v", err)
		}
		return
	}
	if again := wire.AppendMessage(nil, &m); !bytes.Equal(again, body) {
		t.Fatalf("%x\ndecodes to %+v\nencodes to %x", body, m, again)
	}
}

// TestMessageBytes holds the layout still: other versions of the program have to read it.
func TestMessageBytes(t *testing.T) {
	t.Parallel()
	m := raft.Message{Type: raft.MsgAppend, From: 0x1122334455667788, To: 2, Term: 300, Index: 10, LogTerm: 299, Commit: 9, Hint: 1,
		Round: 5, Session: 4, Promise: -1, Reject: true, Blank: true,
		Entries: []raft.Entry{{Index: 11, Term: 300, Time: 1000, Wall: 64, Kind: raft.EntryCommand, Data: []byte("xy")}, {Index: 12, Term: 300, Time: 1001}}}
	want := []byte{1, 5, 5, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 0, 0, 0, 0, 0, 0, 0,
		0xac, 2, 10, 0xab, 2, 9, 1, 5, 4, 1, 2,
		0, 2, 0xd0, 0x0f, 0x80, 1, 1, 2, 'x', 'y',
		0, 0, 2, 0x7f, 0, 0}
	if got := wire.AppendMessage(nil, &m); !bytes.Equal(got, want) {
		t.Errorf("encoded\n%x, want\n%x", got, want)
	}
}

// TestMessageRefused lists bytes that look like messages.
func TestMessageRefused(t *testing.T) {
	t.Parallel()
	good := wire.AppendMessage(nil, &raft.Message{Type: raft.MsgVote, From: 1, To: 2})
	change := func(at int, b ...byte) []byte {
		return append(append(bytes.Clone(good[:at]), b...), good[at+1:]...)
	}
	last := len(good) - 1
	for name, body := range map[string][]byte{
		"nothing":               nil,
		"layout of the future":  change(0, 2),
		"type 0":                change(1, 0),
		"type of the future":    change(1, byte(raft.MsgSnapshot)+1),
		"snapshot":              change(1, byte(raft.MsgSnapshot)),
		"flag of the future":    change(2, 8),
		"number not shortest":   change(19, 0x80, 0),
		"number beyond 64 bits": change(19, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2),
		"endless number":        change(19, bytes.Repeat([]byte{0xff}, 11)...),
		"entries that are not":  change(last, 1),
		"2^63 entries":          change(last, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1),
		"entry kind":            change(last, 1, 0, 0, 0, 0, 3, 0),
		"entry beyond the end":  change(last, 1, 0, 0, 0, 0, 1, 5, 1, 2, 3, 4),
	} {
		if m, err := wire.DecodeMessage(body); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	if _, err := wire.DecodeMessage(change(last, 1, 0, 0, 0, 0, 1, 0)); err != nil {
		t.Errorf("one empty entry: %v", err)
	}
}
