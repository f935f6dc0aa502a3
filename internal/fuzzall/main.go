// Command fuzzall runs every fuzz target of the module for a while, several at a time, and says for each how many inputs
// it ran and how many of them were new. Run it in the module's root:
//
//	go run ./internal/fuzzall [-time 20s] [-jobs 2] [-run REGEXP]
//
// It ends with exit code 1 when a target failed. The input that did it is in the package's testdata/fuzz then, where
// ordinary tests run it from now on. Interesting inputs stay in Go's cache, as with go test -fuzz.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coordd/coordd/internal/covered"
)

func main() {
	each := flag.Duration("time", 20*time.Second, "how long each target runs")
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many targets run at the same time, each with one worker")
	pattern := flag.String("run", "", "run only the targets whose package and name, as in pkg/idgen.FuzzParse, match this expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *each, *jobs, *pattern); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// run fuzzes what matches the pattern, and adds it to the running totals.
func run(ctx context.Context, each time.Duration, jobs int, pattern string) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	if each <= 0 || jobs <= 0 {
		return errors.New("-time and -jobs must be positive")
	}
	dir, err := os.MkdirTemp("", "coordd-fuzz")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets, err := find(ctx, dir, wanted)
	if err != nil {
		return err
	}
	var (
		results = make([]result, len(targets))
		next    = make(chan int)
		workers sync.WaitGroup
		output  sync.Mutex
	)
	for range jobs {
		workers.Go(func() {
			for i := range next {
				results[i] = targets[i].fuzz(ctx, each)
				output.Lock()
				results[i].print(os.Stdout, &targets[i])
				output.Unlock()
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	workers.Wait()
	return sumUp(os.Stdout, targets, results, ctx.Err())
}

// sumUp writes the last line, adds to the running totals, and says whether all went well.
func sumUp(w io.Writer, targets []target, results []result, interrupted error) error {
	counts, executions, failed := map[string]uint64{}, uint64(0), []string(nil)
	for i, r := range results {
		executions += r.executions
		if r.executions > 0 {
			counts[targets[i].name()] = r.executions
		}
		if r.failed {
			failed = append(failed, targets[i].name())
		}
	}
	fmt.Fprintf(w, "fuzz: %d targets, %d executions, %d crashes\n", len(targets), executions, len(failed))
	err := interrupted
	if len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("failed: %s", strings.Join(failed, ", ")))
	}
	return errors.Join(err, covered.Add("fuzz", counts))
}

// target is one function that fuzzes.
type target struct {
	pkg      string // import path, from the module's root on
	function string
	dir      string // of the package
	binary   string // the package's tests, built so that the fuzzer sees which code an input reaches
	cache    string // where interesting inputs are kept
}

func (t *target) name() string { return t.pkg + "." + t.function }

// find builds the tests of all packages that have a target, and lists the targets.
func find(ctx context.Context, dir string, wanted *regexp.Regexp) (targets []target, err error) {
	cache, err := output(ctx, "", "go", "env", "GOCACHE")
	if err != nil {
		return nil, err
	}
	list, err := output(ctx, "", "go", "list", "-json=ImportPath,Dir,Module,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(strings.NewReader(list)); ; {
		var p struct {
			ImportPath, Dir           string
			Module                    struct{ Path string }
			TestGoFiles, XTestGoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		var here []target
		for _, file := range append(p.TestGoFiles, p.XTestGoFiles...) {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				return nil, err
			}
			for _, m := range declaration.FindAllSubmatch(source, -1) {
				t := target{pkg: strings.TrimPrefix(p.ImportPath, p.Module.Path+"/"), function: string(m[1]), dir: p.Dir,
					cache: filepath.Join(strings.TrimSpace(cache), "fuzz", p.ImportPath)}
				t.binary = filepath.Join(dir, strings.ReplaceAll(t.pkg, "/", "_")+".test")
				if wanted.MatchString(t.name()) {
					here = append(here, t)
				}
			}
		}
		if len(here) == 0 {
			continue
		}
		if _, err := output(ctx, "", "go", "test", "-c", "-fuzz=Fuzz", "-o", here[0].binary, p.ImportPath); err != nil {
			return nil, err
		}
		targets = append(targets, here...)
	}
	if len(targets) == 0 {
		return nil, errors.New("no such target")
	}
	return targets, nil
}

// declaration finds the functions that fuzz.
var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// output runs a command and returns what it writes.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, errOut.String())
	}
	return out.String(), nil
}

// result is what came of one target.
type result struct {
	report
	failed bool
	said   string // what the tests wrote, if they failed
}

// fuzz runs the target with one worker. Go's fuzzer may make an input smaller for a minute when it reaches new code, and
// counts and finds nothing meanwhile: some tries have to do.
func (t *target) fuzz(ctx context.Context, d time.Duration) result {
	cmd := exec.CommandContext(ctx, t.binary, "-test.run=^$", "-test.fuzz=^"+t.function+"$", "-test.fuzztime="+d.String(), "-test.parallel=1", "-test.fuzzminimizetime=200x",
		"-test.fuzzcachedir="+t.cache, "-test.timeout=0")
	cmd.Dir = t.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	r := result{report: parse(said.String())}
	if err != nil && ctx.Err() == nil && !endedInTime(said.String()) {
		r.failed, r.said = true, said.String()
	}
	return r
}

// print writes the target's line, and behind it what it said if it failed.
func (r *result) print(w io.Writer, t *target) {
	fmt.Fprintf(w, "%-60s %12d executions %6d new\n", t.name(), r.executions, r.fresh)
	if r.failed {
		fmt.Fprintln(w, r.said)
	}
}

// report is what Go's fuzzer says of its work.
type report struct{ executions, fresh uint64 }

// progress is a line that the fuzzer writes every few seconds and at the end. Its counts are those of the whole run so far.
var progress = regexp.MustCompile(`(?m)^fuzz: elapsed: \S+, execs: (\d+) \([^)]*\), new interesting: (\d+)`)

// parse takes the counts of the last line of progress: they grow from line to line and are not to be added up.
func parse(said string) (r report) {
	for _, m := range progress.FindAllStringSubmatch(said, -1) {
		fmt.Sscan(m[1], &r.executions)
		fmt.Sscan(m[2], &r.fresh)
	}
	return r
}

// endedInTime tells a failure that is none: a worker that is still busy when the time is over makes Go's fuzzer end with
// "context deadline exceeded", without a failing input.
func endedInTime(said string) bool {
	return strings.Contains(said, "\n    context deadline exceeded\n") && !strings.Contains(said, "Failing input written")
}
