//go:build net

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/covered"
	"github.com/coordd/coordd/pkg/client"
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
func (tt *totals) add(r *netRun, lost int) {
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
	tt.ops += int(r.w.ops.Load()+r.w.verifies.Load()) + len(r.w.ids.seen)
	tt.checked += len(r.w.hist.ops)
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
	fmt.Printf("\n| %-62s | times | first success | every client | new leader | healthy after the end |\n|---|---:|---:|---:|---:|---:|\n", "fault (median / maximum, in ms)")
	for _, name := range tt.order {
		os := tt.outcomes[name]
		fmt.Printf("| %-62s | %d | %s | %s | %s | %s |\n", name, len(os), column(os, func(o outcome) time.Duration { return o.first }),
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
		"operations": uint64(tt.ops), "operations checked by porcupine": uint64(tt.checked)}); err != nil {
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

// marks are writes that must still be there at the end, acknowledged in the middle of every fault: sequences that are made and
// never touched again.
type marks struct {
	t    *testing.T
	w    *workload
	c    *client.Client
	made []string
}

func newMarks(t *testing.T, w *workload) *marks {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := w.connect(ctx, "marks")
	if err != nil {
		t.Fatal(err)
	}
	return &marks{t: t, w: w, c: c}
}

// first is where the i-th sequence begins.
func (m *marks) first(i int) int64 { return int64(1000 + 7*i) }

func (m *marks) run(ctx context.Context) {
	defer m.c.Close()
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("mark-%d", i)
		cctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := m.c.Sequence(cctx, name, client.Start(m.first(i)))
		cancel()
		if err != nil {
			name = "" // unknown: it may be there or not
			m.w.fail("mark: " + short(err))
		}
		m.made = append(m.made, name)
		pause(ctx, 250*time.Millisecond)
	}
}

// check returns how many of them are lost.
func (m *marks) check(r *netRun) (lost int) {
	known := 0
	for i, name := range m.made {
		if name == "" {
			continue
		}
		known++
		var reply struct {
			Sequence struct {
				Next int64 `json:"next,string"`
			} `json:"sequence"`
		}
		ask(m.t, r.ctl[r.c.nodes[0].name], "coord.v1.default.id.get."+name, "{}", &reply)
		if reply.Sequence.Next != m.first(i) {
			lost++
			m.t.Errorf("%s was made to begin at %d, and is at %d", name, m.first(i), reply.Sequence.Next)
		}
	}
	m.t.Logf("marks: %d acknowledged writes looked for at the end, %d lost", known, lost)
	return lost
}
