package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/coordd/coordd/internal/canary"
)

// The files of the record, seen from the module's folder: what the fast form goes by, and what people read.
const (
	recordFile = "internal/canary/run/record.json"
	pageFile   = "docs/testing.md"
)

// The marks in the page.
const (
	begin = "<!-- canaries: begin -->\n"
	end   = "<!-- canaries: end -->\n"
)

func readRecord() (map[canary.Guard]finding, error) {
	rec := map[canary.Guard]finding{}
	data, err := os.ReadFile(recordFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return rec, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("reading %s: %w", recordFile, err)
	}
	return rec, nil
}

// writeRecord puts what was found in the place of what was known.
func writeRecord(old, found map[canary.Guard]finding) error {
	maps.Copy(old, found)
	maps.DeleteFunc(old, func(g canary.Guard, _ finding) bool { _, ok := canary.Find(g); return !ok })
	data, err := json.MarshalIndent(old, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(recordFile, append(data, '\n'), 0o644); err != nil {
		return err
	}
	page, err := os.ReadFile(pageFile)
	if err != nil {
		return err
	}
	next, err := replaced(string(page), table(old))
	if err != nil {
		return fmt.Errorf("%s: %w", pageFile, err)
	}
	return os.WriteFile(pageFile, []byte(next), 0o644)
}

// replaced puts the table between the marks of a page.
func replaced(page, table string) (string, error) {
	before, rest, ok := strings.Cut(page, begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		return "", errors.New("the marks of the table are missing")
	}
	return before + begin + table + end + after, nil
}

// table is the page's table of all guards.
func table(rec map[canary.Guard]finding) string {
	var b strings.Builder
	b.WriteString("| guard | rule | without it | noticed by | what it says | after |\n|---|---|---|---|---|---:|\n")
	for _, g := range canary.Guards() {
		f, by := rec[g.Guard], "nothing yet"
		switch {
		case f.Seed != 0:
			by = fmt.Sprintf("simulator, seed %d", f.Seed)
		case f.Test != "":
			by = "`" + f.Test + "`"
			if catchers[g.Guard].simulated() {
				by += "; not the simulator"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", g.Guard, g.Rule, g.Without, by, strings.ReplaceAll(f.What, "|", "\\|"), f.Took)
	}
	return b.String()
}
