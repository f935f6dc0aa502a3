package idgen

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Made by another program, in another language, from the table on the page. IDs are stored by users: these
// texts must never change.
var goldenV8 = []struct {
	seq        uint64
	domain     uint16
	sequenceID uint32
	text       string
}{
	{0, 0, 0, "00000000-0000-8000-8000-000000013598"},
	{1, 1, 1, "00000000-0000-8000-8400-040000050a21"},
	{0x75bcd15, 321, 77, "00000000-075b-8cd1-9405-040001353f8e"},
	{0x123456789abcdef, 32767, 11259375, "01234567-89ab-8cde-bdff-feaf37bd2e3d"},
	{0x7fffffffffffffff, 32767, 16777215, "7fffffff-ffff-8fff-bdff-fffffffd35b9"},
	{0xffffffffffffffff, 65535, 16777215, "ffffffff-ffff-8fff-bfff-fffffffd100f"},
}

// slowV8 builds a UUID one bit at a time, by the page.
func slowV8(seq uint64, domain uint16, sequenceID uint32) UUID {
	var bits []byte
	put := func(v uint64, from, to int) { // bits from … to of v, the higher one first
		for i := from; i >= to; i-- {
			bits = append(bits, byte(v>>i&1))
		}
	}
	put(seq, 63, 16)
	put(0b1000, 3, 0)
	put(seq, 15, 4)
	put(0b10, 1, 0)
	put(seq, 3, 0)
	put(uint64(domain), 15, 0)
	put(uint64(sequenceID), 23, 0)
	put(4, 3, 0)
	put(uint64(slowCRC(bits)), 13, 0)
	var u UUID
	for i, b := range bits {
		u[i/8] |= b << (7 - i%8)
	}
	return u
}

// slowCRC is CRC-14/GSM as the catalogue defines it, one bit at a time.
func slowCRC(bits []byte) uint16 {
	r := uint16(0)
	for _, b := range bits {
		top := r>>13&1 ^ uint16(b)
		r = r << 1 & 0x3fff
		if top == 1 {
			r ^= 0x202d
		}
	}
	return r ^ 0x3fff
}

func TestCRCIsTheCatalogues(t *testing.T) {
	t.Parallel()
	var bits []byte
	for _, c := range []byte("123456789") {
		for i := 7; i >= 0; i-- {
			bits = append(bits, c>>i&1)
		}
	}
	if got := slowCRC(bits); got != 0x30ae {
		t.Fatalf("check value %#x", got)
	}
}

func TestV8IsTheLayout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seq, domain := rapid.Uint64().Draw(t, "seq"), rapid.Uint16().Draw(t, "domain")
		id := rapid.Uint32Range(0, MaxSequenceID).Draw(t, "sequenceID")
		u := V8(seq, domain, id)
		if want := slowV8(seq, domain, id); u != want {
			t.Fatalf("%s, want %s", u, want)
		}
		// Being able to read it back is being injective.
		info, err := Inspect(u)
		if err != nil || info != (Info{Version: 8, Layout: LayoutV8, Seq: seq, Domain: domain, SequenceID: id}) {
			t.Fatalf("%+v %v", info, err)
		}
		parsed, err := Parse(u.String())
		if err != nil || parsed != u {
			t.Fatalf("%s %v", parsed, err)
		}
	})
}

func TestV8SortsByNumber(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		x, y := V8(a, 5, 6).String(), V8(b, 5, 6).String()
		if (a < b) != (x < y) || (a == b) != (x == y) {
			t.Fatalf("%d %s, %d %s", a, x, b, y)
		}
	})
}

func TestGoldenV8(t *testing.T) {
	t.Parallel()
	for _, g := range goldenV8 {
		if got := V8(g.seq, g.domain, g.sequenceID).String(); got != g.text {
			t.Errorf("V8(%d, %d, %d) = %s, want %s", g.seq, g.domain, g.sequenceID, got, g.text)
		}
	}
}

func TestInspectFindsTypingErrors(t *testing.T) {
	t.Parallel()
	text := V8(123456789, 321, 77).String()
	digits := "0123456789abcdef"
	tried := 0
	check := func(bad string) {
		u, err := Parse(bad)
		if err != nil {
			return
		}
		tried++
		if _, err := Inspect(u); err == nil {
			t.Errorf("%s for %s is not noticed", bad, text)
		}
	}
	for i := range text {
		for _, d := range digits {
			if bad := text[:i] + string(d) + text[i+1:]; bad != text {
				check(bad)
			}
		}
		if i+1 < len(text) {
			if bad := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]; bad != text {
				check(bad)
			}
		}
	}
	if tried < 480 {
		t.Errorf("only %d were tried", tried)
	}
}

