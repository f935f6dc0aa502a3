package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pure are the folders whose code is a function of its inputs alone.
var pure = []string{"pkg/raft", "pkg/raft/quorum", "pkg/raft/tracker", "pkg/raft/pipeline", "pkg/raft/storage/ledger", "pkg/locks", "pkg/idgen", "internal/machine", "internal/service/decide", "pkg/client/lease"}

// impureImports bring clocks, random numbers, concurrency, I/O or logging with them.
var impureImports = []string{"math/rand", "math/rand/v2", "crypto/rand", "os", "net", "log", "log/slog", "sync", "sync/atomic",
	"runtime", "context", "io/ioutil", "github.com/hashicorp/go-hclog"}

// disorderly are functions of package maps whose order differs from run to run.
var disorderly = []string{"Keys", "Values", "All"}

var timeCalls = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker"}

// impurities returns what a pure file must not contain.
func impurities(fset *token.FileSet, f *ast.File) (found []string) {
	add := func(p token.Pos, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", fset.Position(p), fmt.Sprintf(format, args...)))
	}
	for _, imp := range f.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		if slices.Contains(impureImports, path) {
			add(imp.Pos(), "imports %s", path)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n.Pos(), "starts a goroutine")
		case *ast.SelectStmt, *ast.ChanType:
			add(n.Pos(), "uses channels")
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sorted" {
				return false // slices.Sorted brings a map's keys into order
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(timeCalls, n.Sel.Name) {
				add(n.Pos(), "reads a clock with time.%s", n.Sel.Name)
			} else if ok && x.Name == "maps" && slices.Contains(disorderly, n.Sel.Name) {
				add(n.Pos(), "goes through a map with maps.%s", n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPurePackagesArePure(t *testing.T) {
	t.Parallel()
	files := 0
	for _, dir := range pure {
		matches, err := filepath.Glob(filepath.Join(root(t), dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range matches {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files++
			for _, bad := range impurities(fset, f) {
				t.Error(bad)
			}
		}
	}
	if files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestAnImpurityIsFound(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		"package p\nimport _ \"math/rand\"",
		"package p\nimport \"time\"\nvar t = time.Now()",
		"package p\nfunc f() { go f() }",
		"package p\nvar c chan int",
		"package p\nimport \"maps\"\nvar k = maps.Keys(map[int]int{})",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "p.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(impurities(fset, f)) != 1 {
			t.Errorf("nothing found in %q", src)
		}
	}
}

// maxLines is what a file may grow to before it holds more than one idea.
const maxLines = 600

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") || name == "bench") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".pb.go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
