package badgerlog

import (
	"fmt"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// benchLog is where TMPDIR says; it has to be a real disk for the figures to mean something.
func benchLog(b *testing.B) *Log {
	opt := testOptions(b, b.TempDir())
	opt.MemTableBytes = 0 // as in the daemon
	return mustOpen(b, opt)
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			l := benchLog(b)
			es := make([]raft.Entry, n)
			last := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range es {
					es[i] = raft.Entry{Index: last + 1 + uint64(i), Term: 1, Kind: raft.EntryCommand, Data: payload[:150]}
				}
				if err := l.Append(storage.Batch{HardState: raft.HardState{Term: 1, Vote: 1, Commit: last}, TruncateAfter: last, Entries: es}); err != nil {
					b.Fatal(err)
				}
				last += uint64(n)
			}
			b.ReportMetric(float64(last)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

var payload [64 << 10]byte

// filled makes a log of n entries of 150 bytes.
func filled(b *testing.B, n uint64) (*Log, Options) {
	opt := testOptions(b, b.TempDir())
	opt.MemTableBytes = 0
	l := mustOpen(b, opt)
	for last := uint64(0); last < n; {
		es := storagetest.Entries(last+1, min(last+5000, n), 1, 150)
		storagetest.Append(b, l, raft.HardState{Term: 1, Commit: last}, es...)
		last += uint64(len(es))
	}
	return l, opt
}

func BenchmarkOpen(b *testing.B) {
	const n = 200_000
	l, opt := filled(b, n)
	l.Close()
	var spent time.Duration
	for b.Loop() {
		start := time.Now()
		l, err := Open(opt)
		if err != nil {
			b.Fatal(err)
		}
		spent += time.Since(start)
		l.Close()
	}
	b.ReportMetric(spent.Seconds()/float64(b.N)/n*1e6, "s/million-entries")
}

// BenchmarkEntries reads a log from front to back in pieces of 256 KiB, as a follower that catches up needs it.
func BenchmarkEntries(b *testing.B) {
	const n = 100_000
	l, _ := filled(b, n)
	next, read := uint64(1), 0
	b.ReportAllocs()
	for b.Loop() {
		es, err := l.Entries(next, n+1, 256<<10)
		if err != nil {
			b.Fatal(err)
		}
		read += len(es)
		if next += uint64(len(es)); next > n {
			next = 1
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
}
