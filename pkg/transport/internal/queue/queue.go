// Package queue is the bounded queue that stands before each connection of a transport: many goroutines
// push and never block, one goroutine takes out everything that waits.
package queue

import "sync"

// Policy is what gives way when a queue is full.
type Policy uint8

// The policies.
const (
	DropOldest Policy = iota // the newest message says more than an old one: heartbeats, votes
	DropNewest               // what waits must stay without gaps: appends
)

// item is one waiting value.
type item[T any] struct {
	value T
	bytes int
}

// Queue is a first-in-first-out queue with bounds on items and bytes. It is safe for concurrent use.
type Queue[T any] struct {
	policy Policy
	wake   chan struct{}

	mu       sync.Mutex
	ring     []item[T]
	head     int
	count    int
	bytes    int
	maxItems int
	maxBytes int
}

// New makes a queue with bounds; see Limit.
func New[T any](policy Policy, maxItems, maxBytes int) *Queue[T] {
	return &Queue[T]{policy: policy, wake: make(chan struct{}, 1), maxItems: maxItems, maxBytes: maxBytes}
}

// Limit changes the bounds. A bound of 0 means none. A single item larger than maxBytes still fits into
// an empty queue. With DropOldest, what is beyond the new bounds goes at once; the return value says how
// many items that were.
func (q *Queue[T]) Limit(maxItems, maxBytes int) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxItems, q.maxBytes = maxItems, maxBytes
	for q.policy == DropOldest && q.count > 1 && !q.fits(0, 0) {
		q.pop()
		dropped++
	}
	return dropped
}

// Push appends a value that counts as that many bytes and wakes the taker. It returns how many values
// were dropped for it, itself included.
func (q *Queue[T]) Push(value T, bytes int) (dropped int) {
	q.mu.Lock()
	for q.count > 0 && !q.fits(1, bytes) {
		dropped++
		if q.policy == DropNewest {
			q.mu.Unlock()
			return dropped
		}
		q.pop()
	}
	if q.count == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.count)%len(q.ring)] = item[T]{value, bytes}
	q.count++
	q.bytes += bytes
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return dropped
}

// Wake receives after a Push; several pushes may give one.
func (q *Queue[T]) Wake() <-chan struct{} { return q.wake }

// Drain moves waiting values to dst, oldest first: as many as maxBytes allows, and at least one if any
// waits. What is left is announced on Wake again.
func (q *Queue[T]) Drain(dst []T, maxBytes int) []T {
	q.mu.Lock()
	for taken, first := 0, true; q.count > 0; first = false {
		taken += q.ring[q.head].bytes
		if !first && taken > maxBytes {
			break
		}
		dst = append(dst, q.pop())
	}
	left := q.count
	q.mu.Unlock()
	if left > 0 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return dst
}

// Clear drops everything and returns how many values that were.
func (q *Queue[T]) Clear() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.count
	q.ring, q.head, q.count, q.bytes = nil, 0, 0, 0
	return n
}

// Len returns the number of waiting values.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// fits reports whether the bounds hold with that much more.
func (q *Queue[T]) fits(items, bytes int) bool {
	return (q.maxItems == 0 || q.count+items <= q.maxItems) && (q.maxBytes == 0 || q.bytes+bytes <= q.maxBytes)
}

// pop takes out the oldest value and forgets it, so that the ring keeps nothing alive.
func (q *Queue[T]) pop() T {
	it := q.ring[q.head]
	q.ring[q.head] = item[T]{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	q.bytes -= it.bytes
	return it.value
}

// grow doubles the ring.
func (q *Queue[T]) grow() {
	next := make([]item[T], max(16, 2*len(q.ring)))
	for i := range q.count {
		next[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = next, 0
}
