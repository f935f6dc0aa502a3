package raft

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/tracker"
)

// TestFigure7 brings the six followers of the paper's figure 7 to the leader's log.
func TestFigure7(t *testing.T) {
	t.Parallel()
	leader := []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}
	followers := map[string][]uint64{
		"a": {1, 1, 1, 4, 4, 5, 5, 6, 6},
		"b": {1, 1, 1, 4},
		"c": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
		"d": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
		"e": {1, 1, 1, 4, 4, 4, 4},
		"f": {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
	}
	for name, log := range followers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The third member has little and lets the leader win.
			nw := withLogs(t, [][]uint64{leader, log, {1}})
			nw.host(1).hard = HardState{Term: 7, Vote: 1}
			nw.host(2).hard = HardState{Term: 7, Vote: 1}
			nw.start(nw.host(1))
			nw.start(nw.host(2))
			nw.isolate(2)
			l := nw.elect(1)
			nw.heal()
			nw.propose(l, "x")
			nw.pass(time.Second)
			if nw.leader() != l || l.c.log.commit != l.c.log.last {
				t.Fatalf("leader %+v", l.c.Status())
			}
			nw.same()
		})
	}
}

// TestFigure8 commits an entry of an older term only together with one of the leader's own, however many
// members hold it (rule 2).
func TestFigure8(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 3}, 1, 2)
	y.lead() // term 4, its no-op is index 3
	for _, id := range []MemberID{2, 3, 4, 5} {
		p := y.c.peer(id)
		y.step(Message{Type: MsgAppendResp, From: id, Term: 4, Session: p.pr.Session, Index: 2})
	}
	if y.c.log.commit != 0 {
		t.Fatalf("an entry of term 2 is committed by counting: %d", y.c.log.commit)
	}
	for _, id := range []MemberID{2, 3} {
		p := y.c.peer(id)
		y.step(Message{Type: MsgAppendResp, From: id, Term: 4, Session: p.pr.Session, Index: 3})
	}
	if y.c.log.commit != 3 || len(y.applied) != 3 {
		t.Fatalf("commit %d, %d applied", y.c.log.commit, len(y.applied))
	}
}

// TestFollowerChecksAppend is the consistency check as a table: the log is 1, 2, 2.
func TestFollowerChecksAppend(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		index, logTerm uint64
		reject         bool
		hint, hintTerm uint64
	}{
		{0, 0, false, 0, 0},
		{1, 1, false, 0, 0},
		{2, 2, false, 0, 0},
		{3, 2, false, 0, 0},
		{3, 3, true, 3, 2},
		{3, 1, true, 1, 1}, // both entries of term 2 are skipped
		{2, 3, true, 2, 2},
		{9, 3, true, 3, 2},
		{9, 1, true, 1, 1},
		{1, 3, true, 1, 1},
	} {
		t.Run(fmt.Sprintf("%d/%d", tc.index, tc.logTerm), func(t *testing.T) {
			t.Parallel()
			y := one(t, 3, HardState{Term: 3}, 1, 2, 2)
			y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: tc.index, LogTerm: tc.logTerm, Session: 6})
			y.writeAll()
			m := y.take(MsgAppendResp)
			if len(m) != 1 || m[0].Reject != tc.reject || m[0].Index != tc.index || m[0].Hint != tc.hint ||
				m[0].LogTerm != tc.hintTerm || m[0].Session != 6 || y.c.leader != 2 {
				t.Fatalf("answer %+v", m)
			}
		})
	}
}

// TestLateDuplicateDoesNotTruncate repeats an old, shorter append (rule 3).
func TestLateDuplicateDoesNotTruncate(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	es := entries(2, 2, 2, 2)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: es})
	y.writeAll()
	y.take(MsgAppendResp)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: es[:1]})
	if len(y.batches) > 0 || y.c.log.last != 4 {
		t.Fatalf("the duplicate changed the log: last %d", y.c.log.last)
	}
	if m := y.take(MsgAppendResp); len(m) != 1 || m[0].Index != 2 || m[0].Reject {
		t.Fatalf("answer %+v", m)
	}
}

// TestConflictTruncates replaces what contradicts the leader and nothing before it.
func TestConflictTruncates(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1, 2, 2, 2)
	es := append(entries(2, 2), entries(3, 3)...)
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Entries: es, Commit: 9})
	b := y.batches[0]
	if b.TruncateAfter != 2 || len(b.Entries) != 1 || b.Entries[0].Term != 3 || b.Last != 3 || b.LastTerm != 3 || y.c.log.commit != 3 {
		t.Fatalf("batch %+v, commit %d", b, y.c.log.commit)
	}
}

