package node

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

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
