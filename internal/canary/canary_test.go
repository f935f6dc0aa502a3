package canary

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

func TestGuardsAreDescribed(t *testing.T) {
	t.Parallel()
	name, seen := regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`), map[Guard]bool{}
	for _, g := range Guards() {
		if !name.MatchString(string(g.Guard)) || seen[g.Guard] {
			t.Errorf("%q is no name, or stands there twice", g.Guard)
		}
		seen[g.Guard] = true
		if g.Rule == "" || len(g.Without) < 20 {
			t.Errorf("%s: rule %q, without it %q", g.Guard, g.Rule, g.Without)
		}
	}
	if n := len(seen); n < 30 {
		t.Errorf("only %d guards", n)
	}
}

// guardUses finds canary.X wherever code names it, and reports each call of Broken whose guard is not named so.
func guardUses(t *testing.T) (uses map[string][]string) {
	t.Helper()
	uses = map[string][]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isCanary(call.Fun, "Broken") || len(call.Args) != 1 {
				return true
			}
			if sel, ok := call.Args[0].(*ast.SelectorExpr); ok && isCanary(sel, sel.Sel.Name) {
				uses[sel.Sel.Name] = append(uses[sel.Sel.Name], path)
			} else {
				t.Errorf("%s: a guard that is not named at its place", path)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return uses
}

func isCanary(e ast.Expr, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == "canary"
}

// constants are the guards that this package declares, by the names of their constants.
func constants(t *testing.T) map[string]Guard {
	t.Helper()
	all := map[string]Guard{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Guard" && len(v.Values) == 1 {
				all[v.Names[0].Name] = Guard(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
			}
			return true
		})
	}
	return all
}

func TestGuardsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	uses, named := guardUses(t), constants(t)
	for name, g := range named {
		if len(uses[name]) == 0 {
			t.Errorf("%s stands nowhere in the code", g)
		}
		if _, ok := Find(g); !ok {
			t.Errorf("%s is not described", g)
		}
	}
	for name, at := range uses {
		if _, ok := named[name]; !ok {
			t.Errorf("%s in %v is no guard", name, at)
		}
	}
	if len(named) != len(Guards()) {
		t.Errorf("%d guards have a name, %d are described", len(named), len(Guards()))
	}
}

// built builds a program and returns its file.
func built(t *testing.T, tags, pkg string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-tags", tags, "-o", file, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// traces returns the names of guards that stand in a file, and that of the variable.
func traces(t *testing.T, file string) (found []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{Variable}
	for _, g := range Guards() {
		names = append(names, string(g.Guard))
	}
	for _, n := range names {
		if bytes.Contains(b, []byte(n)) {
			found = append(found, n)
		}
	}
	return found
}

func TestNoSwitchInAPlainBuild(t *testing.T) {
	t.Parallel()
	for _, pkg := range []string{"./testdata/asks", "../../cmd/coordd"} {
		if found := traces(t, built(t, "", pkg)); len(found) > 0 {
			t.Errorf("%s has %v in it", pkg, found)
		}
	}
}

func TestSwitchTakesOutWhatItNames(t *testing.T) {
	t.Parallel()
	file := built(t, "canary", "./testdata/asks")
	if found := traces(t, file); len(found) != len(Guards())+1 {
		t.Errorf("%d names in a build with the tag: a plain one would have none either way", len(found))
	}
	for value, want := range map[string]string{"": "false\n", string(Guards()[0].Guard): "true\n", string(Guards()[1].Guard): "false\n"} {
		cmd := exec.Command(file)
		cmd.Env = append(os.Environ(), Variable+"="+value)
		if out, err := cmd.Output(); err != nil || string(out) != want {
			t.Errorf("%q: %q, %v; want %q", value, out, err, want)
		}
	}
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), Variable+"=no-such-guard")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != ExitUnknown || !strings.Contains(string(out), "no-such-guard") {
		t.Errorf("an unknown name: %q, %v", out, err)
	}
}
