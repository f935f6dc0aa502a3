//go:build load

package service

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/node"
)

const (
	// diskSnapshots is how many snapshots a short run takes at least.
	diskSnapshots = 10
	// diskBound is the space that a member may take at any time, whatever was written: it follows from the default
	// policy (64 MiB of entries between two snapshots), the tail that stays (16 MiB), what was deleted and is not
	// merged away yet, and Badger's and the log's fixed files.
	diskBound = 512 << 20
	// busyProposers is how many write in this run: it measures no latency.
	busyProposers = 256
)

// TestLoadCommands writes very many commands while one member is away. The others' disks stay bounded, and it returns
// by a snapshot.
func TestLoadCommands(t *testing.T) {
	c := startLoad(t, func(cfg *node.Config) { cfg.CompactionPolicy = scaled(*flagCommands, diskSnapshots) })
	if err := c.serve(); err != nil {
		t.Fatal(err)
	}
	proposers, err := c.openSessions(busyProposers, "proposer")
	if err != nil {
		t.Fatal(err)
	}
	away := c.follower()
	at := away.stop()

	d := watchDisk(c.running())
	w := c.startWork(proposers, int64(*flagCommands), func(p, n int) string { return fmt.Sprintf("locks/%d/%d", p, n%1000) })
	start := time.Now()
	w.wait()
	took := time.Since(start)
	d.stop()
	if n := w.proposed.Load(); n < int64(*flagCommands)-1 {
		t.Fatalf("only %d commands were answered", n)
	}
	memory := memoryNow()
	for i, m := range d.of {
		if d.most[i] > diskBound {
			t.Errorf("%s took %.0f MiB", m.name, mib(d.most[i]))
		}
	}

	back := time.Now()
	away.restart()
	last := c.leader().node().Status().Last
	c.await("the member to return", func() bool { return away.node().Status().Applied >= last })
	returned := time.Since(back)
	_, installs, _ := away.seen.counts()
	s := away.node().Status()
	if len(installs) == 0 || s.Snapshot == nil || s.Snapshot.Index <= at || s.First <= at+1 {
		t.Fatalf("it was given %d snapshots; it had %d entries, its log begins at %d: %+v", len(installs), at, s.First, s.Snapshot)
	}
	end := c.same()

	t.Logf("%d commands of %d proposers in %.1f s, %.0f/s; load average %s; leaderships: %d; proposals sent again: %s",
		w.proposed.Load(), busyProposers, took.Seconds(), float64(w.proposed.Load())/took.Seconds(), loadAverage(), c.leaderships(), &c.retried)
	for i, m := range d.of {
		saves, _, _ := m.seen.counts()
		t.Logf("  %s: disk at most %.0f MiB, %.0f at the end; %d snapshots; its log holds %d entries", m.name,
			mib(d.most[i]), mib(d.last[i]), len(saves), m.node().Status().Last-m.node().Status().First+1)
	}
	t.Logf("  %s was away with %d entries and returned by a snapshot of %.2f MiB up to %d in %.2f s; its disk: %.0f MiB",
		away.name, at, mib(installs[len(installs)-1].bytes), s.Snapshot.Index, returned.Seconds(), mib(diskOf(away.dir)))
	t.Logf("  all three hold %x at index %d; memory of all in one process: heap %.0f MiB, resident %.0f MiB", end.hash[:8], end.index,
		mib(memory.heap), mib(memory.resident))
}

// disk watches how much space members take.
type disk struct {
	of         []*loadMember
	most, last []int64
	end        chan struct{}
	over       sync.WaitGroup
}

func watchDisk(of []*loadMember) *disk {
	d := &disk{of: of, most: make([]int64, len(of)), last: make([]int64, len(of)), end: make(chan struct{})}
	d.over.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			d.look()
			select {
			case <-d.end:
				d.look()
				return
			case <-tick.C:
			}
		}
	})
	return d
}

func (d *disk) look() {
	for i, m := range d.of {
		d.last[i] = diskOf(m.dir)
		d.most[i] = max(d.most[i], d.last[i])
	}
}

func (d *disk) stop() {
	close(d.end)
	d.over.Wait()
}
