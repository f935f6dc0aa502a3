package alloc

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// source is a sequence as the service keeps it: next only grows.
type source struct {
	mu      sync.Mutex
	next    int64
	step    int64
	most    int64         // longest range it gives; 0: as asked
	latency time.Duration // of a fetch
	fail    error
	asked   []int64
	script  func(call int, r Range) (Range, error)
}

func (s *source) fetch(ctx context.Context, want, least int64) (Range, error) {
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-ctx.Done():
			return Range{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, want)
	if s.fail != nil {
		return Range{}, s.fail
	}
	if s.step == 0 {
		s.step = 1
	}
	n := want
	if s.most > 0 {
		n = min(n, s.most)
	}
	r := Range{Lo: s.next, Count: max(n, least), Step: s.step, SequenceID: 7, Domain: 3}
	s.next += r.Count * s.step
	if s.script != nil {
		return s.script(len(s.asked), r)
	}
	return r, nil
}

func (s *source) requests() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func TestNoNumberComesTwice(t *testing.T) {
	t.Parallel()
	src := &source{next: 1, step: 3, most: 3000}
	a := New(Config{Fetch: src.fetch})
	defer a.Close()
	const goroutines, each = 16, 20000
	var wg sync.WaitGroup
	got := make([][]int64, goroutines)
	gate := make(chan struct{})
	for g := range goroutines {
		wg.Go(func() {
			<-gate
			b := a.Block(7)
			for len(got[g]) < each {
				var vs []int64
				var err error
				switch g % 4 {
				case 0:
					var v int64
					v, err = a.Next(t.Context())
					vs = []int64{v}
				case 1:
					vs, err = a.NextN(t.Context(), 1+len(got[g])%13)
				case 2:
					var v int64
					v, err = b.Next(t.Context())
					vs = []int64{v}
				case 3:
					if v, ok := a.TryNext(); ok {
						vs = []int64{v}
					} else {
						var n Number
						n, err = a.Take(t.Context())
						vs = []int64{n.Value}
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				got[g] = append(got[g], vs...)
			}
		})
	}
	close(gate)
	wg.Wait()
	seen := make(map[int64]bool)
	for g, vs := range got {
		for i, v := range vs {
			if seen[v] {
				t.Fatalf("%d came twice", v)
			}
			seen[v] = true
			if (v-1)%3 != 0 || v < 1 || v >= src.next {
				t.Fatalf("%d was never leased", v)
			}
			if i > 0 && v <= vs[i-1] && g%4 != 2 {
				t.Fatalf("goroutine %d got %d after %d", g, v, vs[i-1])
			}
		}
	}
	if waste := int((src.next-1)/3) - len(seen); waste > 2*3000+goroutines*7 {
		t.Errorf("%d of %d numbers were wasted; only what is left at the end may be", waste, len(seen))
	}
}

// A random mixture of calls by one caller gives exactly the leased numbers in order, whatever the lengths of
// the ranges.
func TestNumbersComeInOrderAndWithoutHoles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.Int64Range(1, 40), 1, 50).Draw(t, "lengths")
		step := rapid.Int64Range(1, 5).Draw(t, "step")
		start := rapid.Int64Range(-100, 100).Draw(t, "start")
		next, call := start, 0
		a := New(Config{Fetch: func(_ context.Context, want, _ int64) (Range, error) {
			r := Range{Lo: next, Count: min(want, lengths[call%len(lengths)]), Step: step}
			call++
			next += r.Count * step
			return r, nil
		}})
		defer a.Close()
		expect := start
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			n := rapid.IntRange(1, 90).Draw(t, "n")
			vs, err := a.NextN(context.Background(), n)
			if err != nil || len(vs) != n {
				t.Fatalf("NextN(%d): %d numbers, %v", n, len(vs), err)
			}
			for _, v := range vs {
				if v != expect {
					t.Fatalf("got %d, want %d", v, expect)
				}
				expect += step
			}
		}
	})
}

