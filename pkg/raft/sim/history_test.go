package sim

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	replicated "github.com/coordd/coordd/internal/machine"
)

// lockState is what a lock is in the model: its holds, by fence; highest is the highest fence it ever had.
type lockState struct {
	known   bool
	held    string
	highest uint64
}

// lockModel is one lock or semaphore whose fences only grow.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(s, in, _ any) (bool, any) {
		st, op := s.(lockState), in.(Op)
		if st.known == (op.Kind == OpBegin) {
			return false, st
		}
		switch op.Kind {
		case OpBegin:
			return true, lockState{true, op.Held, op.Old}
		case OpAcquire:
			ok := op.Fence > st.highest && roomIn(st.held, op)
			return ok, lockState{true, string(Held{op.Fence, op.Mode, byte(op.Count), op.Value}.add([]byte(st.held))), op.Fence}
		case OpRelease:
			held, found := change(st.held, op.Fence, nil)
			return found, lockState{true, held, st.highest}
		case OpRenew:
			held, found := change(st.held, op.Old, func(h *Held) { h.Fence = op.Fence })
			return found && op.Fence > st.highest, lockState{true, held, op.Fence}
		case OpProclaim:
			held, found := change(st.held, op.Fence, func(h *Held) { h.Value = op.Value })
			return found, lockState{true, held, st.highest}
		case OpGet:
			return st.held == op.Held, st
		case OpEnd:
			return st.held == op.Held && st.highest == op.Old, st
		}
		return false, st
	},
	Equal: func(a, b any) bool { return a == b },
}

// roomIn reports whether the holds of a lock leave room for one more.
func roomIn(held string, op Op) bool {
	taken := op.Count
	for _, h := range HeldIn(held) {
		if h.Mode == byte(replicated.Exclusive) || op.Mode == byte(replicated.Exclusive) {
			return false
		}
		taken += uint64(h.Count)
	}
	return op.Limit == 0 || taken <= op.Limit
}

// change takes a hold out, or changes it; then it is the last one, if its fence is new.
func change(held string, fence uint64, to func(*Held)) (string, bool) {
	var rest, last []byte
	found := false
	for _, h := range HeldIn(held) {
		switch {
		case h.Fence != fence:
			rest = h.add(rest)
		case to == nil:
			found = true
		default:
			found = true
			if to(&h); h.Fence == fence {
				rest = h.add(rest)
			} else {
				last = h.add(last)
			}
		}
	}
	return string(append(rest, last...)), found
}

// meetingState is what a barrier or a latch is in the model.
type meetingState struct {
	known         bool
	waiting, free string // those who wait, and those who were let through and don't know it yet
	set           bool
	count         uint64
}

// meetingModel is a barrier, at which those of one party are let through when the last one comes, or a latch, which lets
// through whoever waits when it opens.
var meetingModel = porcupine.Model{
	Init: func() any { return meetingState{} },
	Step: func(s, in, _ any) (bool, any) {
		st, op := s.(meetingState), in.(Op)
		if st.known == (op.Kind == OpBegin) {
			return false, st
		}
		switch op.Kind {
		case OpBegin:
			return true, meetingState{known: true, waiting: op.Held, set: op.Old == 1, count: op.Count}
		case OpArrive:
			st.waiting = string(Held{Fence: op.Fence}.add([]byte(st.waiting)))
			if parties := int(op.Count); parties > 0 && len(HeldIn(st.waiting)) == parties || parties == 0 && st.set && st.count == 0 {
				st = st.open()
			}
			return true, st
		case OpPass:
			var free bool
			st.free, free = change(st.free, op.Fence, nil)
			return free, st
		case OpLeave:
			var there bool
			st.waiting, there = change(st.waiting, op.Fence, nil)
			return there, st
		case OpSet:
			st.set, st.count = true, op.Count
			if st.count == 0 {
				st = st.open()
				st.set = false
			}
			return true, st
		case OpDown:
			st.count -= min(st.count, op.Count)
			ok := st.set && st.count == op.Old
			if st.count == 0 {
				st = st.open()
			}
			return ok, st
		case OpEnd:
			return st.waiting == op.Held && st.free == "" && st.set == (op.Old == 1) && st.count == op.Count, st
		}
		return false, st
	},
	Equal: func(a, b any) bool { return a == b },
}

func (st meetingState) open() meetingState {
	st.free, st.waiting = st.free+st.waiting, ""
	return st
}

// judge decides a window.
func judge(w Window) porcupine.CheckResult {
	ops := make([]porcupine.Operation, len(w.Ops))
	for i, op := range w.Ops {
		ops[i] = porcupine.Operation{ClientId: op.Client, Input: op, Call: int64(op.Call), Return: int64(op.Return)}
	}
	model := lockModel
	if w.Meeting {
		model = meetingModel
	}
	return porcupine.CheckOperationsTimeout(model, ops, 10*time.Second)
}

