package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// large reads one frame whose body may be as large as any.
func large(t interface{ Fatalf(string, ...any) }, frame []byte, kind wire.Kind) []byte {
	f, err := wire.NewReader(bytes.NewReader(frame), wire.AnnouncedLimit).Next()
	if err != nil || f.Kind != kind {
		t.Fatalf("frame of kind %d, %v; want kind %d", f.Kind, err, kind)
	}
	return bytes.Clone(f.Body)
}

// TestRequestRoundTrip encodes and decodes any request, reply, notification and announcement.
func TestRequestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 0, 2000)
		r := wire.Request{ID: array16().Draw(t, "id"), Body: bytesOf.Draw(t, "request")}
		p := wire.Reply{ID: array16().Draw(t, "id"), Status: wire.Status(rapid.IntRange(0, 1).Draw(t, "status"))}
		if p.Status == wire.StatusDone {
			p.Body = bytesOf.Draw(t, "reply")
		} else {
			p.Body = []byte(word(1000).Draw(t, "error"))
		}
		n := bytesOf.Draw(t, "notification")
		a := wire.Announce{MinVersion: 3, MaxVersion: 9, Self: identity(t), Address: word(512).Draw(t, "address"), Body: bytesOf.Draw(t, "announcement")}
		d := wire.Announced{Version: wire.MaxVersion, Self: identity(t), Status: p.Status, Body: p.Body}

		gotRequest, err1 := wire.DecodeRequest(large(t, wire.AppendRequest(nil, &r), wire.KindRequest))
		gotReply, err2 := wire.DecodeReply(large(t, wire.AppendReply(nil, &p), wire.KindReply))
		gotNotify, err3 := wire.DecodeNotify(large(t, wire.AppendNotify(nil, n), wire.KindNotify))
		announce := body(t, wire.AppendAnnounce(nil, &a), wire.KindAnnounce)
		gotAnnounce, err4 := wire.DecodeAnnounce(append(announce, "fields of the future"...))
		gotAnnounced, err5 := wire.DecodeAnnounced(large(t, wire.AppendAnnounced(nil, &d), wire.KindAnnounced))
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{r, p, n, a, d}, []any{gotRequest, gotReply, gotNotify, gotAnnounce, gotAnnounced}); diff != "" {
			t.Fatalf("-sent +got:\n%s", diff)
		}
		cut := announce[:rapid.IntRange(0, len(announce)-1).Draw(t, "cut")]
		if _, err := wire.DecodeAnnounce(cut); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("announcement cut at %d: %v", len(cut), err)
		}
	})
}

// TestRequestRefused lists bytes that look like requests and their answers.
func TestRequestRefused(t *testing.T) {
	t.Parallel()
	id := transport.RequestID{1}
	beyond := make([]byte, transport.MaxBodyBytes+1)
	reply := func(s wire.Status, text string) []byte { return append(append(id[:], byte(s)), text...) }
	for name, err := range map[string]error{
		"request without an ID":     second(wire.DecodeRequest(id[:15])),
		"request too large":         second(wire.DecodeRequest(append(id[:], beyond...))),
		"reply without a status":    second(wire.DecodeReply(id[:])),
		"reply too large":           second(wire.DecodeReply(append(reply(wire.StatusDone, ""), beyond...))),
		"status of the future":      second(wire.DecodeReply(reply(3, ""))),
		"busy with a body":          second(wire.DecodeReply(reply(wire.StatusBusy, "x"))),
		"error moves the cursor":    second(wire.DecodeReply(reply(wire.StatusFailed, "\x1b[2J"))),
		"error as long as a book":   second(wire.DecodeReply(reply(wire.StatusFailed, strings.Repeat("x", 5000)))),
		"notification too large":    second(wire.DecodeNotify(beyond)),
		"announcement of nothing":   second(wire.DecodeAnnounce(nil)),
		"announcement in version 2": versionIsMalformed(second(wire.DecodeAnnounce(body(t, wire.AppendAnnounce(nil, &wire.Announce{MinVersion: 2, MaxVersion: 2}), wire.KindAnnounce)))),
		"announcement in version 9": versionIsMalformed(second(wire.DecodeAnnounce(body(t, wire.AppendAnnounce(nil, &wire.Announce{MinVersion: 9, MaxVersion: 9}), wire.KindAnnounce)))),
		"answer in version 9":       versionIsMalformed(second(wire.DecodeAnnounced(body(t, wire.AppendAnnounced(nil, &wire.Announced{Version: 9}), wire.KindAnnounced)))),
		"announced too large":       second(wire.DecodeAnnounce(body(t, wire.AppendAnnounce(nil, &wire.Announce{MinVersion: 3, MaxVersion: 3, Body: beyond[:transport.MaxAnnounceBytes+1]}), wire.KindAnnounce))),
	} {
		if !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := string(wire.ErrorText(errors.New("a\nb\x1b[2J" + strings.Repeat("ä", 4000)))); !strings.HasPrefix(got, "a b [2Jä") || len(got) > 4<<10 {
		t.Errorf("an error's text became %d bytes that begin %q", len(got), got[:10])
	}
}

// second is the error of a decoding.
func second[T any](_ T, err error) error { return err }

// versionIsMalformed maps the error that is wanted for a version to the one that the table wants.
func versionIsMalformed(err error) error {
	if errors.Is(err, wire.ErrVersion) {
		return wire.ErrMalformed
	}
	return nil
}
