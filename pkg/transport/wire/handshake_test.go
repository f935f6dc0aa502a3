package wire_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// body takes a frame apart.
func body(t interface{ Fatalf(string, ...any) }, frame []byte, kind wire.Kind) []byte {
	f, err := wire.NewReader(bytes.NewReader(frame), wire.HandshakeLimit).Next()
	if err != nil || f.Kind != kind {
		t.Fatalf("frame of kind %d, %v; want kind %d", f.Kind, err, kind)
	}
	return bytes.Clone(f.Body)
}

// word draws text that a handshake may carry.
func word(limit int) *rapid.Generator[string] {
	return rapid.StringN(0, limit/4, limit).Filter(func(s string) bool { return !strings.ContainsFunc(s, control) })
}

func control(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) || r == 0xfffd }

func array16() *rapid.Generator[[16]byte] {
	return rapid.Custom(func(t *rapid.T) (a [16]byte) {
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		return a
	})
}

func mark(t *rapid.T) (uint64, raft.Mark) {
	return number().Draw(t, "slot"), raft.Mark{LastTerm: number().Draw(t, "term"), Last: number().Draw(t, "last"), Hash: array16().Draw(t, "hash")}
}

func witnessed(t *rapid.T) (w transport.Witnessed) {
	w.Incarnation = array16().Draw(t, "witnessed incarnation")
	w.Slot, w.Mark = mark(t)
	return w
}

func identity(t *rapid.T) (id transport.Identity) {
	id.Cluster, id.ClusterHash, id.Incarnation = array16().Draw(t, "cluster"), array16().Draw(t, "hash"), array16().Draw(t, "incarnation")
	id.NameHash, id.ConfigIndex = array16().Draw(t, "name hash"), number().Draw(t, "configuration")
	id.Member = raft.MemberID(number().Draw(t, "member"))
	id.Name = word(255).Draw(t, "name")
	id.MarkSlot, id.Mark = mark(t)
	return id
}

// TestHandshakeRoundTrip encodes and decodes any hello, accept, refusal and ping, and cuts them.
func TestHandshakeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		highest := uint16(rapid.IntRange(int(wire.MinVersion), 65535).Draw(t, "max"))
		h := wire.Hello{MinVersion: uint16(rapid.IntRange(0, min(int(highest), int(wire.MaxVersion))).Draw(t, "min")), MaxVersion: highest,
			Class: transport.Class(rapid.IntRange(0, min(2, int(highest)-1)).Draw(t, "class")), Expected: raft.MemberID(number().Draw(t, "expected")),
			Self: identity(t), Address: word(512).Draw(t, "address")}
		h.Witnessed = witnessed(t)
		if highest == 2 { // has no hash of the name, and no class of messages
			h.Self.NameHash, h.Self.ConfigIndex, h.Class = [16]byte{}, 0, min(h.Class, transport.Bulk)
		}
		a := wire.Accept{Version: wire.MaxVersion, Self: identity(t)}
		a.Witnessed = witnessed(t)
		r := wire.Refuse{MinVersion: 1, MaxVersion: 3, Kind: transport.Rejection(word(32).Draw(t, "kind")), Text: word(1024).Draw(t, "text")}
		p := wire.Ping{Stamp: number().Draw(t, "stamp")}
		p.Slot, p.Mark = mark(t)

		hb, ab := body(t, wire.AppendHello(nil, &h), wire.KindHello), body(t, wire.AppendAccept(nil, &a), wire.KindAccept)
		rb, pb := body(t, wire.AppendRefuse(nil, &r), wire.KindRefuse), body(t, wire.AppendPing(nil, p), wire.KindPing)
		gotHello, err1 := wire.DecodeHello(append(hb, "fields of the future"...))
		gotAccept, err2 := wire.DecodeAccept(append(ab, "fields of the future"...))
		gotRefuse, err3 := wire.DecodeRefuse(rb)
		gotPing, err4 := wire.DecodePing(pb)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{h, a, r, p}, []any{gotHello, gotAccept, gotRefuse, gotPing}); diff != "" {
			t.Fatalf("-sent +got:\n%s", diff)
		}
		for _, b := range [][]byte{hb, ab, rb, pb} {
			cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
			_, err1 := wire.DecodeHello(cut)
			_, err2 := wire.DecodeAccept(cut)
			_, err3 := wire.DecodeRefuse(cut)
			for _, err := range []error{err1, err2, err3} {
				// A cut hello can be a whole refusal with other texts; what must not be is another error.
				if err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion) {
					t.Fatalf("cut at %d: %v", len(cut), err)
				}
			}
		}
	})
}

