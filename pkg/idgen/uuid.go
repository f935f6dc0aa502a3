package idgen

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// UUID is a universally unique identifier in its 16 octets (RFC 9562, section 4).
type UUID [16]byte

// ErrNotUUID is wrapped by what Parse refuses.
var ErrNotUUID = errors.New("not a UUID")

const (
	uuidTextLen = 36
	// uuidDashes are the places of the dashes in the text form.
	dash1, dash2, dash3, dash4 = 8, 13, 18, 23
)

// AppendText appends the text form, 36 lower-case characters, to dst.
func (u UUID) AppendText(dst []byte) ([]byte, error) {
	var b [uuidTextLen]byte
	hex.Encode(b[0:dash1], u[0:4])
	hex.Encode(b[dash1+1:dash2], u[4:6])
	hex.Encode(b[dash2+1:dash3], u[6:8])
	hex.Encode(b[dash3+1:dash4], u[8:10])
	hex.Encode(b[dash4+1:], u[10:16])
	b[dash1], b[dash2], b[dash3], b[dash4] = '-', '-', '-', '-'
	return append(dst, b[:]...), nil
}

// String returns the text form.
func (u UUID) String() string {
	var b [uuidTextLen]byte
	out, _ := u.AppendText(b[:0])
	return string(out)
}

// MarshalText implements encoding.TextMarshaler.
func (u UUID) MarshalText() ([]byte, error) { return u.AppendText(make([]byte, 0, uuidTextLen)) }

// UnmarshalText implements encoding.TextUnmarshaler; it takes what Parse takes.
func (u *UUID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler: the 16 octets.
func (u UUID) MarshalBinary() ([]byte, error) { return append([]byte(nil), u[:]...), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (u *UUID) UnmarshalBinary(data []byte) error {
	if len(data) != len(u) {
		return fmt.Errorf("%w: %d octets", ErrNotUUID, len(data))
	}
	copy(u[:], data)
	return nil
}

// Version returns the version field, 0 to 15.
func (u UUID) Version() int { return int(u[6] >> 4) }

// IsRFC reports whether the variant field is that of RFC 9562.
func (u UUID) IsRFC() bool { return u[8]>>6 == 0b10 }

// Parse reads the text form of 36 characters, in either case, with or without "urn:uuid:" before it.
func Parse(s string) (UUID, error) {
	const urn = "urn:uuid:"
	text := s
	if len(text) == len(urn)+uuidTextLen && equalFoldASCII(text[:len(urn)], urn) {
		text = text[len(urn):]
	}
	var u UUID
	if len(text) != uuidTextLen {
		return u, fmt.Errorf("%w: %q", ErrNotUUID, clip(s))
	}
	n := 0
	for i := 0; i < uuidTextLen; {
		switch i {
		case dash1, dash2, dash3, dash4:
			if text[i] != '-' {
				return UUID{}, fmt.Errorf("%w: %q", ErrNotUUID, clip(s))
			}
			i++
			continue
		}
		hi, lo := unhex(text[i]), unhex(text[i+1])
		if hi > 15 || lo > 15 {
			return UUID{}, fmt.Errorf("%w: %q", ErrNotUUID, clip(s))
		}
		u[n] = hi<<4 | lo
		n, i = n+1, i+2
	}
	return u, nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func equalFoldASCII(a, b string) bool {
	for i := range len(a) {
		if a[i] != b[i] && (a[i] < 'A' || a[i] > 'Z' || a[i]+'a'-'A' != b[i]) {
			return false
		}
	}
	return true
}

// clip bounds what of a wrong input is shown in an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
