package raft

import (
	"errors"
	"testing"
	"time"
)

func isErr(err, target error) bool { return errors.Is(err, target) }

// TestReadIndexEverywhere reads on leader and follower, and gets an index that covers what was committed.
func TestReadIndexEverywhere(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	i := nw.propose(l, "x")
	nw.settle()
	for _, h := range nw.hosts {
		h.c.ReadIndex(7, nw.now)
		nw.settle()
		if len(h.reads) != 1 || h.reads[0] != (ReadState{ID: 7, Index: i}) {
			t.Fatalf("member %d: %+v", h.id, h.reads)
		}
		if len(h.applied) < int(i) {
			t.Fatalf("member %d has to wait for a heartbeat before it may answer", h.id)
		}
	}
}

// TestReadsJoinOnlyLaterRounds does not count the answer to a round that was sent before the read arrived.
func TestReadsJoinOnlyLaterRounds(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	p := y.c.peer(2)
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p.pr.Session, Index: 2})
	y.pass(80 * time.Millisecond)
	before := y.take(MsgHeartbeat)[0].Round
	y.c.ReadIndex(1, y.now)
	y.out()
	after := y.take(MsgHeartbeat)[0].Round
	y.c.ReadIndex(2, y.now) // arrived after that round was sent
	y.out()
	ack := func(round uint64) {
		y.step(Message{Type: MsgHeartbeatResp, From: 2, Term: 4, Session: p.pr.Session, Round: round, Promise: 1})
	}
	ack(before)
	if len(y.reads) > 0 || after <= before {
		t.Fatalf("answered by an earlier round: %+v", y.reads)
	}
	ack(after)
	if len(y.reads) != 1 || y.reads[0].ID != 1 {
		t.Fatalf("answered: %+v", y.reads)
	}
	ack(after)
	if len(y.reads) != 1 {
		t.Fatalf("answered: %+v", y.reads)
	}
	ack(y.take(MsgHeartbeat)[0].Round)
	if len(y.reads) != 2 {
		t.Fatalf("answered: %+v", y.reads)
	}
}

// TestReadsOfANewLeaderWait waits for the first commit of the term instead of failing, and answers with at
// least what was committed before.
func TestReadsOfANewLeaderWait(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1, 2)
	y.lead()
	p := y.c.peer(2)
	y.c.ReadIndex(1, y.now)
	y.step(Message{Type: MsgReadIndex, From: 3, Term: 4, Round: 8})
	y.step(Message{Type: MsgReadIndex, From: 3, Term: 4, Round: 8}) // repeated meanwhile
	y.step(Message{Type: MsgHeartbeatResp, From: 2, Term: 4, Session: p.pr.Session, Round: y.c.lead.rounds.last})
	y.pass(80 * time.Millisecond) // a round is sent meanwhile
	y.step(Message{Type: MsgHeartbeatResp, From: 2, Term: 4, Session: p.pr.Session, Round: y.c.lead.rounds.last})
	if len(y.reads) > 0 {
		t.Fatalf("answered before the first commit of the term: %+v", y.reads)
	}
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p.pr.Session, Index: 3})
	y.step(Message{Type: MsgHeartbeatResp, From: 2, Term: 4, Session: p.pr.Session, Round: y.c.lead.rounds.last})
	if len(y.reads) != 1 || y.reads[0] != (ReadState{ID: 1, Index: 3}) {
		t.Fatalf("answers %+v", y.reads)
	}
	if m := y.take(MsgReadIndexResp); len(m) != 1 || m[0].Index != 3 || m[0].Round != 8 || m[0].To != 3 {
		t.Fatalf("answers %+v", m)
	}
}

// TestDeposedLeaderAnswersNoRead loses its reads, local and forwarded, with the leadership.
func TestDeposedLeaderAnswersNoRead(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.isolate(1)
	l.c.ReadIndex(1, nw.now)
	nw.pass(time.Second)
	if len(l.reads) != 1 || l.reads[0].Err != ErrLeadershipLost {
		t.Fatalf("answers %+v", l.reads)
	}
	l.c.ReadIndex(2, nw.now)
	nw.settle()
	if len(l.reads) != 2 || l.reads[1].Err != ErrNotLeader {
		t.Fatalf("answers %+v", l.reads)
	}
}

