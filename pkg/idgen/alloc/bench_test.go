package alloc

import (
	"context"
	"sync/atomic"
	"testing"
)

// endless has ranges that no benchmark uses up.
func endless() *Allocator {
	next := int64(1)
	return New(Config{MaxRange: 1 << 50, Fetch: func(context.Context, int64, int64) (Range, error) {
		r := Range{Lo: next, Count: 1 << 50, Step: 1}
		next += r.Count
		return r, nil
	}})
}

var sink atomic.Int64

// BenchmarkAtomicAdd is the yardstick for the others.
func BenchmarkAtomicAdd(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sink.Add(1)
	}
}

func BenchmarkNext(b *testing.B) {
	a := endless()
	defer a.Close()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBlockOf256(b *testing.B) {
	a := endless()
	defer a.Close()
	ctx := context.Background()
	bl := a.Block(256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bl.Next(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNextParallel(b *testing.B) {
	a := endless()
	defer a.Close()
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := a.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
