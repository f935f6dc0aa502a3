package sim

import (
	"strings"
	"testing"
	"time"
)

// plant makes a run fail as soon as the first of the seed's kinds of faults came twice.
func plant(w *world, kind string) {
	if w.report.Faults[kind] == 2 && kind == w.kinds.faults[0].kind {
		w.fail("planted: %s came twice by now, %d events", kind, w.report.Events)
	}
}

// TestAFailingRunShrinks plants a fault that needs two decisions, and finds that it needs no more.
func TestAFailingRunShrinks(t *testing.T) {
	t.Parallel()
	opt := Options{Nodes: 5, For: 15 * time.Second, Heal: 6 * time.Second, planted: plant}
	var rep Report
	var v *Violation
	for failed := false; !failed; { // in some seeds the kind does not come twice
		opt.Seed++
		var err error
		rep, err = Run(opt)
		if v, failed = err.(*Violation); failed && !strings.HasPrefix(v.What, "planted") {
			t.Fatal(err)
		}
	}
	runs := 0
	s := Shrink(opt, v, rep, func() bool { runs++; return runs > 400 })
	if len(s.Kept) != 2 || s.Options.For >= opt.For {
		t.Errorf("after %d runs %v is left, of %v", s.Runs, names(s.Kept), s.Options.For)
	}
	for _, d := range s.Kept {
		if d.chain != faultChain {
			t.Errorf("%v is no fault", d)
		}
	}
	// The lists that are printed give the same violation again.
	for _, list := range [][2]string{{names(s.Kept), ""}, {"", names(s.Left)}} {
		again := s.Options
		keep, err := Schedule(list[0], list[1])
		if err != nil {
			t.Fatal(err)
		}
		again.Keep = keep
		if _, err := Run(again); err == nil || err.(*Violation).What != s.Violation.What {
			t.Errorf("only %q, skip %q: %v, want %v", list[0], list[1], err, s.Violation)
		}
	}
}

func TestListsOfDecisions(t *testing.T) {
	t.Parallel()
	ds := []Decision{{faultChain, 1}, {faultChain, 2}, {faultChain, 3}, {operatorChain, 7}, {clientChain, 9}, {clientChain, 10}}
	list := names(ds)
	if list != "f1-3,o7,c9-10" || names(nil) != "none" {
		t.Errorf("%q, %q", list, names(nil))
	}
	only, errOnly := Schedule(list, "")
	skip, errSkip := Schedule("", list)
	if errOnly != nil || errSkip != nil {
		t.Fatal(errOnly, errSkip)
	}
	for _, d := range append(ds, Decision{faultChain, 4}, Decision{operatorChain, 1}) {
		if among(ds)(d) != only(d) || only(d) == skip(d) {
			t.Errorf("%v: only %v, skip %v", d, only(d), skip(d))
		}
	}
	for _, bad := range []string{"x3", "f", "f3-x", "3"} {
		if _, err := Schedule(bad, ""); err == nil {
			t.Errorf("%q is taken for a list", bad)
		}
	}
}
