package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The primitives of both codecs: the one of commands and the one of snapshots. Each value has exactly one
// encoding, so that equal things have equal bytes and can be compared and hashed by them.

var errWire = errors.New("malformed data")

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// appendInt writes small numbers of either sign in few bytes (zigzag).
func appendInt(b []byte, v int64) []byte { return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63)) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString(b []byte, s string) []byte { return append(appendUint(b, uint64(len(s))), s...) }

func appendBytes(b, v []byte) []byte { return append(appendUint(b, uint64(len(v))), v...) }

func appendUints(b []byte, vs []uint64) []byte {
	b = appendUint(b, uint64(len(vs)))
	for _, v := range vs {
		b = appendUint(b, v)
	}
	return b
}

func appendStrings(b []byte, vs []string) []byte {
	b = appendUint(b, uint64(len(vs)))
	for _, v := range vs {
		b = appendString(b, v)
	}
	return b
}

// appendMap writes a map in the order of its keys.
func appendMap(b []byte, m map[string]string) []byte {
	b = appendUint(b, uint64(len(m)))
	if len(m) == 0 {
		return b
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendString(appendString(b, k), m[k])
	}
	return b
}

// reader takes values off the front of data. After the first error it only returns zero values; err tells.
type reader struct {
	data    []byte
	err     error
	version byte    // of what is read, where that makes a difference
	bodies  *bodies // of commands
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errWire, what)
		r.data = nil
	}
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.fail("it ends early")
		return 0
	}
	v := r.data[0]
	r.data = r.data[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail("a number is cut or too large")
		return 0
	}
	if n > 1 && r.data[n-1] == 0 {
		r.fail("a number has needless bytes")
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) bool() bool {
	switch r.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	r.fail("a truth value is neither 0 nor 1")
	return false
}

// take returns the next n bytes; they alias data.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.fail("a length is beyond the end")
		return nil
	}
	v := r.data[:n]
	r.data = r.data[n:]
	return v
}

func (r *reader) string() string { return string(r.take(r.uint())) }

// bytes returns a copy, nil for none.
func (r *reader) bytes() []byte {
	if v := r.take(r.uint()); len(v) > 0 {
		return slices.Clone(v)
	}
	return nil
}

// count reads the number of values of which each has at least one byte.
func (r *reader) count() uint64 {
	n := r.uint()
	if n > uint64(len(r.data)) {
		r.fail("a length is beyond the end")
		return 0
	}
	return n
}

// uints returns nil for none.
func (r *reader) uints() []uint64 {
	n := r.count()
	if n == 0 {
		return nil
	}
	vs := make([]uint64, n)
	for i := range vs {
		vs[i] = r.uint()
	}
	return vs
}

// strings returns nil for none.
func (r *reader) strings() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	vs := make([]string, n)
	for i := range vs {
		vs[i] = r.string()
	}
	return vs
}

// stringMap returns nil for an empty map.
func (r *reader) stringMap() map[string]string {
	n := r.uint()
	if n > uint64(len(r.data)/2) {
		r.fail("a length is beyond the end")
		return nil
	}
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k, v := r.string(), r.string()
		if r.err != nil {
			return nil
		}
		if i > 0 && k <= last {
			r.fail("keys are out of order")
			return nil
		}
		m[k], last = v, k
	}
	return m
}

// done reports an error if anything is left, or went wrong before.
func (r *reader) done() error {
	if r.err == nil && len(r.data) > 0 {
		r.fail("it goes on behind its end")
	}
	return r.err
}
