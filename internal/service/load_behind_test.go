//go:build load

package service

import (
	"fmt"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/node"
)

// TestLoadFollowerBehindCatchesUpByLog lets a follower come back whose entries are all still there.
func TestLoadFollowerBehindCatchesUpByLog(t *testing.T) {
	c := startLoad(t, func(cfg *node.Config) { cfg.CompactionPolicy = noPolicy{} })
	b := c.fallBehind()
	b.catchUp()
	if _, installs, _ := b.away.seen.counts(); len(installs) > 0 {
		t.Error("the follower was given a snapshot")
	}
	if first := b.away.node().Status().First; first != 1 {
		t.Errorf("the follower's log begins at %d", first)
	}
	b.print("its log")
}

// TestLoadFollowerBehindCatchesUpBySnapshot lets a follower come back whose entries are gone.
func TestLoadFollowerBehindCatchesUpBySnapshot(t *testing.T) {
	c := startLoad(t, func(cfg *node.Config) { cfg.CompactionPolicy = scaled(*flagBehind, 4) })
	b := c.fallBehind()
	for _, m := range c.running() { // the log is kept for a follower that answered lately
		c.await("the entries that the follower lacks to go", func() bool {
			if err := m.node().Compact(c.ctx); err != nil {
				t.Fatalf("a snapshot on %s: %v", m.name, err)
			}
			return m.node().Status().First > b.at+1
		})
	}
	b.catchUp()
	_, installs, _ := b.away.seen.counts()
	if s := b.away.node().Status(); len(installs) == 0 || s.First <= b.at+1 || s.Snapshot == nil {
		t.Fatalf("the follower was given %d snapshots, its log begins at %d", len(installs), s.First)
	}
	b.print(fmt.Sprintf("%d snapshot(s), %.1f MiB", len(installs), mib(installs[0].bytes)))
}

// scaled is the default policy where a run has its full length, and takes so many snapshots in a shorter one.
func scaled(entries, snapshots int) node.CompactionPolicy {
	p := node.LogSize{Bytes: 64 << 20, Entries: 500_000}
	if most := uint64(entries / snapshots); most < p.Entries {
		p.Entries = most
	}
	return p
}

// behind is a follower that was away while the others went on, and comes back.
type behind struct {
	c    *loadCluster
	w    *work
	away *loadMember
	at   uint64 // the last entry that it had
	gap  uint64 // how many it lacked when it came back

	alone, beside *window // figures of the leader without it, and while it catches up
	open, took    time.Duration
	leaderTook    float64 // entries a second that the leader went on by meanwhile
	gained        uint64
}

// fallBehind keeps the leader busy from now on and stops a follower until it is behind.
func (c *loadCluster) fallBehind() *behind {
	c.t.Helper()
	if err := c.serve(); err != nil {
		c.t.Fatal(err)
	}
	proposers, err := c.openSessions(*flagProposers, "proposer")
	if err != nil {
		c.t.Fatal(err)
	}
	b := &behind{c: c, away: c.follower()}
	b.w = c.startWork(proposers, 1<<40, func(p, n int) string { return fmt.Sprintf("locks/%d/%d", p, n%1000) })
	c.t.Cleanup(b.w.stop)
	c.await("the load to begin", func() bool { return c.leader().node().Status().Applied > 1000 })
	b.at = b.away.stop()
	l := c.leader()
	b.alone = c.meter.during(func() {
		c.awaitFor(time.Hour, "the others to go on", func() bool { return l.node().Status().Applied >= b.at+uint64(*flagBehind) })
	})
	return b
}

// catchUp lets the follower come back and waits until it has all that is committed, while the load goes on.
func (b *behind) catchUp() {
	c, l := b.c, b.c.leader()
	start := time.Now()
	b.away.restart()
	b.open = time.Since(start)
	b.beside = c.meter.during(func() {
		from := l.node().Status().Commit
		b.gap = from - b.away.node().Status().Last
		c.awaitFor(time.Hour, "the follower to catch up", func() bool {
			commit := l.node().Status().Commit
			s := b.away.node().Status()
			b.gained = s.Applied - min(b.at, s.Applied)
			return s.Applied+uint64(*flagProposers)*4 >= commit
		})
		b.leaderTook = float64(l.node().Status().Commit - from)
	})
	b.took = b.beside.took
	b.w.stop()
	c.same()
}

// print says how it went.
func (b *behind) print(by string) {
	took := b.took.Seconds()
	b.c.t.Logf("a follower %d entries behind, %d proposers on the leader throughout; load average %s\n"+
		"  it was at the end by %s after %.1f s (and %.1f s to open its log): %.0f entries/s gained, net of the leader's %.0f\n"+
		"  the leader commits %.0f/s without it (p50 %.2f p99 %.2f ms), %.0f/s beside it (p50 %.2f p99 %.2f ms): %.0f %%\n"+
		"  longest stall of applies on the leader: %.1f ms without, %.1f ms beside; leaderships: %d; proposals sent again: %s",
		b.gap, *flagProposers, loadAverage(),
		by, took, b.open.Seconds(), float64(b.gained)/took, b.leaderTook/took,
		b.alone.rate(), ms(b.alone.latency.quantile(0.5)), ms(b.alone.latency.quantile(0.99)),
		b.beside.rate(), ms(b.beside.latency.quantile(0.5)), ms(b.beside.latency.quantile(0.99)), 100*b.beside.rate()/b.alone.rate(),
		ms(b.alone.members[b.c.leader().place].gap), ms(b.beside.members[b.c.leader().place].gap), b.c.leaderships(), &b.c.retried)
}
