package models

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Never is the return of an operation whose end nobody saw.
const Never = math.MaxInt64

// Kind says what a client did.
type Kind uint8

// The kinds of operations. Not every primitive has each of them.
const (
	Acquire  Kind = iota + 1 // Holds: granted with these, in one step
	Enter                    // Holds[0]: a reentrant lock once more, under the fence that it has
	Exit                     // Holds[0]: one entry of a reentrant lock is given back, the last one too
	Release                  // Holds: let go, each by its fence, with all entries
	Read                     // Holds: all that a linearizable read of one name shows, which may be none
	Proclaim                 // Holds[0], with its new value
	HandOver                 // Holds[0] passes to session To, which waits
	Lost                     // the campaign of session To ended in a way that it does not know
	Arrive                   // at a barrier, as To
	Pass                     // the barrier let To through
	Leave                    // To gave up: surely not let through; or, with Maybe, whatever became of it
	Set                      // of a latch: Count
	Down                     // Count taken from a latch; Left is what the answer says
	Open                     // a wait at the latch came to its end
	Shut                     // a wait at the latch timed out
)

var kindNames = map[Kind]string{Acquire: "acquire", Enter: "enter", Exit: "exit", Release: "release", Read: "read", Proclaim: "proclaim", HandOver: "hand over",
	Lost: "lost", Arrive: "arrive", Pass: "pass", Leave: "leave", Set: "set", Down: "count down", Open: "open", Shut: "shut"}

// String returns the kind's name.
func (k Kind) String() string { return kindNames[k] }

// Hold is one hold of a lock, a semaphore or an election.
type Hold struct {
	Name   string
	Fence  uint64
	Shared bool
	Count  int    // permits of a semaphore, entries of a reentrant lock; otherwise 1
	Value  string // of an election's leader
}

// Op is one operation as its client saw it.
type Op struct {
	Kind  Kind
	Holds []Hold
	Name  string // of what a Read asked for
	Maybe bool   // it may have happened or not, or, of a Release, the hold ended by itself
	By    uint64 // the session of an Acquire in an election
	To    uint64
	Count int
	Left  int
}

// String describes the operation.
func (op Op) String() string {
	var b strings.Builder
	b.WriteString(op.Kind.String())
	if op.Maybe {
		b.WriteString("?")
	}
	if op.Kind == Read {
		fmt.Fprintf(&b, " %s:", op.Name)
	}
	for _, h := range op.Holds {
		fmt.Fprintf(&b, " %s/%d", h.Name, h.Fence)
		if h.Shared {
			b.WriteString(" shared")
		}
		if h.Count != 1 {
			fmt.Fprintf(&b, " ×%d", h.Count)
		}
		if h.Value != "" {
			fmt.Fprintf(&b, " %q", h.Value)
		}
	}
	switch op.Kind {
	case HandOver, Lost, Arrive, Pass, Leave:
		fmt.Fprintf(&b, " %d", op.To)
	case Set:
		fmt.Fprintf(&b, " %d", op.Count)
	case Down:
		fmt.Fprintf(&b, " %d, %d left", op.Count, op.Left)
	}
	return b.String()
}

// Model is the specification of one primitive.
type Model struct {
	Name string
	m    porcupine.Model
}

// newModel makes one of a state and a step on it.
func newModel[S any](name string, initial S, step func(S, Op) (S, bool), equal func(a, b S) bool) Model {
	return Model{Name: name, m: porcupine.Model{
		Init: func() any { return initial },
		Step: func(s, in, _ any) (bool, any) {
			next, ok := step(s.(S), in.(Op))
			return ok, next
		},
		Equal:             func(a, b any) bool { return equal(a.(S), b.(S)) },
		DescribeOperation: func(in, _ any) string { return in.(Op).String() },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}}
}

// knownOnly takes out of reads what their readers can't be blamed for: holds whose owners never learned of them.
func knownOnly(ops []porcupine.Operation) []porcupine.Operation {
	known := map[uint64]bool{}
	for _, op := range ops {
		if in := op.Input.(Op); in.Kind == Acquire {
			for _, h := range in.Holds {
				known[h.Fence] = true
			}
		}
	}
	out := make([]porcupine.Operation, 0, len(ops))
	for _, op := range ops {
		in := op.Input.(Op)
		if in.Kind == Read {
			unknown := func(h Hold) bool { return !known[h.Fence] }
			if had := len(in.Holds); slices.ContainsFunc(in.Holds, unknown) {
				if in.Holds = slices.DeleteFunc(slices.Clone(in.Holds), unknown); had > 0 && len(in.Holds) == 0 {
					continue // not even that the lock was free
				}
			}
			op.Input = in
		}
		out = append(out, op)
	}
	return out
}
