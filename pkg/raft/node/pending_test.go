package node

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
)

func TestOnlyTheProposalsOfAnEntrysTermAreMatched(t *testing.T) {
	t.Parallel()
	l := &loop{counts: make(map[Outcome]int)}
	for i, term := range []uint64{3, 3, 3, 5, 5} {
		l.pending.push(pending{index: uint64(10 + i), term: term})
	}
	got := l.matchPending([]raft.Entry{{Index: 9, Term: 3}, {Index: 10, Term: 3}, {Index: 11, Term: 4}, {Index: 12, Term: 5}, {Index: 13, Term: 5}})
	if len(got) != 2 || got[0].index != 10 || got[1].index != 13 {
		t.Errorf("matched %v", got)
	}
	if len(l.answers) != 2 || l.answers[0].err != raft.ErrLeadershipLost || l.pending.len() != 1 {
		t.Errorf("%d lost, %d left", len(l.answers), l.pending.len())
	}
}

func TestPendingQueueKeepsOrderAndLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q pendingQueue
		var model []pending
		index, term := uint64(0), uint64(1)
		same := func(got, want []pending) {
			t.Helper()
			if !slices.EqualFunc(got, want, func(a, b pending) bool { return a.index == b.index && a.term == b.term }) {
				t.Fatalf("popped %v, want %v", got, want)
			}
		}
		cut := func(n int) (out []pending) {
			out, model = model[:n], model[n:]
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 2000).Draw(t, "n") {
					index++
					q.push(pending{index: index, term: term})
					model = append(model, pending{index: index, term: term})
				}
			},
			"term": func(t *rapid.T) { term++ },
			"popTo": func(t *rapid.T) {
				to := uint64(rapid.IntRange(0, int(index)).Draw(t, "to"))
				n := 0
				for n < len(model) && model[n].index <= to {
					n++
				}
				same(q.popTo(to, nil), cut(n))
			},
			"popBefore": func(t *rapid.T) {
				before := uint64(rapid.IntRange(0, int(term)).Draw(t, "before"))
				n := 0
				for n < len(model) && model[n].term < before {
					n++
				}
				same(q.popBefore(before, nil), cut(n))
			},
			"": func(t *rapid.T) {
				if q.len() != len(model) {
					t.Fatalf("length %d, want %d", q.len(), len(model))
				}
			},
		})
	})
}
