package models

import (
	"strings"
	"testing"
	"time"
)

// step is one operation with its interval.
type step struct {
	op        Op
	call, ret int64
}

func at(call, ret int64, kind Kind, holds ...Hold) step {
	op := Op{Kind: kind, Holds: holds}
	if kind == Read {
		op.Name = "x"
	}
	return step{op, call, ret}
}

// maybe makes the operation one that may have happened or not, at any time after its call.
func maybe(s step) step { s.op.Maybe, s.ret = true, Never; return s }

// to says which session it is about; by, whose it is.
func to(s step, session uint64) step { s.op.To = session; return s }
func by(s step, session uint64) step { s.op.By = session; return s }

// num sets the numbers of a latch's operations.
func num(s step, count, left int) step { s.op.Count, s.op.Left = count, left; return s }

func x(fence uint64) Hold            { return Hold{Name: "x", Fence: fence, Count: 1} }
func y(fence uint64) Hold            { return Hold{Name: "y", Fence: fence, Count: 1} }
func shared(fence uint64) Hold       { return Hold{Name: "x", Fence: fence, Shared: true, Count: 1} }
func n(fence uint64, count int) Hold { return Hold{Name: "x", Fence: fence, Count: count} }
func val(fence uint64, value string) Hold {
	return Hold{Name: "x", Fence: fence, Count: 1, Value: value}
}

