package locks

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func acquire(t *Table, key string, session, ticket uint64) Outcome {
	return t.Acquire(Request{Keys: []string{key}, Session: session, Ticket: ticket, Now: 1, Until: Forever, Mode: Exclusive, Permits: 1})
}

func exclusive(fence uint64) *Hold {
	return &Hold{Fence: fence, Mode: Exclusive, Permits: 1, Entries: 1}
}

func TestReleaseGrantsTheNextOne(t *testing.T) {
	t.Parallel()
	tab := New()
	if o := acquire(tab, "x", 1, 1); o.State != Granted || o.Holds[0].Fence != 1 {
		t.Fatalf("%+v", o)
	}
	if o := tab.Acquire(Request{Keys: []string{"x"}, Session: 2, Ticket: 1, Try: true, Mode: Exclusive, Permits: 1}); o.State != Refused {
		t.Fatalf("%+v", o)
	}
	second := acquire(tab, "x", 2, 2)
	third := acquire(tab, "x", 3, 1)
	if second.State != Queued || third.Arrival <= second.Arrival {
		t.Fatalf("%+v %+v", second, third)
	}
	if _, grants, ok := tab.Release("x", 9, 5, nil); ok || len(grants) != 0 {
		t.Fatal("a fence that isn't held was released")
	}
	gone, grants, ok := tab.Release("x", 1, 5, nil)
	if !ok || gone.Session != 1 || len(grants) != 1 || grants[0].Hold.Session != 2 || grants[0].Hold.Fence != 2 || grants[0].Hold.Since != 5 {
		t.Fatalf("%+v %+v", gone, grants)
	}
	if w, ok := tab.Leave("x", third.Arrival); !ok || w.Session != 3 {
		t.Fatalf("%+v", w)
	}
	if _, ok := tab.Leave("x", third.Arrival); ok {
		t.Fatal("left twice")
	}
	if _, _, ok := tab.Release("x", 2, 6, nil); !ok || tab.Len() != 0 || tab.Waiting() != 0 {
		t.Fatal("a free lock leaves something behind")
	}
	if o := acquire(tab, "x", 1, 2); o.Holds[0].Fence != 3 {
		t.Fatalf("%+v: the lock's end made the counter forget", o)
	}
}

func TestDelayedHoldBlocksUntilItIsReleased(t *testing.T) {
	t.Parallel()
	tab := New()
	acquire(tab, "x", 1, 1)
	acquire(tab, "x", 2, 1)
	if h, ok := tab.Delay("x", 1, 77); !ok || h.DelayedUntil != 77 || h.Live() {
		t.Fatalf("%+v", h)
	}
	if _, ok := tab.Delay("x", 1, 99); ok {
		t.Fatal("delayed twice")
	}
	if _, ok := tab.Refence("x", 1); ok {
		t.Fatal("a delayed hold got a new fence")
	}
	if l, _ := tab.Get("x"); len(l.Holds) != 1 || l.Waiters != 1 {
		t.Fatalf("%+v", l)
	}
	if _, grants, ok := tab.Release("x", 1, 77, nil); !ok || len(grants) != 1 {
		t.Fatalf("%+v", grants)
	}
}

func TestRefenceReplacesTheFence(t *testing.T) {
	t.Parallel()
	tab := New()
	acquire(tab, "x", 1, 1)
	acquire(tab, "y", 1, 2)
	h, ok := tab.Refence("x", 1)
	if !ok || h.Fence != 3 || tab.Fence() != 3 {
		t.Fatalf("%+v", h)
	}
	if _, ok := tab.Hold("x", 1); ok {
		t.Fatal("the old fence is still held")
	}
	tab.SetCounters(FenceLimit, tab.Arrivals())
	if _, ok := tab.Refence("x", 3); ok {
		t.Fatal("a fence beyond the limit")
	}
	if o := acquire(tab, "z", 1, 3); o.State != NoFences {
		t.Fatalf("%+v", o)
	}
}

func TestPositionInLongQueues(t *testing.T) {
	t.Parallel()
	tab := New()
	places := map[string][]uint64{}
	for i := range uint64(3 * 4 * nearby) { // interleaved, so that places of one queue are not neighbours in number
		key := string(rune('a' + i%3))
		if o := acquire(tab, key, i+1, 1); o.State == Queued {
			places[key] = append(places[key], o.Arrival)
		}
	}
	check := func() {
		t.Helper()
		for key, arrivals := range places {
			for i, a := range arrivals {
				if got := tab.Position(key, a); got != uint64(i+1) {
					t.Fatalf("position of %s/%d is %d, want %d", key, a, got, i+1)
				}
			}
		}
	}
	check()
	for key := range places {
		for len(places[key]) > nearby/2 {
			i := len(places[key]) / 2
			gone := places[key][i]
			tab.Leave(key, gone)
			if tab.Position(key, gone) != 0 {
				t.Fatal("a ticket that left has a position")
			}
			places[key] = append(places[key][:i], places[key][i+1:]...)
		}
		check()
	}
	if tab.Position("none", 1) != 0 || tab.Position("a", 1<<40) != 0 {
		t.Fatal("a ticket that never was has a position")
	}
}

