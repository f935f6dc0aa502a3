package badgerlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
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

// BenchmarkCompact writes a log that keeps a tail of 20,000 entries: every 50,000 entries it is compacted beside the
// appends. One operation is one batch of 256 entries of 150 bytes. It reports the longest batch, which is what a
// client sees of a compaction, and what the directory takes on the disk at most and after it came to rest.
//
//	go test -run=NONE -bench=Compact -benchtime=12000x ./pkg/raft/storage/badgerlog
func BenchmarkCompact(b *testing.B) {
	for _, compact := range []bool{false, true} {
		b.Run(fmt.Sprintf("compact=%v", compact), func(b *testing.B) {
			l := benchLog(b)
			upTo, done := make(chan uint64, 1), make(chan error, 1)
			go func() {
				var err error
				for index := range upTo {
					err = errors.Join(err, l.Compact(index))
				}
				done <- err
			}()
			var took []time.Duration
			var most int64
			last, compacted := uint64(0), uint64(0)
			for b.Loop() {
				es := make([]raft.Entry, 256)
				for i := range es {
					es[i] = raft.Entry{Index: last + 1 + uint64(i), Term: 1, Kind: raft.EntryCommand, Data: payload[:150]}
				}
				start := time.Now()
				if err := l.Append(storage.Batch{HardState: raft.HardState{Term: 1, Vote: 1, Commit: last}, TruncateAfter: last, Entries: es}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				last += 256
				if compact && last-compacted > 70_000 {
					select {
					case upTo <- last - 20_000:
						compacted = last - 20_000
					default: // it is still at the one before
					}
				}
				if len(took)%100 == 0 {
					most = max(most, diskUse(b, l))
				}
			}
			close(upTo)
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			elapsed := b.Elapsed()
			slices.Sort(took)
			b.ReportMetric(float64(last)/elapsed.Seconds(), "entries/s")
			b.ReportMetric(took[len(took)-1].Seconds()*1e3, "ms-longest")
			b.ReportMetric(took[len(took)*999/1000].Seconds()*1e3, "ms-p99.9")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "ms-p99")
			b.ReportMetric(float64(most)/1e6, "MB-most")
			if compact {
				b.ReportMetric(float64(atRest(b, l))/1e6, "MB-rest")
			}
		})
	}
}

func diskUse(b testing.TB, l *Log) int64 {
	n, err := sizeOf(filepath.Join(l.opt.Dir, badgerDir))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// atRest is what the directory takes once it has not changed for some seconds.
func atRest(b testing.TB, l *Log) int64 {
	size, since := diskUse(b, l), time.Now()
	for time.Since(since) < 2*flattenIdle {
		time.Sleep(100 * time.Millisecond)
		if n := diskUse(b, l); n != size {
			size, since = n, time.Now()
		}
	}
	return size
}

// BenchmarkBesideSnapshot appends batches of 16 while snapshots of 256 MiB are saved on the same disk, one after the
// other, and reports how long the longest batches take.
func BenchmarkBesideSnapshot(b *testing.B) {
	for _, saving := range []bool{false, true} {
		b.Run(fmt.Sprintf("saving=%v", saving), func(b *testing.B) {
			l := benchLog(b)
			s, err := snapstore.Open(snapstore.Options{Dir: filepath.Join(l.opt.Dir, "snapshots")})
			if err != nil {
				b.Fatal(err)
			}
			stop, done, saved := make(chan struct{}), make(chan error, 1), 0
			go func() {
				state := storagetest.State(256 << 20)
				for index := uint64(1); saving; index++ {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					w, err := s.Create(storagetest.Meta(index, 1))
					if err == nil {
						_, err = w.Write(state)
					}
					if err == nil {
						_, err = w.Commit()
					}
					if err := errors.Join(err, s.Remove(index, 1)); err != nil {
						done <- err
						return
					}
					saved++
				}
				done <- nil
			}()
			var took []time.Duration
			for last := uint64(0); b.Loop(); last += 16 {
				es := make([]raft.Entry, 16)
				for i := range es {
					es[i] = raft.Entry{Index: last + 1 + uint64(i), Term: 1, Kind: raft.EntryCommand, Data: payload[:150]}
				}
				start := time.Now()
				if err := l.Append(storage.Batch{HardState: raft.HardState{Term: 1, Vote: 1, Commit: last}, TruncateAfter: last, Entries: es}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			close(stop)
			b.StopTimer()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)-1].Seconds()*1e3, "ms-longest")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "ms-p99")
			b.ReportMetric(float64(saved), "snapshots")
		})
	}
}