func TestInspectRefusesOthers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"00000000-0000-0000-0000-000000000000": ErrOtherUUID, // nil
		"ffffffff-ffff-ffff-ffff-ffffffffffff": ErrOtherUUID, // max
		"919108f7-52d1-4320-9bac-f847db4148a8": ErrOtherUUID, // version 4, RFC 9562 A.3
		"017f22e2-79b0-7cc3-98c4-dc0c0c07398f": ErrOtherUUID, // version 7, RFC 9562 A.6
		"2489e9ad-2ee2-8e00-8ec9-32d5f69181c0": ErrChecksum,  // somebody else's version 8, RFC 9562 B.1
		"5c146b14-3c52-8afd-938a-375d0df1fbf6": ErrChecksum,  // RFC 9562 B.2
	} {
		u, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Inspect(u); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Another layout with a right checksum is from a later version.
	u := V8(1, 2, 3)
	lo := uint64(0)
	for _, b := range u[8:] {
		lo = lo<<8 | uint64(b)
	}
	lo = lo&^(0xf<<14) | 5<<14
	lo = lo&^crcMask | uint64(crc14(uint64(1)>>4<<16|8<<12, lo))
	for i := range 8 {
		u[8+i] = byte(lo >> (56 - 8*i))
	}
	if _, err := Inspect(u); !errors.Is(err, ErrOtherUUID) || !strings.Contains(err.Error(), "layout 5") {
		t.Error(err)
	}
}

func TestParseRefusesWhatIsNoUUID(t *testing.T) {
	t.Parallel()
	const good = "919108f7-52d1-4320-9bac-f847db4148a8"
	for _, s := range []string{good, strings.ToUpper(good), "urn:uuid:" + good, "URN:UUID:" + good} {
		if u, err := Parse(s); err != nil || u.String() != good || u.Version() != 4 || !u.IsRFC() {
			t.Errorf("%s: %s %v", s, u, err)
		}
	}
	for _, s := range []string{"", good[1:], good + "0", strings.Replace(good, "-", "", 4), strings.Replace(good, "-", "_", 1), "g" + good[1:],
		"{" + good[1:35] + "}", "xrn:uuid:" + good, good[:35] + "-", "9-9108f7-52d1-4320-9bac-f847db4148a8", strings.Repeat("9", 200)} {
		if _, err := Parse(s); !errors.Is(err, ErrNotUUID) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestUUIDMarshals(t *testing.T) {
	t.Parallel()
	type doc struct{ ID UUID }
	in := doc{V8(7, 8, 9)}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"ID":"`+in.ID.String()+`"}` {
		t.Fatalf("%s %v", b, err)
	}
	var out doc
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Fatalf("%+v %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"ID":"x"}`), &out); !errors.Is(err, ErrNotUUID) {
		t.Fatal(err)
	}
	raw, _ := in.ID.MarshalBinary()
	var u UUID
	if err := u.UnmarshalBinary(raw); err != nil || u != in.ID {
		t.Fatal(err)
	}
	if err := u.UnmarshalBinary(raw[1:]); !errors.Is(err, ErrNotUUID) {
		t.Fatal(err)
	}
}

func TestText64(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id       uint64
		b32, b62 string
	}{
		{0, "0000000000000", "00000000000"},
		{1, "0000000000001", "00000000001"},
		{31, "000000000000Z", "0000000000V"},
		{61, "000000000001X", "0000000000z"},
		{62, "000000000001Y", "00000000010"},
		{1234, "000000000016J", "000000000Ju"},
		{math.MaxInt64, "7ZZZZZZZZZZZZ", "AzL8n0Y58m7"},
		{math.MaxUint64, "FZZZZZZZZZZZZ", "LygHa16AHYF"},
	} {
		if got := EncodeBase32(c.id); got != c.b32 {
			t.Errorf("base 32 of %d: %s", c.id, got)
		}
		if got := EncodeBase62(c.id); got != c.b62 {
			t.Errorf("base 62 of %d: %s", c.id, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		if got, err := DecodeBase32(EncodeBase32(a)); err != nil || got != a {
			t.Fatal(got, err)
		}
		if got, err := DecodeBase62(EncodeBase62(a)); err != nil || got != a {
			t.Fatal(got, err)
		}
		if got, err := DecodeInt(EncodeInt(int64(a))); err != nil || got != int64(a) {
			t.Fatal(got, err)
		}
		if (a < b) != (EncodeBase32(a) < EncodeBase32(b)) || (a < b) != (EncodeBase62(a) < EncodeBase62(b)) {
			t.Fatal("texts don't sort as numbers do")
		}
	})
}

