package raft

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestElectionInOneRound elects the first leader of blank clusters of each size, in term 1.
func TestElectionInOneRound(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, n)
			if !nw.passUntil(2*time.Second, func() bool { l := nw.leader(); return l != nil && l.c.ready() }) {
				t.Fatal("nobody is elected")
			}
			l := nw.leader()
			nw.pass(time.Second)
			if nw.leader() != l || l.c.hard.Term != 1 {
				t.Fatalf("the first leader does not stay, or is of term %d", l.c.hard.Term)
			}
			for _, h := range nw.hosts {
				if h.c.leader != l.id || h.c.log.commit != 2 || h.applied[0].Kind != EntryConfig || h.applied[1].Kind != EntryNoOp {
					t.Fatalf("member %d: %+v", h.id, h.c.Status())
				}
			}
			nw.same()
		})
	}
}

// TestLoneMemberLeadsAtOnce needs no time at all, and a new term after each restart.
func TestLoneMemberLeadsAtOnce(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 1)
	for term := uint64(1); term <= 3; term++ {
		nw.settle()
		h := nw.host(1)
		if h.c.role != Leader || h.c.hard.Term != term || !h.c.ready() {
			t.Fatalf("term %d: %+v", term, h.c.Status())
		}
		nw.propose(h, "x")
		nw.settle()
		if h.c.log.commit != h.c.log.last {
			t.Fatal("a lone member does not commit")
		}
		if until, ok := h.c.Lease(nw.now); !ok || until <= nw.now {
			t.Fatal("a lone leader has no lease")
		}
		nw.crash(1)
		nw.start(h)
	}
}

// TestVoteTable is the paper's figure 3.1 (RequestVote) as a table.
func TestVoteTable(t *testing.T) {
	t.Parallel()
	mine := []uint64{1, 2, 2}
	for _, tc := range []struct {
		name           string
		vote           MemberID
		term           uint64
		index, logTerm uint64
		grant          bool
	}{
		{"empty log", 0, 3, 0, 0, false},
		{"older term, longer log", 0, 3, 9, 1, false},
		{"same term, shorter log", 0, 3, 2, 2, false},
		{"equal log", 0, 3, 3, 2, true},
		{"same term, longer log", 0, 3, 4, 2, true},
		{"newer term, shorter log", 0, 4, 1, 3, true},
		{"voted for it in this term", 2, 2, 3, 1, false}, // its log is older than ours
		{"voted for it, log good", 2, 3, 3, 2, true},
		{"voted for another, newer term", 3, 3, 3, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			y := one(t, 3, HardState{Term: 2, Vote: tc.vote}, mine...)
			y.step(Message{Type: MsgVote, From: 2, Term: tc.term, Index: tc.index, LogTerm: tc.logTerm})
			y.writeAll()
			got := y.take(MsgVoteResp)
			if len(got) != 1 || got[0].Reject == tc.grant || got[0].Term != tc.term {
				t.Fatalf("answer %+v, want a grant: %v", got, tc.grant)
			}
			if tc.grant && (y.c.stored.Vote != 2 || y.c.stored.Term != tc.term) {
				t.Fatalf("stored %+v", y.c.stored)
			}
		})
	}
}

// TestOneVoteATerm gives a term's vote to one candidate and repeats it to that one.
func TestOneVoteATerm(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	ask := func(from MemberID) Message {
		y.step(Message{Type: MsgVote, From: from, Term: 5, Index: 1, LogTerm: 1})
		y.writeAll()
		return y.take(MsgVoteResp)[0]
	}
	if ask(2).Reject || !ask(3).Reject || ask(2).Reject {
		t.Fatal("the vote of a term is not one member's")
	}
}

// TestVoteRequestFields checks what a candidate sends, and to whom.
func TestVoteRequestFields(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 4}, 1, 3, 3)
	y.pass(time.Second)
	pre := y.take(MsgPreVote)
	if len(pre) != 4 || len(y.batches) > 0 || y.c.hard.Term != 4 {
		t.Fatalf("%d pre-vote requests, %d writes, term %d", len(pre), len(y.batches), y.c.hard.Term)
	}
	for _, m := range pre {
		if m.Term != 5 || m.Index != 3 || m.LogTerm != 3 {
			t.Fatalf("request %+v", m)
		}
	}
	y.step(Message{Type: MsgPreVoteResp, From: 2, Term: 5})
	y.step(Message{Type: MsgPreVoteResp, From: 3, Term: 5})
	if len(y.take(MsgVote)) != 0 {
		t.Fatal("a vote request left before the vote was durable")
	}
	y.writeAll()
	votes := y.take(MsgVote)
	if len(votes) != 4 {
		t.Fatalf("%d vote requests", len(votes))
	}
	for i, m := range votes {
		if m.Term != 5 || m.Index != 3 || m.LogTerm != 3 || m.To != MemberID(i+2) || m.Transfer {
			t.Fatalf("request %+v", m)
		}
	}
}