// TestStaleLeaderWithoutCheckQuorumNeverAnswers keeps waiting while another one leads.
func TestStaleLeaderWithoutCheckQuorumNeverAnswers(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.CheckQuorum = false })
	l := nw.elect(1)
	nw.isolate(1)
	nw.pass(time.Second)
	other := nw.leader()
	i := nw.propose(other, "x")
	nw.settle()
	l.c.ReadIndex(1, nw.now)
	nw.pass(time.Second)
	if l.c.role != Leader || other == l || len(l.reads) > 0 {
		t.Fatalf("the old leader answered %+v", l.reads)
	}
	nw.heal()
	nw.pass(time.Second)
	if len(l.reads) != 1 || l.reads[0].Err != ErrLeadershipLost {
		t.Fatalf("answers %+v", l.reads)
	}
	l.c.ReadIndex(2, nw.now)
	nw.settle()
	if len(l.reads) != 2 || l.reads[1].Err != nil || l.reads[1].Index < i {
		t.Fatalf("answers %+v", l.reads)
	}
}

// TestForwardedReadsSurviveLoss repeats a follower's request, and answers each read once.
func TestForwardedReadsSurviveLoss(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	nw.elect(1)
	h := nw.host(2)
	lost := 0
	nw.drop = func(m Message) bool {
		if (m.Type == MsgReadIndex || m.Type == MsgReadIndexResp) && lost < 4 {
			lost++
			return true
		}
		return false
	}
	for id := range uint64(5) {
		h.c.ReadIndex(id, nw.now)
		nw.settle()
	}
	nw.pass(time.Second)
	if len(h.reads) != 5 || lost != 4 {
		t.Fatalf("%d answers after %d losses", len(h.reads), lost)
	}
	for i, r := range h.reads {
		if r.ID != uint64(i) || r.Err != nil {
			t.Fatalf("answers %+v", h.reads)
		}
	}
}

// TestAnswersToAnEarlierLifeFitNoRequest numbers a follower's requests from a random start.
func TestAnswersToAnEarlierLifeFitNoRequest(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	y.c.ReadIndex(1, y.now)
	y.out()
	req := y.take(MsgReadIndex)
	if len(req) != 1 || req[0].Round < 1000 {
		t.Fatalf("request %+v", req)
	}
	y.step(Message{Type: MsgReadIndexResp, From: 2, Term: 3, Round: 1, Index: 1})
	if len(y.reads) > 0 {
		t.Fatalf("answers %+v", y.reads)
	}
	y.step(Message{Type: MsgReadIndexResp, From: 2, Term: 3, Round: req[0].Round, Index: 1})
	if len(y.reads) != 1 {
		t.Fatalf("answers %+v", y.reads)
	}
}

// TestRefusedReadsEnd tells a follower's readers that its leader is none, and that it changed.
func TestRefusedReadsEnd(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Round: 1})
	y.c.ReadIndex(1, y.now)
	y.out()
	round := y.take(MsgReadIndex)[0].Round
	y.step(Message{Type: MsgReadIndexResp, From: 3, Term: 3, Round: round, Index: 1}) // not the leader
	y.step(Message{Type: MsgReadIndexResp, From: 2, Term: 3, Round: round, Reject: true})
	if len(y.reads) != 1 || y.reads[0].Err != ErrNotLeader {
		t.Fatalf("answers %+v", y.reads)
	}
	y.c.ReadIndex(2, y.now)
	y.out()
	y.c.ReadIndex(3, y.now)
	y.step(Message{Type: MsgHeartbeat, From: 3, Term: 4, Round: 1})
	if len(y.reads) != 3 || y.reads[1].Err != ErrLeadershipLost || y.reads[2].Err != ErrLeadershipLost {
		t.Fatalf("answers %+v", y.reads)
	}
	z := one(t, 3, HardState{Term: 3}, 1)
	z.step(Message{Type: MsgReadIndex, From: 2, Term: 3, Round: 5})
	if m := z.take(MsgReadIndexResp); len(m) != 1 || !m[0].Reject || m[0].Round != 5 {
		t.Fatalf("a follower answers a read request with %+v", m)
	}
}
