//go:build disk

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// cutKinds are how many nodes lose their power at once.
var cutKinds = []string{"one", "majority", "all"}

// powerCuts is what the power cuts came to.
type powerCuts struct {
	cuts      map[string]uint64 // by kind
	outcomes  map[string]uint64 // of the nodes that were cut
	times     map[string][]time.Duration
	rotations int // of memtables, by processes that served
	saving    int // cuts while a snapshot was being saved
}

// testPowerCuts takes the power from one node, a majority, or all, again and again under load, in an order that the
// seed decides. Meanwhile Badger has to rotate its memtables, and snapshots are taken.
func testPowerCuts(t *testing.T, seed uint64, one, majority, all int) powerCuts {
	p := powerCuts{map[string]uint64{}, map[string]uint64{}, map[string][]time.Duration{}, 0, 0}
	var order []int
	for kind, n := range []int{one, majority, all} {
		for range n {
			order = append(order, kind)
		}
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	d := newDrill(t, 1200, 1200, 1200)
	d.load(16)
	tables := map[*node]int{}
	for _, nd := range d.c.nodes {
		tables[nd] = lastMemtable(t, nd)
	}
	for i, kind := range order {
		if i > 0 && i%20 == 0 {
			d.settle()
			d.load(16)
		}
		d.w.waitFor(t, 400)
		saving := d.saving()
		pause(t.Context(), time.Duration(rnd.IntN(60))*time.Millisecond)
		victims := rnd.Perm(len(d.c.nodes))[:kind+1]
		for _, k := range victims {
			p.rotations += lastMemtable(t, d.c.nodes[k]) - tables[d.c.nodes[k]]
		}
		began := time.Now()
		d.cutPower(victims)
		if saving() {
			p.saving++
		}
		text := ""
		for _, k := range victims {
			nd := d.c.nodes[k]
			v, err := d.judge(nd, began)
			if err != nil {
				t.Errorf("%s after a power cut: %v", nd.name, err)
				d.keep(fmt.Sprintf("cut-%d", i+1), nd.dataDir)
			}
			if v.outcome == refused || err != nil {
				if err := d.replace(nd); err != nil {
					t.Fatal(err)
				}
			}
			p.outcomes[v.outcome]++
			text += fmt.Sprintf(", %s %s", nd.name, v.outcome)
		}
		d.c.waitReady(hangLimit, d.c.nodes...)
		took := time.Since(began)
		p.cuts[cutKinds[kind]]++
		p.times[cutKinds[kind]] = append(p.times[cutKinds[kind]], took)
		for _, k := range victims {
			tables[d.c.nodes[k]] = lastMemtable(t, d.c.nodes[k])
		}
		t.Logf("power cut %d of %d, %s: all are ready after %v%s", i+1, len(order), cutKinds[kind], took.Round(time.Millisecond), text)
	}
	for _, nd := range d.c.nodes {
		p.rotations += lastMemtable(t, nd) - tables[nd]
	}
	d.w.waitFor(t, 400)
	d.end()
	for _, kind := range cutKinds {
		t.Logf("from a cut of %s until all are ready again: %s", kind, distribution(p.times[kind]))
	}
	t.Logf("%d rotations of memtables; %d cuts while a snapshot was being saved; %d operations checked", p.rotations, p.saving, d.checked)
	if p.rotations == 0 && len(order) > 0 {
		t.Error("no memtable was rotated: the cuts prove nothing of that")
	}
	return p
}

// cutPower cuts the disks of some nodes, ends their processes, and starts them on what is left.
func (d *drill) cutPower(which []int) {
	d.t.Helper()
	for _, k := range which {
		if err := d.disks[k].cut(); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, k := range which {
		d.c.nodes[k].kill()
	}
	for _, k := range which {
		if err := errors.Join(d.disks[k].down(), d.disks[k].up(), d.c.nodes[k].start(d.c.bin)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// saving has snapshots of the leader taken, one after the other. The function that it returns ends that, and reports
// whether one was under way just then.
func (d *drill) saving() func() bool {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan bool, 1)
	go func() {
		for {
			err := exec.CommandContext(ctx, d.c.bin, "snapshot", "save", filepath.Join(os.TempDir(), "backup.snap"),
				"--nats-url", d.c.urls(), "--timeout", "60s").Run()
			if ctx.Err() != nil {
				stopped <- err != nil
				return
			}
		}
	}()
	return func() bool {
		cancel()
		return <-stopped
	}
}

// lastMemtable is the number of the newest memtable's log; each rotation, and each start, makes the next one.
func lastMemtable(t *testing.T, nd *node) int {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(nd.dataDir, "badger", "*.mem"))
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, path := range logs {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "%d.mem", &n); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// waitFor waits until n more pairs are done.
func (w *workload) waitFor(t *testing.T, n int64) {
	t.Helper()
	goal := w.ops.Load() + n
	deadline := time.Now().Add(hangLimit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.ops.Load() < goal {
		if time.Now().After(deadline) {
			t.Fatal("the clients do nothing any more")
		}
		<-tick.C
	}
}
