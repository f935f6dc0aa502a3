//go:build load

package service

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft/node"
)

// noPolicy takes no snapshots: the run says when.
type noPolicy struct{}

func (noPolicy) Due(node.LogStats) bool { return false }

const (
	// keepPeriod is how often each session is renewed.
	keepPeriod = 5 * time.Second
	// settleFor is how long after a snapshot figures are taken again: until then the log's old entries are removed.
	settleFor = 2 * time.Second
)

// TestLoadSnapshot takes snapshots of a large state while clients keep the leader busy.
func TestLoadSnapshot(t *testing.T) {
	c := startLoad(t, func(cfg *node.Config) {
		cfg.CompactionPolicy = noPolicy{}
		cfg.Limits.TrailingEntries = -1
	})
	sessions, filled := c.fill(*flagSessions, *flagLocks)
	proposers, err := c.openSessions(*flagProposers, "proposer")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	var keeper sync.WaitGroup
	keeper.Go(func() { c.keepAlive(ctx, sessions, keepPeriod) })
	w := c.startWork(proposers, 1<<40, c.scattered)

	r := snapshotRun{c: c, before: memoryNow(), filled: filled}
	r.rounds("the leader saves", c.leader())
	r.rounds("a follower saves", c.follower())
	r.rounds("all save at once", c.running()...)
	r.install()
	w.stop()
	cancel()
	keeper.Wait()
	r.after = memoryNow()
	c.same()
	t.Log(r.String())
}

// fill has sessions hold locks, and returns how long that took.
func (c *loadCluster) fill(sessions, locks int) ([]*loadSession, time.Duration) {
	c.t.Helper()
	start := time.Now()
	if err := c.serve(); err != nil {
		c.t.Fatal(err)
	}
	all, err := c.openSessions(sessions, "holder")
	if err != nil {
		c.t.Fatal(err)
	}
	const atOnce = 4
	errs := make(chan error, atOnce)
	for part := range atOnce {
		go func() {
			var cs []machine.Command
			for i := part; i < locks; i += atOnce {
				s := all[i/atOnce%(len(all)/atOnce)*atOnce+part] // one goroutine has a session to itself
				cs = append(cs, s.acquire(lockName(i)))
				if len(cs) == 500 || i+atOnce >= locks {
					if _, err := c.execute(cs...); err != nil {
						errs <- fmt.Errorf("filling: %w", err)
						return
					}
					cs = nil
				}
			}
			errs <- nil
		}()
	}
	for range atOnce {
		if err := <-errs; err != nil {
			c.t.Fatal(err)
		}
	}
	return all, time.Since(start)
}

func lockName(i int) string { return fmt.Sprintf("locks/%07d", i) }

// scattered names locks all over the table, each beside one that is held: the most of the tables' nodes that a view
// shares are copied.
func (c *loadCluster) scattered(proposer, n int) string {
	return fmt.Sprintf("%s/%d", lockName((n*7919+proposer*104729)%*flagLocks), proposer)
}

// snapshotRun collects what TestLoadSnapshot prints.
type snapshotRun struct {
	c             *loadCluster
	filled        time.Duration
	before, after memory
	peak          memory
	lines         []string
	views         []time.Duration
	installs      []snapshotSeen
}

// rounds takes snapshots of some members, and figures in the time that each takes, in the time after it, and in an equally long
// one without any.
func (r *snapshotRun) rounds(what string, of ...*loadMember) {
	var during, behind, without []*window
	var saved []snapshotSeen
	for range *flagRounds {
		during = append(during, r.c.meter.during(func() { r.compact(of) }))
		behind = append(behind, r.c.meter.during(func() { r.let(settleFor) }))
		without = append(without, r.c.meter.during(func() { r.let(during[len(during)-1].took) }))
		for _, m := range of {
			saves, _, _ := m.seen.counts()
			saved = append(saved, saves[len(saves)-1])
			r.views = append(r.views, time.Duration(m.machine.view.Load()))
		}
	}
	for _, w := range during {
		r.peak.heap, r.peak.resident = max(r.peak.heap, w.memory.heap), max(r.peak.resident, w.memory.resident)
	}
	times := make([]time.Duration, len(saved))
	for i := range saved {
		times[i] = saved[i].took
	}
	r.lines = append(r.lines, fmt.Sprintf("%s: %.1f MiB in %.2f s", what, mib(saved[0].bytes), median(times).Seconds()))
	r.line("  meanwhile", during)
	r.line(fmt.Sprintf("  %.0f s after", settleFor.Seconds()), behind)
	r.line("  without, as long", without)
}