// TestCandidateFallsBack makes campaigners follow a leader of their term or of a newer one.
func TestCandidateFallsBack(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{PreCandidate, Candidate} {
		for _, typ := range []MessageType{MsgAppend, MsgHeartbeat} {
			for _, newer := range []uint64{0, 1} {
				y := one(t, 3, HardState{Term: 1}, 1)
				y.pass(time.Second)
				if role == Candidate {
					y.step(Message{Type: MsgPreVoteResp, From: 2, Term: 2})
				}
				if y.c.role != role {
					t.Fatalf("role %d, want %d", y.c.role, role)
				}
				m := Message{Type: typ, From: 3, Term: y.c.hard.Term + newer}
				if typ == MsgAppend {
					m.Index, m.LogTerm = 1, 1
				}
				y.step(m)
				if y.c.role != Follower || y.c.leader != 3 || y.c.hard.Term != m.Term {
					t.Fatalf("after %v of term +%d: %+v", typ, newer, y.c.Status())
				}
			}
		}
	}
}

// TestCandidateLoses goes back to follower as soon as a majority has refused.
func TestCandidateLoses(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	y.pass(time.Second)
	y.step(Message{Type: MsgPreVoteResp, From: 2, Term: 1, Reject: true})
	if y.c.role != PreCandidate {
		t.Fatal("lost before a majority refused")
	}
	y.step(Message{Type: MsgPreVoteResp, From: 3, Term: 1, Reject: true})
	if y.c.role != Follower || y.c.hard.Term != 1 {
		t.Fatalf("after two refusals: %+v", y.c.Status())
	}
}

// TestTimeoutsAreFreshDraws sees many draws of one member, all within the bounds and hardly any twice.
func TestTimeoutsAreFreshDraws(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	seen := map[time.Duration]bool{}
	for range 1000 {
		y.now += time.Millisecond
		y.step(Message{Type: MsgHeartbeat, From: 2, Term: 1, Round: 1})
		d := y.c.election.at - y.now
		if d < DefaultElectionTimeoutMin || d >= DefaultElectionTimeoutMax {
			t.Fatalf("timeout %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 990 {
		t.Fatalf("only %d different timeouts", len(seen))
	}
}

// TestTwoElectWhileTheThirdSwallowsEverything is rule 19, for many draws. One-way delays are a millisecond,
// so that campaigns may clash.
func TestTwoElectWhileTheThirdSwallowsEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		nw := newNetwork(t, 3)
		nw.elect(3)
		for _, h := range nw.hosts {
			h.rnd = rand.New(rand.NewPCG(seed, uint64(h.id)))
		}
		nw.pass(time.Duration(seed) * time.Millisecond) // to another phase of the heartbeats
		nw.drop = func(m Message) bool { return m.To == 3 || m.From == 3 }
		for _, h := range nw.hosts {
			h.c.resetElectionTimer()
		}
		at := nw.now
		type late struct {
			m  Message
			at time.Duration
		}
		var air []late
		two := nw.hosts[:2]
		done := func() bool { return two[0].c.ready() || two[1].c.ready() }
		for !done() {
			nw.now += 100 * time.Microsecond
			for _, h := range two {
				h.c.Tick(nw.now)
				nw.turn(h)
			}
			for _, m := range nw.queue {
				air = append(air, late{m, nw.now + time.Millisecond})
			}
			nw.queue = nil
			for len(air) > 0 && air[0].at <= nw.now {
				nw.core(air[0].m.To).Step(air[0].m, nw.now)
				air = air[1:]
			}
			if nw.now-at > 2*DefaultElectionTimeoutMax {
				t.Fatalf("seed %d: nobody leads %v after the leader was gone", seed, nw.now-at)
			}
		}
	}
}

// TestPreVoteDisturbsNobody brings back a member that was alone for a long time: no term changes.
func TestPreVoteDisturbsNobody(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	term := l.c.hard.Term
	nw.isolate(3)
	nw.pass(5 * time.Second)
	if nw.core(3).role != PreCandidate || nw.core(3).hard.Term != term {
		t.Fatalf("alone: %+v", nw.core(3).Status())
	}
	nw.heal()
	nw.pass(time.Second)
	if nw.leader() != l || l.c.hard.Term != term || nw.core(3).leader != 1 {
		t.Fatalf("after the return: %+v, %+v", l.c.Status(), nw.core(3).Status())
	}
}

