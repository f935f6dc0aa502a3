package sim

import "slices"

// fault is one kind of bad thing that can happen.
type fault struct {
	kind   string
	weight int // how often it comes, beside the others; a seed changes that
	// do lets it happen, to the node that was drawn or wherever it belongs, and arranges for its end. It draws from w.act.
	// It is false where it could not happen now.
	do func(w *world, n *node) bool
}

// allFaults is every kind that disturb may choose.
var allFaults = slices.Concat(processFaults, networkFaults, clockFaults, diskFaults, clientFaults, stormFaults)

// consequences are the kinds that nobody chooses: they follow from what nodes do by themselves while faults are on.
var consequences = slices.Concat(processConsequences, diskConsequences, clientConsequences)

// FaultKinds lists all of them. In a run of many seeds each must have happened.
func FaultKinds() (kinds []string) {
	for i := range allFaults {
		kinds = append(kinds, allFaults[i].kind)
	}
	return append(kinds, consequences...)
}

// swarm is the kinds that one seed uses, with its rates. [A run in which everything happens all the time never comes to
// the states that need a few kinds alone: swarm testing, Groce and others, ISSTA 2012.]
type swarm struct {
	faults []fault
	total  int // of the weights
}

// chooseFaults draws the kinds of this seed.
func (w *world) chooseFaults() (s swarm) {
	rnd := newStream(w.opt.Seed, "swarm", 0)
	among := 1 + rnd.intn(4) // one of so many kinds is used
	for _, f := range allFaults {
		if rate := f.weight << rnd.intn(4); rnd.chance(among) {
			s.faults = append(s.faults, fault{f.kind, rate, f.do})
			s.total += rate
		}
	}
	if len(s.faults) == 0 {
		f := allFaults[rnd.intn(len(allFaults))]
		s = swarm{[]fault{f}, f.weight}
	}
	return s
}

// draw takes one of them.
func (s *swarm) draw(rnd *stream) *fault {
	k := rnd.intn(s.total)
	for i := range s.faults {
		if k -= s.faults[i].weight; k < 0 {
			return &s.faults[i]
		}
	}
	panic("the weights of the faults do not add up")
}

// disturb does one bad thing.
func (w *world) disturb() {
	if !w.faulty || !w.decide(faultChain, w.opt.Pace.Disturb, w.disturb) {
		return
	}
	for range 4 {
		n := w.anyNode()
		if l := w.leader(); l != nil && w.chance(3) {
			n = l
		}
		if f := w.kinds.draw(w.act); f.do(w, n) {
			w.happened(f.kind)
			return
		}
	}
}

// happened counts a fault.
func (w *world) happened(kind string) {
	w.report.Faults[kind]++
	w.minute.all++
	if w.opt.planted != nil {
		w.opt.planted(w, kind)
	}
	w.note("fault: %s", kind)
}
