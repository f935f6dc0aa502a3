package pipeline

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
)

func TestOnlyTheProposalsOfAnEntrysTermAreMatched(t *testing.T) {
	t.Parallel()
	var q Proposals[int]
	for i, term := range []uint64{3, 3, 3, 5, 5} {
		q.Push(Proposal[int]{Index: uint64(10 + i), Term: term, Value: i})
	}
	var lost []int
	lose := func(i int) { lost = append(lost, i) }
	got := q.Match([]raft.Entry{{Index: 9, Term: 3}, {Index: 10, Term: 3}, {Index: 11, Term: 4}, {Index: 12, Term: 5}, {Index: 13, Term: 5}}, lose)
	if len(got) != 2 || got[0].Index != 10 || got[1].Index != 13 {
		t.Errorf("matched %v", got)
	}
	if !slices.Equal(lost, []int{1, 2}) || q.Len() != 1 {
		t.Errorf("lost %v, %d left", lost, q.Len())
	}
	rest, is := Decided(&raft.Entry{Index: 11}, got)
	if is || len(rest) != 2 {
		t.Errorf("entry 11 decides %v", got[0])
	}
	if rest, is = Decided(&raft.Entry{Index: 10}, got); !is || len(rest) != 1 {
		t.Errorf("entry 10 decides nothing of %v", got)
	}
}

func TestProposalsOfATermThatIsOverAreLost(t *testing.T) {
	t.Parallel()
	var q Proposals[int]
	for i, term := range []uint64{3, 3, 5} {
		q.Push(Proposal[int]{Index: uint64(10 + i), Term: term, Value: i})
	}
	var lost []int
	lose := func(i int) { lost = append(lost, i) }
	q.Lose(&raft.SoftState{Role: raft.Leader, Term: 5}, lose)
	if !slices.Equal(lost, []int{0, 1}) || q.Len() != 1 {
		t.Errorf("a leader of term 5 loses %v, %d left", lost, q.Len())
	}
	q.Lose(&raft.SoftState{Role: raft.Follower, Term: 5}, lose)
	if !slices.Equal(lost, []int{0, 1, 2}) || q.Len() != 0 {
		t.Errorf("a follower loses %v, %d left", lost, q.Len())
	}
}

func TestProposalsKeepsOrderAndLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q Proposals[int]
		var model []Proposal[int]
		index, term := uint64(0), uint64(1)
		same := func(got, want []Proposal[int]) {
			t.Helper()
			if !slices.EqualFunc(got, want, func(a, b Proposal[int]) bool { return a.Index == b.Index && a.Term == b.Term }) {
				t.Fatalf("popped %v, want %v", got, want)
			}
		}
		cut := func(n int) (out []Proposal[int]) {
			out, model = model[:n], model[n:]
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 2000).Draw(t, "n") {
					index++
					q.Push(Proposal[int]{Index: index, Term: term})
					model = append(model, Proposal[int]{Index: index, Term: term})
				}
			},
			"term": func(t *rapid.T) { term++ },
			"popTo": func(t *rapid.T) {
				to := uint64(rapid.IntRange(0, int(index)).Draw(t, "to"))
				n := 0
				for n < len(model) && model[n].Index <= to {
					n++
				}
				same(q.popTo(to, nil), cut(n))
			},
			"popBefore": func(t *rapid.T) {
				before := uint64(rapid.IntRange(0, int(term)).Draw(t, "before"))
				n := 0
				for n < len(model) && model[n].Term < before {
					n++
				}
				same(q.popBefore(before, nil), cut(n))
			},
			"": func(t *rapid.T) {
				if q.Len() != len(model) {
					t.Fatalf("length %d, want %d", q.Len(), len(model))
				}
			},
		})
	})
}
