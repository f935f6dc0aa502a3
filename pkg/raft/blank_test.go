package raft

import (
	"testing"
	"time"
)

// TestBlankStart waits until every listed member has said that it is blank, then elects.
func TestBlankStart(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	nw.hosts[2].down = true
	nw.pass(5 * time.Second)
	for _, h := range nw.hosts[:2] {
		if h.c.role != Follower || h.c.hard.Term != 0 || !h.state.Blank {
			t.Fatalf("without the third: %+v", h.c.Status())
		}
	}
	nw.start(nw.host(3))
	nw.pass(2 * time.Second)
	l := nw.leader()
	if l == nil || l.state.Blank {
		t.Fatal("no leader with all three")
	}
	conf, index := l.c.Config()
	if index != 1 || conf.ClusterID != l.cfg.NewClusterID {
		t.Fatalf("configuration at %d: %+v", index, conf)
	}
	for _, m := range conf.Members {
		if m.Incarnation != nw.host(m.ID).inc {
			t.Fatalf("member %d has incarnation %v", m.ID, m.Incarnation)
		}
	}
}

// TestBlankStartSurvivesACrash stops the first candidate right after its vote is durable: the rest of the
// cluster, and later all of it, still gets going.
func TestBlankStartSurvivesACrash(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	h := nw.host(1)
	h.eager = true
	h.c.resetElectionTimer()
	nw.drop = func(m Message) bool { return m.Type == MsgVote }
	if !nw.passUntil(5*time.Second, func() bool { return h.c.role == Candidate }) {
		t.Fatal("member 1 does not stand")
	}
	// The others forget that they passed; member 1 comes back with a vote.
	for _, h := range nw.hosts {
		nw.crash(h.id)
	}
	nw.heal()
	for _, h := range nw.hosts {
		nw.start(h)
	}
	if h.hard.Vote != 1 || len(h.log) > 0 {
		t.Fatalf("disk of 1: %+v", h.hard)
	}
	if !nw.passUntil(3*time.Second, func() bool { l := nw.leader(); return l != nil && l.c.ready() }) {
		t.Fatal("the cluster never begins")
	}
}

// TestWipedVolumeNeitherVotesNorCounts starts a member again with the same flags and an empty directory. It
// must not help the third, which lacks what the wiped one had acknowledged, to win.
func TestWipedVolumeNeitherVotesNorCounts(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(3)
	i := nw.propose(l, "committed by 1 and 2")
	nw.pass(200 * time.Millisecond)
	if l.c.log.commit != i {
		t.Fatal("not committed")
	}
	nw.crash(1)
	wiped := nw.host(2)
	nw.crash(2)
	wiped.hard, wiped.log = HardState{}, nil
	wiped.inc = Incarnation{99}
	wiped.cfg.Incarnation = wiped.inc
	nw.start(wiped)
	nw.start(nw.host(3))
	nw.pass(5 * time.Second)
	if nw.leader() != nil || wiped.c.hard.Vote != 0 || !wiped.state.Blank {
		t.Fatalf("a wiped member took part: %+v", wiped.c.Status())
	}
	// With member 1 there is a majority that knows the entry; the wiped one stays out until it is replaced.
	nw.start(l)
	if !nw.passUntil(3*time.Second, func() bool { return nw.leader() != nil && nw.leader().c.ready() }) {
		t.Fatal("the majority does not elect")
	}
	if nw.leader() != l || nw.core(1).Stats.WrongIncarnation == 0 {
		t.Fatalf("leader %d, stats %+v", nw.leader().id, nw.core(1).Stats)
	}
	nw.crash(3)
	j := nw.propose(l, "x")
	nw.pass(200 * time.Millisecond)
	if l.c.log.commit >= j {
		t.Fatal("the wiped member's acknowledgement counted")
	}
}

// TestUnrecordedIncarnationCountsOnceRecorded lets a cluster begin without knowing one member's incarnation:
// its acknowledgements count only after the leader wrote it down, which it does by itself.
func TestUnrecordedIncarnationCountsOnceRecorded(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	conf := Configuration{ClusterID: ClusterID{1}, Members: members(3)}
	conf.Members[0].Incarnation, conf.Members[1].Incarnation = nw.host(1).inc, nw.host(2).inc
	first := []Entry{{Index: 1, Term: 1, Kind: EntryConfig, Data: conf.Encode()}}
	for _, id := range []MemberID{1, 2} {
		h := nw.host(id)
		h.hard, h.log = HardState{Term: 1, Vote: 1, Commit: 1}, first
		nw.start(h)
	}
	nw.host(3).down = true
	l := nw.elect(1)
	nw.crash(2)
	nw.start(nw.host(3))
	nw.pass(200 * time.Millisecond)
	got, _ := l.c.Config()
	if m, _ := got.Member(3); m.Incarnation != nw.host(3).inc || got.ClusterID != conf.ClusterID {
		t.Fatalf("configuration %+v", got)
	}
	i := nw.propose(l, "x")
	nw.pass(200 * time.Millisecond)
	if l.c.log.commit < i || nw.core(3).log.commit == 0 {
		t.Fatalf("commit %d of %d", l.c.log.commit, i)
	}
}