// TestVersionTwo reads what a node of protocol version 2 says, which ends before the hash of the cluster's name and the configuration's index.
func TestVersionTwo(t *testing.T) {
	t.Parallel()
	id := transport.Identity{Cluster: raft.ClusterID{1}, Member: 2, Name: "n2"}
	h := wire.Hello{MinVersion: 2, MaxVersion: 2, Class: transport.Bulk, Expected: 1, Self: id, Address: "host:1"}
	b := body(t, wire.AppendHello(nil, &h), wire.KindHello)
	if got, err := wire.DecodeHello(b); err != nil || got != h {
		t.Errorf("hello %+v, %v", got, err)
	}
	ours := h
	ours.MaxVersion, ours.Self.NameHash = 3, [16]byte{7}
	if longer := body(t, wire.AppendHello(nil, &ours), wire.KindHello); len(longer) != len(b)+16+8 || !bytes.Equal(longer[12:len(b)], b[12:]) {
		t.Errorf("the hello of version 3 is not that of version 2 with a hash and an index behind it")
	}
	a := wire.Accept{Version: 2, Self: id}
	if got, err := wire.DecodeAccept(body(t, wire.AppendAccept(nil, &a), wire.KindAccept)); err != nil || got != a {
		t.Errorf("accept %+v, %v", got, err)
	}
	h.Class = transport.Messages
	if _, err := wire.DecodeHello(body(t, wire.AppendHello(nil, &h), wire.KindHello)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("class of messages in version 2: %v", err)
	}
	if wire.MinVersionOf(transport.Control) != 2 || wire.MinVersionOf(transport.Messages) != 3 {
		t.Error("the versions of the classes are others")
	}
}

// TestVersions chooses between ranges.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lowest, highest, want uint16
	}{{0, 0, 0}, {1, 1, 0}, {2, 2, 2}, {0, 2, 2}, {2, 9, 3}, {3, 9, 3}, {4, 9, 0}} {
		got, err := wire.Choose(test.lowest, test.highest)
		if got != test.want || (err == nil) != (test.want > 0) || (err != nil && !errors.Is(err, wire.ErrVersion)) {
			t.Errorf("%d to %d: %d, %v", test.lowest, test.highest, got, err)
		}
	}
	// Of a version that is not ours, nothing but the numbers is read.
	b := body(t, wire.AppendHello(nil, &wire.Hello{MinVersion: 7, MaxVersion: 9}), wire.KindHello)
	if h, err := wire.DecodeHello(b[:12]); !errors.Is(err, wire.ErrVersion) || h.MinVersion != 7 || h.MaxVersion != 9 {
		t.Errorf("hello of the future: %+v, %v", h, err)
	}
	b = body(t, wire.AppendAccept(nil, &wire.Accept{Version: 9}), wire.KindAccept)
	if _, err := wire.DecodeAccept(b); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("accept of the future: %v", err)
	}
}

// TestTexts looks at what a peer may put before an operator's eyes.
func TestTexts(t *testing.T) {
	t.Parallel()
	h := wire.Hello{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Address: strings.Repeat("ä", 400),
		Self: transport.Identity{Name: "a\x1b[2Jb\nc\xff" + strings.Repeat("x", 300)}}
	frame := wire.AppendHello(nil, &h)
	got, err := wire.DecodeHello(body(t, frame, wire.KindHello))
	if err != nil {
		t.Fatal(err)
	}
	if want := "a [2Jb c\uFFFD" + strings.Repeat("x", 255-11); got.Self.Name != want {
		t.Errorf("name %q, want %q", got.Self.Name, want)
	}
	if got.Address != strings.Repeat("ä", 256) {
		t.Errorf("address of %d bytes", len(got.Address))
	}
	at := bytes.Index(frame, []byte("[2Jb"))
	for _, bad := range []string{"[\x1bJb", "[\xffJb", "[2\n\n", "\u0085ab"} {
		copy(frame[at:], bad)
		if got, err := wire.DecodeHello(frame[wire.HeaderBytes+1:]); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("name with %q was taken: %q", bad, got.Self.Name)
		}
	}
}
