package raft

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestScenarioElectionTimeoutsDontClash lets leader after leader die and looks at who would stand first. Where
// two members stand within one round trip of each other, both may lose (dissertation, section 9.3): that must
// be rare, or elections go on and on.
func TestScenarioElectionTimeoutsDontClash(t *testing.T) {
	t.Parallel()
	const rounds, roundTrip = 300, 5 * time.Millisecond
	nw := newNetwork(t, 5)
	l := nw.elect(1)
	clashes, firsts := 0, map[MemberID]int{}
	for seed := range uint64(rounds) {
		for _, h := range nw.hosts {
			h.rnd = rand.New(rand.NewPCG(seed, uint64(h.id)))
		}
		nw.pass(100 * time.Millisecond) // everybody hears a heartbeat of its own
		var at []time.Duration
		first := nw.host(2)
		for _, h := range nw.hosts[1:] {
			at = append(at, h.c.election.at)
			if h.c.election.at < first.c.election.at {
				first = h
			}
		}
		slices.Sort(at)
		if at[1]-at[0] < roundTrip {
			clashes++
		}
		firsts[first.id]++
	}
	if nw.leader() != l || clashes > rounds/4 {
		t.Fatalf("%d clashes in %d elections", clashes, rounds)
	}
	for id := MemberID(2); id <= 5; id++ {
		if firsts[id] < rounds/8 {
			t.Fatalf("member %d would have been first only %d times: %v", id, firsts[id], firsts)
		}
	}
}

// TestScenarioPreVoteWithCheckQuorum gives no pre-vote to a member that alone believes the leader to be dead, and
// gives it as soon as a majority has not heard from the leader for a timeout, even though the leader lives
// (dissertation, sections 6.2 and 9.6; etcd-io/etcd 8498).
func TestScenarioPreVoteWithCheckQuorum(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	term := l.c.hard.Term
	// Only 2 misses the leader; what it sends arrives.
	nw.drop = func(m Message) bool { return m.From == 1 && m.To == 2 }
	nw.pass(2 * time.Second)
	if nw.leader() != l || l.c.hard.Term != term || nw.core(2).role != PreCandidate || nw.core(3).leader != 1 {
		t.Fatalf("one member's fault unseats the leader: %+v", nw.core(2).Status())
	}
	// Now 3 misses it too: they elect one of themselves, and the old leader, which hears nobody, gives up.
	nw.isolate(1)
	began := nw.now
	if !nw.passUntil(time.Second, func() bool { return nw.core(2).ready() || nw.core(3).ready() }) {
		t.Fatal("a majority that misses the leader elects nobody")
	}
	if took := nw.now - began; took < DefaultElectionTimeoutMin-75*time.Millisecond {
		t.Fatalf("elected after %v, within the window that 3 promised", took)
	}
	nw.pass(DefaultElectionTimeoutMax)
	if l.c.role == Leader {
		t.Fatalf("a leader that nobody answers leads on: %+v", l.c.Status())
	}
	nw.heal()
	nw.pass(time.Second)
	nw.same()
}

// TestScenarioLivenessAfterATemporaryLossOfQuorum has the member with the newest log lose its majority and step
// down, and come back to one that can't win. Each must go on granting what the other asks, whoever of them stood
// last (cockroachdb/cockroach 142994).
func TestScenarioLivenessAfterATemporaryLossOfQuorum(t *testing.T) {
	t.Parallel()
	for away := 100 * time.Millisecond; away < 3*time.Second; away += 170 * time.Millisecond {
		nw := newNetwork(t, 2)
		l := nw.elect(1)
		nw.isolate(2)
		i := nw.propose(l, "known to 1 alone")
		nw.pass(away)
		nw.heal()
		if !nw.passUntil(4*DefaultElectionTimeoutMax, func() bool { return l.c.ready() && nw.core(2).log.commit >= i }) {
			t.Fatalf("after %v without a majority: %+v and %+v", away, l.c.Status(), nw.core(2).Status())
		}
		nw.pass(time.Second)
		nw.same()
	}
}