// linearizable judges the windows of a run as they come. One that stays undecided proves nothing, and so is a failure.
func linearizable(w Window) error {
	switch judge(w) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("the history of %s stays undecided; a window of %d operations", w.Lock, len(w.Ops))
	}
	return fmt.Errorf("the history of %s is not linearizable; %v", w.Lock, w.Ops)
}

// TestAWrongHistoryFailsTheRun shows that a verdict ends the run, and says how to see it again.
func TestAWrongHistoryFailsTheRun(t *testing.T) {
	t.Parallel()
	opt := optionsOf(t, 3, Storm.Name)
	opt.History = func(Window) error { return errors.New("planted verdict") }
	_, err := Run(opt)
	if v, ok := err.(*Violation); !ok || v.What != "planted verdict" || v.At == 0 {
		t.Fatalf("the run ended with %v", err)
	}
	if want := "-sim.seed=3 -sim.seeds=1 -sim.pace=storm -sim.nodes=5 -sim.for=8s"; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %s", err, want)
	}
}

// TestPorcupineAloneFindsAStaleRead has any node answer reads from what it has applied, of which nothing but the histories
// says anything: they have to be enough.
func TestPorcupineAloneFindsAStaleRead(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 60; seed++ {
		opt := optionsOf(t, seed, Storm.Name)
		opt.unproven = true
		if _, err := Run(opt); err != nil {
			if !strings.Contains(err.Error(), "is not linearizable") {
				t.Fatalf("something else found it: %v", err)
			}
			t.Logf("seed %d", seed)
			return
		}
	}
	t.Error("sixty runs with stale reads, and each history is linearizable")
}

