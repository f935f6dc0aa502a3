package machine

// space counts what a namespace has. It is made from the state, belongs to the machine and is in no view.
type space struct {
	name     string
	sessions int
	seqs     int
	holds    int // delayed ones included
	waiters  int // places in queues, and tickets at barriers and latches
	gates    int // barriers and latches
}

// space returns the counters of a namespace.
func (m *Machine) space(ns string) *space {
	sp, ok := m.spaces[ns]
	if !ok {
		sp = &space{name: ns}
		m.spaces[ns] = sp
	}
	return sp
}

// tidy forgets a namespace that has nothing any more.
func (m *Machine) tidy(sp *space) {
	if *sp == (space{name: sp.name}) {
		delete(m.spaces, sp.name)
	}
}

// sessionsIn returns the number of sessions of a namespace.
func (m *Machine) sessionsIn(ns string) int {
	if sp, ok := m.spaces[ns]; ok {
		return sp.sessions
	}
	return 0
}

// places is how many holds and waiting tickets there are.
func (s *state) places() int {
	return s.locks.Holds() + s.locks.Waiting() + s.barriers.Waiting() + s.latches.Waiting()
}

// room refuses a request of a session for n more holds or places in queues where there is no room for them. The quotas
// of namespaces hold for entries of version 2 and later: members that knew version 1 only had none.
func (m *Machine) room(s *session, n int) (Reply, bool) {
	switch {
	case s.holds+s.waits+n > MaxTicketsPerSession:
		return m.fail(CodeQuota, "the session has %d holds and waiters", s.holds+s.waits), false
	case m.places()+n > MaxTickets:
		return m.fail(CodeQuota, "the cluster has %d holds and waiters", MaxTickets), false
	case m.version < 2:
	case s.in.holds+n > MaxHoldsPerNamespace:
		return m.fail(CodeQuota, "namespace %s has %d holds", s.namespace, s.in.holds), false
	case s.in.waiters+n > MaxWaitersPerNamespace:
		return m.fail(CodeQuota, "namespace %s has %d waiters", s.namespace, s.in.waiters), false
	}
	return Reply{}, true
}

// gateRoom refuses one more barrier or latch.
func (m *Machine) gateRoom(s *session) (Reply, bool) {
	if s.in.gates >= MaxGatesPerNamespace {
		return m.fail(CodeQuota, "namespace %s has %d barriers and latches", s.namespace, s.in.gates), false
	}
	return Reply{}, true
}

// queued counts a ticket's n places.
func (s *session) queued(n int) { s.waits += n; s.in.waiters += n }

// left takes n places of a ticket back.
func (s *session) left(n int) { s.waits -= n; s.in.waiters -= n }

// took counts n holds.
func (s *session) took(n int) { s.holds += n; s.in.holds += n }
