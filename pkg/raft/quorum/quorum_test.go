package quorum

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestReachedAgainstBruteForce tries every value as the answer.
func TestReachedAgainstBruteForce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(0, 12), 0, 9).Draw(t, "values")
		var want uint64
		for _, candidate := range values {
			n := 0
			for _, v := range values {
				if v >= candidate {
					n++
				}
			}
			if 2*n > len(values) && candidate > want {
				want = candidate
			}
		}
		before := slices.Sorted(slices.Values(values))
		if got := Reached(values); got != want {
			t.Fatalf("reached %d, want %d of %v", got, want, before)
		}
		if after := slices.Sorted(slices.Values(values)); !slices.Equal(before, after) {
			t.Fatalf("values changed from %v to %v", before, after)
		}
	})
}

// TestMajoritiesIntersect tries all pairs of sets of up to nine voters.
func TestMajoritiesIntersect(t *testing.T) {
	t.Parallel()
	popcount := func(x int) (n int) {
		for ; x > 0; x &= x - 1 {
			n++
		}
		return n
	}
	for voters := 1; voters <= 9; voters++ {
		smallest := voters
		for a := range 1 << voters {
			if popcount(a) < Majority(voters) {
				continue
			}
			smallest = min(smallest, popcount(a))
			for b := range 1 << voters {
				if popcount(b) >= Majority(voters) && a&b == 0 {
					t.Fatalf("%d voters: %b and %b share nobody", voters, a, b)
				}
			}
		}
		if 2*(smallest-1) > voters {
			t.Fatalf("%d voters: a smaller majority than %d exists", voters, smallest)
		}
	}
}

// TestDecideAgainstAllContinuations calls a vote lost exactly if no continuation wins it.
func TestDecideAgainstAllContinuations(t *testing.T) {
	t.Parallel()
	for voters := range 10 {
		for granted := 0; granted <= voters; granted++ {
			for refused := 0; granted+refused <= voters; refused++ {
				want := Pending
				switch best := voters - refused; {
				case voters > 0 && 2*granted > voters:
					want = Won
				case voters == 0 || 2*best <= voters:
					want = Lost
				}
				if got := Decide(voters, granted, refused); got != want {
					t.Errorf("%d voters, %d grants, %d refusals: %v, want %v", voters, granted, refused, got, want)
				}
			}
		}
	}
}

func TestReachedDoesNotAllocate(t *testing.T) {
	values := []uint64{5, 9, 2, 7, 1}
	if n := testing.AllocsPerRun(100, func() { Reached(values) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