// TestCommittedEntriesAreNeverCut drops an append that contradicts one.
func TestCommittedEntriesAreNeverCut(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3, Commit: 3}, 1, 2, 2, 2)
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Entries: entries(2, 3)})
	if y.c.log.last != 4 || y.c.Stats.CommitConflicts != 1 || len(y.take(MsgAppendResp)) > 0 {
		t.Fatalf("last %d, stats %+v", y.c.log.last, y.c.Stats)
	}
}

// TestCommitIsClamped commits no further than the message reaches (rule 4).
func TestCommitIsClamped(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1, 2, 2, 2)
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 2, LogTerm: 2, Commit: 4})
	if y.c.log.commit != 2 {
		t.Fatalf("commit %d after an append that reaches 2", y.c.log.commit)
	}
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Index: 3, LogTerm: 2, Commit: 4})
	if y.c.log.commit != 3 {
		t.Fatalf("commit %d after a heartbeat with match 3", y.c.log.commit)
	}
}

// TestHeartbeatDoesNotCommitWhatDiffers asks for entries again where a leader counts on ones that a damaged disk has
// put older ones in the place of (rules 4 and 15). [A follower that lost a batch which had truncated its log came back
// with what had been truncated, and the leader's match, from before the restart, committed that.]
func TestHeartbeatDoesNotCommitWhatDiffers(t *testing.T) {
	t.Parallel()
	h := &host{id: 1, log: entries(1, 1, 1, 2, 2, 2), hard: HardState{Term: 3, Commit: 2}}
	r := h.restored(9)
	r.Recovering = &Mark{LastTerm: 3, Last: 4}
	c, err := New(Config{ID: 1, Members: members(3), Rand: h.draw1}, r, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	y := &tray{t: t, c: c, now: time.Hour}
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Index: 4, LogTerm: 3, Commit: 4, Round: 1})
	y.writeAll()
	if c.log.commit != 2 {
		t.Fatalf("commit %d: an entry of term 2, where the leader has one of term 3", c.log.commit)
	}
	if rejections := y.take(MsgAppendResp); len(rejections) != 1 || !rejections[0].Reject || rejections[0].Index != 4 {
		t.Fatalf("the leader hears %+v", rejections)
	}
	// Nor where the leader does not know any more what it had there.
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Index: 4, Commit: 4, Round: 2})
	if c.log.commit != 2 {
		t.Fatalf("commit %d on the word of an index alone", c.log.commit)
	}
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 2, LogTerm: 1, Commit: 4, Entries: entries(3, 3, 3)})
	y.writeAll()
	if c.log.commit != 4 || c.log.term(3) != 3 || c.recovering != nil {
		t.Fatalf("after the leader's entries: %+v", c.Status())
	}
}

// TestHeartbeatsSayNothingAboutTheLog sends the commit index clamped to the match, and does not take an
// answer as an acknowledgement.
func TestHeartbeatsSayNothingAboutTheLog(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	p2, p3 := y.c.peer(2), y.c.peer(3)
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p2.pr.Session, Index: 2})
	if y.c.log.commit != 2 {
		t.Fatalf("commit %d", y.c.log.commit)
	}
	y.sent = nil
	y.pass(80 * time.Millisecond)
	beats := y.take(MsgHeartbeat)
	if len(beats) != 2 || beats[0].Commit != 2 || beats[0].Index != 2 || beats[1].Commit != 0 || beats[1].Index != 0 {
		t.Fatalf("heartbeats %+v", beats)
	}
	y.step(Message{Type: MsgHeartbeatResp, From: 3, Term: 4, Session: p3.pr.Session, Round: beats[1].Round, Index: 2, Commit: 2})
	if p3.pr.Match != 0 {
		t.Fatalf("match %d after a heartbeat's answer", p3.pr.Match)
	}
}

