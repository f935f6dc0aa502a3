package quorum

import (
	"math/bits"
	"testing"
)

// TestReachedOverAllAssignments tries every assignment of small values to up to seven voters, and takes as the
// truth the largest value that every voter of some majority has reached, found set by set.
func TestReachedOverAllAssignments(t *testing.T) {
	t.Parallel()
	const values = 4
	tried := 0
	for voters := 0; voters <= 7; voters++ {
		assignments := 1
		for range voters {
			assignments *= values
		}
		for a := range assignments {
			var held [7]uint64
			for i, rest := 0, a; i < voters; i, rest = i+1, rest/values {
				held[i] = uint64(rest % values)
			}
			var want uint64
			for set := range 1 << voters {
				if 2*bits.OnesCount(uint(set)) <= voters {
					continue
				}
				least := uint64(values)
				for i := range voters {
					if set&(1<<i) != 0 {
						least = min(least, held[i])
					}
				}
				want = max(want, least)
			}
			given := held
			if got := Reached(given[:voters]); got != want {
				t.Fatalf("of %v a majority has reached %d, want %d", held[:voters], got, want)
			}
			tried++
		}
	}
	if want := (1<<16 - 1) / 3; tried != want { // 4⁰ + 4¹ + … + 4⁷
		t.Fatalf("%d assignments tried, want %d", tried, want)
	}
}

// TestDecideOverAllAnswers gives each of up to seven voters every answer (none, grant, refusal), and takes as the
// truth what the voters that have not answered could still bring about.
func TestDecideOverAllAnswers(t *testing.T) {
	t.Parallel()
	for voters := 0; voters <= 7; voters++ {
		answers := 1
		for range voters {
			answers *= 3
		}
		for a := range answers {
			var granted, refused, open int
			for i, rest := 0, a; i < voters; i, rest = i+1, rest/3 {
				switch rest % 3 {
				case 0:
					open++
				case 1:
					granted++
				case 2:
					refused++
				}
			}
			always, ever := true, false
			for more := 0; more <= open; more++ { // so many of the rest grant
				won := voters > 0 && 2*(granted+more) > voters
				always, ever = always && won, ever || won
			}
			want := Pending
			switch {
			case always:
				want = Won
			case !ever:
				want = Lost
			}
			if got := Decide(voters, granted, refused); got != want {
				t.Fatalf("%d voters, %d grants, %d refusals: %v, want %v", voters, granted, refused, got, want)
			}
		}
	}
}
