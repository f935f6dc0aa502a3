package sim

import (
	"maps"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/covered"
)

// instrument is the simulator's name in the running totals.
const instrument = "simulator"

// What one round of TestLong runs.
const (
	hours  = 10
	storms = 10
)

// cpu is the time that this process has computed.
func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}

// TestLong goes on from the last seed of the running totals, for -sim.minutes minutes: some simulated hours of the long
// pace, then some storms, and again. What it covered is kept after each such round, so that it may be stopped any time.
func TestLong(t *testing.T) {
	taste := *flagMinutes == 0 // in the tests of every day: one run of each pace
	begin, used := time.Now(), cpu(t)
	total := newReport()
	byPace := map[string]Report{}
	counting := time.Duration(0)
	for round := 0; round == 0 || time.Since(begin) < time.Duration(*flagMinutes*float64(time.Minute)); round++ {
		seeds, err := covered.Take(instrument, "seeds begun", hours+storms)
		if err != nil {
			t.Fatal(err)
		}
		sum := newReport()
		count := uint64(0)
		for i := range uint64(hours + storms) {
			seed := seeds + 1 + i
			pace := Long.Name
			if i >= hours || (taste && i > 0) {
				pace = Storm.Name
			}
			rep, err := Run(optionsOf(t, seed, pace))
			if err != nil {
				t.Fatal(explain(t, optionsOf(t, seed, pace), rep, err))
			}
			p, known := byPace[pace]
			if !known {
				p = newReport()
			}
			p.add(rep)
			byPace[pace] = p
			sum.add(rep)
			count++
			if taste && i > 0 {
				break
			}
		}
		total.add(sum)
		whole := (counting + sum.Counting).Truncate(time.Minute) - counting.Truncate(time.Minute)
		counting += sum.Counting
		if err := covered.Add(instrument, map[string]uint64{"seeds": count, "events": uint64(sum.Events),
			"simulated minutes that count": uint64(whole / time.Minute), "faults": sumOf(sum.Faults), "client operations": uint64(sum.ClientOps),
			"operators' acts and what came of them": operatorsActs(&sum)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byPace)) {
		p := byPace[name]
		t.Logf("%s: %v simulated, of which %v count, %d events", name, p.Virtual.Round(time.Second), p.Counting.Round(time.Second), p.Events)
	}
	logReport(t, &total, cpu(t)-used)
	if *flagMinutes >= 10 {
		demandAll(t, &total)
	}
}

// operatorsActs counts what operators did and what came of it, without the clients' part.
func operatorsActs(r *Report) (sum uint64) {
	for _, kind := range opKinds {
		sum += uint64(r.Ops[kind])
	}
	return sum
}

func sumOf(counts map[string]int) (sum uint64) {
	for _, n := range counts {
		sum += uint64(n)
	}
	return sum
}

// logReport prints what was covered. The hours are those that count; the time is what was computed, on whatever cores.
func logReport(t *testing.T, r *Report, used time.Duration) {
	t.Logf("%v of virtual time, of which %v count, %d events, %d terms with a leader, %d entries committed, %d proposals, %d acknowledged, %d reads",
		r.Virtual.Round(time.Second), r.Counting.Round(time.Second), r.Events, r.Leaders, r.Entries, r.Proposals, r.Acked, r.Reads)
	t.Logf("%d operations of clients; porcupine decided %d windows of %d operations", r.ClientOps, r.Windows, r.WindowOps)
	logCounts(t, "faults", r.Faults)
	logCounts(t, "operations", r.Ops)
	t.Logf("%d kinds of faults; %.1f cluster-hours per minute and core", len(FaultKinds()), r.Counting.Hours()/math.Max(used.Minutes(), 1e-9))
}
