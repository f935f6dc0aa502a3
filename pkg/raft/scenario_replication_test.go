package raft

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/tracker"
)

// TestScenarioProbeAndReplicate puts the leader and all six followers of the paper's figure 7 into one cluster. The
// leader finds where each agrees by probes, one at a time, sends ahead from there, and leaves everybody with its log.
func TestScenarioProbeAndReplicate(t *testing.T) {
	t.Parallel()
	nw := withLogs(t, [][]uint64{
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6},
		{1, 1, 1, 4, 4, 5, 5, 6, 6},
		{1, 1, 1, 4},
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
		{1, 1, 1, 4, 4, 4, 4},
		{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
	})
	for _, h := range nw.hosts {
		h.hard.Term = 7
		nw.start(h)
	}
	l, probing := nw.host(1), map[MemberID]int{}
	nw.seen = func(m Message) {
		if m.Type != MsgAppend {
			return
		}
		if p := l.c.peer(m.To); p.pr.State == tracker.Probe {
			probing[m.To]++
			if probing[m.To] > 4 {
				t.Errorf("%d probes to member %d", probing[m.To], m.To)
			}
		}
	}
	nw.elect(1)
	if l.c.hard.Term < 8 {
		t.Fatalf("leader of term %d", l.c.hard.Term)
	}
	nw.propose(l, "x")
	nw.pass(time.Second)
	nw.same()
	for _, p := range l.c.peers {
		if p.pr.State != tracker.Replicate || p.pr.Match != l.c.log.last || probing[p.id] == 0 {
			t.Fatalf("member %d after %d probes: %+v", p.id, probing[p.id], p.pr)
		}
	}
	if got := terms(l.log)[:10]; !slices.Equal(got, []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}) {
		t.Fatalf("the leader changed its own log: %v", got)
	}
}

// TestScenarioAsyncStorageWrites keeps several writes of each member under way at once. Each acknowledges what is
// durable and no more, commits come as majorities of writes do, whosever they are, and nothing is applied before.
func TestScenarioAsyncStorageWrites(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.pass(100 * time.Millisecond)
	first := l.c.log.last
	for _, h := range nw.hosts {
		h.manual = true
	}
	for i := range 3 {
		nw.propose(l, fmt.Sprint(i))
		nw.settle()
	}
	writes := func(h *host) int { // batches that hold entries
		n := 0
		for _, b := range h.batches {
			if len(b.Entries) > 0 {
				n++
			}
		}
		return n
	}
	for _, h := range nw.hosts {
		if writes(h) != 3 || h.c.log.last != first+3 || h.c.log.durable != first || h.c.log.commit != first || h.lastApplied() != first {
			t.Fatalf("member %d with %d writes under way: %+v", h.id, writes(h), h.c.Status())
		}
	}
	one := func(h *host) { // the next write that holds an entry, and what stands before it
		for len(h.batches[0].Entries) == 0 {
			nw.write(h)
		}
		nw.write(h)
		nw.settle()
	}
	for _, step := range []struct {
		id     MemberID
		commit uint64
	}{{2, 0}, {3, 1}, {3, 1}, {2, 2}, {1, 2}, {1, 2}, {1, 2}, {3, 3}} {
		one(nw.host(step.id))
		if l.c.log.commit != first+step.commit || l.lastApplied() != first+step.commit {
			t.Fatalf("after a write of %d: commit %d, applied %d, want %d", step.id, l.c.log.commit-first, l.lastApplied()-first, step.commit)
		}
		for _, p := range l.c.peers {
			if p.pr.Match != nw.core(p.id).log.durable {
				t.Fatalf("member %d acknowledged %d, durable is %d", p.id, p.pr.Match, nw.core(p.id).log.durable)
			}
		}
	}
}