// TestModels shows for each primitive what is right, and that each thing that would be wrong is found.
func TestModels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		model Model
		good  bool
		steps []step
	}{
		{"readers beside each other, then a writer", RWLock(), true, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Acquire, shared(2)),
			at(4, 5, Read, shared(1), shared(2)), at(6, 7, Release, shared(2)), at(8, 9, Release, shared(1)), at(5, 10, Acquire, x(3)), at(11, 12, Read, x(3))}},
		{"a writer beside a reader", RWLock(), false, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Acquire, x(2)), at(4, 5, Release, shared(1))}},
		{"a reader beside a writer", RWLock(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Acquire, shared(2)), at(4, 5, Release, x(1))}},
		{"two writers", RWLock(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Acquire, x(2)), at(4, 5, Release, x(1))}},
		{"a writer after a reader that was lost", RWLock(), true, []step{at(0, 1, Acquire, shared(1)), maybe(at(2, 0, Release, shared(1))), at(3, 4, Acquire, x(2))}},
		{"a writer before a reader was lost", RWLock(), false, []step{at(0, 1, Acquire, shared(1)), maybe(at(5, 0, Release, shared(1))), at(3, 4, Acquire, x(2))}},
		{"a reader's fence below a writer's before it", RWLock(), false, []step{at(0, 1, Acquire, x(5)), at(2, 3, Release, x(5)), at(4, 5, Acquire, shared(4))}},
		{"a read that misses a reader", RWLock(), false, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Acquire, shared(2)), at(4, 5, Read, shared(2)), at(6, 7, Release, shared(1))}},
		{"a read that is stale", RWLock(), false, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Release, shared(1)), at(4, 5, Read, shared(1))}},
		{"a read of a reader as a writer", RWLock(), false, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Read, x(1))}},
		{"a read that also shows a hold of which its owner never learned", RWLock(), true, []step{at(0, 1, Acquire, shared(1)), at(2, 3, Read, shared(1), shared(7))}},
		{"a release of what is not held", RWLock(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Release, x(1)), at(4, 5, Release, x(1))}},

		{"permits up to the limit", Semaphore(3), true, []step{at(0, 1, Acquire, n(1, 2)), at(2, 3, Acquire, n(2, 1)), at(4, 5, Read, n(1, 2), n(2, 1)),
			at(6, 7, Release, n(1, 2)), at(5, 8, Acquire, n(3, 2))}},
		{"permits over the limit", Semaphore(3), false, []step{at(0, 1, Acquire, n(1, 2)), at(2, 3, Acquire, n(2, 2)), at(4, 5, Release, n(1, 2))}},
		{"permits of a holder that was lost too late", Semaphore(3), false, []step{at(0, 1, Acquire, n(1, 2)), maybe(at(4, 0, Release, n(1, 2))), at(2, 3, Acquire, n(2, 2))}},
		{"a read with other permits", Semaphore(3), false, []step{at(0, 1, Acquire, n(1, 2)), at(2, 3, Read, n(1, 1))}},
		{"a grant of no permits", Semaphore(3), false, []step{at(0, 1, Acquire, n(1, 0))}},

		{"in twice, out twice, the next", Reentrant(), true, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(1)), at(4, 5, Read, n(1, 2)), at(6, 7, Exit, x(1)),
			at(8, 9, Read, x(1)), at(10, 11, Exit, x(1)), at(9, 12, Acquire, x(2))}},
		{"in twice, out once, the next", Reentrant(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(1)), at(4, 5, Exit, x(1)), at(6, 7, Acquire, x(2)), at(8, 9, Exit, x(1))}},
		{"into another's hold", Reentrant(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(2))}},
		{"into a hold that is over", Reentrant(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Exit, x(1)), at(4, 5, Enter, x(1))}},
		{"in again under a new fence", Reentrant(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Acquire, x(2)), at(4, 5, Exit, x(2)), at(6, 7, Exit, x(1))}},
		{"a lost hold goes with all its entries", Reentrant(), true, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(1)), maybe(at(4, 0, Release, x(1))), at(5, 6, Acquire, x(2))}},

		{"an entry that may have been given back", Reentrant(), true, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(1)), maybe(at(4, 0, Exit, x(1))), at(5, 6, Read, x(1)), at(7, 8, Read, x(1))}},
		{"an entry that may have been given back takes no other one along", Reentrant(), false, []step{at(0, 1, Acquire, x(1)), at(2, 3, Enter, x(1)), maybe(at(4, 0, Exit, x(1))), at(5, 6, Acquire, x(2))}},
		{"an entry that may have been made, and is given back later", Reentrant(), true, []step{at(0, 1, Acquire, x(1)), maybe(at(2, 0, Enter, x(1))), at(4, 5, Read, n(1, 2)), at(6, 7, Exit, x(1)), at(8, 9, Read, x(1)),
			maybe(at(3, 0, Exit, x(1))), at(10, 11, Acquire, x(2))}},
		{"several at once, and one of them alone afterwards", AcquireAll(), true, []step{at(0, 1, Acquire, x(1), y(2)), readOf("y", at(2, 3, Read, y(2))), at(4, 5, Release, y(2)),
			at(6, 7, Acquire, y(3)), at(8, 9, Release, x(1))}},
		{"several of which one is held", AcquireAll(), false, []step{at(0, 1, Acquire, y(1)), at(2, 3, Acquire, x(2), y(3)), at(4, 5, Release, y(1))}},
		{"several, not in one step", AcquireAll(), false, []step{at(0, 9, Acquire, x(1), y(2)), readOf("y", at(1, 2, Read, y(2))), at(3, 4, Read), at(10, 11, Release, x(1))}},
		{"several with one fence", AcquireAll(), false, []step{at(0, 1, Acquire, x(1), y(1)), at(2, 3, Acquire, x(1))}},
		{"several with a fence that was there before", AcquireAll(), false, []step{at(0, 1, Acquire, x(4)), at(2, 3, Release, x(4)), at(4, 5, Acquire, x(6), y(4))}},
		{"nothing", AcquireAll(), false, []step{at(0, 1, Acquire)}},

		{"a reign", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), at(2, 3, Read, val(1, "a")), at(4, 5, Proclaim, val(1, "b")), at(6, 7, Read, val(1, "b")),
			at(8, 9, Release, x(1)), at(10, 11, Read), by(at(8, 12, Acquire, val(2, "c")), 2)}},
		{"two leaders", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), by(at(2, 3, Acquire, val(2, "b")), 2), at(4, 5, Release, x(1))}},
		{"two leaders at the end", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), by(at(2, 3, Acquire, val(2, "b")), 2)}},
		{"a leader with a fence below an earlier one's", Election(), false, []step{by(at(0, 1, Acquire, val(5, "a")), 1), at(2, 3, Release, x(5)), by(at(4, 5, Acquire, val(4, "b")), 2)}},
		{"an old value", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), at(2, 3, Proclaim, val(1, "b")), at(4, 5, Read, val(1, "a"))}},
		{"a value that may have been proclaimed", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), maybe(at(2, 0, Proclaim, val(1, "b"))), at(4, 5, Read, val(1, "a")), at(6, 7, Read, val(1, "b"))}},
		{"a value that comes back", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), maybe(at(2, 0, Proclaim, val(1, "b"))), at(4, 5, Read, val(1, "b")), at(6, 7, Read, val(1, "a"))}},
		{"a proclamation by somebody else", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), at(2, 3, Proclaim, val(2, "b"))}},
		{"a read of nobody while one leads", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), at(2, 3, Read), at(4, 5, Release, x(1))}},
		{"handed over", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(at(4, 5, HandOver, x(1)), 3), by(at(2, 6, Acquire, val(2, "c")), 3), at(7, 8, Read, val(2, "c"))}},
		{"handed to one, granted to another", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(at(4, 5, HandOver, x(1)), 3), by(at(2, 6, Acquire, val(2, "b")), 2), by(at(2, 9, Acquire, val(3, "c")), 3), at(7, 8, Release, x(2))}},
		{"handed over with nobody in between", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(at(2, 8, HandOver, x(1)), 3), at(4, 5, Read), by(at(1, 9, Acquire, val(2, "c")), 3), at(10, 11, Release, x(2))}},
		{"the old leader after a hand-over", Election(), false, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(at(2, 3, HandOver, x(1)), 3), by(at(1, 9, Acquire, val(2, "c")), 3), at(4, 5, Read, val(1, "a"))}},
		{"handed to one that died", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(at(4, 5, HandOver, x(1)), 3), to(step{Op{Kind: Lost}, 2, Never}, 3), by(at(6, 7, Acquire, val(3, "b")), 2)}},
		{"perhaps handed over, and not", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(maybe(at(2, 0, HandOver, x(1))), 3), at(4, 5, Read, val(1, "a")), at(6, 7, Release, x(1)), by(at(3, 9, Acquire, val(2, "b")), 2)}},
		{"perhaps handed over, and so", Election(), true, []step{by(at(0, 1, Acquire, val(1, "a")), 1), to(maybe(at(2, 0, HandOver, x(1))), 3), by(at(3, 9, Acquire, val(2, "c")), 3)}},

		{"two by two", Barrier(2), true, []step{to(at(0, 3, Arrive), 1), to(at(0, 3, Pass), 1), to(at(2, 4, Arrive), 2), to(at(2, 4, Pass), 2),
			to(at(5, 9, Arrive), 3), to(at(5, 9, Pass), 3), to(at(6, 9, Arrive), 4), to(at(6, 9, Pass), 4)}},
		{"through before the others came", Barrier(2), false, []step{to(at(0, 3, Arrive), 1), to(at(0, 3, Pass), 1), to(at(4, 5, Arrive), 2), to(at(4, 5, Pass), 2)}},
		{"three through where two are a party", Barrier(2), false, []step{to(at(0, 9, Arrive), 1), to(at(0, 9, Pass), 1), to(at(0, 9, Arrive), 2), to(at(0, 9, Pass), 2), to(at(0, 9, Arrive), 3), to(at(0, 9, Pass), 3)}},
		{"one gave up and counts no more", Barrier(2), true, []step{to(at(0, 3, Arrive), 1), to(at(0, 3, Leave), 1), to(at(4, 9, Arrive), 2), to(at(4, 9, Pass), 2), to(at(5, 9, Arrive), 3), to(at(5, 9, Pass), 3)}},
		{"one gave up and counts still", Barrier(2), false, []step{to(at(0, 3, Arrive), 1), to(at(0, 3, Leave), 1), to(at(4, 9, Arrive), 2), to(at(4, 9, Pass), 2)}},
		{"one times out although the party was complete", Barrier(2), false, []step{to(at(0, 9, Arrive), 1), to(at(0, 9, Pass), 1), to(at(2, 9, Arrive), 2), to(at(2, 9, Leave), 2)}},
		{"one whose end is unknown may have counted", Barrier(2), true, []step{to(step{Op{Kind: Arrive}, 0, Never}, 1), to(maybe(at(0, 0, Leave)), 1), to(at(4, 9, Arrive), 2), to(at(4, 9, Pass), 2)}},

		{"down to nothing", Latch(), true, []step{num(at(0, 1, Set), 3, 0), num(at(2, 3, Down), 2, 1), at(0, 9, Open), num(at(4, 5, Down), 1, 0), at(10, 11, Open)}},
		{"open too early", Latch(), false, []step{num(at(0, 1, Set), 3, 0), num(at(2, 3, Down), 2, 1), at(4, 5, Open), num(at(6, 7, Down), 1, 0)}},
		{"open before it was set", Latch(), false, []step{at(0, 1, Open), num(at(2, 3, Set), 1, 0)}},
		{"another count than is left", Latch(), false, []step{num(at(0, 1, Set), 3, 0), num(at(2, 3, Down), 2, 2)}},
		{"counted twice", Latch(), false, []step{num(at(0, 1, Set), 3, 0), num(at(2, 3, Down), 1, 2), num(at(4, 5, Down), 1, 0)}},
		{"timed out although it was open", Latch(), false, []step{num(at(0, 1, Set), 1, 0), num(at(2, 3, Down), 1, 0), at(4, 5, Shut)}},
		{"timed out while it was shut", Latch(), true, []step{num(at(0, 1, Set), 1, 0), at(2, 5, Shut), num(at(3, 6, Down), 1, 0)}},
		{"a count that may have come", Latch(), true, []step{num(at(0, 1, Set), 1, 0), num(maybe(at(2, 0, Down)), 1, 0), at(3, 4, Shut), at(5, 6, Open)}},
		{"a count below nothing", Latch(), true, []step{num(at(0, 1, Set), 1, 0), num(at(2, 3, Down), 5, 0), at(4, 5, Open)}},
	} {
		h := NewHistory(c.model)
		for i, s := range c.steps {
			h.Add("one", i, s.op, s.call, s.ret)
		}
		v := h.Check(10*time.Second, "")
		if v.OK() != c.good || len(v.Undecided) > 0 {
			t.Errorf("%s, %s: %s", c.model.Name, c.name, v)
		}
	}
}

