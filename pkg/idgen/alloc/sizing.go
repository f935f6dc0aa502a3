package alloc

import (
	"slices"
	"time"
)

const (
	minSize    = 64               // numbers in the smallest range that is asked for
	rangeSpan  = 20 * time.Second // a range should last this long at the measured rate
	rttReserve = 5                // so many slow fetches must fit into what is left when a refill starts
)

// sizer decides how much to ask for and when. Only the refill uses it, under the allocator's mutex.
type sizer struct {
	size    int64 // what was asked for last
	maxSize int64
	rate    float64 // numbers a second between the last two refills
	since   time.Time
	taken   int64 // numbers given out since then, counted when segments are retired or looked at
	rtts    [16]time.Duration
	nRTT    int
}

// next returns the size of the range to ask for now.
func (z *sizer) next(now time.Time, taken int64) int64 {
	if z.size == 0 {
		z.size = min(minSize, z.maxSize)
		z.since, z.taken = now, taken
		return z.size
	}
	if dt := now.Sub(z.since); dt > 0 {
		z.rate = float64(taken-z.taken) / dt.Seconds()
	} else {
		z.rate = float64(z.maxSize) // faster than the clock can tell
	}
	z.since, z.taken = now, taken
	want := z.maxSize
	if w := z.rate * rangeSpan.Seconds(); w < float64(z.maxSize) {
		want = int64(w)
	}
	want = min(max(want, z.size/2), z.size*4)
	z.size = min(max(want, minSize), z.maxSize)
	return z.size
}

// fetched records how long a refill took.
func (z *sizer) fetched(rtt time.Duration) {
	z.rtts[z.nRTT%len(z.rtts)] = rtt
	z.nRTT++
}

// soft returns after how many numbers of a range of count the next refill should start: when less is left
// than the larger of one half and what goes away during some slow round trips.
func (z *sizer) soft(count int64) int64 {
	n := min(z.nRTT, len(z.rtts))
	reserve := count / 2
	if n > 0 {
		slow := slices.Max(z.rtts[:n]) // of so few, the maximum is the 99th percentile
		if r := z.rate * rttReserve * slow.Seconds(); r > float64(reserve) {
			reserve = int64(min(r, float64(count)))
		}
	}
	return count - reserve
}