func TestARepeatedAnswerIsInstalledOnce(t *testing.T) {
	t.Parallel()
	var first Range
	src := &source{next: 1, most: 10, script: func(call int, r Range) (Range, error) {
		switch call {
		case 1:
			first = r
		case 2, 3: // the first answer arrives again, late
			return first, nil
		}
		return r, nil
	}}
	a := New(Config{Fetch: src.fetch})
	defer a.Close()
	seen := map[int64]bool{}
	refused := 0
	for len(seen) < 60 {
		v, err := a.Next(t.Context())
		if errors.Is(err, errRepeated) {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if seen[v] {
			t.Fatalf("%d came twice", v)
		}
		seen[v] = true
	}
	if len(src.requests()) < 4 {
		t.Fatalf("only %d fetches, the repeat was never seen (refused %d)", len(src.requests()), refused)
	}
}

func TestACyclingSequenceMayStartOver(t *testing.T) {
	t.Parallel()
	src := &source{next: 1, most: 10, script: func(call int, r Range) (Range, error) {
		r.Lo = 1
		return r, nil
	}}
	a := New(Config{Fetch: src.fetch, Cycle: true})
	defer a.Close()
	if _, err := a.NextN(t.Context(), 35); err != nil {
		t.Fatal(err)
	}
}

func TestImpossibleRangesAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    Range
		want bool
	}{
		{Range{Lo: 1, Count: 1, Step: 1}, true},
		{Range{Lo: 1, Count: 0, Step: 1}, false},
		{Range{Lo: 1, Count: 1, Step: 0}, false},
		{Range{Lo: math.MaxInt64, Count: 1, Step: 1}, true},
		{Range{Lo: math.MaxInt64, Count: 2, Step: 1}, false},
		{Range{Lo: math.MinInt64, Count: math.MaxInt64, Step: 2}, true},
		{Range{Lo: math.MinInt64 + 2, Count: math.MaxInt64, Step: 2}, true},
		{Range{Lo: math.MinInt64 + 4, Count: math.MaxInt64, Step: 2}, false},
		{Range{Lo: math.MinInt64, Count: 2, Step: -1}, false},
		{Range{Lo: 0, Count: 2, Step: math.MinInt64}, true},
		{Range{Lo: -1, Count: 2, Step: math.MinInt64}, false},
		{Range{Lo: math.MaxInt64, Count: math.MaxInt64, Step: -2}, true},
	} {
		if got := c.r.valid(); got != c.want {
			t.Errorf("%+v: valid %v, want %v", c.r, got, c.want)
		}
	}
	a := New(Config{Fetch: func(context.Context, int64, int64) (Range, error) {
		return Range{Lo: math.MaxInt64, Count: 2, Step: 1}, nil
	}})
	defer a.Close()
	if _, err := a.Next(t.Context()); !errors.Is(err, errBadRange) {
		t.Errorf("got %v, want errBadRange", err)
	}
}

func TestTheLastNumbersOfInt64(t *testing.T) {
	t.Parallel()
	done := false
	a := New(Config{Fetch: func(context.Context, int64, int64) (Range, error) {
		if done {
			return Range{}, errors.New("exhausted")
		}
		done = true
		return Range{Lo: math.MaxInt64 - 2, Count: 3, Step: 1}, nil
	}})
	defer a.Close()
	b := a.Block(10)
	for want := int64(math.MaxInt64 - 2); ; want++ {
		v, err := b.Next(t.Context())
		if err != nil || v != want {
			t.Fatalf("got %d, %v, want %d", v, err, want)
		}
		if want == math.MaxInt64 {
			break
		}
	}
	if v, err := b.Next(t.Context()); err == nil {
		t.Fatalf("got %d from an exhausted sequence", v)
	}
}