// TestStickyRefusal refuses pre-votes and votes within the window of the last contact, without adopting
// the term, and grants after it.
func TestStickyRefusal(t *testing.T) {
	t.Parallel()
	for _, typ := range []MessageType{MsgPreVote, MsgVote} {
		y := one(t, 3, HardState{Term: 3}, 1)
		y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
		y.writeAll()
		y.sent = nil
		ask := func() Message {
			y.step(Message{Type: typ, From: 3, Term: 9, Index: 5, LogTerm: 1})
			y.writeAll()
			return y.take(typ + 1)[0]
		}
		y.now += DefaultElectionTimeoutMin - 1
		if m := ask(); !m.Reject || m.Term != 3 || y.c.hard.Term != 3 || y.c.leader != 2 {
			t.Fatalf("%v within the window: %+v, term %d", typ, m, y.c.hard.Term)
		}
		y.now++
		if m := ask(); m.Reject || m.Term != 9 {
			t.Fatalf("%v after the window: %+v", typ, m)
		}
	}
}

// TestPromiseOutlivesTheTerm refuses a vote in a term that was adopted for another reason, within the
// window of the last contact with the leader before.
func TestPromiseOutlivesTheTerm(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	y.step(Message{Type: MsgVoteResp, From: 3, Term: 4, Reject: true})
	if y.c.hard.Term != 4 {
		t.Fatalf("term %d", y.c.hard.Term)
	}
	y.step(Message{Type: MsgVote, From: 3, Term: 4, Index: 5, LogTerm: 1})
	y.writeAll()
	if m := y.take(MsgVoteResp); len(m) != 1 || !m[0].Reject || y.c.hard.Vote != 0 {
		t.Fatalf("answer %+v", m)
	}
}

// TestLeaderIsSticky refuses a vote while a majority answers, and steps down for it when none does.
func TestLeaderIsSticky(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	y.lead()
	y.step(Message{Type: MsgVote, From: 3, Term: 7, Index: 9, LogTerm: 6})
	if m := y.take(MsgVoteResp); len(m) != 1 || !m[0].Reject || y.c.role != Leader {
		t.Fatalf("answer %+v", m)
	}
	y.now += DefaultElectionTimeoutMin
	y.step(Message{Type: MsgVote, From: 3, Term: 7, Index: 9, LogTerm: 6})
	y.writeAll()
	if m := y.take(MsgVoteResp); len(m) != 1 || m[0].Reject || y.c.role != Follower {
		t.Fatalf("answer %+v", m)
	}
}

// TestRestartedVoterWaits honours the promise of an earlier life: no vote, no candidacy until it ends.
func TestRestartedVoterWaits(t *testing.T) {
	t.Parallel()
	const promise = 700 * time.Millisecond
	y := one(t, 3, HardState{Term: 3, Promise: promise}, 1)
	ask := func() bool {
		y.step(Message{Type: MsgVote, From: 3, Term: 9, Index: 5, LogTerm: 1})
		y.writeAll()
		return !y.take(MsgVoteResp)[0].Reject
	}
	y.pass(promise - 1)
	if y.c.role != Follower || ask() {
		t.Fatalf("bound by its promise, yet it votes or stands: %+v", y.c.Status())
	}
	y.now++
	if !ask() {
		t.Fatal("no vote after the promise ended")
	}
}

// TestPromiseIsDurableFirst writes the promise down before the first acknowledgement carries it.
func TestPromiseIsDurableFirst(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	if len(y.take(MsgHeartbeatResp)) > 0 {
		t.Fatal("promised before the promise was durable")
	}
	if b := y.batches[0]; !b.MustWrite || b.HardState.Promise != DefaultElectionTimeoutMin {
		t.Fatalf("batch %+v", b)
	}
	y.write()
	if m := y.take(MsgHeartbeatResp); len(m) != 1 || m[0].Promise != DefaultElectionTimeoutMin || m[0].Round != 1 {
		t.Fatalf("answer %+v", m)
	}
	// From now on a heartbeat waits for nothing, not even behind a stalled write (rule 13).
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Entries: entries(2, 3)})
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 2})
	if len(y.take(MsgHeartbeatResp)) != 1 || len(y.batches) != 1 {
		t.Fatal("a heartbeat waits for an append")
	}
}
