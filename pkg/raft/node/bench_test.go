package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// nothing is a state machine that costs nothing.
type nothing struct{}

func (nothing) Apply(raft.Entry) (any, error) { return nil, nil }

func waitLeading(b *testing.B, n *Node) {
	b.Helper()
	events, cancel := n.Events()
	defer cancel()
	for e := range events {
		if e.Leading {
			return
		}
	}
	b.Fatal("the node ended")
}

func startAlone(b *testing.B) *Node {
	b.Helper()
	n, err := Start(Config{ID: 1, Name: "n1", Members: []raft.Member{{ID: 1, Name: "n1"}}, Log: storage.NewMemory(), StateMachine: nothing{}})
	if err != nil {
		b.Fatal(err)
	}
	waitLeading(b, n)
	return n
}

// proposeFrom has a number of goroutines propose b.N commands in all, each waiting for its answer.
func proposeFrom(b *testing.B, n *Node, proposers int) {
	b.Helper()
	data := make([]byte, 128)
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, proposers)
	b.ReportAllocs()
	b.ResetTimer()
	for range proposers {
		go func() {
			for left.Add(-1) >= 0 {
				if _, err := n.Propose(context.Background(), data); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range proposers {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
}

func BenchmarkProposeMemory(b *testing.B) {
	for _, proposers := range []int{1, 64} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			n := startAlone(b)
			proposeFrom(b, n, proposers)
			if err := n.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkSubmitMemory keeps 1,024 proposals under way from one goroutine.
func BenchmarkSubmitMemory(b *testing.B) {
	n := startAlone(b)
	data := make([]byte, 128)
	slots := make(chan struct{}, 1024)
	var failed atomic.Int64
	done := func(_ Result, err error) {
		if err != nil {
			failed.Add(1)
		}
		<-slots
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		slots <- struct{}{}
		n.Submit(data, done)
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
	if failed.Load() > 0 {
		b.Errorf("%d proposals failed", failed.Load())
	}
	if err := n.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadBarrierMemory(b *testing.B) {
	n := startAlone(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.ReadBarrier(context.Background()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := n.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
