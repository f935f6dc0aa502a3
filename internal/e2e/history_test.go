//go:build e2e || disk || net

package e2e

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// opKind is what a client did to one lock.
type opKind uint8

const (
	opAcquire opKind = iota // granted with a fence
	opRelease               // by fence; known to be done, or (returned = never) at some time
	opVerify                // a linearizable read that found the fence held
	opRead                  // a linearizable read by somebody else that found the fence held, 0: the lock free
)

type lockInput struct {
	lock  string
	kind  opKind
	fence uint64
	maybe bool // the release may never have happened, or the hold ended by itself
}

// lockModel is one exclusive lock: held by one fence or free, and fences only grow. An acquire whose
// outcome is unknown is not in the history: it was cancelled or never seen, and whatever it did in between
// shows in what the others were given.
func lockModel() porcupine.Model {
	type state struct {
		held uint64 // fence of the hold; 0: free
		last uint64 // highest fence given
	}
	return porcupine.Model{
		Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
			byLock := map[string][]porcupine.Operation{}
			var order []string
			for _, op := range ops {
				name := op.Input.(lockInput).lock
				if byLock[name] == nil {
					order = append(order, name)
				}
				byLock[name] = append(byLock[name], op)
			}
			var parts [][]porcupine.Operation
			for _, name := range order {
				parts = append(parts, byLock[name])
			}
			return parts
		},
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			st, op := s.(state), in.(lockInput)
			switch op.kind {
			case opAcquire:
				return st.held == 0 && op.fence > st.last, state{op.fence, op.fence}
			case opRelease:
				if st.held == op.fence {
					return true, state{0, st.last}
				}
				return op.maybe, st
			case opVerify, opRead:
				return st.held == op.fence, st
			}
			return false, st
		},
		Equal: func(a, b any) bool { return a == b },
		DescribeOperation: func(in, _ any) string {
			op := in.(lockInput)
			return fmt.Sprintf("%s %d on %s", [...]string{"acquire", "release", "verify", "read"}[op.kind], op.fence, op.lock)
		},
	}
}

// history collects what the clients saw.
type history struct {
	mu    sync.Mutex
	start time.Time
	ops   []porcupine.Operation
}

func newHistory() *history { return &history{start: time.Now()} }

// never is the return of an operation whose end nobody saw.
const never = math.MaxInt64

func (h *history) now() int64 { return time.Since(h.start).Nanoseconds() }

func (h *history) add(client int, in lockInput, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Return: ret})
}

// forgetUnknown takes out reads that saw a hold whose owner never learned of it: what came of its acquire is not in the history.
func (h *history) forgetUnknown() {
	granted := map[uint64]bool{}
	for _, op := range h.ops {
		if in := op.Input.(lockInput); in.kind == opAcquire {
			granted[in.fence] = true
		}
	}
	h.ops = slices.DeleteFunc(h.ops, func(op porcupine.Operation) bool {
		in := op.Input.(lockInput)
		return in.kind == opRead && in.fence != 0 && !granted[in.fence]
	})
}

// check gives the history to porcupine and fails the test unless it is decided and linearizable.
func (h *history) check(t *testing.T, limit time.Duration) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetUnknown()
	if len(h.ops) == 0 {
		t.Fatal("the history is empty")
	}
	model := lockModel()
	begin := time.Now()
	res, info := porcupine.CheckOperationsVerbose(model, h.ops, limit)
	t.Logf("porcupine: %s; %d operations on %d locks in %v", res, len(h.ops), len(model.Partition(h.ops)), time.Since(begin).Round(time.Millisecond))
	if res != porcupine.Ok {
		if err := porcupine.VisualizePath(model, info, "history.html"); err == nil {
			t.Log("the history is drawn in internal/e2e/history.html")
		}
		t.Errorf("the history is %s", res)
	}
}
