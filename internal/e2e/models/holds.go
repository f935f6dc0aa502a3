package models

import (
	"cmp"
	"slices"
)

// table is the state of what can be held: holds by ascending fence, and the highest fence ever given.
type table struct {
	holds []Hold
	last  uint64
}

func equalTables(a, b table) bool { return a.last == b.last && slices.Equal(a.holds, b.holds) }

// RWLock is a read/write lock: one writer alone, or any number of readers.
func RWLock() Model {
	return holdsModel("read/write lock", func(t table, h Hold) bool {
		return !slices.ContainsFunc(t.holds, func(o Hold) bool { return o.Name == h.Name && (!o.Shared || !h.Shared) })
	})
}

// Semaphore has limit permits.
func Semaphore(limit int) Model {
	return holdsModel("semaphore", func(t table, h Hold) bool {
		used := h.Count
		for _, o := range t.holds {
			if o.Name == h.Name {
				used += o.Count
			}
		}
		return h.Count > 0 && used <= limit
	})
}

// Reentrant is an exclusive lock that its holder may enter again, and that is free when it was left as often.
func Reentrant() Model { return holdsModel("reentrant lock", free) }

// AcquireAll is several exclusive locks, some of which are taken in one step.
func AcquireAll() Model { return holdsModel("acquire-all", free) }

func free(t table, h Hold) bool {
	return !slices.ContainsFunc(t.holds, func(o Hold) bool { return o.Name == h.Name })
}

// holdsModel is what all primitives that are held have in common; admits says whether a hold may come to those that are.
func holdsModel(name string, admits func(table, Hold) bool) Model {
	return newModel(name, table{}, func(t table, op Op) (table, bool) { return stepHolds(t, op, admits) }, equalTables)
}

func stepHolds(t table, op Op, admits func(table, Hold) bool) (table, bool) {
	switch op.Kind {
	case Acquire:
		// One step: every fence is above all that were given before, and the later ones see the earlier ones.
		before := t.last
		for _, h := range op.Holds {
			if h.Fence <= before || !admits(t, h) {
				return t, false
			}
			t = t.with(h)
		}
		return t, len(op.Holds) > 0
	case Enter:
		i := t.find(op.Holds[0])
		if i < 0 {
			return t, op.Maybe
		}
		return t.counted(i, 1), true
	case Exit:
		i := t.find(op.Holds[0])
		if i < 0 {
			return t, op.Maybe
		}
		return t.counted(i, -1), true
	case Release:
		for _, h := range op.Holds {
			i := t.find(h)
			if i >= 0 {
				t = t.without(i)
			} else if !op.Maybe {
				return t, false
			}
		}
		return t, true
	case Read:
		var there []Hold
		for _, h := range t.holds {
			if h.Name == op.Name {
				there = append(there, h)
			}
		}
		return t, slices.Equal(there, op.Holds)
	}
	return t, false
}

// find is the place of a hold, by name and fence; -1: it isn't there.
func (t table) find(h Hold) int {
	return slices.IndexFunc(t.holds, func(o Hold) bool { return o.Name == h.Name && o.Fence == h.Fence })
}

// with, without and counted return another table: steps must leave the state that they were given alone.
func (t table) with(h Hold) table {
	holds := append(slices.Clone(t.holds), h)
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Compare(a.Fence, b.Fence) })
	return table{holds, max(t.last, h.Fence)}
}

func (t table) without(i int) table {
	return table{slices.Delete(slices.Clone(t.holds), i, i+1), t.last}
}

func (t table) counted(i, by int) table {
	if t.holds[i].Count+by <= 0 {
		return t.without(i)
	}
	holds := slices.Clone(t.holds)
	holds[i].Count += by
	return table{holds, t.last}
}
