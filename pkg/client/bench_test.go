package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
)

var yardstick atomic.Int64

// BenchmarkSequence sets the public Next, from a leased range, beside one atomic addition in the same run: it
// may cost three of them.
func BenchmarkSequence(b *testing.B) {
	r := newRig(b)
	c, err := Connect(context.Background(), r.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	q, err := c.Sequence(ctx, "bench", MaxRange(1<<40))
	if err != nil {
		b.Fatal(err)
	}
	for range 40 { // let the ranges grow, ×4 at a time
		if _, err := q.NextN(ctx, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("AtomicAdd", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			yardstick.Add(1)
		}
	})
	b.Run("Next", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := q.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("BlockOf256", func(b *testing.B) {
		bl := q.Block(256)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := bl.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("NewUUID", func(b *testing.B) {
		if _, err := c.Sequence(ctx, uuidSequence, MaxRange(1<<40)); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.NewUUID(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLock is lock and unlock against a node in this process with its log in memory: what it says is how
// the cost goes down as calls share messages.
func BenchmarkLock(b *testing.B) {
	for _, parallel := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", parallel), func(b *testing.B) {
			r := newRig(b)
			c, err := Connect(context.Background(), r.back.ClientURL()) // past the relay
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			ctx := context.Background()
			var names atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(parallel)
			b.RunParallel(func(p *testing.PB) {
				name := fmt.Sprint("lock/", names.Add(1))
				for p.Next() {
					l, err := c.Lock(ctx, name)
					if err != nil {
						b.Error(err)
						return
					}
					if err := l.Unlock(ctx); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkValid(b *testing.B) {
	r := newRig(b)
	c, err := Connect(context.Background(), r.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	l, err := c.Lock(context.Background(), "x")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Valid(); err != nil {
			b.Fatal(err)
		}
	}
}
