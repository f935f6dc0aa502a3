package machine

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"
)

// benchEntries feeds entries that are made beforehand, over and over: each pair of a lock and an unlock
// leaves the machine as it was, apart from its counters.
type benchMachine struct {
	m     *Machine
	index uint64
	p     *peer
}

func newBench(tb testing.TB, locks int) *benchMachine {
	m := bigMachine(tb, locks)
	b := &benchMachine{m: m, index: m.index}
	owner := "bench"
	id := b.apply(tb, openCommand(owner, 24*time.Hour, ""))[0].Session.ID
	b.p = &peer{owner: owner, id: id}
	return b
}

func (b *benchMachine) apply(tb testing.TB, cs ...Command) []Reply {
	data, err := EncodeCommandsAs(CommandVersion, cs)
	if err != nil {
		tb.Fatal(err)
	}
	b.index++
	res := b.m.Apply(Entry{Index: b.index, Term: 1, Time: int64(b.index), Command: true, Data: data})
	if res.Err != nil {
		tb.Fatal(res.Err)
	}
	return res.Replies
}

// lockUnlock measures one acquire and one release, each an entry, encoding included.
func (b *benchMachine) lockUnlock(tb testing.TB, name string) {
	r := b.apply(tb, b.p.fill(acquireCommand(name, 0)))[0]
	if r.Code != OK {
		tb.Fatal(r.Code)
	}
	if r := b.apply(tb, b.p.fill(releaseCommand(name, r.Lock.Fence)))[0]; r.Code != OK {
		tb.Fatal(r.Code)
	}
}

func BenchmarkApplyLockUnlock(b *testing.B) {
	for _, locks := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("locks=%d", locks), func(b *testing.B) {
			bm := newBench(b, locks)
			var names []string
			for i := range 1024 {
				names = append(names, fmt.Sprintf("locks/%07d/x", i*max(1, locks/1024)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				bm.lockUnlock(b, names[i%len(names)])
			}
		})
	}
}

// The same while views are taken and dropped: what copy-on-write costs right after each.
func BenchmarkApplyLockUnlockWithViews(b *testing.B) {
	bm := newBench(b, 1_000_000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%1000 == 0 {
			bm.m.View()
		}
		bm.lockUnlock(b, fmt.Sprintf("locks/%07d/x", i*7919%1_000_000))
	}
}

func BenchmarkApplyBatchOf64(b *testing.B) {
	bm := newBench(b, 0)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		cs := make([]Command, 64)
		for i := range cs {
			cs[i] = bm.p.fill(acquireCommand(fmt.Sprintf("n%d", i), 0))
		}
		for i, r := range bm.apply(b, cs...) {
			cs[i] = bm.p.fill(releaseCommand(cs[i].Name, r.Lock.Fence))
		}
		bm.apply(b, cs...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/128, "ns/command")
}

func BenchmarkApplyHandOver(b *testing.B) {
	bm := newBench(b, 1)
	fence := bm.apply(b, bm.p.fill(acquireCommand("hot", noLimit)))[0].Lock.Fence
	for range 100 {
		bm.apply(b, bm.p.fill(acquireCommand("hot", noLimit)))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		bm.apply(b, bm.p.fill(acquireCommand("hot", noLimit)))
		bm.apply(b, bm.p.fill(releaseCommand("hot", fence)))
		_, fence = holderOf(bm.m, "hot")
	}
}

func holderOf(m *Machine, name string) (session, fence uint64) {
	l, _ := m.locks.Get(keyOf("ns", name))
	return l.Holds[0].Session, l.Holds[0].Fence
}

func BenchmarkApplyKeepalives(b *testing.B) {
	bm := newBench(b, 0)
	const n = 1000
	var cs []Command
	for i := range n {
		owner := fmt.Sprint("k", i)
		id := bm.apply(b, openCommand(owner, time.Hour, ""))[0].Session.ID
		p := &peer{owner: owner, id: id}
		cs = append(cs, p.keepaliveCommand())
	}
	b.ReportAllocs()
	for b.Loop() {
		bm.apply(b, cs...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/keepalive")
}

// View must stay under 1 ms at 1,000,000 locks.
func BenchmarkView(b *testing.B) {
	for _, locks := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("locks=%d", locks), func(b *testing.B) {
			m := bigMachine(b, locks)
			b.ReportAllocs()
			for b.Loop() {
				m.View()
			}
		})
	}
}

func BenchmarkSave(b *testing.B) {
	m := bigMachine(b, 1_000_000)
	var n int64
	for b.Loop() {
		c := &countingWriter{}
		if err := m.Live().Save(c); err != nil {
			b.Fatal(err)
		}
		n = c.n
	}
	b.ReportMetric(float64(n), "bytes")
}

type countingWriter struct{ n int64 }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return io.Discard.Write(p)
}

func BenchmarkRestore(b *testing.B) {
	data := save(b, bigMachine(b, 1_000_000).Live())
	for b.Loop() {
		if _, err := Restore(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeCommands(b *testing.B) {
	p := &peer{owner: "bench", id: 7, seq: 1000}
	cs := []Command{p.fill(acquireCommand("orders/42", 0))}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := EncodeCommands(cs); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeCommands(b *testing.B) {
	p := &peer{owner: "bench", id: 7, seq: 1000}
	data, err := EncodeCommands([]Command{p.fill(acquireCommand("orders/42", 0))})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeCommands(data); err != nil {
			b.Fatal(err)
		}
	}
}
