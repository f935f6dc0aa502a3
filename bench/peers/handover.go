package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// waitsBefore is for how long the next one has been waiting, at the least, when the lock is released: whatever it has to send
// in order to wait is over by then.
const waitsBefore = 10 * time.Millisecond

// handOver measures a lock that passes from one client to the next: from the moment at which the holder begins to release
// until the acquire of the one that waited returns. The holder keeps the lock until somebody has been waiting for a while, so that
// two clients measure the hand-over alone. With more clients it happens while those that released it line up again.
func handOver(name string, dur time.Duration, bad *atomic.Int64) timed {
	var (
		mu       sync.Mutex
		waiting  = map[int]time.Time{} // since when, by client
		released time.Time             // zero: nobody has released yet
		until    time.Time
		last     uint64
		holders  int
	)
	ripe := func() bool {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if !until.IsZero() && now.After(until) {
			return true // nobody may come any more
		}
		for _, since := range waiting {
			if now.Sub(since) >= waitsBefore {
				return true
			}
		}
		return false
	}
	return func(ctx context.Context, c Client, id, i int) (time.Duration, error) {
		mu.Lock()
		waiting[id] = time.Now()
		if i >= 0 && until.IsZero() {
			until = time.Now().Add(dur)
		}
		mu.Unlock()
		tok, err := c.Acquire(ctx, name)
		woke := time.Now()
		mu.Lock()
		waited := woke.Sub(waiting[id])
		delete(waiting, id)
		if err != nil {
			mu.Unlock()
			return 0, err
		}
		took := time.Duration(-1)
		if i >= 0 && !released.IsZero() && waited >= waitsBefore {
			took = woke.Sub(released)
		}
		if holders++; holders != 1 || tok <= last {
			bad.Add(1)
		}
		last = tok
		mu.Unlock()
		for i >= 0 && !ripe() {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		mu.Lock()
		holders--
		released = time.Now()
		mu.Unlock()
		return took, c.Release(ctx, name, tok)
	}
}