func TestHistoriesThatAreWrongAreFound(t *testing.T) {
	t.Parallel()
	const x, r, s = byte(replicated.Exclusive), byte(replicated.Shared), byte(replicated.Semaphore)
	list := func(hs ...Held) string {
		var b []byte
		for _, h := range hs {
			b = h.add(b)
		}
		return string(b)
	}
	seven := Held{Fence: 7, Mode: x, Count: 1}
	begin := Op{Kind: OpBegin, Held: list(seven), Old: 7}
	free := Op{Kind: OpBegin, Old: 7}
	op := func(k OpKind, fence uint64, call, ret time.Duration) Op {
		return Op{Kind: k, Fence: fence, Mode: x, Count: 1, Call: call, Return: ret}
	}
	in := func(mode byte, count, limit, fence uint64, call, ret time.Duration) Op {
		return Op{Kind: OpAcquire, Fence: fence, Mode: mode, Count: count, Limit: limit, Call: call, Return: ret}
	}
	get := func(call, ret time.Duration, hs ...Held) Op {
		return Op{Kind: OpGet, Held: list(hs...), Call: call, Return: ret}
	}
	end := func(highest uint64, call, ret time.Duration, hs ...Held) Op {
		return Op{Kind: OpEnd, Old: highest, Held: list(hs...), Call: call, Return: ret}
	}
	held := func(fence uint64, mode byte, count byte) Held { return Held{Fence: fence, Mode: mode, Count: count} }
	parties := func(n, who uint64, call, ret time.Duration) Op {
		return Op{Kind: OpArrive, Fence: who, Count: n, Call: call, Return: ret}
	}
	count := func(k OpKind, n, left uint64, call, ret time.Duration) Op {
		return Op{Kind: k, Count: n, Old: left, Call: call, Return: ret}
	}
	none := Op{Kind: OpBegin}
	for _, c := range []struct {
		name  string
		meets bool
		ops   []Op
		want  porcupine.CheckResult
	}{
		{"one after the other", false, []Op{begin, op(OpRelease, 7, 1, 2), op(OpAcquire, 8, 2, 9), get(3, 4, held(8, x, 1)), op(OpRelease, 8, 10, 11), end(8, 12, 13)}, porcupine.Ok},
		{"a read while it changes hands sees either", false, []Op{begin, op(OpRelease, 7, 1, 5), get(2, 3, seven), get(2, 4), end(7, 12, 13)}, porcupine.Ok},
		{"two holders", false, []Op{begin, op(OpAcquire, 8, 1, 2), op(OpRelease, 7, 3, 4), end(8, 5, 6, held(8, x, 1))}, porcupine.Illegal},
		{"a fence that goes back", false, []Op{begin, op(OpRelease, 7, 1, 2), op(OpAcquire, 6, 3, 4), end(6, 5, 6, held(6, x, 1))}, porcupine.Illegal},
		{"a stale read", false, []Op{begin, op(OpRelease, 7, 1, 2), get(3, 4, seven), end(7, 5, 6)}, porcupine.Illegal},
		{"a read of what is to come", false, []Op{begin, get(1, 2, held(8, x, 1)), op(OpRelease, 7, 3, 4), op(OpAcquire, 8, 4, 5), end(8, 6, 7, held(8, x, 1))}, porcupine.Illegal},
		{"another process under the same fence", false, []Op{begin, {Kind: OpRenew, Old: 7, Fence: 7, Call: 1, Return: 2}, end(7, 3, 4, seven)}, porcupine.Illegal},
		{"an end that nothing leads to", false, []Op{begin, op(OpRelease, 7, 1, 2), end(7, 3, 4, seven)}, porcupine.Illegal},

		{"readers beside each other", false, []Op{free, in(r, 1, 0, 8, 1, 2), in(r, 1, 0, 9, 3, 4), get(5, 6, held(8, r, 1), held(9, r, 1)), op(OpRelease, 8, 7, 8), end(9, 9, 10, held(9, r, 1))}, porcupine.Ok},
		{"a writer beside a reader", false, []Op{free, in(r, 1, 0, 8, 1, 2), in(x, 1, 0, 9, 3, 4), op(OpRelease, 8, 5, 6), end(9, 7, 8, held(9, x, 1))}, porcupine.Illegal},
		{"a read that misses a reader", false, []Op{free, in(r, 1, 0, 8, 1, 2), in(r, 1, 0, 9, 3, 4), get(5, 6, held(9, r, 1)), op(OpRelease, 8, 7, 8), end(9, 9, 10, held(9, r, 1))}, porcupine.Illegal},
		{"permits up to the limit", false, []Op{free, in(s, 2, 3, 8, 1, 2), in(s, 1, 3, 9, 3, 4), end(9, 5, 6, held(8, s, 2), held(9, s, 1))}, porcupine.Ok},
		{"a permit too many", false, []Op{free, in(s, 2, 3, 8, 1, 2), in(s, 2, 3, 9, 3, 4), op(OpRelease, 8, 5, 6), end(9, 7, 8, held(9, s, 2))}, porcupine.Illegal},
		{"what a leader says", false, []Op{begin, {Kind: OpProclaim, Fence: 7, Value: 5, Call: 1, Return: 2}, get(3, 4, Held{7, x, 1, 5}), end(7, 5, 6, Held{7, x, 1, 5})}, porcupine.Ok},
		{"what a leader said before", false, []Op{begin, {Kind: OpProclaim, Fence: 7, Value: 5, Call: 1, Return: 2}, get(3, 4, seven), end(7, 5, 6, Held{7, x, 1, 5})}, porcupine.Illegal},
		{"what one says who leads no more", false, []Op{begin, op(OpRelease, 7, 1, 2), {Kind: OpProclaim, Fence: 7, Value: 5, Call: 3, Return: 4}, end(7, 5, 6)}, porcupine.Illegal},

		{"a party", true, []Op{none, parties(2, 1, 1, 2), parties(2, 2, 3, 4), op(OpPass, 1, 3, 9), op(OpPass, 2, 3, 5), end(0, 10, 11)}, porcupine.Ok},
		{"one passes before the last one came", true, []Op{none, parties(2, 1, 1, 2), op(OpPass, 1, 3, 4), parties(2, 2, 5, 6), op(OpPass, 2, 5, 7), end(0, 10, 11)}, porcupine.Illegal},
		{"one who left is counted", true, []Op{none, parties(2, 1, 1, 2), op(OpLeave, 1, 3, 4), parties(2, 2, 5, 6), op(OpPass, 2, 5, 7), end(0, 10, 11)}, porcupine.Illegal},
		{"one of a party stays behind", true, []Op{none, parties(2, 1, 1, 2), parties(2, 2, 3, 4), op(OpPass, 2, 3, 5), end(0, 10, 11, Held{Fence: 1})}, porcupine.Illegal},
		{"a latch", true, []Op{none, count(OpSet, 2, 2, 1, 2), parties(0, 1, 3, 4), count(OpDown, 1, 1, 5, 6), count(OpDown, 1, 0, 7, 8), op(OpPass, 1, 7, 9),
			{Kind: OpEnd, Old: 1, Call: 10, Return: 11}}, porcupine.Ok},
		{"a latch that lets through too early", true, []Op{none, count(OpSet, 2, 2, 1, 2), parties(0, 1, 3, 4), op(OpPass, 1, 5, 6), count(OpDown, 2, 0, 7, 8),
			{Kind: OpEnd, Old: 1, Call: 10, Return: 11}}, porcupine.Illegal},
		{"a latch that is counted down twice", true, []Op{none, count(OpSet, 2, 2, 1, 2), count(OpDown, 1, 1, 3, 4), count(OpDown, 1, 1, 5, 6),
			{Kind: OpEnd, Old: 1, Count: 1, Call: 10, Return: 11}}, porcupine.Illegal},
		{"a latch that keeps somebody", true, []Op{none, count(OpSet, 1, 1, 1, 2), parties(0, 1, 3, 4), count(OpDown, 1, 0, 5, 6),
			{Kind: OpEnd, Old: 1, Held: list(Held{Fence: 1}), Call: 10, Return: 11}}, porcupine.Illegal},
	} {
		if got := judge(Window{"lock", c.meets, c.ops}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
