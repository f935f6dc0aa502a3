package wire

import (
	"encoding/binary"
	"errors"
	"unicode"
	"unicode/utf8"
)

// The errors of decoding. All of them mean that the peer speaks something else, or that bytes were
// damaged on the way; none can be repaired by reading on.
var (
	ErrMalformed = errors.New("wire: malformed")
	ErrTooLarge  = errors.New("wire: frame too large")
	ErrChecksum  = errors.New("wire: checksum differs")
	// ErrVersion means that the peer is sane and speaks no version of the protocol that we speak.
	ErrVersion = errors.New("wire: no common protocol version")
)

// Broken reports whether an error of this package says that the bytes themselves were wrong; otherwise
// it is an error of the connection.
func Broken(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrChecksum)
}

// cursor reads a body from front to back. After the first thing that is not there it is bad, and
// everything read from it is zero: callers check once, at the end.
type cursor struct {
	rest []byte
	bad  bool
}

// fail makes the cursor bad.
func (c *cursor) fail() {
	c.bad = true
	c.rest = nil
}

// bytes takes the next n bytes without copying them.
func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.fail()
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

// byte takes one byte.
func (c *cursor) byte() byte {
	if len(c.rest) == 0 {
		c.fail()
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

// uint16 takes a fixed number of two bytes.
func (c *cursor) uint16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// uint64 takes a fixed number of eight bytes.
func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// array16 takes sixteen bytes.
func (c *cursor) array16() (a [16]byte) {
	copy(a[:], c.bytes(16))
	return a
}

// uvarint takes a variable-length number in its shortest form.
func (c *cursor) uvarint() uint64 {
	if len(c.rest) > 0 && c.rest[0] < 0x80 {
		v := uint64(c.rest[0])
		c.rest = c.rest[1:]
		return v
	}
	v, n := binary.Uvarint(c.rest)
	if n <= 0 || c.rest[n-1] == 0 {
		c.fail()
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// delta takes a number that was written by appendDelta behind previous.
func (c *cursor) delta(previous uint64) uint64 { return previous + unzigzag(c.uvarint()) }

// text takes a string of at most limit bytes that an operator may see: valid UTF-8, nothing that moves
// a terminal's cursor.
func (c *cursor) text(limit int) string {
	n := c.uint16()
	if int(n) > limit {
		c.fail()
		return ""
	}
	b := c.bytes(uint64(n))
	if !printable(b) {
		c.fail()
		return ""
	}
	return string(b)
}

// printable reports whether bytes are text without control characters.
func printable(b []byte) bool {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if (r == utf8.RuneError && size == 1) || unicode.IsControl(r) {
			return false
		}
		b = b[size:]
	}
	return true
}

// appendText writes what text reads: shortened to the limit, and without what text refuses.
func appendText(dst []byte, s string, limit int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0)
	for _, r := range s { // an invalid byte becomes the replacement character
		if unicode.IsControl(r) {
			r = ' '
		}
		if len(dst)-at-2+utf8.RuneLen(r) > limit {
			break
		}
		dst = utf8.AppendRune(dst, r)
	}
	binary.LittleEndian.PutUint16(dst[at:], uint16(len(dst)-at-2))
	return dst
}

// appendDelta writes a number as its difference to another one; differences wrap around, so that any
// pair of numbers can be written.
func appendDelta(dst []byte, previous, v uint64) []byte {
	return binary.AppendUvarint(dst, zigzag(v-previous))
}

// zigzag maps small differences of either sign to small numbers.
func zigzag(d uint64) uint64 { return d<<1 ^ uint64(int64(d)>>63) }

// unzigzag is the inverse of zigzag.
func unzigzag(z uint64) uint64 { return z>>1 ^ -(z & 1) }
