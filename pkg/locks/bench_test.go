package locks

import (
	"fmt"
	"testing"
)

// BenchmarkLockUnlock takes and gives back free locks, each time another one of many.
func BenchmarkLockUnlock(b *testing.B) {
	tab := New()
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("ns\x00lock/%04d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := keys[i%len(keys)]
		o := tab.Acquire(Request{Keys: []string{key}, Session: 1, Ticket: uint64(i), Mode: Exclusive, Permits: 1, Until: Forever})
		tab.Release(key, o.Holds[0].Fence, 2, nil)
	}
}

// BenchmarkReaders adds and takes readers of a lock that has many.
func BenchmarkReaders(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab := New()
			var fences []uint64
			read := func() uint64 {
				return tab.Acquire(Request{Keys: []string{"x"}, Session: 1, Ticket: 1, Mode: Shared, Permits: 1, Until: Forever}).Holds[0].Fence
			}
			for range n {
				fences = append(fences, read())
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				tab.Release("x", fences[i%n], 2, nil)
				fences[i%n] = read()
			}
		})
	}
}
