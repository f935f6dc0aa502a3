package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/covered"
)

// TestParseTakesTheLastCounts reads what a run of Go's fuzzer writes.
func TestParseTakesTheLastCounts(t *testing.T) {
	t.Parallel()
	const said = `fuzz: elapsed: 0s, gathering baseline coverage: 0/192 completed
fuzz: elapsed: 0s, gathering baseline coverage: 192/192 completed, now fuzzing with 1 workers
fuzz: elapsed: 3s, execs: 325017 (108336/sec), new interesting: 11 (total: 202)
fuzz: elapsed: 5s, execs: 680218 (118402/sec), new interesting: 12 (total: 203)
PASS
`
	if got := parse(said); got != (report{680218, 12}) {
		t.Errorf("%+v", got)
	}
	if got := parse("ok\n"); got != (report{}) {
		t.Errorf("%+v of nothing", got)
	}
}

// TestTheEndOfTimeIsNoFailure knows what Go's fuzzer says at the end of its time from what it says of a failure.
func TestTheEndOfTimeIsNoFailure(t *testing.T) {
	t.Parallel()
	if !endedInTime("--- FAIL: FuzzX (20.05s)\n    context deadline exceeded\nFAIL\n") {
		t.Error("the end of the time is taken for a failure")
	}
	for _, said := range []string{"--- FAIL: FuzzX (0.03s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:9: no\n    \n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n",
		"panic: no\n"} {
		if endedInTime(said) {
			t.Errorf("%q is taken for the end of the time", said)
		}
	}
}

// TestATargetThatFails runs programs in the place of tests: one that ends well and one that fails.
func TestATargetThatFails(t *testing.T) {
	dir := t.TempDir()
	program := func(name, script string) target {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
		return target{pkg: "pkg", function: "Fuzz" + name, dir: dir, binary: path, cache: dir}
	}
	const line = "echo 'fuzz: elapsed: 3s, execs: 5 (1/sec), new interesting: 1 (total: 2)'\n"
	targets := []target{program("Holds", line+line), program("Fails", line+"echo 'panic: no'\nexit 2\n")}
	var results []result
	for i := range targets {
		results = append(results, targets[i].fuzz(t.Context(), time.Second))
	}
	document := filepath.Join(dir, "totals.md")
	if err := os.WriteFile(document, []byte("<!-- running totals: begin -->\n"+
		"| instrument | covered | in all | runs | last |\n|---|---|---:|---:|---|\n<!-- running totals: end -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(covered.Variable, document)
	var out strings.Builder
	for i := range results {
		results[i].print(&out, &targets[i])
	}
	err := sumUp(&out, targets, results, nil)
	if err == nil || err.Error() != "failed: pkg.FuzzFails" {
		t.Errorf("it says %v", err)
	}
	for _, want := range []string{"pkg.FuzzHolds", "panic: no", "fuzz: 2 targets, 10 executions, 1 crashes\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	if n, err := covered.Total("fuzz", "pkg.FuzzHolds"); err != nil || n != 5 {
		t.Errorf("%d executions were kept, %v", n, err)
	}
	if err := sumUp(&out, targets[:1], results[:1], nil); err != nil {
		t.Error(err)
	}
}

// TestDeclarations finds the functions that fuzz in a source.
func TestDeclarations(t *testing.T) {
	t.Parallel()
	const source = "package p\n\nfunc FuzzOne(f *testing.F) {\n}\n\n// func FuzzNone(f *testing.F) {}\nfunc FuzzHelper(t *testing.T) {}\nfunc FuzzTwo(f *testing.F) {}\n"
	var got []string
	for _, m := range declaration.FindAllStringSubmatch(source, -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, []string{"FuzzOne", "FuzzTwo"}) {
		t.Errorf("%v", got)
	}
}
