//go:build e2e

package fence

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// statements returns the statements of the package's documentation that create a table or pass the gate, as SQLite takes
// them.
func statements(t *testing.T) (create, exclusive, shared string) {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?m)(?:^//\t.*\n)+`).FindAllString(string(source), -1)
	for _, b := range blocks {
		b = strings.ReplaceAll(b, "//\t", "")
		switch {
		case strings.Contains(b, "CREATE TABLE fences"):
			create = b
		case strings.Contains(b, "ON CONFLICT") && strings.Contains(b, "GREATEST"):
			shared = strings.ReplaceAll(b, "GREATEST", "MAX")
		case strings.Contains(b, "ON CONFLICT"):
			exclusive = b
		}
	}
	if create == "" || exclusive == "" || shared == "" {
		t.Fatalf("the documentation lacks a statement: %q %q %q", create, exclusive, shared)
	}
	return create, exclusive, shared
}

// TestDocumentedSQLite runs the documented statements beside a Gate: they let in and refuse the same holds.
func TestDocumentedSQLite(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Fatalf("this test needs the sqlite3 program: %v", err)
	}
	create, exclusive, shared := statements(t)
	var script strings.Builder
	var want []string
	script.WriteString(create)
	draw := rapid.Custom(func(t *rapid.T) []Hold {
		var holds []Hold
		for range rapid.IntRange(20, 40).Draw(t, "steps") {
			fence := rapid.Uint64Range(1<<53-20, 1<<53-1).Draw(t, "fence")
			if rapid.Bool().Draw(t, "shared") {
				holds = append(holds, Shared(fence))
			} else {
				holds = append(holds, Exclusive(fence))
			}
		}
		return holds
	})
	for run := range 50 {
		var g Gate
		for _, h := range draw.Example(run) {
			statement := exclusive
			if h.Mode() == ModeShared {
				statement = shared
			}
			statement = strings.ReplaceAll(statement, ":resource", "'r"+strconv.Itoa(run)+"'")
			script.WriteString(strings.ReplaceAll(statement, ":fence", strconv.FormatUint(h.Fence(), 10)) + "SELECT changes();\n")
			if g.Check(h) == nil {
				want = append(want, "1")
			} else {
				want = append(want, "0")
			}
		}
	}
	cmd := exec.Command(program, "-bail", ":memory:")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := strings.Fields(string(out))
	if len(got) != len(want) {
		t.Fatalf("%d statements, %d answers: %s", len(want), len(got), out)
	}
	refused := 0
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("statement %d changed %s rows, the gate says %s", i, got[i], want[i])
		}
		if want[i] == "0" {
			refused++
		}
	}
	if refused == 0 || refused == len(want) {
		t.Errorf("%d of %d were refused", refused, len(want))
	}
}
