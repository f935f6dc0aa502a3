// Package covered keeps the running totals of what the long runs went through: the table between the two marks in
// docs/testing.md. A run that was told the document's name (by the environment variable COORDD_COVERED, as the long
// targets of the Makefile do) adds what it covered when it ends, and may go on from where the last one ended.
package covered

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Variable names the environment variable that holds the path of the document. Unset: nothing is kept.
const Variable = "COORDD_COVERED"

// The marks in the document, each on a line of its own.
const (
	begin = "<!-- running totals: begin -->"
	end   = "<!-- running totals: end -->"
)

var head = []string{"| instrument | covered | in all | runs | last |", "|---|---|---:|---:|---|"}

// row is a line of the table.
type row struct {
	instrument, key string
	total, runs     uint64
	last            string // a date
}

// Add adds one run's counts to the totals of an instrument. Without a document it does nothing. Several programs may
// add at the same time.
func Add(instrument string, counts map[string]uint64) error {
	if err := checkNames(instrument, counts); err != nil {
		return err
	}
	path := os.Getenv(Variable)
	if path == "" {
		return nil
	}
	return change(path, func(rows []row) []row {
		for key, n := range counts {
			rows, _ = added(rows, path, instrument, key, n)
		}
		return rows
	})
}

// Take adds to a total and returns what it was before, so that two runs at the same time do not go through the same
// seeds. Without a document it returns 0.
func Take(instrument, key string, n uint64) (before uint64, err error) {
	err = checkNames(instrument, map[string]uint64{key: n})
	path := os.Getenv(Variable)
	if path == "" || err != nil {
		return 0, err
	}
	err = change(path, func(rows []row) []row {
		rows, before = added(rows, path, instrument, key, n)
		return rows
	})
	return before, err
}

// counted are the totals that this process has added to: it is one run, however often it adds.
var counted sync.Map

// added adds to one total, and returns what it was before.
func added(rows []row, path, instrument, key string, n uint64) (_ []row, before uint64) {
	i := slices.IndexFunc(rows, func(r row) bool { return r.instrument == instrument && r.key == key })
	if i < 0 {
		i, rows = len(rows), append(rows, row{instrument: instrument, key: key})
	}
	r := &rows[i]
	before = r.total
	r.total += n
	r.last = time.Now().UTC().Format(time.DateOnly)
	if _, again := counted.LoadOrStore([3]string{path, instrument, key}, true); !again {
		r.runs++
	}
	return rows, before
}

// Total returns what an instrument has covered in all; 0 without a document, or when there is nothing yet.
func Total(instrument, key string) (uint64, error) {
	path := os.Getenv(Variable)
	if path == "" {
		return 0, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rows, _, err := parse(string(text))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	for _, r := range rows {
		if r.instrument == instrument && r.key == key {
			return r.total, nil
		}
	}
	return 0, nil
}

func checkNames(instrument string, counts map[string]uint64) error {
	names := []string{instrument}
	for key := range counts {
		names = append(names, key)
	}
	for _, name := range names {
		if name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, "|\n\r") {
			return fmt.Errorf("%q can't stand in the table of the running totals", name)
		}
	}
	return nil
}

// change rewrites the table. The document's directory is locked meanwhile; the new text takes the old one's place at once.
func change(path string, f func([]row) []row) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", dir.Name(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rows, after, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	rows = f(rows)
	slices.SortFunc(rows, func(a, b row) int {
		return strings.Compare(a.instrument+"|"+a.key, b.instrument+"|"+b.key)
	})
	lines := slices.Clone(head)
	for _, r := range rows {
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %s | %s |", r.instrument, r.key, grouped(r.total), grouped(r.runs), r.last))
	}
	fresh, err := os.CreateTemp(dir.Name(), ".covered-*")
	if err != nil {
		return err
	}
	defer os.Remove(fresh.Name()) // gone already when all went well
	_, err = fresh.WriteString(before + strings.Join(lines, "\n") + after)
	if err = errors.Join(err, fresh.Chmod(0o644), fresh.Close()); err != nil {
		return err
	}
	return os.Rename(fresh.Name(), path)
}

// parse cuts a document into what stands before the table, its rows, and what stands behind it.
func parse(text string) (before string, rows []row, after string, err error) {
	before, rest, found := strings.Cut(text, begin+"\n")
	table, after, closed := strings.Cut(rest, "\n"+end)
	if !found || !closed {
		return "", nil, "", fmt.Errorf("no table of running totals between the lines %q and %q", begin, end)
	}
	lines := strings.Split(table, "\n")
	if len(lines) < len(head) || !slices.Equal(lines[:len(head)], head) {
		return "", nil, "", fmt.Errorf("the table of running totals does not begin with %q", head[0])
	}
	for _, line := range lines[len(head):] {
		r, err := parseRow(line)
		if err != nil {
			return "", nil, "", err
		}
		rows = append(rows, r)
	}
	return before + begin + "\n", rows, "\n" + end + after, nil
}

func parseRow(line string) (row, error) {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	if len(cells) != 5 {
		return row{}, fmt.Errorf("not a row of the running totals: %q", line)
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	total, err := ungrouped(cells[2])
	runs, err2 := ungrouped(cells[3])
	if err := errors.Join(err, err2); err != nil {
		return row{}, fmt.Errorf("not a row of the running totals: %q: %w", line, err)
	}
	return row{cells[0], cells[1], total, runs, cells[4]}, nil
}

// grouped prints a number with a comma before each three digits.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ungrouped(s string) (uint64, error) {
	return strconv.ParseUint(strings.ReplaceAll(s, ",", ""), 10, 64)
}
