// Package allocs lets tests of decoders see that a few bytes from elsewhere can't make them take much memory: lengths
// that the bytes claim have to be looked at before memory is taken for them.
package allocs

import (
	"runtime/metrics"
	"testing"
)

// tries is how often a too large amount is measured again. The runtime counts what the whole process takes; a
// decoder's own amount comes each time, that of a goroutine beside it does not.
const tries = 5

// Within calls do, which has to take no more memory in all than constant and perByte for each of the input's bytes.
// It does so again if more was taken; do must be the same each time. Amounts below some 100 KiB can't be told: the
// runtime counts small objects by the span.
func Within(t testing.TB, input, constant, perByte int, do func()) {
	t.Helper()
	limit := uint64(constant) + uint64(perByte)*uint64(input)
	var least uint64
	for i := range tries {
		before := taken()
		do()
		if n := taken() - before; n <= limit {
			return
		} else if i == 0 || n < least {
			least = n
		}
	}
	t.Fatalf("%d bytes of input made it take %d bytes of memory, at most %d are right", input, least, limit)
}

// taken is how many bytes of memory this process has ever taken.
func taken() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
