package sim

import "time"

// What makes a simulated minute one that counts.
const (
	leastOps    = 10 // operations of clients that were answered
	leastFaults = 1
)

// minute is what happened since the last whole minute of simulated time.
type minute struct {
	began       time.Duration
	ops, faults int // as the report had them then
	all         int // faults of all kinds so far
}

// tally closes a part of a run, a minute or what is left of one at its end: it counts if as much happened as has to, for
// its length.
func (w *world) tally(end time.Duration) {
	m := &w.minute
	d := end - m.began
	ops, faults := w.report.ClientOps-m.ops, m.all-m.faults
	if d > 0 && time.Duration(ops)*time.Minute >= leastOps*d && time.Duration(faults)*time.Minute >= leastFaults*d {
		w.report.Counting += d
	}
	m.began, m.ops, m.faults = end, w.report.ClientOps, m.all
}
