package idgen

import (
	"errors"
	"math"
	"math/big"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func mustNew(t testing.TB, p Params) Sequence {
	t.Helper()
	if p.MaxRange == 0 {
		p.MaxRange = math.MaxInt64
	}
	s, err := NewSequence(p, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParamsAreChecked(t *testing.T) {
	t.Parallel()
	good := Params{Min: 1, Max: 10, Step: 1, Start: 1, MaxRange: 1}
	for name, spoil := range map[string]func(p *Params){
		"step 0":          func(p *Params) { p.Step = 0 },
		"max range 0":     func(p *Params) { p.MaxRange = 0 },
		"min above max":   func(p *Params) { p.Min = 11 },
		"start below min": func(p *Params) { p.Start = 0 },
		"start above max": func(p *Params) { p.Start = 11 },
	} {
		p := good
		spoil(&p)
		if _, err := NewSequence(p, 1); !errors.Is(err, ErrBadParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemainingAtTheEndsOfInt64(t *testing.T) {
	t.Parallel()
	const lo, hi = math.MinInt64, math.MaxInt64
	for _, c := range []struct {
		p    Params
		want uint64
	}{
		{Params{Min: lo, Max: hi, Start: lo, Step: 1}, math.MaxUint64}, // 2^64, cut
		{Params{Min: lo, Max: hi, Start: lo + 1, Step: 1}, math.MaxUint64},
		{Params{Min: lo, Max: hi, Start: lo + 2, Step: 1}, math.MaxUint64 - 1},
		{Params{Min: lo, Max: hi, Start: hi, Step: -1}, math.MaxUint64},
		{Params{Min: lo, Max: hi, Start: lo, Step: hi}, 3}, // lo, −1, hi − 1
		{Params{Min: lo, Max: hi, Start: hi, Step: lo}, 2}, // hi, −1
		{Params{Min: lo, Max: hi, Start: hi, Step: 1}, 1},
		{Params{Min: lo, Max: hi, Start: lo, Step: -1}, 1},
		{Params{Min: 1, Max: 10, Start: 1, Step: 3}, 4},
		{Params{Min: 1, Max: 10, Start: 10, Step: -3}, 4},
		{Params{Min: 5, Max: 5, Start: 5, Step: 7}, 1},
	} {
		if s := mustNew(t, c.p); s.Remaining() != c.want {
			t.Errorf("%+v: %d, want %d", c.p, s.Remaining(), c.want)
		}
	}
}

func TestNearTheEndAnEighthGoesToOneClient(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Params{Min: 1, Max: 100, Start: 1, Step: 1})
	var got []int64
	for {
		r, next, err := s.Alloc(64, 1)
		if errors.Is(err, ErrExhausted) {
			break
		}
		got = append(got, r.Count)
		s = next
	}
	if got[0] != 12 || got[1] != 11 {
		t.Fatalf("ranges of %v", got)
	}
	sum := int64(0)
	for i, n := range got {
		if sum += n; i > 0 && n > got[i-1] {
			t.Fatalf("ranges of %v", got)
		}
	}
	if sum != 100 {
		t.Fatalf("%d numbers in all", sum)
	}
	// Far from the end nobody gets less than asked for.
	if r, _, _ := mustNew(t, Params{Min: 1, Max: 1000, Start: 1, Step: 1}).Alloc(125, 1); r.Count != 125 {
		t.Fatalf("%+v", r)
	}
	if r, _, _ := mustNew(t, Params{Min: 1, Max: 1000, Start: 1, Step: 1}).Alloc(126, 1); r.Count != 125 {
		t.Fatalf("%+v", r)
	}
}

func TestMinCountIsKeptNearTheEnd(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Params{Min: 1, Max: 100, Start: 1, Step: 1})
	if r, _, err := s.Alloc(64, 40); err != nil || r.Count != 40 {
		t.Fatalf("%+v %v", r, err)
	}
	if r, _, err := s.Alloc(100, 0); err != nil || r.Count != 100 { // exactly
		t.Fatalf("%+v %v", r, err)
	}
	if _, same, err := s.Alloc(101, 0); !errors.Is(err, ErrExhausted) || same != s {
		t.Fatal(err)
	}
}

func TestCycleBeginsAtMinWithANewGeneration(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Params{Min: 1, Max: 10, Start: 5, Step: 1, Cycle: true})
	r, s, err := s.Alloc(6, 0)
	if err != nil || r.Lo != 5 || !s.Exhausted {
		t.Fatalf("%+v %v", r, err)
	}
	r, s, err = s.Alloc(8, 0)
	if err != nil || r.Lo != 1 || r.Generation != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	r, s, err = s.Alloc(3, 0) // two are left, and a range doesn't go around
	if err != nil || r.Lo != 1 || r.Generation != 3 || s.Next != 4 {
		t.Fatalf("%+v %v", r, err)
	}
	if _, _, err = s.Alloc(11, 0); !errors.Is(err, ErrExhausted) {
		t.Fatal(err)
	}
	down := mustNew(t, Params{Min: 1, Max: 10, Start: 2, Step: -4, Cycle: true})
	_, down, _ = down.Alloc(1, 0)
	if r, _, err := down.Alloc(3, 0); err != nil || r.Lo != 10 || r.Step != -4 || r.Generation != 2 {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	s := mustNew(t, Params{Min: 1, Max: 100, Start: 10, Step: 5})
	for _, c := range []struct {
		to   int64
		want error
	}{{9, ErrBackward}, {0, ErrOutOfRange}, {101, ErrOutOfRange}, {10, nil}, {33, nil}, {100, nil}} {
		next, err := s.Advance(c.to)
		if !errors.Is(err, c.want) || (err == nil && next.Next != c.to) || (err != nil && next != s) {
			t.Errorf("to %d: %+v %v", c.to, next, err)
		}
	}
	down := mustNew(t, Params{Min: 1, Max: 100, Start: 50, Step: -1})
	if _, err := down.Advance(51); !errors.Is(err, ErrBackward) {
		t.Error(err)
	}
	if next, err := down.Advance(49); err != nil || next.Next != 49 {
		t.Error(err)
	}
	_, end, _ := mustNew(t, Params{Min: 1, Max: 3, Start: 1, Step: 1}).Alloc(3, 0)
	if _, err := end.Advance(3); !errors.Is(err, ErrBackward) {
		t.Error(err)
	}
}

// Whatever the bounds, the step and the sizes: numbers stay within the bounds, come in steps, and none comes
// twice in a generation. Compared with arithmetic that can't overflow.
func TestNoNumberTwice(t *testing.T) {
	t.Parallel()
	edge := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-50, 50), rapid.Int64Range(math.MinInt64, math.MinInt64+50),
		rapid.Int64Range(math.MaxInt64-50, math.MaxInt64))
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Min: edge.Draw(t, "min"), Max: edge.Draw(t, "max"), Step: edge.Draw(t, "step"), Cycle: rapid.Bool().Draw(t, "cycle"),
			MaxRange: rapid.Int64Range(1, math.MaxInt64).Draw(t, "maxRange")}
		if p.Min > p.Max {
			p.Min, p.Max = p.Max, p.Min
		}
		if p.Step == 0 {
			p.Step = 1
		}
		p.Start = rapid.Int64Range(p.Min, p.Max).Draw(t, "start")
		s, err := NewSequence(p, 1)
		if err != nil {
			t.Fatal(err)
		}
		step := big.NewInt(p.Step)
		var last *big.Int // last number given in this generation
		generation := uint64(1)
		for range 12 {
			want := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, p.MaxRange)).Draw(t, "want")
			atLeast := rapid.Int64Range(0, want).Draw(t, "atLeast")
			r, next, err := s.Alloc(want, atLeast)
			if err != nil {
				if next != s || !errors.Is(err, ErrExhausted) && !errors.Is(err, ErrCountTooLarge) {
					t.Fatalf("%+v %v", next, err)
				}
				continue
			}
			s = next
			floor := atLeast
			if floor == 0 {
				floor = want
			}
			if r.Count > want || r.Count < floor || r.Step != p.Step {
				t.Fatalf("%+v for %d, at least %d", r, want, atLeast)
			}
			if r.Generation != generation {
				if !p.Cycle || r.Generation != generation+1 {
					t.Fatalf("generation %d after %d", r.Generation, generation)
				}
				generation, last = r.Generation, nil
			}
			lo := big.NewInt(r.Lo)
			hi := new(big.Int).Add(lo, new(big.Int).Mul(step, big.NewInt(r.Count-1)))
			for _, n := range []*big.Int{lo, hi} {
				if n.Cmp(big.NewInt(p.Min)) < 0 || n.Cmp(big.NewInt(p.Max)) > 0 {
					t.Fatalf("%s is outside of %d to %d", n, p.Min, p.Max)
				}
			}
			if last != nil && new(big.Int).Sub(lo, last).Cmp(step) != 0 {
				t.Fatalf("%s comes after %s in steps of %s", lo, last, step)
			}
			last = hi
			if err := s.valid(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTable(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	p := Params{Min: 1, Max: 100, Step: 1, Start: 1, MaxRange: 10}
	s, err := tab.Create("a", p)
	if err != nil || s.ID != 1 {
		t.Fatalf("%+v %v", s, err)
	}
	if again, err := tab.Create("a", p); err != nil || again != s {
		t.Fatalf("%+v %v", again, err)
	}
	other := p
	other.Max++
	if _, err := tab.Create("a", other); !errors.Is(err, ErrConflict) {
		t.Fatal(err)
	}
	if _, err := tab.Create("b", Params{}); !errors.Is(err, ErrBadParams) {
		t.Fatal(err)
	}
	for _, err := range []error{second(tab.Alloc("b", 1, 0)), second(tab.Advance("b", 1)), second(tab.Delete("b"))} {
		if !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if _, err := tab.Alloc("a", 11, 0); !errors.Is(err, ErrCountTooLarge) {
		t.Fatal(err)
	}
	if r, err := tab.Alloc("a", 10, 0); err != nil || r != (Range{Lo: 1, Count: 10, Step: 1, SequenceID: 1, Generation: 1}) {
		t.Fatalf("%+v %v", r, err)
	}
	if gone, err := tab.Delete("a"); err != nil || gone.Next != 11 {
		t.Fatalf("%+v %v", gone, err)
	}
	if s, _ := tab.Create("a", p); s.ID != 2 || s.Next != 1 {
		t.Fatalf("%+v", s)
	}
	tab.SetLastID(MaxSequenceID)
	if _, err := tab.Create("c", p); !errors.Is(err, ErrNoSequenceIDs) {
		t.Fatal(err)
	}
	if tab.Len() != 1 || tab.LastID() != MaxSequenceID || tab.Check() != nil {
		t.Fatal(tab.Check())
	}
}

func second[T any](_ T, err error) error { return err }

func TestTableCheck(t *testing.T) {
	t.Parallel()
	p := Params{Min: 1, Max: 100, Step: 1, Start: 1, MaxRange: 10}
	good := Sequence{Params: p, ID: 2, Generation: 1, Next: 5}
	for name, spoil := range map[string]func(s *Sequence){
		"id of another":  func(s *Sequence) { s.ID = 1 },
		"id never given": func(s *Sequence) { s.ID = 3 },
		"no id":          func(s *Sequence) { s.ID = 0 },
		"next too low":   func(s *Sequence) { s.Next = 0 },
		"no generation":  func(s *Sequence) { s.Generation = 0 },
		"no step":        func(s *Sequence) { s.Step = 0 },
	} {
		tab := NewTable()
		if _, err := tab.Create("a", p); err != nil {
			t.Fatal(err)
		}
		s := good
		spoil(&s)
		if err := tab.Put("b", s); err != nil {
			t.Fatal(err)
		}
		tab.SetLastID(2)
		if err := tab.Check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if err := tab.Put("b", good); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTableCopyNeverChanges(t *testing.T) {
	t.Parallel()
	tab := NewTable()
	p := Params{Min: 1, Max: math.MaxInt64, Step: 1, Start: 1, MaxRange: 10}
	for i := range 300 {
		if _, err := tab.Create(string(rune('a'+i)), p); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(c *Table) (n int64) {
		c.Ascend("", func(_ string, s Sequence) bool { n += s.Next; return true })
		return n
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range 50 {
		c := tab.Copy()
		want := sum(c)
		wg.Go(func() {
			for range 5 {
				if sum(c) != want {
					t.Errorf("copy %d has changed", i)
				}
			}
		})
		for k := range 300 {
			if _, err := tab.Alloc(string(rune('a'+k)), 1, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}
