package sim

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	flagSeed    = flag.Uint64("sim.seed", 1, "the first seed")
	flagSeeds   = flag.Uint64("sim.seeds", 30, "how many seeds")
	flagPace    = flag.String("sim.pace", "storm", "storm, or long: an hour of sparse faults")
	flagNodes   = flag.Int("sim.nodes", 0, "members of the first start; 0: by the seed")
	flagFor     = flag.Duration("sim.for", 0, "virtual time under faults; 0: by the pace")
	flagOnly    = flag.String("sim.only", "", "carry out these decisions alone, like f3,o1-2,c7")
	flagSkip    = flag.String("sim.skip", "", "leave these decisions out")
	flagSame    = flag.Uint64("sim.same", 4, "how many seeds run twice, to see that they give the same trace")
	flagShrink  = flag.Duration("sim.shrink", time.Minute, "how long a smaller run is looked for that fails in the same way; 0: not at all")
	flagMinutes = flag.Float64("sim.minutes", 0, "how long TestLong goes on")
	flagTrace   = flag.Bool("sim.trace", false, "print every event")
)

// TestSeeds runs many seeds, clusters of one, of three and of five.
func TestSeeds(t *testing.T) {
	t.Parallel()
	var (
		mu     sync.Mutex
		total  = newReport()
		next   atomic.Uint64
		failed atomic.Bool
		wg     sync.WaitGroup
		used   = cpu(t)
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !failed.Load() {
				i := next.Add(1) - 1
				if i >= *flagSeeds {
					return
				}
				opt := optionsOf(t, *flagSeed+i, *flagPace)
				rep, err := Run(opt)
				if err != nil && failed.CompareAndSwap(false, true) {
					t.Error(explain(t, opt, rep, err))
				}
				mu.Lock()
				total.add(rep)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	t.Logf("%d seeds", *flagSeeds)
	logReport(t, &total, cpu(t)-used)
	if *flagSeeds >= 300 && !failed.Load() {
		demandAll(t, &total)
	}
}

// demandAll demands that each kind of fault happened, and whatever operators and clients do and comes of it.
func demandAll(t *testing.T, total *Report) {
	t.Helper()
	for _, k := range FaultKinds() {
		if total.Faults[k] == 0 {
			t.Errorf("the fault %q never happened", k)
		}
	}
	for _, k := range slices.Concat(opKinds, clientOps) {
		if *flagSeeds >= 1000 && total.Ops[k] == 0 { // some need luck
			t.Errorf("%q never happened", k)
		}
	}
	if total.Acked == 0 || total.Reads == 0 {
		t.Errorf("%d acknowledged and %d reads prove nothing", total.Acked, total.Reads)
	}
}

// explain says of a failing run what is the smallest one that fails in the same way.
func explain(t *testing.T, opt Options, rep Report, err error) error {
	v, ok := err.(*Violation)
	if !ok || *flagShrink == 0 {
		return err
	}
	end := time.Now().Add(*flagShrink)
	s := Shrink(opt, v, rep, func() bool { return time.Now().After(end) })
	return fmt.Errorf("%w\nafter %d smaller runs %d of its decisions are left: %v\nsmallest: %s",
		err, s.Runs, len(s.Kept), s.Violation.What, command(s.Args()))
}

func newReport() Report { return Report{Faults: map[string]int{}, Ops: map[string]int{}} }

func logCounts(t *testing.T, what string, counts map[string]int) {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "\n%7d × %s", counts[k], k)
	}
	t.Logf("%s:%s", what, b.String())
}

// optionsOf makes clusters that begin with one, three and five members.
func optionsOf(t *testing.T, seed uint64, pace string) Options {
	opt := Options{Seed: seed, Nodes: 3, For: 8 * time.Second, Heal: 6 * time.Second}
	switch {
	case seed%3 == 0:
		opt.Nodes = 5
	case seed%10 == 1:
		opt.Nodes = 1
	}
	if pace == Long.Name {
		opt.Pace, opt.For = Long, 0
	}
	if *flagNodes > 0 {
		opt.Nodes = *flagNodes
	}
	if *flagFor > 0 {
		opt.For = *flagFor
	}
	var err error
	if opt.Keep, err = Schedule(*flagOnly, *flagSkip); err != nil {
		t.Fatal(err)
	}
	opt.History = linearizable
	if *flagTrace {
		opt.Trace = func(line string) { t.Log(line) }
	}
	return opt
}

func (r *Report) add(o Report) {
	r.Events += o.Events
	r.Virtual += o.Virtual
	r.Proposals += o.Proposals
	r.Acked += o.Acked
	r.Reads += o.Reads
	r.Leaders += o.Leaders
	r.Entries += o.Entries
	r.ClientOps += o.ClientOps
	r.Windows += o.Windows
	r.WindowOps += o.WindowOps
	r.Counting += o.Counting
	for k, n := range o.Faults {
		r.Faults[k] += n
	}
	for k, n := range o.Ops {
		r.Ops[k] += n
	}
}

// TestTheSameSeedIsTheSameRun shows that a failing seed can be seen again.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	t.Parallel()
	seen := map[uint64]uint64{}
	for seed := *flagSeed; seed < *flagSeed+*flagSame; seed++ {
		opt := optionsOf(t, seed, *flagPace)
		a, errA := Run(opt)
		b, errB := Run(opt)
		if errA != nil || errB != nil {
			t.Fatal(errors.Join(errA, errB))
		}
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: %d events with hash %x, then %d with %x", opt.Seed, a.Events, a.Hash, b.Events, b.Hash)
		}
		if other, known := seen[a.Hash]; known {
			t.Errorf("seeds %d and %d gave the same run", other, seed)
		}
		seen[a.Hash] = seed
	}
	t.Logf("%d seeds ran twice", len(seen))
}
