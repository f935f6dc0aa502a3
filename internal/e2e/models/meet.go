package models

import (
	"fmt"
	"slices"
)

// gathering is the state of a barrier: who waits, and who was let through and has not been seen to pass.
type gathering struct{ waiting, through []uint64 }

// Barrier lets parties through at a time. Each wait is two operations with the same call and return: Arrive and Pass, or Arrive and
// Leave. The Arrive that completes the number lets all of them through, and the barrier begins anew.
func Barrier(parties int) Model {
	return newModel("barrier", gathering{}, func(g gathering, op Op) (gathering, bool) { return stepBarrier(g, op, parties) },
		func(a, b gathering) bool {
			return slices.Equal(a.waiting, b.waiting) && slices.Equal(a.through, b.through)
		})
}

func stepBarrier(g gathering, op Op, parties int) (gathering, bool) {
	switch op.Kind {
	case Arrive:
		if slices.Contains(g.waiting, op.To) || slices.Contains(g.through, op.To) {
			return g, false
		}
		g.waiting = with(g.waiting, op.To)
		if len(g.waiting) == parties {
			for _, id := range g.waiting {
				g.through = with(g.through, id)
			}
			g.waiting = nil
		}
		return g, true
	case Pass:
		if !slices.Contains(g.through, op.To) {
			return g, false
		}
		g.through = without(g.through, op.To)
		return g, true
	case Leave:
		if op.Maybe {
			return gathering{without(g.waiting, op.To), without(g.through, op.To)}, true
		}
		if !slices.Contains(g.waiting, op.To) {
			return g, false
		}
		g.waiting = without(g.waiting, op.To)
		return g, true
	}
	return g, false
}

// with and without treat a slice as an ordered set, and leave the one that they are given alone.
func with(set []uint64, id uint64) []uint64 {
	i, _ := slices.BinarySearch(set, id)
	return slices.Insert(slices.Clone(set), i, id)
}

func without(set []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(set), func(o uint64) bool { return o == id })
}

// latch is the state of a latch.
type latch struct {
	set   bool
	count int
}

// Latch opens when its count has come to 0, and stays open. Before it is set nobody passes.
func Latch() Model {
	return newModel("latch", latch{}, stepLatch, func(a, b latch) bool { return a == b })
}

func stepLatch(l latch, op Op) (latch, bool) {
	open := l.set && l.count == 0
	switch op.Kind {
	case Set:
		return latch{true, op.Count}, true
	case Down:
		if !l.set {
			return l, op.Maybe
		}
		l.count = max(0, l.count-op.Count)
		return l, op.Maybe || op.Left == l.count || op.Left < 0
	case Open:
		return l, open
	case Shut:
		return l, !open
	}
	return l, false
}

// errSeen is what is wrong with one item that an observer was shown.
type errSeen struct {
	place int
	h     Hold
	what  string
}

func (e errSeen) Error() string {
	return fmt.Sprintf("item %d, leader %d with value %q, is %s", e.place, e.h.Fence, e.h.Value, e.what)
}
