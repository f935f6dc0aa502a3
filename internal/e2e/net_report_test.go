//go:build net

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/coordd/coordd/internal/covered"
)

// netSeed is the run's seed.
var netSeed = sync.OnceValue(func() uint64 {
	if *flagNetSee != 0 {
		return *flagNetSee
	}
	return rand.Uint64()
})

func decodeStatus(b []byte, st *nodeStatus) error { return json.Unmarshal(b, st) }

// outcome is what one strike did to service.
type outcome struct {
	first   time.Duration // from the fault to the first lock that was asked for after it
	all     time.Duration // from the fault until each client had one
	pause   time.Duration // the longest time without a success from the fault to its end
	leader  time.Duration // from the fault's beginning to another leader; 0: there was none
	healthy time.Duration // from the fault's end until every node was ready
}

func (o *outcome) measure(w *workload, began, healed time.Time) {
	o.first, _ = w.firstSuccessAfter(began)
	o.all, _ = w.clientsServedAfter(began)
	var ends []time.Time
	w.mu.Lock()
	for _, s := range w.successes {
		ends = append(ends, s.ret)
	}
	w.mu.Unlock()
	slices.SortFunc(ends, time.Time.Compare)
	o.pause = longestGap(ends, began, healed)
}

// totals is what all parts of the run did.
type totals struct {
	mu       sync.Mutex
	order    []string
	outcomes map[string][]outcome
	elects   map[string]bool

	partitions, proxied, ops, checked, lost int
	primitives                              int // operations checked, of all primitives besides the exclusive lock
	fired                                   map[string]uint64
}

var total = &totals{outcomes: map[string][]outcome{}, elects: map[string]bool{}, fired: map[string]uint64{}}

func (tt *totals) record(s shape, o outcome) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if tt.outcomes[s.name] == nil {
		tt.order = append(tt.order, s.name)
	}
	tt.outcomes[s.name] = append(tt.outcomes[s.name], o)
	tt.elects[s.name] = s.elects
}

// add counts what a part did and saw.
func (tt *totals) add(r *netRun, lost, primitives int) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if r.px != nil {
		tt.proxied += r.strikes
		for kind, n := range r.px.fired() {
			tt.fired[kind] += n
		}
	} else {
		tt.partitions += r.strikes
	}
	tt.ops += int(r.w.ops.Load()+r.w.verifies.Load()+r.reads.seen.Load()) + len(r.w.ids.seen)
	tt.checked += len(r.w.hist.ops) + primitives
	tt.primitives += primitives
	tt.lost += lost
}

// print ends the run: the table, and the line with the totals.
func (tt *totals) print(ok bool) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if len(tt.order) == 0 {
		return
	}
	slices.Sort(tt.order)
	fmt.Printf("\n| %-78s | times | first success | every client | new leader | healthy after the end |\n|---|---:|---:|---:|---:|---:|\n", "fault (median / maximum, in ms)")
	for _, name := range tt.order {
		os := tt.outcomes[name]
		fmt.Printf("| %-78s | %d | %s | %s | %s | %s |\n", name, len(os), column(os, func(o outcome) time.Duration { return o.first }),
			column(os, func(o outcome) time.Duration { return o.all }), column(os, func(o outcome) time.Duration { return o.leader }),
			column(os, func(o outcome) time.Duration { return o.healthy }))
	}
	if len(tt.fired) > 0 {
		fmt.Printf("\nwhat the proxy did, by connection or chunk: %v\n", tt.fired)
	}
	fmt.Printf("seed %d (-net.seed)\n", netSeed())
	verdict := "Ok"
	if !ok {
		verdict = "or another check FAILED"
	}
	fmt.Printf("net: %d partitions, %d proxy faults, %d operations, porcupine %s, lost %d\n", tt.partitions, tt.proxied, tt.ops, verdict, tt.lost)
	if !ok {
		return
	}
	if err := covered.Add("net", map[string]uint64{"partitions": uint64(tt.partitions), "proxy faults": uint64(tt.proxied),
		"operations": uint64(tt.ops), "operations on other primitives": uint64(tt.primitives), "operations checked by porcupine": uint64(tt.checked)}); err != nil {
		fmt.Println("the totals are not kept:", err)
	}
}

// column is the median and the maximum of what happened, in milliseconds.
func column(os []outcome, of func(outcome) time.Duration) string {
	var ds []time.Duration
	for _, o := range os {
		if d := of(o); d > 0 {
			ds = append(ds, d)
		}
	}
	if len(ds) == 0 {
		return "–"
	}
	slices.Sort(ds)
	s := fmt.Sprintf("%d / %d", ds[len(ds)/2].Milliseconds(), ds[len(ds)-1].Milliseconds())
	if len(ds) < len(os) {
		s += fmt.Sprintf(" (%d×)", len(ds))
	}
	return s
}

// clientsServedAfter returns how long after t the last of the clients got its first lock that it asked for after t, and
// whether each of them got one.
func (w *workload) clientsServedAfter(t time.Time) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := map[int]time.Duration{}
	for _, s := range w.successes {
		if s.call.Before(t) {
			continue
		}
		if d, ok := first[s.client]; !ok || s.ret.Sub(t) < d {
			first[s.client] = s.ret.Sub(t)
		}
	}
	longest := time.Duration(0)
	for _, d := range first {
		longest = max(longest, d)
	}
	return longest, len(first) == netClients
}

// forgetSuccesses begins a new list of them.
func (w *workload) forgetSuccesses() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.successes = nil
}