// TestScenarioHeartbeatResponseRecoversFromProbing loses the probes of an idle moment. The answer to a heartbeat is
// what sends the next; without it the leader would not know where the member stands until something is proposed
// (etcd-io/raft 52).
func TestScenarioHeartbeatResponseRecoversFromProbing(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	nw.elect(2)
	nw.drop = func(m Message) bool { return m.To == 3 && m.Type == MsgAppend }
	l := nw.host(1)
	if err := nw.core(2).TransferLeadership(1, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.settle()
	p := l.c.peer(3)
	if !l.c.ready() || p.pr.State != tracker.Probe || !p.pr.Waiting {
		t.Fatalf("the leader: %+v, its view of 3: %+v", l.c.Status(), p.pr)
	}
	last := l.c.log.last
	nw.heal()
	nw.pass(75 * time.Millisecond)
	if p.pr.State != tracker.Replicate || p.pr.Match != last || l.c.log.last != last {
		t.Fatalf("a heartbeat later: %+v", p.pr)
	}
}

// TestScenarioLaggingCommit has a follower acknowledge entries and then lose the word that they are committed. The
// next heartbeat brings it, and nothing is sent twice (etcd-io/raft 138).
func TestScenarioLaggingCommit(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.pass(100 * time.Millisecond)
	before := nw.core(3).log.commit
	acked := false
	nw.drop = func(m Message) bool {
		acked = acked || (m.From == 3 && m.Type == MsgAppendResp)
		return acked && m.To == 3
	}
	for range 5 {
		nw.propose(l, "x")
	}
	nw.settle()
	if h := nw.host(3); l.c.log.commit != l.c.log.last || h.last() != l.c.log.last || h.c.log.commit != before {
		t.Fatalf("commit %d of %d, member 3 %d", l.c.log.commit, l.c.log.last, h.c.log.commit)
	}
	nw.heal()
	sent := 0
	nw.seen = func(m Message) {
		if m.To == 3 {
			sent += len(m.Entries)
		}
	}
	if !nw.passUntil(75*time.Millisecond, func() bool { return nw.core(3).log.commit == l.c.log.commit }) || sent > 0 {
		t.Fatalf("a heartbeat later: commit %d of %d, %d entries sent again", nw.core(3).log.commit, l.c.log.commit, sent)
	}
	if nw.host(3).lastApplied() != l.c.log.commit {
		t.Fatalf("applied %d", nw.host(3).lastApplied())
	}
}

// TestScenarioReorderedMessages delivers everything of a run in random order, between its neighbours in time: no
// term changes, nothing is lost, and match and commit never go back.
func TestScenarioReorderedMessages(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxMessageBytes = 300 })
	l := nw.elect(1)
	term := l.c.hard.Term
	match, commit := map[MemberID]uint64{}, map[MemberID]uint64{}
	for i := range 400 {
		nw.propose(l, fmt.Sprint(i))
		for _, h := range nw.hosts {
			nw.turn(h)
		}
		l.rnd.Shuffle(len(nw.queue), func(i, j int) { nw.queue[i], nw.queue[j] = nw.queue[j], nw.queue[i] })
		now, later := nw.queue[:len(nw.queue)*2/3], slices.Clone(nw.queue[len(nw.queue)*2/3:])
		nw.queue = later
		nw.now += time.Millisecond
		for _, m := range now {
			nw.core(m.To).Step(m, nw.now)
		}
		for _, h := range nw.hosts {
			h.c.Tick(nw.now)
			if h.c.log.commit < commit[h.id] {
				t.Fatalf("commit of %d goes back from %d to %d", h.id, commit[h.id], h.c.log.commit)
			}
			commit[h.id] = h.c.log.commit
		}
		for _, p := range l.c.peers {
			if p.pr.Match < match[p.id] {
				t.Fatalf("match of %d goes back from %d to %d", p.id, match[p.id], p.pr.Match)
			}
			match[p.id] = p.pr.Match
		}
	}
	nw.pass(time.Second)
	if nw.leader() != l || l.c.hard.Term != term || l.c.log.commit != l.c.log.last || l.c.Stats.MatchLowered > 0 {
		t.Fatalf("leader %+v, stats %+v", l.c.Status(), l.c.Stats)
	}
	nw.same()
}

// TestScenarioReopenSeesOnlyCommitted finds more on disk than was known to be committed. The state machine is given
// what was, and nothing of the rest before a leader says what became of it: here it is another entry.
func TestScenarioReopenSeesOnlyCommitted(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2, Commit: 3}, 1, 1, 1, 2, 2)
	y.out()
	y.pass(time.Second)
	if len(y.applied) != 3 || y.c.log.last != 5 || y.c.log.commit != 3 {
		t.Fatalf("%d applied of %d entries, committed are 3", len(y.applied), y.c.log.last)
	}
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 3, LogTerm: 1, Entries: entries(4, 3), Commit: 4})
	y.writeAll()
	if len(y.applied) != 4 || y.applied[3].Term != 3 || y.c.log.last != 4 {
		t.Fatalf("applied %v, the log ends at %d", terms(y.applied), y.c.log.last)
	}
}