func TestText64Refusals(t *testing.T) {
	t.Parallel()
	if got, err := DecodeBase32("16j"); err != nil || got != 1234 {
		t.Error(got, err)
	}
	if got, err := DecodeBase32("0-0O-oIi-lL"); err != nil || got != 1|1<<5|1<<10|1<<15 {
		t.Error(got, err)
	}
	for _, s := range []string{"", "-", "-1", "1-", "U", "ä", "G000000000000", "00000000000000", "1 2"} {
		if _, err := DecodeBase32(s); !errors.Is(err, ErrNotID) {
			t.Errorf("base 32 %q: %v", s, err)
		}
	}
	for _, s := range []string{"", "-", "a-b", "LygHa16AHYG", "zzzzzzzzzzz", "000000000000"} {
		if _, err := DecodeBase62(s); !errors.Is(err, ErrNotID) {
			t.Errorf("base 62 %q: %v", s, err)
		}
	}
	for _, s := range []string{"", "x", "9223372036854775808", "1.0"} {
		if _, err := DecodeInt(s); !errors.Is(err, ErrNotID) {
			t.Errorf("int %q: %v", s, err)
		}
	}
}

// FuzzParse reads a text as each form of an ID: an error that says so, or an ID whose own text is the same, however it was written, and
// is read as the same ID.
func FuzzParse(f *testing.F) {
	for _, u := range []UUID{{}, V8(1, 2, 3), V8(math.MaxInt64, 1<<15-1, math.MaxUint32)} {
		s := u.String()
		for _, form := range []string{s, strings.ToUpper(s), "urn:uuid:" + s, "{" + s + "}", strings.ReplaceAll(s, "-", ""), s + "0", s[1:]} {
			f.Add(form)
		}
	}
	for _, n := range []uint64{0, 1, 31, 32, 61, 62, math.MaxInt64, math.MaxUint64} {
		f.Add(EncodeBase32(n))
		f.Add(EncodeBase62(n))
		f.Add(EncodeInt(int64(n)))
	}
	for _, s := range []string{"", "G000000000000", "LygHa16AHYG", "9223372036854775808", "-9223372036854775809", "+1", "01", "0-0O-oIi-lL", strings.Repeat("0", 64)} {
		f.Add(s)
	}
	refused := func(t *testing.T, s string, err error) {
		if !errors.Is(err, ErrNotID) || len(err.Error()) < 8 {
			t.Fatalf("%q: an error that says too little: %q", s, err)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := Parse(s); err != nil {
			if !strings.Contains(err.Error(), "not a UUID") {
				t.Fatalf("%q: an error that says too little: %q", s, err)
			}
		} else if again, err := Parse(u.String()); err != nil || again != u || !strings.HasSuffix(strings.ToLower(s), u.String()) {
			t.Fatalf("%q was read as %s, and that as %s, %v", s, u, again, err)
		}
		if n, err := DecodeBase32(s); err != nil {
			refused(t, s, err)
		} else if again, err := DecodeBase32(EncodeBase32(n)); err != nil || again != n ||
			!strings.HasSuffix(EncodeBase32(n), strings.NewReplacer("-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(s))) {
			t.Fatalf("%q was read as %d, and that as %d, %v", s, n, again, err)
		}
		if n, err := DecodeBase62(s); err != nil {
			refused(t, s, err)
		} else if again, err := DecodeBase62(EncodeBase62(n)); err != nil || again != n || !strings.HasSuffix(EncodeBase62(n), s) {
			t.Fatalf("%q was read as %d, and that as %d, %v", s, n, again, err)
		}
		if n, err := DecodeInt(s); err != nil {
			refused(t, s, err)
		} else if again, err := DecodeInt(EncodeInt(n)); err != nil || again != n {
			t.Fatalf("%q was read as %d, and that as %d, %v", s, n, again, err)
		}
	})
}

var sinkUUID UUID

func BenchmarkV8(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		sinkUUID = V8(uint64(i), 7, 9)
	}
}

func BenchmarkUUIDString(b *testing.B) {
	b.ReportAllocs()
	u := V8(1, 7, 9)
	for range b.N {
		_ = u.String()
	}
}

func BenchmarkAlloc(b *testing.B) {
	b.ReportAllocs()
	tab := NewTable()
	if _, err := tab.Create("s", Params{Min: 1, Max: math.MaxInt64, Step: 1, Start: 1, MaxRange: 1000}); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		if _, err := tab.Alloc("s", 100, 1); err != nil {
			b.Fatal(err)
		}
	}
}
