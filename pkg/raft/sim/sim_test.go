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
	flagSeed  = flag.Uint64("sim.seed", 1, "the first seed")
	flagSeeds = flag.Uint64("sim.seeds", 30, "how many seeds")
	flagPace  = flag.String("sim.pace", "storm", "storm, or long: an hour of sparse faults")
	flagTrace = flag.Bool("sim.trace", false, "print every event")
)

// TestSeeds runs many seeds, clusters of three and of five in turn.
func TestSeeds(t *testing.T) {
	t.Parallel()
	var (
		mu     sync.Mutex
		total  = Report{Faults: map[string]int{}, Ops: map[string]int{}}
		next   atomic.Uint64
		failed atomic.Bool
		wg     sync.WaitGroup
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
				rep, err := Run(options(*flagSeed+i, t))
				if err != nil {
					failed.Store(true)
					t.Error(err)
				}
				mu.Lock()
				total.add(rep)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	t.Logf("%d seeds, %v of virtual time, %d events, %d terms with a leader, %d entries committed, %d proposals, %d acknowledged, %d reads",
		*flagSeeds, total.Virtual.Round(time.Second), total.Events, total.Leaders, total.Entries, total.Proposals, total.Acked, total.Reads)
	t.Logf("%d operations of clients; porcupine decided %d windows of %d operations", total.ClientOps, total.Windows, total.WindowOps)
	logCounts(t, "faults", total.Faults)
	logCounts(t, "operations", total.Ops)
	if *flagSeeds >= 100 && !failed.Load() {
		for _, k := range FaultKinds() {
			if total.Faults[k] == 0 {
				t.Errorf("the fault %q never happened", k)
			}
		}
		for _, k := range slices.Concat(opKinds, clientOps) {
			if total.Ops[k] == 0 {
				t.Errorf("%q never happened", k)
			}
		}
		if total.Acked == 0 || total.Reads == 0 {
			t.Errorf("%d acknowledged and %d reads prove nothing", total.Acked, total.Reads)
		}
	}
}

func logCounts(t *testing.T, what string, counts map[string]int) {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "\n%7d × %s", counts[k], k)
	}
	t.Logf("%s:%s", what, b.String())
}

// options makes clusters that begin with one, three and five members.
func options(seed uint64, t *testing.T) Options {
	opt := Options{Seed: seed, Nodes: 3, For: 8 * time.Second, Heal: 6 * time.Second}
	switch {
	case seed%3 == 0:
		opt.Nodes = 5
	case seed%10 == 1:
		opt.Nodes = 1
	}
	if *flagPace == Long.Name {
		opt.Pace, opt.For = Long, 0
	}
	opt.History = mustDecide(t, seed)
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
	for seed := range uint64(4) {
		opt := Options{Seed: seed + 1000, For: 4 * time.Second, Heal: 4 * time.Second}
		a, errA := Run(opt)
		b, errB := Run(opt)
		if errA != nil || errB != nil {
			t.Fatal(errors.Join(errA, errB))
		}
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: %d events with hash %x, then %d with %x", opt.Seed, a.Events, a.Hash, b.Events, b.Hash)
		}
	}
	a, errA := Run(Options{Seed: 1, For: time.Second, Heal: 4 * time.Second})
	b, errB := Run(Options{Seed: 2, For: time.Second, Heal: 4 * time.Second})
	if errA != nil || errB != nil {
		t.Fatal(errors.Join(errA, errB))
	}
	if a.Hash == b.Hash {
		t.Error("two seeds gave the same run")
	}
}
