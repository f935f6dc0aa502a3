package covered

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// document makes one with an empty table.
func document(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "testing.md")
	text := "# Testing\n\nBefore.\n\n" + begin + "\n" + strings.Join(head, "\n") + "\n" + end + "\n\nBehind.\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(Variable, path)
	return path
}

func read(t *testing.T, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTotalsGrow(t *testing.T) {
	path := document(t)
	for _, counts := range []map[string]uint64{{"seeds": 1_000, "events": 999_999}, {"seeds": 234}, {"events": 2}} {
		if err := Add("simulator", counts); err != nil {
			t.Fatal(err)
		}
	}
	if err := Add("fuzzing", map[string]uint64{"executions": 7}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]uint64{"seeds": 1_234, "events": 1_000_001, "hours": 0} {
		if got, err := Total("simulator", key); err != nil || got != want {
			t.Errorf("%s: %d in all, %v; want %d", key, got, err, want)
		}
	}
	text := read(t, path)
	for _, want := range []string{"Before.\n", "\nBehind.\n", "| simulator | events | 1,000,001 | 1 | 20", "| simulator | seeds | 1,234 | 1 | 20"} {
		if !strings.Contains(text, want) {
			t.Errorf("the document lacks %q:\n%s", want, text)
		}
	}
	if strings.Index(text, "fuzzing") > strings.Index(text, "simulator") {
		t.Errorf("the rows are not in order:\n%s", text)
	}
}

// TestManyAddAtOnce shows that no run's counts are lost.
func TestManyAddAtOnce(t *testing.T) {
	path := document(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 5 {
				if err := Add("simulator", map[string]uint64{"seeds": 3}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got, err := Total("simulator", "seeds"); err != nil || got != 300 {
		t.Errorf("%d in all, %v; want 300", got, err)
	}
	if others, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".covered-*")); err != nil || len(others) > 0 {
		t.Errorf("left behind: %v, %v", others, err)
	}
}

// TestTwoTakeDifferentSeeds shows that what one run took, another one doesn't.
func TestTwoTakeDifferentSeeds(t *testing.T) {
	document(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	taken := map[uint64]bool{}
	for range 20 {
		group.Go(func() {
			first, err := Take("simulator", "seeds begun", 5)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			taken[first] = true
		})
	}
	group.Wait()
	for first := uint64(0); first < 100; first += 5 {
		if !taken[first] {
			t.Errorf("nobody took the seeds from %d on", first)
		}
	}
	t.Setenv(Variable, "")
	if first, err := Take("simulator", "seeds begun", 5); first != 0 || err != nil {
		t.Errorf("without a document: %d, %v", first, err)
	}
}

// TestNothingIsLost shows that what can't be read stays as it is.
func TestNothingIsLost(t *testing.T) {
	table := begin + "\n" + strings.Join(head, "\n") + "\n"
	for name, text := range map[string]string{
		"no table":         "# Testing\n",
		"no end":           table,
		"another head":     begin + "\n| a | b |\n|---|---|\n" + end + "\n",
		"a row of three":   table + "| simulator | seeds | 3 |\n" + end + "\n",
		"not a number":     table + "| simulator | seeds | many | 1 | 2026-01-01 |\n" + end + "\n",
		"more than a word": table + "| simulator | seeds | 99999999999999999999 | 1 | 2026-01-01 |\n" + end + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := document(t)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := Add("simulator", map[string]uint64{"seeds": 1}); err == nil {
				t.Error("no error")
			}
			if _, err := Total("simulator", "seeds"); err == nil {
				t.Error("no error on reading")
			}
			if got := read(t, path); got != text {
				t.Errorf("the document is now\n%s", got)
			}
		})
	}
	document(t)
	for _, bad := range []string{"", " seeds", "a|b", "a\nb"} {
		if err := Add("simulator", map[string]uint64{bad: 1}); err == nil {
			t.Errorf("the name %q is taken", bad)
		}
		if err := Add(bad, map[string]uint64{"seeds": 1}); err == nil {
			t.Errorf("the instrument %q is taken", bad)
		}
	}
}

func TestWithoutDocument(t *testing.T) {
	t.Setenv(Variable, "")
	if err := Add("simulator", map[string]uint64{"seeds": 1}); err != nil {
		t.Error(err)
	}
	if got, err := Total("simulator", "seeds"); got != 0 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	t.Setenv(Variable, filepath.Join(t.TempDir(), "away.md"))
	if err := Add("simulator", map[string]uint64{"seeds": 1}); err == nil {
		t.Error("a document that isn't there is no error")
	}
}
