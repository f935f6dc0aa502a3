package alloc

import (
	"math"
	"sync/atomic"
)

// Range is one leased run of numbers: Lo, Lo+Step, …, Count of them.
type Range struct {
	Lo, Count, Step int64
	SequenceID      uint64 // which sequence, in the whole cluster
	Generation      uint64 // of the sequence; raised when it starts over
	Domain          uint16 // the cluster's ID domain
}

// valid says whether all numbers of the range exist: at least one, and none beyond int64.
func (r Range) valid() bool {
	if r.Count < 1 || r.Step == 0 {
		return false
	}
	steps, room, stride := uint64(r.Count-1), uint64(math.MaxInt64)-uint64(r.Lo), uint64(r.Step) // unsigned: no distance is too far
	if r.Step < 0 {
		room, stride = uint64(r.Lo)+1<<63, -stride
	}
	return steps <= room/stride
}

// last returns the last number of a valid range.
func (r Range) last() int64 { return r.Lo + (r.Count-1)*r.Step }

// segment is an installed range. used counts the numbers that were claimed; it may run past count, and a
// claim beyond count is void.
type segment struct {
	used atomic.Int64
	_    [56]byte // used bounces between processors; what follows is only read

	lo, step int64
	soft     int64 // claims up to here need nothing else; beyond it a refill should be under way
	count    int64
	origin   Range
}

func newSegment(r Range, soft int64) *segment {
	return &segment{lo: r.Lo, step: r.Step, count: r.Count, soft: min(max(soft, 0), r.Count), origin: r}
}

// at returns number i of the segment, counted from 1.
func (s *segment) at(i int64) int64 { return s.lo + (i-1)*s.step }

// left returns how many numbers can still be claimed.
func (s *segment) left() int64 { return max(0, s.count-s.used.Load()) }

// claim takes up to n numbers in one step and returns the first one's index and how many they are.
func (s *segment) claim(n int64) (first, got int64) {
	end := s.used.Add(n)
	first = end - n + 1
	return first, min(n, s.count-first+1)
}