// TestScenarioStrandedPeer brings back a candidate whose term is far ahead and whose log is behind, after several
// elections that nobody heard of. The leader has to give way to the term, and nothing committed may go, nor may
// the stranded member win (the same schedule is in CockroachDB's suite).
func TestScenarioStrandedPeer(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(3)
	i := nw.propose(l, "committed without 3")
	nw.settle()
	stranded := nw.host(3)
	stranded.hard.Term, stranded.hard.Vote = stranded.hard.Term+10, 3
	nw.start(stranded)
	stranded.eager = true
	term := stranded.hard.Term
	if !nw.passUntil(3*time.Second, func() bool { n := nw.leader(); return n != nil && n.c.ready() && n.c.hard.Term > term }) {
		t.Fatalf("nobody leads beyond term %d: %+v", term, stranded.c.Status())
	}
	n := nw.leader()
	nw.pass(time.Second)
	if n.id == 3 || nw.leader() != n || n.c.hard.Term > term+2 || stranded.c.leader != n.id || stranded.c.log.commit < i {
		t.Fatalf("leader %d of term %d, the stranded member: %+v", n.id, n.c.hard.Term, stranded.c.Status())
	}
	nw.same()
}

// TestScenarioStuckCandidate has the only member that could complete a majority sit in a newer term, where it takes
// nothing from the leader. The leader does not check its quorum, so nothing but the answers to its heartbeats can tell
// it that its term is over (etcd-io/etcd 5468).
func TestScenarioStuckCandidate(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.CheckQuorum = false })
	l := nw.elect(1)
	nw.pass(100 * time.Millisecond)
	nw.crash(2)
	nw.crash(3)
	stuck := nw.host(3)
	stuck.hard.Term += 5
	stuck.cfg.Standby = true // it never stands again by itself
	nw.start(stuck)
	term := stuck.c.hard.Term
	if !nw.passUntil(3*time.Second, func() bool { return l.c.ready() && l.c.hard.Term > term }) {
		t.Fatalf("stuck at term %d: %+v and %+v", term, l.c.Status(), stuck.c.Status())
	}
	i := nw.propose(l, "x")
	nw.pass(time.Second)
	if stuck.c.log.commit < i {
		t.Fatalf("the freed member: %+v", stuck.c.Status())
	}
}

// TestScenarioDisruptiveFollower cuts a follower off from the leader alone: it stands again and again, with a log as
// good as any, and the other follower hears and answers it. It must neither raise the term nor unseat the leader, for
// as long as that lasts (etcd-io/etcd 9333).
func TestScenarioDisruptiveFollower(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.pass(100 * time.Millisecond)
	term := l.c.hard.Term
	nw.host(3).eager = true
	nw.drop = func(m Message) bool { return m.From == 1 && m.To == 3 }
	for range 50 {
		nw.pass(100 * time.Millisecond)
		if nw.leader() != l || l.c.hard.Term != term || nw.core(2).hard.Term != term || nw.core(3).hard.Term != term {
			t.Fatalf("disturbed: %+v by %+v", l.c.Status(), nw.core(3).Status())
		}
	}
	if nw.core(3).role != PreCandidate || nw.core(3).Stats.Elections < 10 || nw.core(2).Stats.StickyRefusals < 10 {
		t.Fatalf("the disruptive member: %+v", nw.core(3).Status())
	}
	nw.heal()
	i := nw.propose(l, "x")
	nw.pass(time.Second)
	if nw.leader() != l || l.c.hard.Term != term || nw.core(3).log.commit < i {
		t.Fatalf("disturbed by the return: %+v", l.c.Status())
	}
	nw.same()
}

// TestScenarioNodeWithSmallerTerm leaves two members, of which the one with the newest log has the smaller term:
// its pre-votes ask about terms that are over. They must be answered with the newer term, or nobody ever wins
// (etcd-io/etcd 8243, canonical/raft 279).
func TestScenarioNodeWithSmallerTerm(t *testing.T) {
	t.Parallel()
	nw := withLogs(t, [][]uint64{{1, 1}, {1}, {1, 1, 1}})
	nw.host(1).down = true
	nw.host(2).hard.Term = 9
	nw.start(nw.host(2))
	h := nw.host(3)
	if !nw.passUntil(3*time.Second, func() bool { return h.c.ready() && h.c.log.commit >= 4 }) {
		t.Fatalf("the only member that can win: %+v, the other: %+v", h.c.Status(), nw.core(2).Status())
	}
	if h.c.hard.Term <= 9 {
		t.Fatalf("it leads term %d", h.c.hard.Term)
	}
	nw.start(nw.host(1))
	nw.pass(time.Second)
	nw.same()
}
