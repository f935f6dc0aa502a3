package raft

import (
	"testing"
	"time"
)

// TestClusterTimeGoesOn follows cluster time through idle time, load and failovers: it never goes back, and
// after a failover it went on for the time that the new leader had its last entry.
func TestClusterTimeGoesOn(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	id := MemberID(1)
	var before int64
	for round := range 6 {
		l := nw.elect(id)
		for range 20 {
			nw.pass(10 * time.Millisecond)
			nw.propose(l, "x")
		}
		nw.pass(time.Second)
		start, ok := l.c.ClusterTime(nw.now)
		nw.pass(time.Second)
		end, _ := l.c.ClusterTime(nw.now)
		if !ok || end-start != int64(time.Second) || start <= before {
			t.Fatalf("round %d: from %v to %v in a second, before %v", round, start, end, before)
		}
		before = end
		id = id%3 + 1
		// The next leader has had the last entry for two seconds: they are not lost. elect takes up to some
		// hundred milliseconds, which count as well.
		nw.isolate(l.id)
		next := nw.elect(id)
		nw.heal()
		if now, _ := next.c.ClusterTime(nw.now); now < end {
			t.Fatalf("round %d: cluster time %v after %v", round, now, end)
		}
	}
	nw.pass(time.Second)
	nw.same()
	last := int64(0)
	for _, e := range nw.host(1).log {
		if e.Time < last {
			t.Fatalf("entry %d goes back from %d to %d", e.Index, last, e.Time)
		}
		last = e.Time
	}
	if last < int64(10*time.Second) {
		t.Fatalf("cluster time stood still: %v", time.Duration(last))
	}
}

// TestClusterTimeDoesNotCountTimeDown continues from the last entry after all members were down: nobody
// had it in memory meanwhile.
func TestClusterTimeDoesNotCountTimeDown(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.propose(l, "x")
	nw.pass(time.Second)
	last := l.log[len(l.log)-1].Time
	for _, h := range nw.hosts {
		nw.crash(h.id)
	}
	nw.now += time.Hour
	start := nw.now
	for _, h := range nw.hosts {
		nw.start(h)
	}
	nw.elect(2)
	now, _ := nw.core(2).ClusterTime(nw.now)
	if up := int64(nw.now - start); now != last+up {
		t.Fatalf("cluster time %d, want %d + %d", now, last, up)
	}
	if _, ok := nw.core(1).ClusterTime(nw.now); ok {
		t.Fatal("a follower has cluster time")
	}
}

// TestClusterTimeUnderLoad stamps from the entry that was appended last, applied or not.
func TestClusterTimeUnderLoad(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.pass(200 * time.Millisecond) // the others apply the first entries
	nw.host(2).holdApply = true
	nw.host(2).c.cfg.MaxApplyBytes = 1
	start := l.c.log.lastEntry().Time
	at := nw.now
	for range 100 {
		nw.pass(5 * time.Millisecond)
		nw.propose(l, "x")
	}
	nw.settle()
	took := nw.now - at
	nw.isolate(1)
	next := nw.elect(2)
	if now, _ := next.c.ClusterTime(nw.now); now-start < int64(took) {
		t.Fatalf("%v of load count as %v", took, time.Duration(now-start))
	}
}
