package pipeline

import (
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
)

// Proposal is one that the core took: entry (Index, Term) carries it, unless another leader's entry takes that place.
// Value is whatever its owner needs to answer it.
type Proposal[T any] struct {
	Index, Term uint64
	Value       T
}

// Proposals holds a leader's proposals in order of index. The core hands out contiguous indexes and truncates only as a
// follower, when everything here has failed already; so a queue does what a map would.
type Proposals[T any] struct {
	items []Proposal[T]
	head  int
}

// Len is the number of proposals that are not decided.
func (q *Proposals[T]) Len() int { return len(q.items) - q.head }

// Push adds one; its index is above those that are there.
func (q *Proposals[T]) Push(p Proposal[T]) { q.items = append(q.items, p) }

// Match takes out the proposals that committed entries, one after the other without a gap, decide, in order. One whose
// place another term's entry has taken is given to lost.
func (q *Proposals[T]) Match(es []raft.Entry, lost func(T)) []Proposal[T] {
	if q.Len() == 0 || len(es) == 0 {
		return nil
	}
	first, last := es[0].Index, es[len(es)-1].Index
	popped := q.popTo(last, nil)
	matched := popped[:0]
	for _, p := range popped {
		if p.Index >= first && (es[p.Index-first].Term == p.Term || canary.Broken(canary.ProposalTermCompared)) {
			matched = append(matched, p)
		} else {
			lost(p.Value)
		}
	}
	return matched
}

// Lose gives up what was proposed in a leadership that is over by a core's state: nobody here will learn the outcome.
func (q *Proposals[T]) Lose(s *raft.SoftState, lost func(T)) {
	if q.Len() == 0 || canary.Broken(canary.StepDownGivesUp) {
		return
	}
	var over []Proposal[T]
	if s.Role == raft.Leader {
		over = q.popBefore(s.Term, nil)
	} else {
		over = q.popTo(^uint64(0), nil)
	}
	for _, p := range over {
		lost(p.Value)
	}
}

// TakeAll takes out all of them.
func (q *Proposals[T]) TakeAll() []Proposal[T] { return q.popTo(^uint64(0), nil) }

// Decided takes the first of the proposals that Match returned off, if it is this entry's.
func Decided[T any](e *raft.Entry, waiting []Proposal[T]) (rest []Proposal[T], is bool) {
	if len(waiting) > 0 && waiting[0].Index == e.Index {
		return waiting[1:], true
	}
	return waiting, false
}

// popTo removes the proposals up to an index and appends them to into.
func (q *Proposals[T]) popTo(index uint64, into []Proposal[T]) []Proposal[T] {
	from := q.head
	for q.head < len(q.items) && q.items[q.head].Index <= index {
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
func (q *Proposals[T]) popBefore(term uint64, into []Proposal[T]) []Proposal[T] {
	last := uint64(0)
	for i := q.head; i < len(q.items) && q.items[i].Term < term; i++ {
		last = q.items[i].Index
	}
	if last == 0 {
		return into
	}
	return q.popTo(last, into)
}
