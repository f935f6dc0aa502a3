package locks

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// tickets returns those of parties.
func tickets(ps []*Party) (ts []uint64) {
	for _, p := range ps {
		ts = append(ts, p.Ticket)
	}
	return ts
}

// Barriers and latches against lists, with copies that must not change.
func TestBarriersAndLatchesAreWhatListsAre(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		b, l := NewBarriers(), NewLatches()
		type at struct {
			key             string
			arrival, ticket uint64
		}
		var atB, atL []at
		parties, count, set := map[string]uint64{}, map[string]uint64{}, map[string]bool{}
		take := func(list *[]at, key string) (ts []uint64) {
			*list = slices.DeleteFunc(*list, func(x at) bool {
				if x.key == key {
					ts = append(ts, x.ticket)
				}
				return x.key == key
			})
			return ts
		}
		for ticket := range uint64(400) {
			key := []string{"a", "b", "c"}[rnd.IntN(3)]
			n := func(list []at) (n uint64) {
				for _, x := range list {
					if x.key == key {
						n++
					}
				}
				return n
			}
			oldB, oldL, waitB, waitL := b.Copy(), l.Copy(), b.Waiting(), l.Waiting()
			switch rnd.IntN(7) {
			case 0, 1:
				want := uint64(1 + rnd.IntN(4))
				if n(atB) > 0 && rnd.IntN(5) > 0 {
					want = parties[key]
				}
				before := n(atB)
				state, arrival, passed := b.Wait(key, want, Party{Ticket: ticket, Until: Forever})
				switch {
				case before > 0 && want != parties[key]:
					if state != BarrierMismatch {
						t.Fatalf("seed %d: state %d", seed, state)
					}
				case before+1 == want:
					if ts := take(&atB, key); state != BarrierPassed || !slices.Equal(tickets(passed), ts) {
						t.Fatalf("seed %d: state %d, %v passed, want %v", seed, state, tickets(passed), ts)
					}
				default:
					if state != BarrierWaits {
						t.Fatalf("seed %d: state %d", seed, state)
					}
					parties[key] = want
					atB = append(atB, at{key, arrival, ticket})
				}
			case 2:
				if len(atB) > 0 {
					i := rnd.IntN(len(atB))
					p, ok := b.Leave(atB[i].key, atB[i].arrival)
					if _, again := b.Leave(atB[i].key, atB[i].arrival); !ok || again || p.Ticket != atB[i].ticket {
						t.Fatalf("seed %d: %+v left: %t, again: %t", seed, p, ok, again)
					}
					atB = slices.Delete(atB, i, i+1)
				}
			case 3:
				to := uint64(rnd.IntN(4))
				passed := l.Set(key, to)
				count[key], set[key] = to, to > 0
				if to == 0 {
					if ts := take(&atL, key); !slices.Equal(tickets(passed), ts) {
						t.Fatalf("seed %d: %v passed, want %v", seed, tickets(passed), ts)
					}
				}
			case 4:
				got, passed, ok := l.CountDown(key, 2)
				if ok != set[key] {
					t.Fatalf("seed %d: set is %t", seed, ok)
				}
				if count[key] -= min(2, count[key]); ok && got != count[key] {
					t.Fatalf("seed %d: count %d, want %d", seed, got, count[key])
				}
				if ok && got == 0 {
					if ts := take(&atL, key); !slices.Equal(tickets(passed), ts) {
						t.Fatalf("seed %d: %v passed, want %v", seed, tickets(passed), ts)
					}
				}
			case 5:
				arrival, passed := l.Wait(key, Party{Ticket: ticket, Until: Forever})
				if open := set[key] && count[key] == 0; passed != open {
					t.Fatalf("seed %d: passed is %t", seed, passed)
				}
				if !passed {
					atL = append(atL, at{key, arrival, ticket})
				}
			case 6:
				if len(atL) > 0 {
					i := rnd.IntN(len(atL))
					if p, ok := l.Leave(atL[i].key, atL[i].arrival); !ok || p.Ticket != atL[i].ticket {
						t.Fatalf("seed %d: %+v", seed, p)
					}
					atL = slices.Delete(atL, i, i+1)
				}
			}
			if err := errors.Join(b.Check(), l.Check(), oldB.Check(), oldL.Check()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if b.Waiting() != len(atB) || l.Waiting() != len(atL) || oldB.Waiting() != waitB || oldL.Waiting() != waitL {
				t.Fatalf("seed %d: %d and %d wait, want %d and %d", seed, b.Waiting(), l.Waiting(), len(atB), len(atL))
			}
		}
	}
}

func TestGatesOfSnapshotsAreChecked(t *testing.T) {
	t.Parallel()
	b, l := NewBarriers(), NewLatches()
	for i, err := range []error{b.PutParty(&Party{Key: "a", Arrival: 1}), l.PutParty(&Party{Key: "a", Arrival: 1})} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := errors.Join(b.PutBarrier("b", 2), l.PutLatch("b", 1, true)); err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{b.PutBarrier("a", 2), l.PutLatch("a", 1, true), b.Check()} { // nobody waits at the barrier
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := errors.Join(b.PutParty(&Party{Key: "b", Arrival: 5}), l.PutParty(&Party{Key: "b", Arrival: 5})); err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{b.Check(), l.Check()} { // an arrival that was never given
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d: %v", i, err)
		}
	}
	b.SetArrivals(5)
	l.SetArrivals(5)
	if err := errors.Join(b.Check(), l.Check()); err != nil {
		t.Error(err)
	}
}
