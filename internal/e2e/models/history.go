package models

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History collects what clients saw of the instances of one primitive. It is safe for concurrent use.
type History struct {
	Model Model
	began time.Time

	mu  sync.Mutex
	ops map[string][]porcupine.Operation // by instance
}

// NewHistory begins an empty one.
func NewHistory(m Model) *History {
	return &History{Model: m, began: time.Now(), ops: map[string][]porcupine.Operation{}}
}

// Now is the present moment on the history's own clock, in nanoseconds.
func (h *History) Now() int64 { return time.Since(h.began).Nanoseconds() }

// Add notes an operation on an instance. ret may be [Never].
func (h *History) Add(instance string, client int, op Op, call, ret int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[instance] = append(h.ops[instance], porcupine.Operation{ClientId: client, Input: op, Call: call, Return: ret})
}

// Verdict is what became of a history.
type Verdict struct {
	Primitive  string
	Instances  int
	Operations int
	Longest    int // operations on one instance
	ByKind     map[Kind]int
	Illegal    []string // instances whose history can't be explained
	Undecided  []string // and those for which the time was not enough
	Drawing    string   // a page that shows the first illegal history; empty: none
}

// OK reports whether every instance was decided and is linearizable, and there was anything to decide.
func (v Verdict) OK() bool { return v.Operations > 0 && len(v.Illegal) == 0 && len(v.Undecided) == 0 }

// String is one line for the run's report.
func (v Verdict) String() string {
	verdict := "linearizable"
	switch {
	case len(v.Illegal) > 0:
		verdict = "NOT LINEARIZABLE: " + some(v.Illegal)
		if v.Drawing != "" {
			verdict += " (the first one is drawn in " + v.Drawing + ")"
		}
	case len(v.Undecided) > 0:
		verdict = "UNDECIDED: " + some(v.Undecided)
	case v.Operations == 0:
		verdict = "NOTHING TO CHECK"
	}
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(v.ByKind)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", v.ByKind[k], k))
	}
	return fmt.Sprintf("%-16s %6d operations on %4d instances, at most %3d on one (%s): %s", v.Primitive, v.Operations, v.Instances, v.Longest,
		strings.Join(kinds, ", "), verdict)
}

// some names the first ones of many.
func some(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// Check decides the history of each instance, each within limit. The first illegal one is drawn in a page in folder, if that
// is not empty.
func (h *History) Check(limit time.Duration, folder string) Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := Verdict{Primitive: h.Model.Name, Instances: len(h.ops), ByKind: map[Kind]int{}}
	for _, name := range slices.Sorted(maps.Keys(h.ops)) {
		ops := knownOnly(h.ops[name])
		v.Operations += len(ops)
		v.Longest = max(v.Longest, len(ops))
		for _, op := range ops {
			v.ByKind[op.Input.(Op).Kind]++
		}
		switch porcupine.CheckOperationsTimeout(h.Model.m, ops, limit) {
		case porcupine.Illegal:
			if len(v.Illegal) == 0 && folder != "" {
				v.Drawing = h.draw(ops, folder)
			}
			v.Illegal = append(v.Illegal, name)
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, name)
		}
	}
	return v
}

// draw makes a page of a history, and returns its path; empty: it could not be made.
func (h *History) draw(ops []porcupine.Operation, folder string) string {
	_, info := porcupine.CheckOperationsVerbose(h.Model.m, ops, time.Minute)
	path := filepath.Join(folder, strings.NewReplacer("/", "-", " ", "-").Replace(h.Model.Name)+".html")
	if err := porcupine.VisualizePath(h.Model.m, info, path); err != nil {
		return ""
	}
	return path
}
