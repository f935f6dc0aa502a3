package raft

import (
	"testing"
	"time"
)

// These tests are of rules that public implementations broke and that no other file's idea covers; the table of all
// rules with their tests is in docs/conformance.md.

// TestCommitCountsWhatIsHeldNotWhoAnswered has two of five members answer one round, each for another part of the
// log (rule 2). [To count a round's answers commits what two of five hold.]
func TestCommitCountsWhatIsHeldNotWhoAnswered(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 3}, 1)
	y.lead() // its no-op is index 2
	for range 2 {
		if _, _, err := y.c.Propose([]Proposal{{Kind: EntryCommand, Data: []byte("x")}}, y.now); err != nil {
			t.Fatal(err)
		}
	}
	y.out()
	y.writeAll() // the leader holds 4
	for _, step := range []struct {
		from          MemberID
		index, commit uint64
	}{
		{2, 4, 0}, // 4 4 . . .
		{3, 2, 2}, // 4 4 2 . .
		{4, 1, 2}, // 4 4 2 1 .
		{3, 2, 2}, // said again
		{5, 3, 3}, // 4 4 2 1 3: what an earlier round brought still counts
		{4, 4, 4}, // 4 4 2 4 3
		{3, 1, 4}, // late
	} {
		y.step(Message{Type: MsgAppendResp, From: step.from, Term: 4, Session: y.c.peer(step.from).pr.Session, Index: step.index})
		if y.c.log.commit != step.commit {
			t.Fatalf("after %d acknowledged %d: commit %d, want %d", step.from, step.index, y.c.log.commit, step.commit)
		}
	}
}

// TestRemovedMemberThatWasNeverToldDisturbsNobody removes a member that is down for longer than it is told (rule 7).
// It comes back with its old configuration, takes itself for a voter, and can neither win nor raise a term, not even
// while the others have no leader.
func TestRemovedMemberThatWasNeverToldDisturbsNobody(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(3)
	nw.change(l, drop(3))
	nw.committed(l)
	nw.pass(leaveLimit - time.Second)
	if p := l.c.peer(3); p == nil || !p.leaving {
		t.Fatal("it is given up before its time")
	}
	nw.pass(2 * time.Second)
	if l.c.peer(3) != nil {
		t.Fatal("it is told for ever")
	}
	term := l.c.hard.Term
	gone := nw.host(3)
	nw.start(gone)
	gone.eager = true
	nw.pass(5 * time.Second)
	if nw.leader() != l || l.c.hard.Term != term || gone.c.hard.Term != term || gone.c.Stats.Elections < 5 {
		t.Fatalf("with a leader: %+v, the removed one %+v", l.c.Status(), gone.c.Status())
	}
	nw.crash(1)
	nw.pass(5 * time.Second)
	if nw.leader() != nil || nw.core(2).hard.Term != term || nw.core(2).hard.Vote == 3 {
		t.Fatalf("without one: %+v", nw.core(2).Status())
	}
	nw.start(l)
	nw.pass(time.Second)
	if n := nw.leader(); n == nil || n == gone || !n.c.ready() || n.c.hard.Term > term+1 {
		t.Fatal("the two that stay elect nobody")
	}
}

// TestRemovedMemberReturnsAsANewOne comes back under its ID with an empty directory (rule 7): as a learner first, and
// what its old directory says counts for nothing.
func TestRemovedMemberReturnsAsANewOne(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.change(l, drop(3))
	nw.pass(time.Second)
	h, old := nw.host(3), nw.host(3).inc
	if !h.state.Removed || h.state.Role != Standby {
		t.Fatalf("removed: %+v", h.state)
	}
	nw.crash(3)
	h.inc, h.log, h.hard = Incarnation{33}, nil, HardState{}
	h.cfg.Incarnation, h.cfg.Members = h.inc, nil
	nw.start(h)
	nw.change(l, func(c *Configuration) {
		c.Members = append(c.Members, Member{ID: 3, Incarnation: h.inc, Learner: true, Promote: true})
	})
	nw.pass(time.Second)
	if roles(h) != "vvv" || h.state.Removed || h.c.role != Follower || h.lastApplied() != l.lastApplied() {
		t.Fatalf("roles %s, its state %+v", roles(h), h.state)
	}
	before := l.c.peer(3).pr.Match
	l.c.Step(Message{Type: MsgAppendResp, From: 3, To: 1, Term: l.c.hard.Term, Session: l.c.peer(3).pr.Session, Index: before,
		Incarnation: old}, nw.now)
	if l.c.Stats.WrongIncarnation == 0 {
		t.Fatal("the old directory is still heard")
	}
}

// TestOnlyAStandbyHasTheNewestLog leaves nobody who can win (rule 20): a standby does not stand, and who may stand
// lacks what the standby acknowledged. It is over as soon as the standby may stand, and nothing is lost.
func TestOnlyAStandbyHasTheNewestLog(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.Standby = c.ID == 3 })
	l := nw.elect(1)
	nw.crash(2)
	i := nw.propose(l, "held by 1 and the standby")
	nw.settle()
	if l.c.log.commit != i {
		t.Fatal("a standby does not count")
	}
	nw.crash(1)
	nw.start(nw.host(2))
	nw.pass(5 * time.Second)
	if nw.leader() != nil || nw.core(2).Stats.Elections == 0 || nw.core(3).Stats.Elections > 0 {
		t.Fatalf("2: %+v, the standby: %+v", nw.core(2).Status(), nw.core(3).Status())
	}
	nw.core(3).SetStandby(false, nw.now)
	nw.host(3).cfg.Standby = false
	if !nw.passUntil(2*time.Second, nw.core(3).ready) || nw.core(3).log.commit < i {
		t.Fatalf("made one that may stand: %+v", nw.core(3).Status())
	}
	nw.pass(time.Second)
	if nw.core(2).log.commit < i {
		t.Fatal("the entry is lost")
	}
}
