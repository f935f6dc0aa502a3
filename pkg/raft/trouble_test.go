package raft

import (
	"testing"
	"time"
)

// TestCheckQuorum makes a leader that hears from nobody step down; without the check it stays.
func TestCheckQuorum(t *testing.T) {
	t.Parallel()
	for _, check := range []bool{true, false} {
		nw := newNetwork(t, 3, func(c *Config) { c.CheckQuorum = check })
		l := nw.elect(1)
		nw.isolate(1)
		nw.pass(DefaultElectionTimeoutMax + time.Millisecond)
		if (l.c.role == Leader) == check {
			t.Fatalf("check-quorum %v: role %v", check, l.c.role)
		}
		nw.pass(2 * time.Second)
		if other := nw.leader(); other == nil || other == l {
			t.Fatal("the majority has no leader")
		}
		nw.heal()
		nw.pass(time.Second)
		if l.c.role != Follower || l.c.leader != nw.leader().id {
			t.Fatalf("after healing: %+v", l.c.Status())
		}
	}
}

// TestStuckCandidateIsFreed brings back a member whose term is ahead: appends of the lower term are
// answered, so that the leader learns of it (rule 6).
func TestStuckCandidateIsFreed(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	nw.elect(1)
	nw.crash(3)
	h := nw.host(3)
	h.hard.Term += 10
	nw.start(h)
	if !nw.passUntil(3*time.Second, func() bool {
		l := nw.leader()
		return l != nil && l.c.ready() && l.c.hard.Term >= h.hard.Term && nw.core(3).leader == l.id
	}) {
		t.Fatalf("member 3 is stuck: %+v", nw.core(3).Status())
	}
	i := nw.propose(nw.leader(), "x")
	nw.pass(time.Second)
	if nw.core(3).log.commit < i {
		t.Fatal("member 3 does not commit")
	}
}

// TestSmallerTermIsAnswered answers each kind of lower-term request with the newer term.
func TestSmallerTermIsAnswered(t *testing.T) {
	t.Parallel()
	for typ, answer := range map[MessageType]MessageType{MsgPreVote: MsgPreVoteResp, MsgVote: MsgVoteResp,
		MsgAppend: MsgAppendResp, MsgHeartbeat: MsgHeartbeatResp, MsgReadIndex: MsgReadIndexResp} {
		for _, from := range []MemberID{2, 99} { // also somebody who was removed
			y := one(t, 3, HardState{Term: 9}, 1)
			y.step(Message{Type: typ, From: from, Term: 3, Session: 4})
			m := y.take(answer)
			if len(m) != 1 || m[0].Term != 9 || !m[0].Reject || m[0].To != from {
				t.Fatalf("%v of a lower term: %+v", typ, m)
			}
		}
	}
}

// TestUnknownMembersAreDropped counts messages of members that the configuration does not list. What leaders and
// candidates send is heard: whom they list may not have heard of them.
func TestUnknownMembersAreDropped(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	for _, typ := range []MessageType{MsgPreVoteResp, MsgVoteResp, MsgAppendResp, MsgTimeoutNow, MsgHello, MsgReadIndex} {
		y.step(Message{Type: typ, From: 99, Term: 8, Index: 1, LogTerm: 1})
	}
	if len(y.sent) > 0 || len(y.batches) > 0 || y.c.hard.Term != 2 || y.c.Stats.UnknownMember != 6 {
		t.Fatalf("sent %v, term %d, stats %+v", y.sent, y.c.hard.Term, y.c.Stats)
	}
	// A promise to a leader binds against them as against anybody (rule 7), and so does the log.
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 2, Round: 1})
	y.writeAll()
	y.sent = nil
	for _, typ := range []MessageType{MsgPreVote, MsgVote} {
		y.step(Message{Type: typ, From: 99, Term: 8, Index: 1, LogTerm: 1})
		if m := y.take(typ + 1); len(m) != 1 || !m[0].Reject || m[0].Term != 2 || y.c.hard.Term != 2 || y.c.leader != 2 {
			t.Fatalf("%v within the window: %+v, term %d", typ, m, y.c.hard.Term)
		}
	}
	y.now += DefaultElectionTimeoutMin
	y.step(Message{Type: MsgVote, From: 99, Term: 8, Index: 0, LogTerm: 0})
	if m := y.take(MsgVoteResp); len(m) != 1 || !m[0].Reject || y.c.hard.Vote != 0 {
		t.Fatalf("with an older log: %+v", m)
	}
}

// TestStandbyVotesAndNeverStands lets the only other member win with a standby's vote.
func TestStandbyVotesAndNeverStands(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.Standby = c.ID != 2 })
	nw.pass(2 * time.Second)
	l := nw.leader()
	if l == nil || l.id != 2 || nw.core(1).role != Standby {
		t.Fatalf("leader %v", l)
	}
	i := nw.propose(l, "x")
	nw.settle()
	if l.c.log.commit < i {
		t.Fatal("standbys do not count")
	}
	nw.crash(2)
	nw.pass(5 * time.Second)
	if nw.leader() != nil || nw.core(1).hard.Term != l.c.hard.Term || nw.core(1).leader != 0 {
		t.Fatal("a standby stood")
	}
	nw.start(l)
	nw.pass(2 * time.Second)
	if nw.leader() != l {
		t.Fatal("the only member that may lead does not")
	}
}

// TestNoMajorityNoLeader partitions five members so that nobody has three.
func TestNoMajorityNoLeader(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 5)
	nw.elect(1)
	side := map[MemberID]int{1: 0, 2: 0, 3: 1, 4: 1, 5: 2}
	nw.drop = func(m Message) bool { return side[m.From] != side[m.To] }
	term := nw.core(1).hard.Term
	nw.pass(5 * time.Second)
	for _, h := range nw.hosts {
		if h.c.role == Leader || h.c.hard.Term != term {
			t.Fatalf("member %d: %+v", h.id, h.c.Status())
		}
	}
	nw.heal()
	nw.pass(2 * time.Second)
	l := nw.leader()
	if l == nil || !l.c.ready() {
		t.Fatal("no leader after healing")
	}
}

// TestStepDown ends a leadership without a successor, and the cluster finds one.
func TestStepDown(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	term := l.c.hard.Term
	nw.core(2).StepDown(nw.now) // no leader: nothing happens
	l.c.SetStandby(true, nw.now)
	l.c.StepDown(nw.now)
	if l.c.role != Standby || l.c.leader != 0 || l.c.hard.Term != term {
		t.Fatalf("after stepping down: %+v", l.c.Status())
	}
	nw.pass(time.Second)
	if other := nw.leader(); other == nil || other == l {
		t.Fatal("no other leader")
	}
	l.c.SetStandby(false, nw.now)
	if l.c.role != Follower {
		t.Fatalf("role %v", l.c.role)
	}
}

// TestSlowDiskIsNoCandidate keeps a member from standing while a write of its own does not end.
func TestSlowDiskIsNoCandidate(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: entries(2, 2)})
	y.pass(time.Second)
	y.pass(time.Second)
	if y.c.role != Follower || y.c.leader != 0 {
		t.Fatalf("with a stalled disk: %+v", y.c.Status())
	}
	y.writeAll()
	y.pass(time.Second)
	if y.c.role != PreCandidate {
		t.Fatalf("with a good disk: %+v", y.c.Status())
	}
}
