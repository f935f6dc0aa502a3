package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coordd/coordd/internal/canary"
)

const (
	simulator = "pkg/raft/sim"
	module    = "github.com/coordd/coordd"
	// chunk is how many seeds one process of a search simulates.
	chunk = 50
	// fallback is how many seeds the fast form searches where the recorded one finds nothing any more.
	fallback = 100
	// testTimeout ends a test that hangs without its guard. A test that hangs has found nothing.
	testTimeout = 3 * time.Minute
)

// finding is what noticed that a guard was gone.
type finding struct {
	Seed uint64 `json:"seed,omitempty"` // of the simulator
	Test string `json:"test,omitempty"`
	What string `json:"what"` // the violation, or the test's first complaint
	Took string `json:"took"`

	searched uint64 // seeds
	trouble  error  // what else went wrong
}

func (f *finding) caught() bool { return f.What != "" }

// binaries are the test binaries, built with the tag canary.
type binaries struct {
	dir, top string
	rapid    map[string]bool // packages whose tests draw with rapid, and know its flags
	mu       sync.Mutex
	sound    map[string]error // what the catchers say that ran with every guard in its place, by name
}

// build builds the test binaries of all packages that catch something.
func build(ctx context.Context, dir string) (*binaries, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the module: %w", err)
	}
	b := &binaries{dir: dir, top: strings.TrimSpace(string(out)), rapid: map[string]bool{}, sound: map[string]error{}}
	pkgs := []string{simulator}
	for _, c := range catchers {
		for _, name := range c.tests {
			pkgs = append(pkgs, packageOf(name))
		}
	}
	slices.Sort(pkgs)
	args := []string{"test", "-c", "-tags", "canary", "-o", dir + string(filepath.Separator)}
	pkgs = slices.Compact(pkgs)
	for _, p := range pkgs {
		args = append(args, module+"/"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.top
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	for _, p := range pkgs {
		data, err := os.ReadFile(b.path(p))
		if err != nil {
			return nil, err
		}
		b.rapid[p] = bytes.Contains(data, []byte("rapid.nofailfile"))
	}
	return b, nil
}

func (b *binaries) path(pkg string) string { return filepath.Join(b.dir, filepath.Base(pkg)+".test") }

func packageOf(test string) string { return test[:strings.LastIndex(test, ".Test")] }

// start runs a test binary in its package's folder, with a guard taken out or, "", none.
func (b *binaries) start(ctx context.Context, pkg string, g canary.Guard, args ...string) (string, error) {
	if b.rapid[pkg] {
		args = append(args, "-rapid.nofailfile") // what fails without a guard is no example to keep
	}
	cmd := exec.CommandContext(ctx, b.path(pkg), append(args, "-test.timeout="+testTimeout.String())...)
	cmd.Dir = filepath.Join(b.top, filepath.FromSlash(pkg))
	cmd.Env = append(os.Environ(), canary.Variable+"="+string(g))
	if pkg == simulator {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1") // one seed after the other
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); err != nil && code != 1 && code != 2 {
		return out.String(), fmt.Errorf("%s: %w", pkg, err)
	}
	return out.String(), nil
}

func (b *binaries) simulate(ctx context.Context, g canary.Guard, seed, seeds uint64) (finding, error) {
	out, err := b.start(ctx, simulator, g, "-test.run=^TestSeeds$", fmt.Sprintf("-sim.seed=%d", seed), fmt.Sprintf("-sim.seeds=%d", seeds))
	if err != nil {
		return finding{}, err
	}
	return violation(out)
}

var (
	violated  = regexp.MustCompile(`seed (\d+) at (\S+): (.*)`)
	failed    = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	complaint = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)`)
	// asserted is how the product's own assertions begin. Any other panic is a crash, which shows nothing.
	asserted = regexp.MustCompile(`^(raft: broken invariant|machine: )`)
)

// violation reads the simulator's output: the first invariant that it saw broken, if it did.
func violation(out string) (f finding, err error) {
	m := violated.FindStringSubmatch(out)
	if m == nil {
		return f, nil
	}
	what := m[3]
	if text, panicked := strings.CutPrefix(what, "panic: "); panicked && !asserted.MatchString(text) {
		return f, fmt.Errorf("seed %s crashes: %s", m[1], text)
	}
	f.Seed, err = strconv.ParseUint(m[1], 10, 64)
	f.What = short(what)
	return f, err
}

// short leaves of a text what fits on a line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 140 {
		text = string(r[:140]) + "…"
	}
	return text
}

// search simulates from seed 1 on without a guard.
func (b *binaries) search(ctx context.Context, g canary.Guard, limit time.Duration) (f finding) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	searched := uint64(0)
	for {
		got, err := b.simulate(within, g, searched+1, chunk)
		switch {
		case within.Err() != nil:
			return finding{searched: searched}
		case err != nil:
			return finding{searched: searched, trouble: err}
		case !got.caught():
			searched += chunk
			continue
		}
		got.searched, got.Took = got.Seed, took(began)
		return b.holds(ctx, got)
	}
}

// replay simulates a seed that found a guard missing before, and a few others if it does not any more.
func (b *binaries) replay(ctx context.Context, g canary.Guard, seed uint64) (f finding) {
	began := time.Now()
	f, err := b.simulate(ctx, g, seed, 1)
	if err == nil && !f.caught() {
		if f, err = b.simulate(ctx, g, 1, fallback); f.caught() {
			f.trouble = fmt.Errorf("not by the recorded seed %d any more", seed)
		} else {
			f.trouble = fmt.Errorf("neither the recorded seed %d nor the first %d find it any more: run `make canaries`", seed, fallback)
		}
	}
	f.trouble, f.Took = errors.Join(f.trouble, err), took(began)
	return b.holds(ctx, f)
}

// holds checks that a seed breaks nothing while every guard is in its place.
func (b *binaries) holds(ctx context.Context, f finding) finding {
	if !f.caught() {
		return f
	}
	name := fmt.Sprintf("seed %d", f.Seed)
	err, known := b.known(name)
	if !known {
		var clean finding
		if clean, err = b.simulate(ctx, "", f.Seed, 1); err == nil && clean.caught() {
			err = fmt.Errorf("seed %d fails with every guard in its place: %s", f.Seed, clean.What)
		}
		b.note(name, err)
	}
	if err != nil {
		return finding{searched: f.searched, trouble: err}
	}
	return f
}

// test runs a named test without a guard, and once with it.
func (b *binaries) test(ctx context.Context, g canary.Guard, name string) (f finding) {
	began := time.Now()
	if err := b.passes(ctx, name); err != nil {
		return finding{trouble: err}
	}
	out, err := b.runTest(ctx, g, name)
	if err == nil {
		f.What, err = complaintOf(out)
	}
	if err != nil {
		return finding{trouble: fmt.Errorf("%s: %w", name, err)}
	}
	f.Test, f.Took = name, took(began)
	return f
}

func (b *binaries) runTest(ctx context.Context, g canary.Guard, name string) (string, error) {
	var pattern []string
	for _, part := range strings.Split(name[len(packageOf(name))+1:], "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(strings.ReplaceAll(part, " ", "_"))+"$")
	}
	return b.start(ctx, packageOf(name), g, "-test.v", "-test.run="+strings.Join(pattern, "/"))
}

// complaintOf reads the output of a failed test: its first complaint. An output without one is that of a test that
// passed; one that ends in a crash or a time-out shows nothing.
func complaintOf(out string) (string, error) {
	if _, text, panicked := strings.Cut(out, "\npanic: "); panicked {
		text, _, _ = strings.Cut(text, "\n")
		if !asserted.MatchString(text) {
			return "", fmt.Errorf("it crashes: %s", short(text))
		}
		return short("panic: " + text), nil
	}
	if !failed.MatchString(out) {
		return "", nil
	}
	if m := complaint.FindStringSubmatch(out); m != nil && strings.TrimSpace(m[1]) != "" {
		return short(m[1]), nil
	}
	return "it fails", nil
}

// passes checks that a test passes while every guard is in its place: it exists, and it ran.
func (b *binaries) passes(ctx context.Context, name string) error {
	err, known := b.known(name)
	if !known {
		var out string
		if out, err = b.runTest(ctx, "", name); err == nil && (failed.MatchString(out) || !strings.Contains(out, "--- PASS: ")) {
			err = fmt.Errorf("%s does not pass with every guard in its place", name)
		}
		b.note(name, err)
	}
	return err
}

func (b *binaries) known(name string) (error, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err, ok := b.sound[name]
	return err, ok
}

func (b *binaries) note(name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sound[name] = err
}

func took(began time.Time) string { return time.Since(began).Round(100 * time.Millisecond).String() }
