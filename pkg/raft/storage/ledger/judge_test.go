package ledger

import "testing"

func TestCombine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []ballot
		want ballot
		fail bool
	}{
		{in: []ballot{{0, 0}, {0, 0}}},
		{in: []ballot{{3, 1}, {2, 2}}, want: ballot{3, 1}},
		{in: []ballot{{2, 1}, {3, 0}}, want: ballot{3, 0}},
		{in: []ballot{{3, 0}, {3, 2}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 0}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 2}, {2, 1}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 1}}, fail: true},
		{in: []ballot{{4, 2}, {3, 1}, {3, 2}}, fail: true},
	} {
		got, err := combine(c.in...)
		if (err != nil) != c.fail || !c.fail && got != c.want {
			t.Errorf("%v: %v, %v", c.in, got, err)
		}
	}
}
