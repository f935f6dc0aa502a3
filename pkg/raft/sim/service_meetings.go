package sim

import (
	"slices"

	replicated "github.com/coordd/coordd/internal/machine"
)

// meeting is a barrier or a latch as entries made it.
type meeting struct {
	name    string
	waiting []*acquire // those that wait, in the order in which they came
	passed  []*acquire // those that pass in the entry that is looked at
	may     map[*acquire]bool
	latch   bool
	set     bool // a latch: its count was set
	count   uint64
	history recorder
}

// meeting is the barrier or latch of a name, nil if it is neither.
func (o *observer) meeting(name string) *meeting {
	for _, m := range o.meetings {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (m *meeting) open() bool { return m.set && m.count == 0 }

// arrives notes that somebody came; at an open latch nobody waits.
func (m *meeting) arrives(o *observer, a *acquire) {
	m.waiting = append(m.waiting, a)
	if m.latch && m.open() {
		m.let(a)
	}
	m.history.add(Op{Kind: OpArrive, Fence: uint64(a.number), Count: a.parties, Call: o.appended, Return: o.w.now})
}

// let notes that somebody has to pass in this entry.
func (m *meeting) let(a *acquire) {
	if m.may == nil {
		m.may = map[*acquire]bool{}
	}
	m.may[a] = true
}

// passes notes that somebody was let through.
func (m *meeting) passes(o *observer, a *acquire) {
	if a.at != 0 {
		return // told again
	}
	a.at = o.now
	if m.latch && !m.may[a] {
		o.w.fail("entry %d: session %d passes latch %s, whose count is %d (set: %v)", o.index, a.key.session, m.name, m.count, m.set)
	}
	m.passed = append(m.passed, a)
	m.history.add(Op{Kind: OpPass, Fence: uint64(a.number), Call: o.appended, Return: never})
}

// counted follows the count of a latch: whoever waits passes when it comes to 0.
func (o *observer) counted(c *replicated.Command, r *replicated.Reply) {
	m := o.meeting(c.Name)
	op := Op{Kind: OpSet, Call: o.appended, Return: o.w.now}
	if c.Kind == replicated.KindLatchSet {
		m.set, m.count = true, c.LatchSet.Count
		op.Count = m.count
	} else {
		if !m.set {
			o.w.fail("entry %d counts latch %s down, which nobody has set", o.index, m.name)
		}
		n := max(c.LatchCountDown.N, 1)
		m.count -= min(n, m.count)
		op.Kind, op.Count = OpDown, n
	}
	if r.Latch != m.count {
		o.w.fail("entry %d: the count of latch %s is said to be %d; it is %d", o.index, m.name, r.Latch, m.count)
	}
	op.Old = r.Latch
	m.history.add(op)
	if !m.open() {
		return
	}
	for _, a := range m.waiting {
		if a.phase == phaseQueued {
			m.let(a)
		}
	}
	if c.Kind == replicated.KindLatchSet {
		m.set = false // opened by hand it is forgotten
	}
	o.w.operated("latch opened")
}

// look checks that those who passed could, that they did so together, and that nobody was left behind.
func (m *meeting) look(o *observer) {
	m.waiting = slices.DeleteFunc(m.waiting, func(a *acquire) bool {
		if a.phase != phaseQueued && a.at == 0 {
			m.history.add(Op{Kind: OpLeave, Fence: uint64(a.number), Call: o.appended, Return: o.w.now})
		}
		return a.phase != phaseQueued
	})
	for _, a := range m.waiting {
		switch {
		case m.may[a]:
			o.w.fail("entry %d: session %d waits at latch %s, which was opened", o.index, a.key.session, m.name)
		case a.until <= o.upTo:
			o.w.fail("entry %d: session %d waits at %s, and its wait ended at %d", o.index, a.key.session, m.name, a.until)
		}
	}
	if !m.latch {
		m.inParties(o)
	}
	m.passed, m.may = m.passed[:0], nil
	if r := &m.history; len(r.ops) >= windowOps {
		r.cut(m.state())
	}
}

// inParties checks that a barrier lets its parties through all at once, when all of them are there.
func (m *meeting) inParties(o *observer) {
	w := o.w
	if n := len(m.passed); n > 0 {
		parties := m.passed[0].parties
		w.operated("barrier passed")
		if uint64(n)%parties != 0 {
			w.fail("entry %d: %d pass barrier %s, which is for %d", o.index, n, m.name, parties)
		}
		for _, a := range m.passed {
			if a.parties != parties {
				w.fail("entry %d: sessions that wait for %d and for %d parties pass %s together", o.index, parties, a.parties, m.name)
			}
			if len(m.waiting) > 0 && m.waiting[0].number < a.number {
				w.fail("entry %d: session %d passes barrier %s, and session %d, which came before, still waits", o.index, a.key.session, m.name, m.waiting[0].key.session)
			}
		}
	}
	if len(m.waiting) > 0 && uint64(len(m.waiting)) >= m.waiting[0].parties {
		w.fail("entry %d: all %d parties of barrier %s are there, and wait", o.index, m.waiting[0].parties, m.name)
	}
}

// state is what the model of the history needs to go on: whoever waits, or the count.
func (m *meeting) state() Op {
	op := Op{Count: m.count}
	if m.set {
		op.Old = 1
	}
	for _, a := range m.waiting {
		op.Held = string(Held{Fence: uint64(a.number)}.add([]byte(op.Held)))
	}
	return op
}

// knows notes that a client knows that it passed.
func (o *observer) knows(s *clientSession, t *ticket) {
	m := o.meeting(t.names[0])
	seen := o.sessions[s.id]
	if seen.ended {
		return
	}
	a := seen.acquires[t.seq]
	if a == nil || a.at == 0 {
		o.w.fail("client %d believes that it passed %s, and no entry let it through", s.c.number, m.name)
	}
	m.history.learned(uint64(a.number))
}
