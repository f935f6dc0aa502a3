package node

import "sync"

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
