package sim

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// lockState is what a lock is in the model: held under a fence or free; highest is the highest fence it ever had.
type lockState struct {
	known         bool
	held, highest uint64
}

// lockModel is one exclusive lock whose fences only grow.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(s, in, _ any) (bool, any) {
		st, op := s.(lockState), in.(Op)
		if st.known == (op.Kind == OpBegin) {
			return false, st
		}
		switch op.Kind {
		case OpBegin:
			return true, lockState{true, op.Fence, op.Old}
		case OpAcquire:
			return st.held == 0 && op.Fence > st.highest, lockState{true, op.Fence, op.Fence}
		case OpRelease:
			return st.held == op.Fence, lockState{true, 0, st.highest}
		case OpRenew:
			return st.held == op.Old && op.Fence > st.highest, lockState{true, op.Fence, op.Fence}
		case OpGet, OpEnd:
			return st.held == op.Fence, st
		}
		return false, st
	},
	Equal: func(a, b any) bool { return a == b },
}

// judge decides a window.
func judge(w Window) porcupine.CheckResult {
	ops := make([]porcupine.Operation, len(w.Ops))
	for i, op := range w.Ops {
		ops[i] = porcupine.Operation{ClientId: op.Client, Input: op, Call: int64(op.Call), Return: int64(op.Return)}
	}
	return porcupine.CheckOperationsTimeout(lockModel, ops, 10*time.Second)
}

// linearizable judges the windows of a run as they come. One that stays undecided proves nothing, and so is a failure.
func linearizable(w Window) error {
	switch judge(w) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("the history of lock %s stays undecided; a window of %d operations", w.Lock, len(w.Ops))
	}
	return fmt.Errorf("the history of lock %s is not linearizable; %v", w.Lock, w.Ops)
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

func TestHistoriesThatAreWrongAreFound(t *testing.T) {
	t.Parallel()
	begin := Op{Kind: OpBegin, Fence: 7, Old: 7}
	op := func(k OpKind, fence uint64, call, ret time.Duration) Op {
		return Op{Kind: k, Fence: fence, Call: call, Return: ret}
	}
	for _, c := range []struct {
		name string
		ops  []Op
		want porcupine.CheckResult
	}{
		{"one after the other", []Op{begin, op(OpRelease, 7, 1, 2), op(OpAcquire, 8, 2, 9), op(OpGet, 8, 3, 4), op(OpRelease, 8, 10, 11), op(OpEnd, 0, 12, 13)}, porcupine.Ok},
		{"a read while it changes hands sees either", []Op{begin, op(OpRelease, 7, 1, 5), op(OpGet, 7, 2, 3), op(OpGet, 0, 2, 4), op(OpEnd, 0, 12, 13)}, porcupine.Ok},
		{"two holders", []Op{begin, op(OpAcquire, 8, 1, 2), op(OpRelease, 7, 3, 4), op(OpEnd, 8, 5, 6)}, porcupine.Illegal},
		{"a fence that goes back", []Op{begin, op(OpRelease, 7, 1, 2), op(OpAcquire, 6, 3, 4), op(OpEnd, 6, 5, 6)}, porcupine.Illegal},
		{"a stale read", []Op{begin, op(OpRelease, 7, 1, 2), op(OpGet, 7, 3, 4), op(OpEnd, 0, 5, 6)}, porcupine.Illegal},
		{"a read of what is to come", []Op{begin, op(OpGet, 8, 1, 2), op(OpRelease, 7, 3, 4), op(OpAcquire, 8, 4, 5), op(OpEnd, 8, 6, 7)}, porcupine.Illegal},
		{"another process under the same fence", []Op{begin, {Kind: OpRenew, Old: 7, Fence: 7, Call: 1, Return: 2}, op(OpEnd, 7, 3, 4)}, porcupine.Illegal},
		{"an end that nothing leads to", []Op{begin, op(OpRelease, 7, 1, 2), op(OpEnd, 7, 3, 4)}, porcupine.Illegal},
	} {
		if got := judge(Window{"lock", c.ops}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
