package node

// pending is a proposal that the core took: entry (index, term) carries it, unless another leader's entry
// takes that place.
type pending struct {
	index, term uint64
	done        func(Result, error)
}

// pendingQueue holds a leader's proposals in order of index. The core hands out contiguous indexes and
// truncates only as a follower, when everything here has failed already; so a queue does what a map would.
type pendingQueue struct {
	items []pending
	head  int
}

func (q *pendingQueue) len() int { return len(q.items) - q.head }

func (q *pendingQueue) push(p pending) { q.items = append(q.items, p) }

// popTo removes the proposals up to an index and appends them to into.
func (q *pendingQueue) popTo(index uint64, into []pending) []pending {
	from := q.head
	for q.head < len(q.items) && q.items[q.head].index <= index {
		q.head++
	}
	into = append(into, q.items[from:q.head]...)
	clear(q.items[from:q.head])
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 1024 && q.head > len(q.items)/2:
		left := copy(q.items, q.items[q.head:])
		clear(q.items[left:])
		q.items, q.head = q.items[:left], 0
	}
	return into
}

// popBefore removes the proposals of terms below term and appends them to into. Terms never fall along the
// queue.
func (q *pendingQueue) popBefore(term uint64, into []pending) []pending {
	last := uint64(0)
	for i := q.head; i < len(q.items) && q.items[i].term < term; i++ {
		last = q.items[i].index
	}
	if last == 0 {
		return into
	}
	return q.popTo(last, into)
}
