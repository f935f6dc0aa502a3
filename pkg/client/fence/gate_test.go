package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// semaphore is a hold that no gate takes.
type semaphore uint64

func (f semaphore) Fence() uint64 { return uint64(f) }
func (f semaphore) Mode() Mode    { return ModeSemaphore }

// over is the rule in its longest form: a hold is over if somebody was let in before who excludes it and is newer.
func over(letIn []Hold, h Hold) bool {
	for _, other := range letIn {
		if other.Fence() > h.Fence() && (h.Mode() == ModeExclusive || other.Mode() == ModeExclusive) {
			return true
		}
	}
	return false
}

// TestGateAgainstAModel compares the gate's two numbers with a list of everybody who was let in, and goes through its text
// now and then.
func TestGateAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := new(Gate)
		var letIn []Hold
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			fence := rapid.Uint64Range(1, 20).Draw(t, "fence")
			h := Hold(Exclusive(fence))
			if rapid.Bool().Draw(t, "shared") {
				h = Shared(fence)
			}
			acted := false
			err := g.Do(h, func() error { acted = true; return nil })
			want := over(letIn, h)
			if stale := new(StaleError); errors.As(err, &stale) != want || acted == want {
				t.Fatalf("%s %d after %v: %v, acted %v", h.Mode(), fence, letIn, err, acted)
			} else if want && (stale.Fence != fence || stale.Mode != h.Mode() || stale.Seen <= fence) {
				t.Fatalf("%v %d was refused with %+v", h.Mode(), fence, stale)
			}
			if !want {
				letIn = append(letIn, h)
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				text, err := g.MarshalText()
				if err != nil {
					t.Fatal(err)
				}
				if g = new(Gate); g.UnmarshalText(text) != nil {
					t.Fatalf("%q can't be read back", text)
				}
			}
		}
	})
}

// TestGateHammer lets holders of all ages at one gate at once. Each notes what it sees while it acts: an exclusive one is
// alone, and nobody acts whom a newer one that excludes it has preceded.
func TestGateHammer(t *testing.T) {
	t.Parallel()
	var g Gate
	var fences atomic.Uint64
	var writers, readers atomic.Int64
	var last struct { // of those who acted
		sync.Mutex
		exclusive, newest uint64
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			for range 3000 {
				fence := fences.Add(1)
				if late := uint64(random.IntN(30)); random.IntN(2) == 0 && fence > late {
					fence -= late
				}
				if random.IntN(3) == 0 {
					_ = g.Do(Exclusive(fence), func() error {
						if writers.Add(1) != 1 || readers.Load() != 0 {
							t.Error("a writer is not alone")
						}
						defer writers.Add(-1)
						runtime.Gosched()
						last.Lock()
						defer last.Unlock()
						if fence < last.newest {
							t.Errorf("the writer with fence %d comes after %d", fence, last.newest)
						}
						last.exclusive, last.newest = fence, fence
						return nil
					})
					continue
				}
				_ = g.Do(Shared(fence), func() error {
					readers.Add(1)
					defer readers.Add(-1)
					runtime.Gosched()
					if writers.Load() != 0 {
						t.Error("a reader beside a writer")
					}
					last.Lock()
					defer last.Unlock()
					if fence < last.exclusive {
						t.Errorf("the reader with fence %d comes after the writer with %d", fence, last.exclusive)
					}
					last.newest = max(last.newest, fence)
					return nil
				})
			}
		})
	}
	wg.Wait()
	if exclusive, newest := g.Seen(); exclusive != last.exclusive || newest != last.newest {
		t.Errorf("the gate has seen %d and %d, those who acted %d and %d", exclusive, newest, last.exclusive, last.newest)
	}
}

// TestActionsOfReadersRunBesideEachOther would hang if one reader kept another one out.
func TestActionsOfReadersRunBesideEachOther(t *testing.T) {
	t.Parallel()
	var g Gate
	inside := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Do(Shared(9), func() error { inside <- struct{}{}; return nil }); err != nil {
			t.Error(err)
		}
	})
	if err := g.Do(Shared(3), func() error { <-inside; return nil }); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestWhatAGateRefuses(t *testing.T) {
	t.Parallel()
	var g Gate
	if err := g.Check(Exclusive(0)); !errors.Is(err, ErrNoFence) {
		t.Errorf("fence 0: %v", err)
	}
	if err := g.Check(semaphore(7)); !errors.Is(err, ErrNoGate) {
		t.Errorf("a semaphore: %v", err)
	}
	if exclusive, newest := g.Seen(); exclusive != 0 || newest != 0 {
		t.Errorf("what was refused was seen: %d, %d", exclusive, newest)
	}
	mine := errors.New("the disk is full")
	if err := g.Do(Exclusive(5), func() error { return mine }); err != mine {
		t.Errorf("the action's error came back as %v", err)
	}
	if err := g.Check(Exclusive(5)); err != nil {
		t.Errorf("the same holder again: %v", err)
	}
	want := "the shared hold with fence 4 is over: fence 5 was seen"
	if err := g.Check(Shared(4)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestAPanicLeavesTheGateUsable lets an action panic, as the handler of a request may.
func TestAPanicLeavesTheGateUsable(t *testing.T) {
	t.Parallel()
	var g Gate
	for _, h := range []Hold{Exclusive(1), Shared(2)} {
		func() {
			defer func() { _ = recover() }()
			_ = g.Do(h, func() error { panic("in the action") })
		}()
	}
	if err := g.Check(Exclusive(3)); err != nil {
		t.Error(err)
	}
}

func TestGateText(t *testing.T) {
	t.Parallel()
	var g Gate
	_ = g.Check(Exclusive(1 << 52))
	_ = g.Check(Shared(1<<53 - 1))
	kept, err := json.Marshal(map[string]*Gate{"accounts": &g})
	if want := `{"accounts":"4503599627370496 9007199254740991"}`; err != nil || string(kept) != want {
		t.Errorf("%s, %v; want %s", kept, err, want)
	}
	var after Gate
	_ = after.Check(Shared(1<<53 + 5)) // came while the state was read
	if err := after.UnmarshalText([]byte("4503599627370496 9007199254740991")); err != nil {
		t.Fatal(err)
	}
	if exclusive, newest := after.Seen(); exclusive != 1<<52 || newest != 1<<53+5 {
		t.Errorf("taken over as %d, %d", exclusive, newest)
	}
	for _, bad := range []string{"", "1", "2 1", "1 2 ", " 1 2", "1 2 3", "-1 2", "01 2", "1 18446744073709551616", "a b"} {
		if err := new(Gate).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func ExampleGate() {
	var gate Gate // beside the resource, for all who come to it
	balance := 100

	withdraw := func(h Hold, n int) error { return gate.Do(h, func() error { balance -= n; return nil }) }

	fmt.Println(withdraw(Exclusive(41), 10))
	fmt.Println(withdraw(Exclusive(44), 10)) // the next holder
	fmt.Println(withdraw(Exclusive(41), 10)) // the first one wakes up
	fmt.Println(balance)
	// Output:
	// <nil>
	// <nil>
	// the exclusive hold with fence 41 is over: fence 44 was seen
	// 80
}
