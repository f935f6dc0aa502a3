package raft

import (
	"testing"
	"time"
)

// TestTransfer hands over to a named member, and to the best one, without waiting for a timeout.
func TestTransfer(t *testing.T) {
	t.Parallel()
	for _, to := range []MemberID{0, 2, 3} {
		nw := newNetwork(t, 3)
		l := nw.elect(1)
		term := l.c.hard.Term
		if err := l.c.TransferLeadership(to, nw.now); err != nil {
			t.Fatal(err)
		}
		nw.settle() // no time passes
		other := nw.leader()
		if other == nil || other == l || other.c.hard.Term != term+1 || (to != 0 && other.id != to) || !other.c.ready() {
			t.Fatalf("after a transfer to %d: %+v", to, l.c.Status())
		}
		if l.c.role != Follower || l.c.leader != other.id {
			t.Fatalf("the old leader: %+v", l.c.Status())
		}
	}
}

// TestTransferToASlowMember catches it up first; proposals are refused meanwhile.
func TestTransferToASlowMember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.To == 3 && m.Type == MsgAppend }
	for range 100 {
		nw.propose(l, "x")
	}
	nw.settle()
	if err := l.c.TransferLeadership(3, nw.now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.c.Propose([]Proposal{{Kind: EntryCommand}}, nw.now); err != ErrTransferring {
		t.Fatalf("error %v", err)
	}
	if err := l.c.TransferLeadership(2, nw.now); err != ErrTransferring {
		t.Fatalf("error %v", err)
	}
	nw.pass(50 * time.Millisecond)
	if nw.leader() != l {
		t.Fatal("handed over to a member that lacks entries")
	}
	nw.heal()
	if !nw.passUntil(250*time.Millisecond, func() bool { return nw.core(3).ready() }) {
		t.Fatalf("not handed over: %+v", l.c.Status())
	}
	nw.pass(time.Second)
	nw.same()
}

// TestTransferGivesUp goes on after one election timeout, without a lease for the rest of the term.
func TestTransferGivesUp(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.pass(100 * time.Millisecond)
	if _, ok := l.c.Lease(nw.now); !ok {
		t.Fatal("no lease before the transfer")
	}
	nw.isolate(3)
	if err := l.c.TransferLeadership(3, nw.now); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.c.Lease(nw.now); ok {
		t.Fatal("a lease during a transfer")
	}
	nw.pass(DefaultElectionTimeoutMax)
	if l.c.role != Leader {
		t.Fatalf("it does not go on: %+v", l.c.Status())
	}
	i := nw.propose(l, "x")
	nw.pass(time.Second)
	if l.c.log.commit < i {
		t.Fatal("nothing is committed after the transfer")
	}
	if _, ok := l.c.Lease(nw.now); ok {
		t.Fatal("a lease after a transfer was asked for")
	}
	nw.heal()
	nw.pass(time.Second)
	if nw.leader() != l {
		t.Fatal("another leader after all")
	}
}

// TestTransferRefusals names what cannot take over.
func TestTransferRefusals(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	if err := y.c.TransferLeadership(2, y.now); err != ErrNotLeader {
		t.Fatalf("follower: %v", err)
	}
	y.lead()
	if err := y.c.TransferLeadership(99, y.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("unknown: %v", err)
	}
	y.c.peer(2).standby = true
	if err := y.c.TransferLeadership(2, y.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("standby: %v", err)
	}
	if err := y.c.TransferLeadership(1, y.now); err != nil || y.c.lead.noLease {
		t.Fatalf("itself: %v", err)
	}
	lone := one(t, 1, HardState{Term: 3}, 1)
	lone.out()
	lone.writeAll()
	if err := lone.c.TransferLeadership(0, lone.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("alone: %v", err)
	}
}

// TestTransferBypassesStickinessOnce lets the request through in the term after the leader's alone.
func TestTransferBypassesStickinessOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		term  uint64
		grant bool
	}{{4, true}, {5, false}} {
		y := one(t, 3, HardState{Term: 3}, 1)
		y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
		y.writeAll()
		y.sent = nil
		y.step(Message{Type: MsgVote, From: 3, Term: tc.term, Index: 1, LogTerm: 1, Transfer: true})
		y.writeAll()
		m := y.take(MsgVoteResp)
		if len(m) != 1 || m[0].Reject == tc.grant {
			t.Fatalf("term %d: %+v", tc.term, m)
		}
	}
	// Refused for its log in the term after, it does not get through a second time in that term.
	y := one(t, 3, HardState{Term: 3}, 1, 2)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	y.writeAll()
	y.sent = nil
	y.step(Message{Type: MsgVote, From: 3, Term: 4, Index: 1, LogTerm: 1, Transfer: true})
	y.step(Message{Type: MsgVote, From: 3, Term: 4, Index: 5, LogTerm: 2, Transfer: true})
	y.writeAll()
	m := y.take(MsgVoteResp)
	if len(m) != 2 || !m[0].Reject || !m[1].Reject {
		t.Fatalf("answers %+v", m)
	}
}

// TestLeaderThatDidNotAskRefusesATransfer keeps its leadership, and its lease, against a forged one.
func TestLeaderThatDidNotAskRefusesATransfer(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	y.step(Message{Type: MsgVote, From: 3, Term: 5, Index: 9, LogTerm: 4, Transfer: true})
	if m := y.take(MsgVoteResp); len(m) != 1 || !m[0].Reject || y.c.role != Leader {
		t.Fatalf("answer %+v", m)
	}
}

// TestTimeoutNowOnlyFromTheLeader ignores it from others and in other terms.
func TestTimeoutNowOnlyFromTheLeader(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	for _, m := range []Message{{From: 3, Term: 3}, {From: 2, Term: 2}, {From: 2, Term: 4}} {
		m.Type = MsgTimeoutNow
		y.step(m)
		if y.c.role != Follower || y.c.hard.Term != 3 {
			t.Fatalf("after %+v: %+v", m, y.c.Status())
		}
	}
	y.step(Message{Type: MsgTimeoutNow, From: 2, Term: 3})
	y.writeAll()
	m := y.take(MsgVote)
	if y.c.role != Candidate || len(m) != 2 || !m[0].Transfer || m[0].Term != 4 {
		t.Fatalf("requests %+v", m)
	}
}

// TestTransferToARestartingMember gives up, and the cluster goes on.
func TestTransferToARestartingMember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(2)
	if err := l.c.TransferLeadership(2, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.pass(100 * time.Millisecond)
	nw.start(nw.host(2))
	nw.pass(2 * time.Second)
	i := nw.propose(nw.leader(), "x")
	nw.pass(time.Second)
	for _, h := range nw.hosts {
		if h.c.log.commit < i {
			t.Fatalf("member %d: commit %d of %d", h.id, h.c.log.commit, i)
		}
	}
}
