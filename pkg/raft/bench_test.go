package raft

import (
	"math/rand/v2"
	"testing"
	"time"
)

// bench wires three cores directly: a memory log, no network, no goroutines.
type bench struct {
	cores   [3]*Core
	inbox   [3][]Message
	now     time.Duration
	applied [3]uint64
}

func newBench(b *testing.B) *bench {
	w := &bench{now: time.Hour}
	for i := range w.cores {
		rnd := rand.New(rand.NewPCG(uint64(i), 1))
		c, err := New(Config{ID: MemberID(i + 1), Members: members(3), Standby: i > 0, CheckQuorum: true, Rand: rnd.Uint64N,
			MaxTailBytes: 1 << 20}, Restored{}, w.now)
		if err != nil {
			b.Fatal(err)
		}
		w.cores[i] = c
	}
	for !w.cores[0].ready() {
		w.now += time.Millisecond
		for _, c := range w.cores {
			c.Tick(w.now)
		}
		w.round()
	}
	return w
}

// round delivers what there is and carries out one output of each core.
func (w *bench) round() {
	for i, c := range w.cores {
		for _, m := range w.inbox[i] {
			c.Step(m, w.now)
		}
		w.inbox[i] = w.inbox[i][:0]
	}
	for i, c := range w.cores {
		out := c.Output()
		w.post(out.Send)
		if a := out.Append; a != nil {
			w.post(a.ThenSend)
			c.AppendDone(a.Seq, a.LastTerm, a.Last, w.now)
		}
		if n := len(out.Apply); n > 0 {
			w.applied[i] = out.Apply[n-1].Index
			c.ApplyDone(w.applied[i])
		}
	}
}

func (w *bench) post(ms []Message) {
	for _, m := range ms {
		w.inbox[m.To-1] = append(w.inbox[m.To-1], m)
	}
}

// BenchmarkPropose commits and applies proposals of 100 bytes on three cores: one operation is one proposal.
// batch is how many are proposed between two outputs.
func BenchmarkPropose(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(map[int]string{1: "batch=1", 16: "batch=16", 256: "batch=256"}[batch], func(b *testing.B) {
			w := newBench(b)
			ps := make([]Proposal, batch)
			data := make([]byte, 100)
			for i := range ps {
				ps[i] = Proposal{Kind: EntryCommand, Data: data}
			}
			b.ReportAllocs()
			start := w.cores[0].log.last
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				w.now += time.Microsecond
				if _, _, err := w.cores[0].Propose(ps[:min(batch, b.N-n)], w.now); err != nil {
					b.Fatal(err)
				}
				w.round()
			}
			for w.applied[0] < start+uint64(b.N) {
				w.round()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}

// BenchmarkReadIndex proves reads, 16 between two outputs.
func BenchmarkReadIndex(b *testing.B) {
	w := newBench(b)
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		w.cores[0].ReadIndex(uint64(n), w.now)
		if n%16 == 15 {
			w.round()
		}
	}
}
