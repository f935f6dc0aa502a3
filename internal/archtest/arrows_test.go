package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/coordd/coordd"

// arrows lists, for each room, the rooms that its code (tests aside) may import besides itself. A package
// belongs to the room with the longest matching path.
var arrows = map[string][]string{
	"cmd/coordd":              {"internal/cli"},
	"internal/cli":            {"internal/ports", "internal/daemon", "pkg/client", "api/coordd/v1", "pkg/idgen"},
	"internal/daemon":         {"internal/service", "internal/console", "internal/machine", "pkg/raft/node", "pkg/raft", "pkg/raft/storage", "pkg/transport", "pkg/metrics", "api/coordd/v1", "internal/canary"},
	"internal/service":        {"internal/machine", "internal/service/decide", "pkg/raft/node", "pkg/raft", "api/coordd/v1", "internal/canary"},
	"internal/console":        {"internal/service", "internal/machine", "pkg/raft/node", "pkg/raft", "pkg/raft/redirect", "api/coordd/v1"},
	"internal/machine":        {"pkg/locks", "pkg/idgen", "internal/canary"},
	"internal/archtest":       {},
	"internal/allocs":         {},
	"internal/ports":          {},
	"internal/covered":        {},
	"internal/fuzzall":        {"internal/covered"},
	"internal/canary":         {},
	"internal/canary/run":     {"internal/canary", "internal/covered"},
	"internal/e2e":            {"pkg/client", "api/coordd/v1"},
	"api/coordd/v1":           {},
	"pkg/raft":                {"pkg/raft/quorum", "pkg/raft/tracker", "internal/canary"},
	"pkg/raft/quorum":         {},
	"pkg/raft/tracker":        {"pkg/raft/quorum", "internal/canary"},
	"pkg/raft/storage":        {"pkg/raft", "internal/canary", "pkg/raft/storage/ledger"},
	"pkg/raft/storage/ledger": {"pkg/raft", "pkg/raft/storage", "internal/canary"},
	"pkg/raft/pipeline":       {"pkg/raft", "pkg/raft/storage", "internal/canary"},
	"pkg/raft/sim":            {"pkg/raft", "pkg/raft/storage", "pkg/raft/pipeline", "internal/machine", "internal/service/decide", "pkg/client/lease", "pkg/client/fence", "internal/canary", "pkg/raft/storage/ledger"},
	"pkg/raft/node":           {"pkg/raft", "pkg/raft/storage", "pkg/raft/pipeline", "pkg/transport", "internal/canary"},
	"pkg/raft/redirect":       {},
	"pkg/transport":           {"pkg/raft", "internal/canary"},
	"pkg/locks":               {"internal/canary"},
	"pkg/idgen":               {"internal/canary"},
	"pkg/idgen/alloc":         {"pkg/idgen"},
	"pkg/client":              {"pkg/client/lease", "pkg/client/fence", "api/coordd/v1", "pkg/idgen", "pkg/idgen/alloc", "internal/canary"},
	"pkg/client/coorddtest":   {"pkg/client", "pkg/client/lease", "api/coordd/v1", "internal/service", "internal/machine", "pkg/raft/node", "pkg/raft"},
	"examples":                {"pkg/raft", "pkg/raft/node", "pkg/raft/redirect", "pkg/raft/storage", "pkg/transport"},
	"pkg/metrics":             {"internal/service", "pkg/raft/node", "pkg/raft", "pkg/raft/storage", "pkg/transport", "api/coordd/v1"},

	"internal/service/decide": {"pkg/raft", "internal/canary"},
	"pkg/client/lease":        {"internal/canary"},
	"pkg/client/fence":        {},
	"examples/locks":          {"pkg/client", "pkg/client/fence", "pkg/client/coorddtest"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room returns the room that a package of the project stands in, "" for none.
func room(path string) string {
	path = strings.TrimPrefix(path, module+"/")
	best := ""
	for r := range arrows {
		if (path == r || strings.HasPrefix(path, r+"/")) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// wrongArrows returns every import that the rules forbid, as "from → to".
func wrongArrows(pkgs []listed) (wrong []string) {
	for _, p := range pkgs {
		from := room(p.ImportPath)
		if from == "" {
			wrong = append(wrong, p.ImportPath+" stands in no room")
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				continue
			}
			to := room(imp)
			if to != from && !slices.Contains(arrows[from], to) {
				wrong = append(wrong, p.ImportPath+" → "+imp)
			}
		}
	}
	return wrong
}

func TestArrowsPointDownward(t *testing.T) {
	t.Parallel()
	pkgs := packages(t)
	if len(pkgs) < 15 {
		t.Fatalf("only %d packages listed", len(pkgs))
	}
	for _, w := range wrongArrows(pkgs) {
		t.Errorf("wrong arrow: %s", w)
	}
}

func TestAWrongArrowIsFound(t *testing.T) {
	t.Parallel()
	for _, p := range []listed{
		{module + "/pkg/raft", []string{module + "/pkg/raft/node"}},
		{module + "/pkg/locks", []string{module + "/pkg/idgen"}},
		{module + "/pkg/client", []string{module + "/internal/machine"}},
		{module + "/pkg/transport/tcp", []string{module + "/pkg/raft/node"}},
		{module + "/elsewhere", nil},
	} {
		if got := wrongArrows([]listed{p}); len(got) != 1 {
			t.Errorf("%v: found %v, want one wrong arrow", p, got)
		}
	}
	ok := listed{module + "/pkg/raft/storage/badgerlog", []string{module + "/pkg/raft", module + "/pkg/raft/storage", "os"}}
	if got := wrongArrows([]listed{ok}); len(got) != 0 {
		t.Errorf("a right arrow is called wrong: %v", got)
	}
}
