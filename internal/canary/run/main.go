// Command run takes out one guard after the other and shows what notices: the simulator, from seed 1 on, or a test that
// is named for it in catchers.go. What finds a guard missing must find nothing when it is there, so each catcher also
// runs with no guard taken out.
//
//	go run ./internal/canary/run            every guard, searching
//	go run ./internal/canary/run -fast      every guard, with what record.json says found it last
//	go run ./internal/canary/run -only vote the guards whose name has that in it
//
// It prints a line for each guard, and `canaries: N caught, M uncaught` at the end. With -record it notes what found
// each in record.json and in docs/testing.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"sync"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/internal/covered"
)

func main() {
	var s settings
	flag.BoolVar(&s.fast, "fast", false, "run what the record says, not a search")
	flag.StringVar(&s.only, "only", "", "a regular expression: guards to take out")
	flag.DurationVar(&s.limit, "limit", 10*time.Minute, "how long the simulator searches for each guard")
	flag.BoolVar(&s.record, "record", false, "write down what found each guard")
	flag.BoolVar(&s.testsOnly, "tests", false, "ask the named tests alone")
	flag.IntVar(&s.parallel, "parallel", runtime.GOMAXPROCS(0), "guards at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	uncaught, err := s.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "canaries:", err)
		os.Exit(2)
	}
	if uncaught > 0 {
		os.Exit(1)
	}
}

type settings struct {
	fast, record, testsOnly bool
	only                    string
	limit                   time.Duration
	parallel                int
}

// run takes out every guard that is asked for and returns how many nothing noticed.
func (s *settings) run(ctx context.Context) (uncaught int, err error) {
	only, err := regexp.Compile(s.only)
	if err != nil {
		return 0, fmt.Errorf("reading -only: %w", err)
	}
	old, err := readRecord()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "canaries-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	b, err := build(ctx, dir)
	if err != nil {
		return 0, err
	}
	fmt.Printf("built with the tag canary in %v\n", time.Since(began).Round(100*time.Millisecond))

	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		work    = make(chan canary.Info)
		caught  int
		seeds   uint64
		noticed = map[canary.Guard]finding{}
	)
	for range max(1, s.parallel) {
		wg.Go(func() {
			for g := range work {
				f := s.take(ctx, b, g, old[g.Guard])
				mu.Lock()
				fmt.Println(line(g, &f))
				seeds += f.searched
				if f.caught() {
					caught++
					noticed[g.Guard] = f
				} else {
					uncaught++
				}
				mu.Unlock()
			}
		})
	}
	for _, g := range canary.Guards() {
		if only.MatchString(string(g.Guard)) && ctx.Err() == nil {
			work <- g
		}
	}
	close(work)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	if s.record {
		if err := writeRecord(old, noticed); err != nil {
			return uncaught, err
		}
	}
	if !s.fast {
		err = covered.Add("canaries", map[string]uint64{"guards taken out": uint64(caught + uncaught), "of these noticed": uint64(caught),
			"simulated seeds without a guard": seeds})
	}
	fmt.Printf("canaries: %d caught, %d uncaught\n", caught, uncaught)
	return uncaught, err
}

// take takes out one guard and returns what noticed.
func (s *settings) take(ctx context.Context, b *binaries, g canary.Info, known finding) finding {
	c := catchers[g.Guard]
	var f finding
	if c.simulated() && !s.testsOnly && (!s.fast || known.Seed != 0) {
		if s.fast {
			f = b.replay(ctx, g.Guard, known.Seed)
		} else {
			f = b.search(ctx, g.Guard, s.limit)
		}
	}
	for _, name := range c.tests {
		if f.caught() || (s.fast && known.Test != "" && known.Test != name) {
			continue
		}
		seeds, before := f.searched, f.trouble
		f = b.test(ctx, g.Guard, name)
		f.searched, f.trouble = seeds, errors.Join(before, f.trouble)
	}
	return f
}

// line is what a person reads about one guard.
func line(g canary.Info, f *finding) string {
	text := fmt.Sprintf("%-27s %s", g.Guard, g.Rule)
	switch {
	case f.Seed != 0:
		text += fmt.Sprintf(" · caught by the simulator: %s · seed %d · after %s", f.What, f.Seed, f.Took)
	case f.caught():
		text += fmt.Sprintf(" · caught by %s: %s · after %s", f.Test, f.What, f.Took)
	default:
		text += " · UNCAUGHT"
	}
	if f.searched > 0 && f.Seed == 0 {
		text += fmt.Sprintf(" · the simulator found nothing in %d seeds", f.searched)
	}
	if f.trouble != nil {
		text += fmt.Sprintf(" · %v", f.trouble)
	}
	return text
}
