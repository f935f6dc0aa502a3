//go:build e2e || disk || net

package e2e

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestEndToEndModel shows that the checker finds the faults that it is there for.
func TestEndToEndModel(t *testing.T) {
	op := func(kind opKind, fence uint64, maybe bool, call, ret int64) porcupine.Operation {
		return porcupine.Operation{Input: lockInput{"l", kind, fence, maybe}, Call: call, Return: ret}
	}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"one after the other", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opVerify, 1, false, 2, 3), op(opRelease, 1, false, 4, 5), op(opAcquire, 2, false, 2, 7)}, porcupine.Ok},
		{"two holders", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opAcquire, 2, false, 2, 3), op(opRelease, 1, false, 4, 5)}, porcupine.Illegal},
		{"a fence that went back", []porcupine.Operation{op(opAcquire, 5, false, 0, 1), op(opRelease, 5, false, 2, 3), op(opAcquire, 4, false, 4, 5)}, porcupine.Illegal},
		{"a hold that was lost", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opRelease, 1, true, 1, never), op(opAcquire, 2, false, 2, 3)}, porcupine.Ok},
		{"a read of a lock that is another's", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opRelease, 1, false, 2, 3), op(opAcquire, 2, false, 4, 5), op(opVerify, 1, false, 6, 7)}, porcupine.Illegal},
		{"a read of a free lock, and of one that is held", []porcupine.Operation{op(opRead, 0, false, 0, 1), op(opAcquire, 1, false, 1, 3), op(opRead, 1, false, 2, 4)}, porcupine.Ok},
		{"a read that is stale", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opRelease, 1, false, 2, 3), op(opRead, 1, false, 4, 5)}, porcupine.Illegal},
		{"a read that misses a hold", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opRead, 0, false, 2, 3), op(opRelease, 1, false, 4, 5)}, porcupine.Illegal},
		{"an unknown release that never was", []porcupine.Operation{op(opAcquire, 1, false, 0, 1), op(opRelease, 1, true, 2, never), op(opVerify, 1, false, 4, 5)}, porcupine.Ok},
	} {
		if got := porcupine.CheckOperationsTimeout(lockModel(), c.ops, 10*time.Second); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