func readOf(name string, s step) step { s.op.Name = name; return s }

// TestVerdict shows that nothing, and what could not be decided, is no success, and that the wrong instance is named and drawn.
func TestVerdict(t *testing.T) {
	t.Parallel()
	h := NewHistory(RWLock())
	if v := h.Check(time.Second, ""); v.OK() || !strings.Contains(v.String(), "NOTHING") {
		t.Errorf("an empty history: %s", v)
	}
	h.Add("good", 0, Op{Kind: Acquire, Holds: []Hold{x(1)}}, 0, 1)
	h.Add("bad", 0, Op{Kind: Acquire, Holds: []Hold{x(2)}}, 0, 1)
	h.Add("bad", 0, Op{Kind: Acquire, Holds: []Hold{x(3)}}, 2, 3)
	v := h.Check(10*time.Second, t.TempDir())
	if v.OK() || len(v.Illegal) != 1 || v.Illegal[0] != "bad" || v.Drawing == "" || v.Instances != 2 || v.Operations != 3 || v.ByKind[Acquire] != 3 {
		t.Errorf("%+v", v)
	}
	if v := (Verdict{Operations: 1, Undecided: []string{"x"}}); v.OK() || !strings.Contains(v.String(), "UNDECIDED") {
		t.Errorf("an undecided history: %s", v)
	}
}

func TestInOrder(t *testing.T) {
	t.Parallel()
	known := map[uint64][]string{1: {"a", "b", "c"}, 3: {"d"}}
	for _, c := range []struct {
		name string
		seen []Hold
		good bool
	}{
		{"everything", []Hold{val(1, "a"), val(1, "b"), val(1, "c"), val(3, "d")}, true},
		{"some missed", []Hold{val(1, "b"), val(3, "d")}, true},
		{"the same twice", []Hold{val(1, "b"), val(1, "b")}, true},
		{"a leader of whom nothing is known", []Hold{val(1, "a"), val(2, "?"), val(3, "d")}, true},
		{"back to an earlier leader", []Hold{val(3, "d"), val(1, "c")}, false},
		{"back to an earlier leader with the later one's value", []Hold{val(3, "d"), val(1, "d")}, false},
		{"back to an earlier value", []Hold{val(1, "b"), val(1, "a")}, false},
		{"another leader's value", []Hold{val(3, "a")}, false},
	} {
		if err := InOrder(c.seen, known); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
