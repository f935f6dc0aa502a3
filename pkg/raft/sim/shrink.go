package sim

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Shrunk is the smallest run that was found to break an invariant as another one did.
type Shrunk struct {
	Options   Options
	Kept      []Decision // that are carried out
	Left      []Decision // that are left out
	Violation *Violation
	Runs      int // that it took
}

// Args are the arguments of the test that give this run.
func (s *Shrunk) Args() string {
	args := s.Options.args()
	only, skip := names(s.Kept), names(s.Left)
	if only == "" || len(skip) < len(only) {
		return args + " -sim.skip=" + skip
	}
	return args + " -sim.only=" + only
}

// shrinker looks for a smaller run that breaks the same.
type shrinker struct {
	found Shrunk
	what  string
	over  func() bool
}

// digits are what differs between two violations of one kind.
var digits = regexp.MustCompile(`[0-9]+`)

func kindOf(v *Violation) string {
	what, _, _ := strings.Cut(v.What, ";")
	what, _, _ = strings.Cut(what, "\n")
	return digits.ReplaceAllString(what, "#")
}

// Shrink makes a failing run smaller for as long as over is false: shorter, with fewer decisions (Zeller's delta
// debugging), and with fewer nodes. v and rep are what [Run] gave for opt.
func Shrink(opt Options, v *Violation, rep Report, over func() bool) Shrunk {
	opt = opt.withDefaults()
	opt.Trace = nil
	s := &shrinker{found: Shrunk{Options: opt, Violation: v, Kept: decisions(rep)}, what: kindOf(v), over: over}
	s.shorten()
	s.leaveOut()
	s.fewerNodes()
	s.shorten()
	return s.found
}

// try runs a candidate, and keeps it if it breaks the same.
func (s *shrinker) try(opt Options, kept []Decision) bool {
	if s.over() {
		return false
	}
	s.found.Runs++
	opt.Keep = among(kept)
	rep, err := Run(opt)
	v, ok := err.(*Violation)
	if !ok || kindOf(v) != s.what {
		return false
	}
	// What comes after the violation, or is never reached, is of no account.
	made := among(decisions(rep))
	all := s.found.Kept
	s.found.Options, s.found.Violation = opt, v
	s.found.Kept = nil
	for _, d := range kept {
		if made(d) {
			s.found.Kept = append(s.found.Kept, d)
		}
	}
	for _, d := range all {
		if !among(s.found.Kept)(d) {
			s.found.Left = append(s.found.Left, d)
		}
	}
	return true
}

// shorten ends the faults where the violation is, or earlier.
func (s *shrinker) shorten() {
	opt := s.found.Options
	if at := s.found.Violation.At; at < opt.For {
		opt.For = at + time.Millisecond
		s.try(opt, s.found.Kept)
		return
	}
	for opt.For > time.Second {
		opt.For /= 2
		if !s.try(opt, s.found.Kept) {
			return
		}
	}
}

// leaveOut leaves out chains, then ever smaller parts of what is left, until nothing can go any more.
func (s *shrinker) leaveOut() {
	for c := range chains {
		s.try(s.found.Options, slices.DeleteFunc(slices.Clone(s.found.Kept), func(d Decision) bool { return d.chain == c }))
	}
	for size := (len(s.found.Kept) + 1) / 2; size > 0 && !s.over(); {
		smaller := false
		for i := 0; i < len(s.found.Kept); {
			kept := slices.Delete(slices.Clone(s.found.Kept), i, min(i+size, len(s.found.Kept)))
			if s.try(s.found.Options, kept) {
				smaller = true
			} else {
				i += size
			}
			if s.over() {
				return
			}
		}
		if size == 1 && !smaller {
			return
		}
		size = max(min(size/2, (len(s.found.Kept)+1)/2), 1)
		if len(s.found.Kept) == 0 {
			return
		}
	}
}

func (s *shrinker) fewerNodes() {
	for nodes := s.found.Options.Nodes - 1; nodes > 0; nodes-- {
		opt := s.found.Options
		opt.Nodes = nodes
		s.try(opt, s.found.Kept)
	}
}

// decisions lists those of a run.
func decisions(rep Report) (ds []Decision) {
	for c := range chains {
		for k := range rep.Decided[c] {
			ds = append(ds, Decision{c, k + 1})
		}
	}
	return ds
}

// among keeps the decisions of a list, which is in order.
func among(ds []Decision) func(Decision) bool {
	set := make(map[Decision]bool, len(ds))
	for _, d := range ds {
		set[d] = true
	}
	return func(d Decision) bool { return set[d] }
}

// names writes decisions in order as f1-4,o2.
func names(ds []Decision) string {
	if len(ds) == 0 {
		return "none"
	}
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b Decision) int { return cmp.Or(cmp.Compare(a.chain, b.chain), cmp.Compare(a.number, b.number)) })
	var parts []string
	for i := 0; i < len(ds); {
		k := i
		for k+1 < len(ds) && ds[k+1] == (Decision{ds[k].chain, ds[k].number + 1}) {
			k++
		}
		part := ds[i].String()
		if k > i {
			part += fmt.Sprintf("-%d", ds[k].number)
		}
		parts, i = append(parts, part), k+1
	}
	return strings.Join(parts, ",")
}

// Schedule makes Options.Keep of two lists as names writes them: only these decisions, or all but those. "none" is a list
// of nothing; where both lists are empty all are carried out.
func Schedule(only, skip string) (func(Decision) bool, error) {
	if only == "" && skip == "" {
		return nil, nil
	}
	list := only + skip
	set := map[Decision]bool{}
	for part := range strings.SplitSeq(list, ",") {
		if part == "none" || part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part[1:], "-")
		c := strings.IndexByte(letters, part[0])
		lo, err := strconv.ParseUint(first, 10, 64)
		hi := lo
		if isRange && err == nil {
			hi, err = strconv.ParseUint(last, 10, 64)
		}
		if c < 0 || err != nil {
			return nil, fmt.Errorf("%q is no list of decisions: a part is like f3 or c1-40", list)
		}
		for k := lo; k <= hi; k++ {
			set[Decision{chain(c), k}] = true
		}
	}
	return func(d Decision) bool { return set[d] == (only != "") }, nil
}