func TestParkedCallersWakeAndTheirContextBoundsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &source{next: 1, latency: time.Second}
		a := New(Config{Fetch: src.fetch})
		defer a.Close()
		if _, ok := a.TryNext(); ok {
			t.Error("TryNext gave a number out of nothing")
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := a.Next(short); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 100*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		var got atomic.Int64
		for range 10 {
			go func() {
				if _, err := a.Next(t.Context()); err == nil {
					got.Add(1)
				}
			}()
		}
		synctest.Wait()
		if got.Load() != 0 {
			t.Error("numbers came before the answer")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got.Load() != 10 || len(src.requests()) != 1 {
			t.Errorf("%d of 10 callers were woken by %d fetches", got.Load(), len(src.requests()))
		}
		if _, ok := a.TryNext(); !ok {
			t.Error("TryNext found nothing in a full range")
		}
	})
}

func TestRefillComesBeforeTheEndAndSizesFollowTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &source{next: 1, latency: 10 * time.Millisecond}
		a := New(Config{Fetch: src.fetch, MaxRange: 5000})
		defer a.Close()
		draw := func(n int, every time.Duration) (waited int) {
			for range n {
				before := time.Now()
				if _, err := a.Next(t.Context()); err != nil {
					t.Fatal(err)
				}
				if time.Since(before) > 0 {
					waited++
				}
				time.Sleep(every)
			}
			return waited
		}
		draw(1, 0)
		if w := draw(20000, time.Millisecond); w > 0 { // 1,000 a second: 5,000 is less than 20 s of them
			t.Errorf("%d calls waited although the refill was early enough", w)
		}
		asked := src.requests()
		for i := 1; i < len(asked); i++ {
			if asked[i] > 4*asked[i-1] || asked[i] < asked[i-1]/2 {
				t.Errorf("sizes %v: step %d is too large", asked, i)
			}
		}
		if last := asked[len(asked)-1]; asked[0] != minSize || last != 5000 {
			t.Errorf("sizes went from %d to %d, want from %d to the limit", asked[0], last, minSize)
		}
		draw(15000, 2*time.Second) // one each 2 s: 20 s of them are fewer than the smallest range
		asked = src.requests()
		if last := asked[len(asked)-1]; last > 2500 {
			t.Errorf("sizes %v did not come down with the rate", asked)
		}
	})
}

func TestAFailedRefillReachesThoseWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no leader")
		src := &source{next: 1, most: 10, latency: time.Millisecond}
		a := New(Config{Fetch: src.fetch})
		defer a.Close()
		if _, err := a.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		src.mu.Lock()
		src.fail = broken
		src.mu.Unlock()
		good, bad := 0, 0
		for range 30 {
			if _, err := a.Next(t.Context()); errors.Is(err, broken) {
				bad++
			} else if err == nil {
				good++
			} else {
				t.Fatal(err)
			}
		}
		if good != 9 || bad != 21 {
			t.Errorf("%d numbers and %d errors, want the 9 at hand and 21", good, bad)
		}
		src.mu.Lock()
		src.fail = nil
		src.mu.Unlock()
		if _, err := a.Next(t.Context()); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

// While numbers are at hand, an outage must not turn each call into a request.
func TestARefillAheadOfNeedBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &source{next: 1, most: 64}
		a := New(Config{Fetch: src.fetch})
		defer a.Close()
		if _, err := a.NextN(t.Context(), 33); err != nil {
			t.Fatal(err)
		}
		src.mu.Lock()
		src.fail = errors.New("no leader")
		src.mu.Unlock()
		for range 31 { // past the soft limit, none of them waits
			if _, err := a.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := len(src.requests()); n > 3 {
			t.Errorf("%d fetches during 31 calls in no time", n)
		}
	})
}

func TestCloseEndsARefillAndItsWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &source{next: 1, latency: time.Hour}
		a := New(Config{Fetch: src.fetch})
		errs := make(chan error, 1)
		go func() {
			_, err := a.Next(context.Background())
			errs <- err
		}()
		synctest.Wait()
		a.Close()
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if _, err := a.Next(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestNextAllocatesNothing(t *testing.T) {
	a := endless()
	defer a.Close()
	ctx := context.Background()
	if _, err := a.Next(ctx); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = a.Next(ctx) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
