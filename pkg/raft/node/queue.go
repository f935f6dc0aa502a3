package node

import (
	"sync"
	"sync/atomic"
)

// queue joins two goroutines: many push, one takes everything at once. The taker sleeps on ready.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	ready  chan struct{} // holds one token while there may be something to take
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

func wake(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default: // a token is there already
	}
}

// push adds an item; false after close.
func (q *queue[T]) push(item T) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, item)
	q.mu.Unlock()
	wake(q.ready)
	return true
}

// take returns all items in order of push, and whether the queue is closed: then nothing comes any more.
// spare, whose items must be done with, becomes the queue's next buffer.
func (q *queue[T]) take(spare []T) (items []T, closed bool) {
	clear(spare)
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, spare[:0]
	return items, q.closed
}

// close lets the taker end once it took what is left.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	wake(q.ready)
}

// bell wakes all who wait for something that they look at themselves: take the channel, look, then wait for it.
type bell struct {
	mu sync.Mutex
	c  chan struct{} // nil: nobody waits
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// raise stores a value if it is larger than what is there.
func raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}
