package lease

import (
	"testing"
	"time"
)

const s = time.Second

func TestADeadlineCountsFromTheSending(t *testing.T) {
	t.Parallel()
	term := NewTerm(Instant{100 * s, 500 * s}, Instant{103 * s, 503 * s}, int64(40*s), int64(50*s), 0.01)
	if want := 9900*time.Millisecond - Guard; term.Budget != want || term.Sent.Mono != 100*s {
		t.Errorf("%+v, want %v from the sending on", term, want)
	}
	later := NewTerm(Instant{101 * s, 501 * s}, Instant{102 * s, 502 * s}, int64(41*s), int64(51*s), 0.01)
	if !later.Outlasts(term) || term.Outlasts(later) {
		t.Error("the later term does not outlast the earlier one")
	}
}

func TestTheLargerOfTheClocksCountsUnlessTheyJump(t *testing.T) {
	t.Parallel()
	term := Term{Sent: Instant{100 * s, 500 * s}, Budget: 10 * s}
	for _, c := range []struct {
		mono, wall time.Duration // since the sending
		left       time.Duration
		jumped     bool
	}{
		{0, 0, 10 * s, false}, {4 * s, 4 * s, 6 * s, false}, {4 * s, 5 * s, 5 * s, false}, {5 * s, 4 * s, 5 * s, false},
		{10 * s, 10 * s, 0, false}, {11 * s, 11 * s, 0, false}, {4 * s, 5*s + 1, 0, true}, {5*s + 1, 4 * s, 0, true},
	} {
		if left, jumped := term.Left(Instant{100*s + c.mono, 500*s + c.wall}); left != c.left || jumped != c.jumped {
			t.Errorf("%+v: %v left, jumped %v", c, left, jumped)
		}
	}
}
