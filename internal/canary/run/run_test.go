package main

import (
	"os"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/canary"
)

func TestEveryGuardHasACatcher(t *testing.T) {
	t.Parallel()
	for _, g := range canary.Guards() {
		if c := catchers[g.Guard]; len(c.tests) == 0 && !c.simulated() {
			t.Errorf("nothing is named that notices %s", g.Guard)
		}
	}
	for g := range catchers {
		if _, ok := canary.Find(g); !ok {
			t.Errorf("%s is no guard", g)
		}
	}
}

// The page shows what the record says, and the record says of each guard what noticed that it was gone.
func TestPageShowsTheRecord(t *testing.T) {
	t.Chdir("../../..")
	rec, err := readRecord()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := replaced(string(page), table(rec)); err != nil || next != string(page) {
		t.Errorf("%s does not show %s (%v): run `make canaries`", pageFile, recordFile, err)
	}
	for _, g := range canary.Guards() {
		f, ok := rec[g.Guard]
		if !ok || !f.caught() || (f.Seed == 0) == (f.Test == "") {
			t.Errorf("nothing is recorded for %s: %+v; run `make canaries`", g.Guard, f)
		}
	}
}

func TestWhatCounts(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]string{
		"    sim_test.go:45: seed 12 at 1.2s: two leaders in term 3\n":                                              "two leaders in term 3",
		"    sim_test.go:45: seed 12 at 1.2s: panic: raft: broken invariant: durable 5 ≤ handed 4\n\tgoroutine 1\n": "panic: raft: broken invariant: durable 5 ≤ handed 4",
		"    sim_test.go:45: seed 12 at 1.2s: panic: runtime error: index out of range\n":                           "",
		"    sim_test.go:61: the fault \"freeze\" never happened\n--- FAIL: TestSeeds\n":                            "",
		"PASS\n": "",
	} {
		f, err := violation(out)
		if f.What != want || (want != "") != (f.Seed == 12) || strings.Contains(out, "runtime error") != (err != nil) {
			t.Errorf("%q: %+v, %v", out, f, err)
		}
	}
	for out, want := range map[string]string{
		"=== RUN   TestX\n    x_test.go:7: got 1, want 2\n--- FAIL: TestX (0.00s)\nFAIL\n":               "got 1, want 2",
		"=== RUN   TestX\n--- FAIL: TestX (0.00s)\npanic: raft: broken invariant: a [recovered]\n":       "panic: raft: broken invariant: a [recovered]",
		"=== RUN   TestX\n--- FAIL: TestX (0.00s)\npanic: runtime error: nil map [recovered]\ngoroutine": "",
		"=== RUN   TestX\npanic: test timed out after 3m0s\n":                                            "",
		"=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\n":                                               "",
	} {
		what, err := complaintOf(out)
		if what != want || (err != nil) != (strings.Contains(out, "runtime") || strings.Contains(out, "timed out")) {
			t.Errorf("%q: %q, %v", out, what, err)
		}
	}
}