// TestNodeWithoutMembersWaits takes the configuration from a leader, and neither asks nor stands before.
func TestNodeWithoutMembersWaits(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 1, func(c *Config) { c.Members = nil })
	h := nw.host(1)
	nw.pass(5 * time.Second)
	if h.c.hard.Term != 0 || h.c.role != Follower || !h.state.Blank {
		t.Fatalf("alone: %+v", h.c.Status())
	}
	conf := Configuration{Members: members(2)}
	conf.Members[0].Incarnation = h.inc
	h.c.Step(Message{Type: MsgAppend, From: 2, To: 1, Term: 3, Entries: []Entry{{Index: 1, Term: 3, Kind: EntryConfig, Data: conf.Encode()}}}, nw.now)
	nw.turn(h)
	if h.state.Blank || h.c.leader != 2 || len(nw.queue) != 1 || nw.queue[0].Index != 1 {
		t.Fatalf("with a leader: %+v, sent %+v", h.c.Status(), nw.queue)
	}
}

// TestHelloAnswersOfAnEarlierLifeDoNotCount needs answers to this life's question.
func TestHelloAnswersOfAnEarlierLifeDoNotCount(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 2)
	h := nw.host(1)
	h.c.Step(Message{Type: MsgHelloResp, From: 2, To: 1, Blank: true, Round: 5}, nw.now)
	if h.c.blank.passed {
		t.Fatal("passed by an answer to another question")
	}
	h.c.Step(Message{Type: MsgHelloResp, From: 2, To: 1, Blank: false, Round: h.c.blank.nonce}, nw.now)
	if h.c.blank.passed {
		t.Fatal("passed although the other has a log")
	}
	h.c.Step(Message{Type: MsgHelloResp, From: 2, To: 1, Blank: true, Round: h.c.blank.nonce}, nw.now)
	if !h.c.blank.passed {
		t.Fatal("not passed")
	}
}

// TestRecoveringMember grants only to who reaches its mark, never stands, and is healed by a log that does.
func TestRecoveringMember(t *testing.T) {
	t.Parallel()
	h := &host{id: 1, log: entries(1, 1, 1), hard: HardState{Term: 5, Commit: 2}}
	r := h.restored(9)
	r.HardState.Commit = 4 // lost
	r.Recovering = &Mark{LastTerm: 3, Last: 6}
	c, err := New(Config{ID: 1, Members: members(3), Rand: h.draw1}, r, 0)
	if err != nil {
		t.Fatal(err)
	}
	y := &tray{t: t, c: c}
	y.pass(5 * time.Second)
	if y.c.role != Follower || y.c.hard.Term != 5 || len(y.take(MsgPreVote)) > 0 || !y.c.Output().State.Recovering {
		t.Fatalf("it stood: %+v", y.c.Status())
	}
	term := uint64(5)
	for _, tc := range []struct {
		index, logTerm uint64
		grant          bool
	}{{2, 1, false}, {9, 2, false}, {5, 3, false}, {6, 3, true}, {1, 4, true}} {
		for _, typ := range []MessageType{MsgPreVote, MsgVote} {
			term++
			y.step(Message{Type: typ, From: 2, Term: term, Index: tc.index, LogTerm: tc.logTerm})
			y.writeAll()
			if m := y.take(typ + 1); len(m) != 1 || m[0].Reject == tc.grant {
				t.Fatalf("%v of (%d, %d): %+v", typ, tc.logTerm, tc.index, m)
			}
		}
	}
	y.step(Message{Type: MsgAppend, From: 2, Term: term, Index: 2, LogTerm: 1, Entries: entries(3, 3, 3)})
	y.writeAll()
	if m := y.take(MsgAppendResp); len(m) != 1 || m[0].Index != 4 || y.c.recovering == nil {
		t.Fatalf("acknowledged %+v", m)
	}
	y.step(Message{Type: MsgAppend, From: 2, Term: term, Index: 4, LogTerm: 3, Entries: entries(5, 3, 3)})
	if y.c.recovering != nil {
		t.Fatal("still recovering with all it had")
	}
	y.writeAll()
	y.pass(time.Second)
	if y.c.role != PreCandidate {
		t.Fatalf("healed, it does not stand: %+v", y.c.Status())
	}
}

func (h *host) draw1(n uint64) uint64 { return n / 2 }

// TestWitnessed makes a member recovering if a peer saw more of its log than there is.
func TestWitnessed(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1, 2)
	y.c.Witnessed(Mark{LastTerm: 1, Last: 90}, y.now)
	if y.c.recovering != nil {
		t.Fatal("an older mark")
	}
	y.pass(time.Second)
	y.c.Witnessed(Mark{LastTerm: 2, Last: 3}, y.now)
	if y.c.recovering == nil || y.c.role != Follower {
		t.Fatalf("not recovering: %+v", y.c.Status())
	}
	y.c.Witnessed(Mark{LastTerm: 2, Last: 5}, y.now)
	y.c.Witnessed(Mark{LastTerm: 2, Last: 4}, y.now)
	if y.c.recovering.Last != 5 {
		t.Fatalf("mark %+v", y.c.recovering)
	}
}

// TestAcknowledgementsOfAnUnrecordedDirectory do not count before the entry that records it is in effect.
func TestAcknowledgementsOfAnUnrecordedDirectory(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	ack := func() {
		y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: y.c.peer(2).pr.Session, Index: y.c.log.last, Incarnation: Incarnation{5}})
		y.writeAll()
	}
	ack()
	if y.c.log.commit != 0 || y.c.peer(2).pr.Match != 0 {
		t.Fatalf("commit %d", y.c.log.commit)
	}
	conf, index := y.c.Config()
	if m, _ := conf.Member(2); m.Incarnation != (Incarnation{5}) || index != 3 {
		t.Fatalf("configuration at %d: %+v", index, conf)
	}
	ack()
	if y.c.log.commit != 3 {
		t.Fatalf("commit %d", y.c.log.commit)
	}
}
