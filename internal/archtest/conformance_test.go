package archtest

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenarios lists every scenario that docs/conformance.md has to name, by the heading that it stands under there.
var scenarios = map[string][]string{
	"The Raft paper": {"election in one round", "follower vote table", "vote request fields", "candidate fallback",
		"election timeouts don't clash", "leader commits preceding entries", "follower checks append",
		"leader brings followers to its log (figure 7)", "only current-term entries are committed by counting"},
	"Public Raft suites": {"probe and replicate", "async storage writes", "async storage writes, ABA race", "pre-vote",
		"pre-vote with check-quorum", "check-quorum", "learner must vote if asked", "leader removes itself", "replace leader",
		"heartbeat response recovers from probing", "lagging commit", "slow follower after compaction",
		"snapshot succeeds via append response", "snapshot then leadership change", "long divergent tail",
		"liveness after a temporary loss of quorum", "stranded peer", "configuration change dropped if one is unapplied",
		"disruptive follower", "stuck candidate", "node with smaller term", "transfer to a slow node",
		"transfer to a removed node", "transfer to a restarting node", "read-only for a new leader", "reordered messages",
		"disjoint majorities", "truncated membership changes roll back", "catch-up doesn't count toward quorum"},
	"The seed": {"cold start plus two announced nodes", "the cold-start leader killed", "three parallel starts",
		"stop all and restart", "leave and rejoin", "resign with the others on standby", "detector removes a stopped member",
		"consensus token before, in and after", "every message round trip, tcp", "every message round trip, tcp with TLS",
		"every message round trip, udp", "every message round trip, http", "entries × payload sizes × reader",
		"snapshot then entries on one connection", "term and vote survive reopening", "empty entries",
		"entries larger than a block", "overwrite truncates", "committed overwrite refused", "reopen sees only committed"},
}

// rules is the number of rules that public implementations broke and that the second part of the table lists.
const rules = 20

// conformanceRow is one line of the table.
type conformanceRow struct {
	heading, name, tests, guard string
	line                        int
}

// conformance reads the rows of docs/conformance.md.
func conformance(t *testing.T, root string) (rows []conformanceRow) {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "docs", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heading, line := "", 0
	for s := bufio.NewScanner(f); s.Scan(); {
		line++
		text := s.Text()
		if h, ok := strings.CutPrefix(text, "## "); ok {
			heading = h
		}
		cells := strings.Split(text, "|")
		if len(cells) != 5 || strings.HasPrefix(strings.TrimSpace(cells[1]), "---") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, conformanceRow{heading, cells[1], cells[2], cells[3], line})
	}
	return rows
}

// source is what a package's directory declares: functions, and every string that stands in it.
type source struct {
	funcs, texts map[string]bool
}

func read(t *testing.T, dir string) source {
	t.Helper()
	s := source{map[string]bool{}, map[string]bool{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s (%v)", dir, err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasSuffix(name, "_test.go") {
					s.funcs[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					s.texts[text] = true
				}
			}
			return true
		})
	}
	return s
}

// named is a test as the table writes it: `package.Test`, or `package.Test/name of a part`, which its package or a
// suite that it runs has to name.
var named = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+|Fuzz[A-Za-z0-9]+)(?:/([^`]+))?`")

// suites are where tests that run a contract suite find their parts.
var suites = []string{"pkg/raft/storage/storagetest", "pkg/transport/transporttest"}

// TestConformanceTable checks that docs/conformance.md names every scenario and every rule, that each test that it
// names exists, and that each row says what the test would miss. What belongs to a later transport is pending, and
// nothing else is.
func TestConformanceTable(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	sources := map[string]source{}
	in := func(dir string) source {
		if _, ok := sources[dir]; !ok {
			sources[dir] = read(t, filepath.Join(root, filepath.FromSlash(dir)))
		}
		return sources[dir]
	}
	seen := map[string][]string{}
	for _, row := range conformance(t, root) {
		if row.name == "scenario" || row.name == "rule" {
			continue
		}
		seen[row.heading] = append(seen[row.heading], row.name)
		if strings.HasPrefix(row.tests, "pending") {
			if !strings.Contains(row.name, "udp") && !strings.Contains(row.name, "http") {
				t.Errorf("line %d: %s is pending", row.line, row.name)
			}
			continue
		}
		tests := named.FindAllStringSubmatch(row.tests, -1)
		if len(tests) == 0 {
			t.Errorf("line %d: %s names no test", row.line, row.name)
		}
		if len(row.guard) < 20 {
			t.Errorf("line %d: %s does not say what it guards", row.line, row.name)
		}
		for _, m := range tests {
			if !in(m[1]).funcs[m[2]] {
				t.Errorf("line %d: there is no %s in %s", row.line, m[2], m[1])
			}
			if m[3] != "" && !in(m[1]).texts[m[3]] && !slices.ContainsFunc(suites, func(s string) bool { return in(s).texts[m[3]] }) {
				t.Errorf("line %d: nothing in %s or a suite is called %q", row.line, m[1], m[3])
			}
		}
	}
	for heading, names := range scenarios {
		compare(t, heading, seen[heading], names)
	}
	var numbers []string
	for n := range rules {
		numbers = append(numbers, strconv.Itoa(n+1))
	}
	compare(t, "Rules", seen["Rules"], numbers)
}

// compare reports what a table lacks, has twice, or has without being asked.
func compare(t *testing.T, heading string, got, want []string) {
	t.Helper()
	for _, name := range want {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != name })); n != 1 {
			t.Errorf("%s: %q stands there %d times", heading, name, n)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s: %q is not asked for", heading, name)
		}
	}
}