func (r *snapshotRun) compact(of []*loadMember) {
	var all sync.WaitGroup
	for _, m := range of {
		all.Go(func() {
			if err := m.node().Compact(r.c.ctx); err != nil {
				r.c.t.Errorf("a snapshot on %s: %v", m.name, err)
			}
		})
	}
	all.Wait()
}

// let time pass under load.
func (r *snapshotRun) let(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// line prints medians over windows of one kind, and in brackets the worst.
func (r *snapshotRun) line(what string, ws []*window) {
	lead := r.c.leader().place
	var rate []float64
	var p50, p99, leads, follows, longest, writes []time.Duration
	over := 0
	for _, w := range ws {
		rate = append(rate, w.rate())
		p50, p99 = append(p50, w.latency.quantile(0.5)), append(p99, w.latency.quantile(0.99))
		follow, one, write := time.Duration(0), time.Duration(0), time.Duration(0)
		for i := range w.members {
			if a := &w.members[i]; i != lead {
				follow = max(follow, a.gap)
			} else {
				leads = append(leads, a.gap)
				over += a.over
			}
			one, write = max(one, w.members[i].longest), max(write, w.members[i].write)
		}
		follows, longest, writes = append(follows, follow), append(longest, one), append(writes, write)
	}
	both := func(ds []time.Duration) string {
		worst := time.Duration(0)
		for _, d := range ds {
			worst = max(worst, d)
		}
		return fmt.Sprintf("%.1f (%.1f)", ms(median(ds)), ms(worst))
	}
	r.lines = append(r.lines, fmt.Sprintf("%-20s %7.0f/s  p50 %5.2f p99 %6.2f  stall: leader %s, followers %s, over %v: %d  longest apply %s, write of a log %s",
		what, median(rate), ms(median(p50)), ms(median(p99)), both(leads), both(follows), stallTarget, over, both(longest), both(writes)))
}

// install has a follower that was away be given a snapshot.
func (r *snapshotRun) install() {
	c := r.c
	away := c.follower()
	at := away.stop()
	for _, m := range c.running() {
		c.await("followers to count as away", func() bool { // the log is kept for a follower that answered lately
			r.compact([]*loadMember{m})
			return m.node().Status().First > at+1
		})
	}
	away.restart()
	c.await("a follower to be given a snapshot", func() bool {
		_, installs, _ := away.seen.counts()
		r.installs = installs
		return len(installs) > 0
	})
	select {
	case <-away.node().Ready():
	case <-time.After(loadPatience):
		c.t.Fatalf("a follower that was given a snapshot is not ready: %+v", away.node().Status())
	}
}

func (r *snapshotRun) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "snapshots under load: %d sessions, each renewed every %v, hold %d locks (filled in %.1f s); %d proposers; load average %s\n",
		*flagSessions, keepPeriod, *flagLocks, r.filled.Seconds(), *flagProposers, loadAverage())
	fmt.Fprintf(&b, "medians of %d (worst); times in ms; a stall is the longest time without an apply, whatever its cause\n", *flagRounds)
	for _, l := range r.lines {
		fmt.Fprintln(&b, l)
	}
	worst := time.Duration(0)
	for _, v := range r.views {
		worst = max(worst, v)
	}
	fmt.Fprintf(&b, "the applier's own part, taking a view: %.3f (%.3f) ms\n", ms(median(r.views)), ms(worst))
	fmt.Fprintf(&b, "install of %.1f MiB: %.2f s from the whole file to the new state\n", mib(r.installs[0].bytes), r.installs[0].took.Seconds())
	fmt.Fprintf(&b, "memory of the three together, MiB: heap %.0f before, at most %.0f while saving, %.0f after; resident %.0f, %.0f, %.0f\n",
		mib(r.before.heap), mib(r.peak.heap), mib(r.after.heap), mib(r.before.resident), mib(r.peak.resident), mib(r.after.resident))
	fmt.Fprintf(&b, "leaderships: %d; proposals sent again: %s", r.c.leaderships(), &r.c.retried)
	return b.String()
}