func TestPutRefusesWhatIsOutOfOrder(t *testing.T) {
	t.Parallel()
	tab := New()
	hold := []Hold{{Session: 1, Ticket: 1, Fence: 1}}
	if err := errors.Join(tab.PutLock("b", 0, hold), tab.PutWaiter(&Waiter{Key: "b", Arrival: 2})); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{tab.PutLock("a", 0, hold), tab.PutLock("b", 0, hold), tab.PutWaiter(&Waiter{Key: "c", Arrival: 3}),
		tab.PutWaiter(&Waiter{Key: "b", Arrival: 2}), tab.PutWaiter(&Waiter{Key: "b", Arrival: 1})} {
		if !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(tab *Table){
		"free lock":     func(tab *Table) { tab.locks.Set("f", &Lock{Key: "f"}) },
		"two holders":   func(tab *Table) { tab.locks.Set("x", &Lock{Key: "x", Holds: []*Hold{exclusive(1), exclusive(2)}}) },
		"same fence":    func(tab *Table) { tab.locks.Set("f", &Lock{Key: "f", Holds: []*Hold{exclusive(1)}}) },
		"future fence":  func(tab *Table) { tab.locks.Set("f", &Lock{Key: "f", Holds: []*Hold{exclusive(100)}}) },
		"wrong key":     func(tab *Table) { tab.locks.Set("f", &Lock{Key: "g", Holds: []*Hold{exclusive(2)}}) },
		"wrong count":   func(tab *Table) { tab.locks.Set("x", &Lock{Key: "x", Holds: []*Hold{exclusive(1)}, Waiters: 5}) },
		"lost waiter":   func(tab *Table) { tab.queue.Set(&Waiter{Key: "q", Arrival: 1}) },
		"future place":  func(tab *Table) { tab.arrival = 0 },
		"past the end":  func(tab *Table) { tab.fence = MaxFence + 1 },
		"negative time": func(tab *Table) { tab.Delay("x", 1, -5) },
	} {
		tab := New()
		acquire(tab, "x", 1, 1)
		acquire(tab, "x", 2, 1)
		acquire(tab, "y", 1, 2)
		if err := tab.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(tab)
		if err := tab.Check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCopyNeverChanges(t *testing.T) {
	t.Parallel()
	tab := New()
	for i := range uint64(500) {
		acquire(tab, fmt.Sprintf("k%03d", i%200), 1+i, i)
	}
	read := func(c *Table) (s string) {
		c.Locks("", func(l *Lock) bool {
			s += fmt.Sprint(l.Key, l.Waiters)
			for _, h := range l.Holds {
				s += fmt.Sprint(*h)
			}
			c.Queue(l.Key, func(w *Waiter) bool { s += fmt.Sprint(w.Arrival, c.Position(l.Key, w.Arrival)); return true })
			return true
		})
		return s
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range uint64(20) {
		c := tab.Copy()
		want := read(c)
		wg.Go(func() {
			for range 3 {
				if read(c) != want {
					t.Errorf("copy %d has changed", i)
				}
			}
		})
		for k := range 200 {
			key := fmt.Sprintf("k%03d", k)
			if l, ok := tab.Get(key); ok && (uint64(k)+i)%3 == 0 {
				tab.Release(key, l.Holds[0].Fence, 1, nil)
			}
			if l, ok := tab.Get(key); ok && (uint64(k)+i)%7 == 0 {
				tab.Delay(key, l.Holds[0].Fence, 5)
			}
			if (uint64(k)+i)%4 == 0 {
				acquire(tab, key, 1000+i, uint64(k))
			}
		}
	}
}

// Who has given up waits for nothing: what it said to hold closes no cycle any more.
func TestAWaiterThatLeftClosesNoCycle(t *testing.T) {
	t.Parallel()
	for name, wants := range map[string][]string{"one lock": {"b"}, "several": {"c", "b"}} {
		tab := New()
		a, b := acquire(tab, "a", 1, 1).Holds[0].Fence, acquire(tab, "b", 2, 1).Holds[0].Fence
		under := func(session, ticket, fence uint64, keys ...string) Outcome {
			return tab.Acquire(Request{Keys: keys, Session: session, Ticket: ticket, Now: 1, Until: Forever, Mode: Exclusive, Permits: 1, Holding: []uint64{fence}})
		}
		first := under(1, 2, a, wants...)
		if o := under(2, 2, b, "a"); first.State != Queued || o.State != Deadlock {
			t.Fatalf("%s: %+v, and then %+v, while both wait", name, first, o)
		}
		if _, ok := tab.Leave(wants[0], first.Arrival); !ok {
			t.Fatalf("%s: it did not wait", name)
		}
		if o := under(2, 3, b, "a"); o.State != Queued {
			t.Errorf("%s: %+v, and nobody waits for it", name, o)
		}
	}
}
