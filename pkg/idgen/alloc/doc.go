// Package alloc hands out numbers from leased ranges, in this process, at about the price of one atomic add.
//
// It promises: no number of a range is given out twice, whatever goroutines do at the same time; a range is
// installed once, also if the fetch function answers it again; a caller that finds nothing left parks with
// its own context and is woken by the refill, never by polling; the hot path reads no clock, takes no lock
// and allocates nothing.
//
// It does not promise: numbers without gaps (what is left of a range when the process ends is lost, at most
// two ranges), or an order between goroutines beyond that of one range after the other.
//
// It asks of its caller: a [Fetch] whose ranges are disjoint from every range that was ever given to anybody
// (coordd's log makes them so: the sequence's next number only grows, and a repeated request gets the same
// range), that returns when its context ends, and that is content to be called once at a time.
//
// The shape comes from the segment allocators of Meituan's Leaf (double buffer, refill before the end) with
// the counter as one atomic word, as in the sharded counters of many runtimes; the sizing rule is that of
// coordd's ids.md: enough for 20 s at the measured rate, at most ×4 up and ÷2 down at a time.
package alloc