// TestRejectionsSkipTerms finds the common point of two long logs of many terms in a few messages.
func TestRejectionsSkipTerms(t *testing.T) {
	t.Parallel()
	var left, right []uint64
	for i := range 3000 {
		switch {
		case i < 1000:
			left, right = append(left, 1), append(right, 1)
		default: // three terms each, interleaved
			left = append(left, uint64(2+2*((i-1000)/700)))
			right = append(right, uint64(3+2*((i-1000)/900)))
		}
	}
	nw := withLogs(t, [][]uint64{left, right, {}}, func(c *Config) { c.MaxMessageBytes = 1 << 10 })
	for _, h := range nw.hosts {
		h.hard = HardState{Term: 20, Vote: 1}
		nw.start(h)
	}
	nw.isolate(2)
	nw.elect(1)
	nw.heal()
	rejects := 0
	nw.seen = func(m Message) {
		if m.Type == MsgAppendResp && m.Reject && m.From == 2 {
			rejects++
		}
	}
	nw.pass(3 * time.Second)
	nw.same()
	if rejects == 0 || rejects > 8 {
		t.Fatalf("%d rejections", rejects)
	}
}

// TestProbeThenReplicate waits for the first answer, then sends ahead.
func TestProbeThenReplicate(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	p := y.c.peer(2)
	propose := func() {
		if _, _, err := y.c.Propose([]Proposal{{Kind: EntryCommand, Data: []byte("x")}}, y.now); err != nil {
			t.Fatal(err)
		}
		y.out()
	}
	propose()
	if len(y.take(MsgAppend)) > 0 || p.pr.State != tracker.Probe {
		t.Fatal("sent ahead while probing")
	}
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p.pr.Session, Index: 2})
	if m := y.take(MsgAppend); len(m) != 1 || m[0].Index != 2 || len(m[0].Entries) != 1 {
		t.Fatalf("after the answer: %+v", m)
	}
	for i := range 3 {
		propose()
		if m := y.take(MsgAppend); len(m) != 1 || m[0].Index != uint64(3+i) || len(m[0].Entries) != 1 {
			t.Fatalf("proposal %d: %+v", i, m)
		}
	}
}

// TestInflightIsBounded stops at the bound of bytes and goes on with the acknowledgements.
func TestInflightIsBounded(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxInflightBytes, c.MaxMessageBytes = 2000, 500 })
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.Type == MsgAppendResp }
	for range 100 {
		nw.propose(l, "0123456789012345678901234567890123456789")
	}
	sent := 0
	nw.seen = func(m Message) {
		if m.Type == MsgAppend && m.To == 2 {
			bytes := 0
			for i := range m.Entries {
				bytes += m.Entries[i].Size()
			}
			if bytes > 500 {
				t.Errorf("a message of %d bytes", bytes)
			}
			sent += bytes
		}
	}
	nw.settle()
	if sent == 0 || sent > 2000 || l.c.peer(2).pr.Inflight.Bytes() != sent {
		t.Fatalf("%d bytes sent without an answer", sent)
	}
	nw.heal()
	nw.pass(time.Second)
	if l.c.log.commit != l.c.log.last {
		t.Fatalf("commit %d of %d", l.c.log.commit, l.c.log.last)
	}
	nw.same()
}

// TestLostAppendsAreSentAgain loses every append of an idle moment; heartbeats alone bring them back.
func TestLostAppendsAreSentAgain(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.Type == MsgAppend }
	i := nw.propose(l, "x")
	nw.settle()
	nw.heal()
	nw.pass(4 * 75 * time.Millisecond)
	if l.c.log.commit != i {
		t.Fatalf("commit %d, want %d", l.c.log.commit, i)
	}
	nw.pass(75 * time.Millisecond)
	nw.same()
}

// TestHalfOfAllMessagesLost loses random messages of every type, half of them, for a long time.
func TestHalfOfAllMessagesLost(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return l.rnd.Uint64N(2) == 0 }
	for range 50 {
		if h := nw.leader(); h != nil && !h.down {
			if _, _, err := h.c.Propose([]Proposal{{Kind: EntryCommand, Data: []byte("x")}}, nw.now); err != nil {
				t.Fatal(err)
			}
		}
		nw.pass(20 * time.Millisecond)
	}
	nw.heal()
	nw.pass(2 * time.Second)
	nw.same()
}

