//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

var (
	flagDuration = flag.Duration("e2e.duration", 20*time.Second, "how long the clients work")
	flagSeed     = flag.Uint64("e2e.seed", 0, "seed of the faults; 0: a random one")
)

const (
	clients    = 16
	locks      = 12
	faultEvery = 4 * time.Second
	downFor    = time.Second
	stopFor    = 3 * time.Second
)

// fault is one thing that was done to a node.
type fault struct {
	kind string
	at   time.Time
}

// TestEndToEnd kills or stops a node every four seconds while clients lock, unlock and draw IDs, and others use every other primitive.
func TestEndToEnd(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed of the faults: %d (-e2e.seed)", seed)
	dir := t.TempDir()
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, filepath.Join(dir, fmt.Sprintf("n%d", i+1)))
	}
	c := newCluster(t, buildBinary(t), dirs)
	c.startAll()

	w := newWorkload(t, c.urls(), locks)
	anchor := holdAnchor(t, w)
	ctx, cancel := context.WithTimeout(context.Background(), *flagDuration)
	defer cancel()
	done := make(chan []fault)
	go func() { done <- c.faults(ctx, rand.New(rand.NewPCG(seed, 1))) }()
	ps := newPrimitives(t, c.urls(), 5*time.Millisecond)
	working := make(chan struct{})
	go func() { defer close(working); ps.run(ctx) }()
	w.run(ctx, clients)
	<-working
	ended := time.Now()
	faults := <-done
	c.waitReady(30*time.Second, c.nodes...)
	t.Logf("the last fault was over %v after the clients had ended", time.Since(ended).Round(time.Millisecond))

	anchor(t)
	w.report()
	reportFaults(t, w, faults)
	w.hist.check(t, 5*time.Minute)
	ps.check()
	checkNothingLost(t, c, w)
	if w.ops.Load() == 0 || len(faults) == 0 {
		t.Errorf("%d operations and %d faults prove nothing", w.ops.Load(), len(faults))
	}
}

// faults breaks one node at a time until ctx ends; it leaves all of them running.
func (c *cluster) faults(ctx context.Context, rnd *rand.Rand) (all []fault) {
	tick := time.NewTicker(faultEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		leader := c.leader(ctx)
		if leader != nil && rnd.IntN(3) == 0 {
			all = append(all, fault{"leader stopped (SIGSTOP)", time.Now()})
			if err := leader.stop(); err != nil {
				c.t.Errorf("stop %s: %v", leader.name, err)
			}
			pause(context.Background(), stopFor)
			if err := leader.cont(); err != nil {
				c.t.Errorf("continue %s: %v", leader.name, err)
			}
			c.waitBack(leader)
			continue
		}
		victim := c.nodes[rnd.IntN(len(c.nodes))]
		kind := "follower killed (-9)"
		if victim == leader {
			kind = "leader killed (-9)"
		}
		all = append(all, fault{kind, time.Now()})
		victim.kill()
		pause(context.Background(), downFor)
		if err := victim.start(c.bin); err != nil {
			c.t.Errorf("restart %s: %v", victim.name, err)
			return all
		}
		c.waitBack(victim)
	}
}

// waitBack waits for a node, so that there are never two down at once.
func (c *cluster) waitBack(nd *node) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := nd.waitReady(ctx); err != nil {
		c.t.Errorf("%s did not come back: %v", nd.name, err)
	}
}

func reportFaults(t *testing.T, w *workload, faults []fault) {
	t.Helper()
	byKind := map[string][]time.Duration{}
	var kinds []string
	unserved := 0
	for _, f := range faults {
		d, ok := w.firstSuccessAfter(f.at)
		if !ok {
			unserved++
			continue
		}
		for _, k := range []string{f.kind, "all"} {
			if byKind[k] == nil {
				kinds = append(kinds, k)
			}
			byKind[k] = append(byKind[k], d)
		}
	}
	for _, k := range kinds {
		t.Logf("from fault to the next success, %s: %s", k, distribution(byKind[k]))
	}
	if unserved > 0 {
		t.Logf("%d faults had no operation behind them: the run ended", unserved)
	}
	for _, d := range byKind["all"] {
		if d > 10*time.Second {
			t.Errorf("service was away for %v", d)
		}
	}
}
