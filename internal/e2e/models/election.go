package models

// reign is the state of an election.
type reign struct {
	fence uint64 // the leader's; 0: nobody leads
	value string
	last  uint64 // highest fence given
	to    uint64 // the lock was handed to this waiting session, whose grant belongs to the same step; 0: to nobody
}

// Election is a lock with a value. Its leader may hand it to a session that waits: that one, and nobody else, leads from then on.
// The step of a hand-over and that of the new leader's Acquire follow each other immediately: whoever looks in
// between sees neither the old leader nor none.
func Election() Model {
	return newModel("election", reign{}, stepElection, func(a, b reign) bool { return a == b })
}

func stepElection(r reign, op Op) (reign, bool) {
	if r.to != 0 { // in the middle of a hand-over
		switch {
		case op.Kind == Acquire && op.By == r.to:
			r.to = 0 // and on below
		case op.Kind == Lost && op.To == r.to:
			r.to = 0
			return r, true
		case op.Maybe, op.Kind == Lost:
			return r, true // nothing of theirs to change
		default:
			return r, false
		}
	}
	switch op.Kind {
	case Acquire:
		h := op.Holds[0]
		if r.fence != 0 || h.Fence <= r.last {
			return r, false
		}
		return reign{fence: h.Fence, value: h.Value, last: h.Fence}, true
	case Proclaim:
		h := op.Holds[0]
		if r.fence != h.Fence {
			return r, op.Maybe
		}
		r.value = h.Value
		return r, true
	case Release:
		if r.fence != op.Holds[0].Fence {
			return r, op.Maybe
		}
		return reign{last: r.last}, true
	case HandOver:
		if r.fence != op.Holds[0].Fence {
			return r, op.Maybe
		}
		return reign{last: r.last, to: op.To}, true
	case Lost:
		return r, true
	case Read:
		if len(op.Holds) == 0 {
			return r, r.fence == 0
		}
		return r, len(op.Holds) == 1 && r.fence == op.Holds[0].Fence && r.value == op.Holds[0].Value
	}
	return r, false
}

// InOrder says what is wrong with what one observer of an election was shown, one leader after the other, nil if nothing is. It may
// have missed some: but what it saw has to come in the order of the reigns, and of the values within each. known has, for each fence
// whose leader told, the values in the order in which it proclaimed them.
func InOrder(seen []Hold, known map[uint64][]string) error {
	var fence uint64
	at := 0
	for i, h := range seen {
		if h.Fence < fence {
			return errSeen{i, h, "a reign that was over"}
		}
		if h.Fence > fence {
			fence, at = h.Fence, 0
		}
		values, ok := known[fence]
		if !ok {
			continue
		}
		for at < len(values) && values[at] != h.Value {
			at++
		}
		if at == len(values) {
			return errSeen{i, h, "a value that the leader never had, or had before"}
		}
	}
	return nil
}
