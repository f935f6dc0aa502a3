package idgen

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// ErrNotID is wrapped by what the decoders of 64-bit IDs refuse.
var ErrNotID = errors.New("not an ID in this format")

// Widths of the text forms of 64-bit IDs. They are fixed, so that texts sort as their numbers do.
const (
	Base32Len = 13
	Base62Len = 11
)

const (
	base32Digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	base62Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

var (
	base32Values = makeBase32Values()
	base62Values = makeValues(base62Digits)
)

// EncodeInt writes an ID in decimal.
func EncodeInt(id int64) string { return strconv.FormatInt(id, 10) }

// DecodeInt reads a decimal ID.
func DecodeInt(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", ErrNotID, clip(s))
	}
	return id, nil
}

// EncodeBase32 writes an ID in Crockford's base 32, 13 characters.
func EncodeBase32(id uint64) string {
	var b [Base32Len]byte
	for i := Base32Len - 1; i >= 0; i-- {
		b[i] = base32Digits[id&31]
		id >>= 5
	}
	return string(b[:])
}

// DecodeBase32 reads what EncodeBase32 wrote, and what people make of it: either case, hyphens between
// characters, I and L for 1, O for 0.
func DecodeBase32(s string) (uint64, error) {
	var id uint64
	digits := 0
	for i := range len(s) {
		if s[i] == '-' && i > 0 && i < len(s)-1 {
			continue
		}
		v := base32Values[s[i]]
		if v < 0 || id > math.MaxUint64>>5 {
			return 0, fmt.Errorf("%w: %q", ErrNotID, clip(s))
		}
		id = id<<5 | uint64(v)
		digits++
	}
	if digits == 0 || digits > Base32Len {
		return 0, fmt.Errorf("%w: %q", ErrNotID, clip(s))
	}
	return id, nil
}

// EncodeBase62 writes an ID with digits, upper-case and lower-case letters, 11 characters.
func EncodeBase62(id uint64) string {
	var b [Base62Len]byte
	for i := Base62Len - 1; i >= 0; i-- {
		b[i] = base62Digits[id%62]
		id /= 62
	}
	return string(b[:])
}

// DecodeBase62 is the reverse of EncodeBase62.
func DecodeBase62(s string) (uint64, error) {
	var id uint64
	if s == "" || len(s) > Base62Len {
		return 0, fmt.Errorf("%w: %q", ErrNotID, clip(s))
	}
	for i := range len(s) {
		v := base62Values[s[i]]
		if v < 0 || id > (math.MaxUint64-uint64(v))/62 {
			return 0, fmt.Errorf("%w: %q", ErrNotID, clip(s))
		}
		id = id*62 + uint64(v)
	}
	return id, nil
}

func makeValues(digits string) (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(digits) {
		t[digits[i]] = int8(i)
	}
	return t
}

func makeBase32Values() [256]int8 {
	t := makeValues(base32Digits)
	for _, c := range []byte(base32Digits) {
		if c >= 'A' && c <= 'Z' {
			t[c+'a'-'A'] = t[c]
		}
	}
	t['O'], t['o'] = 0, 0
	for _, c := range []byte("IiLl") {
		t[c] = 1
	}
	return t
}
