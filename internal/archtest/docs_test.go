package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// top is the module's directory, seen from this package.
const top = "../.."

// excerpts are the Go blocks of a text, each with the file that it says it is from.
var excerpts = regexp.MustCompile("(?ms)^(?:<!-- from (\\S+) -->\n)?```go\n(.*?)^```$")

// notFrom returns the Go blocks of a text that are not what they claim: lines of a file, one after the other. Indents
// do not count.
func notFrom(text string, read func(path string) (string, error)) (wrong []string) {
	for _, x := range excerpts.FindAllStringSubmatch(text, -1) {
		path, block := x[1], trimmed(x[2])
		source, err := read(path)
		if path == "" || err != nil || !strings.HasSuffix(path, ".go") || !strings.Contains("\n"+trimmed(source), "\n"+block) {
			wrong = append(wrong, path+":\n"+x[2])
		}
	}
	return wrong
}

func trimmed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

func fromRoot(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(top, path))
	return string(b), err
}

func TestGoInTheGuideIsCompiled(t *testing.T) {
	t.Parallel()
	text, err := fromRoot("docs/raft.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(excerpts.FindAllString(text, -1)); n < 15 || n != strings.Count(text, "```")/2 {
		t.Errorf("%d blocks of Go, %d fences", n, strings.Count(text, "```"))
	}
	guide, err := fromRoot("docs/locks.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(excerpts.FindAllString(guide, -1)); n < 8 || n != strings.Count(guide, "```")/2 {
		t.Errorf("docs/locks.md has %d blocks of Go, %d fences", n, strings.Count(guide, "```"))
	}
	for _, w := range notFrom(text+"\n"+guide, fromRoot) {
		t.Errorf("not an excerpt of %s", w)
	}
}

func TestAWrongExcerptIsFound(t *testing.T) {
	t.Parallel()
	read := func(string) (string, error) { return "package p\n\nfunc f() {\n\tg()\n\th()\n}\n", nil }
	for _, text := range []string{
		"```go\ng()\n```\n", // of no file
		"<!-- from a.go -->\n```go\nh()\ng()\n```\n",
		"<!-- from a.go -->\n```go\ng()\nh\n```\n",
		"<!-- from a.go -->\n```go\n()\n```\n",
		"<!-- from a.md -->\n```go\ng()\n```\n",
	} {
		if got := notFrom(text, read); len(got) != 1 {
			t.Errorf("%q: found %v", text, got)
		}
	}
	if got := notFrom("<!-- from a.go -->\n```go\n  g()\n  h()\n```\n", read); len(got) != 0 {
		t.Errorf("a right excerpt is called wrong: %v", got)
	}
}

// names collects what a package exports: "Type", "Func", "Type.Method", "Type.Field".
func names(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(top, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			addNames(all, d)
		}
	}
	return all
}

func addNames(all map[string]bool, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			of := d.Recv.List[0].Type
			if p, ok := of.(*ast.StarExpr); ok {
				of = p.X
			}
			if id, ok := of.(*ast.Ident); ok {
				name = id.Name + "." + name
			}
		}
		all[name] = true
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					all[n.Name] = true
				}
			case *ast.TypeSpec:
				all[s.Name.Name] = true
				var fields *ast.FieldList
				switch of := s.Type.(type) {
				case *ast.StructType:
					fields = of.Fields
				case *ast.InterfaceType:
					fields = of.Methods
				default:
					continue
				}
				for _, f := range fields.List {
					for _, n := range f.Names {
						all[s.Name.Name+"."+n.Name] = true
					}
				}
			}
		}
	}
}

// quoted are the names in a text's code: `pkg.Name`, or `Type.Name` of a type of package node or raft.
var quoted = regexp.MustCompile("`([A-Za-z]+)\\.([A-Z][A-Za-z]*)")

func TestNamesInTheGuideExist(t *testing.T) {
	t.Parallel()
	text, err := fromRoot("docs/raft.md")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]map[string]bool{}
	for _, dir := range []string{"pkg/raft", "pkg/raft/node", "pkg/raft/node/failure", "pkg/raft/redirect", "pkg/raft/storage", "pkg/raft/storage/storagetest",
		"pkg/transport", "pkg/transport/transporttest", "pkg/transport/tcp"} {
		packages[filepath.Base(dir)] = names(t, dir)
	}
	exists := func(of, name string) bool {
		if p := packages[of]; p != nil {
			return p[name]
		}
		return packages["node"][of+"."+name] || packages["raft"][of+"."+name]
	}
	found := quoted.FindAllStringSubmatch(text, -1)
	if len(found) < 100 {
		t.Errorf("only %d names", len(found))
	}
	for _, n := range found {
		if !slices.Contains([]string{"n", "r"}, n[1]) && !exists(n[1], n[2]) {
			t.Errorf("%s.%s does not exist", n[1], n[2])
		}
	}
	for _, wrong := range [][2]string{{"Node", "Proposes"}, {"node", "Node.Propose2"}, {"raft", "Propose"}, {"Nodes", "Propose"}} {
		if exists(wrong[0], wrong[1]) {
			t.Errorf("%v is said to exist", wrong)
		}
	}
}