// TestSlowFollowerIsServedFromDisk trims the leader's memory far beyond what a stopped member lacks.
func TestSlowFollowerIsServedFromDisk(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxTailBytes, c.MaxMessageBytes, c.MaxInflightBytes = 1000, 600, 2000 })
	l := nw.elect(1)
	nw.crash(3)
	for i := range 500 {
		nw.propose(l, fmt.Sprint(i))
		if i%10 == 0 {
			nw.settle()
		}
	}
	nw.pass(100 * time.Millisecond)
	if l.c.log.tailBytes > 1100 || l.c.log.tailFirst < 400 {
		t.Fatalf("%d bytes in memory, from index %d on", l.c.log.tailBytes, l.c.log.tailFirst)
	}
	nw.start(nw.host(3))
	nw.pass(2 * time.Second)
	nw.same()
	if len(nw.host(3).applied) != len(l.applied) {
		t.Fatalf("%d applied, want %d", len(nw.host(3).applied), len(l.applied))
	}
}

// TestFetchThatFailsIsTriedAgain answers the first reads with nothing.
func TestFetchThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxTailBytes = 1000 })
	l := nw.elect(1)
	nw.isolate(3)
	for i := range 100 {
		nw.propose(l, fmt.Sprint(i))
		nw.settle()
	}
	disk := l.log
	l.log = l.log[:0] // the harness answers with nothing
	fail := true
	nw.drop = func(m Message) bool { return fail && m.Type == MsgAppend && len(m.Entries) > 0 }
	nw.pass(300 * time.Millisecond)
	l.log = disk
	fail = false
	nw.pass(time.Second)
	nw.same()
}

// TestOneMessageForManyProposals joins what is proposed between two outputs.
func TestOneMessageForManyProposals(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.settle()
	for range 100 {
		nw.propose(l, "x")
	}
	out := l.c.Output()
	if len(out.Send) != 2 || len(out.Send[0].Entries) != 100 || out.Append == nil || len(out.Append.Entries) != 100 {
		t.Fatalf("%d messages, batch %+v", len(out.Send), out.Append)
	}
}

// TestLostLogIsReplicatedAgain lets a member lose, by a fault of its disk, what it acknowledged in this very
// term. It is brought up again, even if nothing new is proposed.
func TestLostLogIsReplicatedAgain(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	for i := range 20 {
		nw.propose(l, fmt.Sprint(i))
	}
	nw.settle()
	nw.crash(2)
	h := nw.host(2)
	h.log = h.log[:10]
	h.hard.Commit = min(h.hard.Commit, 10)
	nw.start(h)
	h.patient = true
	nw.pass(time.Second)
	if l.c.Stats.MatchLowered != 1 || nw.leader() != l {
		t.Fatalf("stats %+v", l.c.Stats)
	}
	nw.same()
}

// TestReorderedAppends delivers a pipeline backwards.
func TestReorderedAppends(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxMessageBytes = 200 })
	l := nw.elect(1)
	for i := range 50 {
		nw.propose(l, fmt.Sprint(i))
		nw.turn(l)
		slices.Reverse(nw.queue)
	}
	nw.settle()
	nw.pass(time.Second)
	if l.c.log.commit != l.c.log.last {
		t.Fatalf("commit %d of %d", l.c.log.commit, l.c.log.last)
	}
	nw.same()
}

// TestLeaderCommitsPrecedingEntries commits entries of earlier terms with the first of its own.
func TestLeaderCommitsPrecedingEntries(t *testing.T) {
	t.Parallel()
	for _, ts := range [][]uint64{{}, {2}, {1, 2}, {1}} {
		nw := withLogs(t, [][]uint64{ts, ts, {}})
		l := nw.elect(1)
		want := len(ts) + 1
		if len(ts) == 0 {
			want++ // the configuration
		}
		if int(l.c.log.commit) != want || len(l.applied) != want {
			t.Fatalf("%v: commit %d, %d applied", ts, l.c.log.commit, len(l.applied))
		}
	}
}

// TestOldSessionsDoNotCount ignores acknowledgements of another session.
func TestOldSessionsDoNotCount(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: 77, Index: 2})
	if y.c.log.commit != 0 || y.c.Stats.Unexpected == 0 {
		t.Fatalf("commit %d", y.c.log.commit)
	}
}

// TestLaggingCommit keeps a follower's commit index from going back when messages arrive late.
func TestLaggingCommit(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1, 3, 3)
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 3, LogTerm: 3, Commit: 3})
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Commit: 1})
	y.step(Message{Type: MsgHeartbeat, From: 2, Term: 3, Index: 1, LogTerm: 1, Commit: 1})
	if y.c.log.commit != 3 {
		t.Fatalf("commit %d", y.c.log.commit)
	}
}
