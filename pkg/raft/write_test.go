package raft

import (
	"testing"
	"time"
)

// TestNothingIsSaidBeforeItIsDurable holds back acknowledgements and votes until their write is done.
func TestNothingIsSaidBeforeItIsDurable(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: entries(2, 2)})
	if len(y.take(MsgAppendResp)) > 0 {
		t.Fatal("acknowledged before it was durable")
	}
	y.write()
	if m := y.take(MsgAppendResp); len(m) != 1 || m[0].Index != 2 {
		t.Fatalf("answer %+v", m)
	}
	y.now += time.Second
	y.step(Message{Type: MsgVote, From: 3, Term: 3, Index: 2, LogTerm: 2})
	if len(y.take(MsgVoteResp)) > 0 {
		t.Fatal("voted before the vote was durable")
	}
	if b := y.batches[0]; b.HardState.Vote != 3 || b.HardState.Term != 3 || !b.MustWrite {
		t.Fatalf("batch %+v", b)
	}
	y.write()
	if m := y.take(MsgVoteResp); len(m) != 1 || m[0].Reject {
		t.Fatalf("answer %+v", m)
	}
}

// TestRepeatsWaitForTheStalledWrite answers a retransmit that changes nothing only behind the write that
// still holds what it repeats (rule 1).
func TestRepeatsWaitForTheStalledWrite(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	m := Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: entries(2, 2)}
	y.step(m)
	y.step(m)
	if len(y.take(MsgAppendResp)) > 0 || len(y.batches) != 2 {
		t.Fatalf("%d batches", len(y.batches))
	}
	b := y.batches[1]
	if b.MustWrite || len(b.Entries) > 0 || b.TruncateAfter != 2 || len(b.ThenSend) != 1 || b.Seq != y.batches[0].Seq+1 {
		t.Fatalf("second batch %+v", b)
	}
	// The same for a vote that is asked for twice.
	v := one(t, 3, HardState{Term: 2}, 1)
	ask := Message{Type: MsgVote, From: 3, Term: 3, Index: 2, LogTerm: 2}
	v.step(ask)
	v.step(ask)
	if len(v.take(MsgVoteResp)) > 0 || len(v.batches) != 2 || v.batches[1].MustWrite {
		t.Fatalf("%d batches", len(v.batches))
	}
	v.writeAll()
	v.step(ask)
	if m := v.take(MsgVoteResp); len(m) != 3 || len(v.batches) > 0 {
		t.Fatalf("%d answers", len(m))
	}
}

// TestCompletionOfWhatWasCut is the ABA race of asynchronous writes: an entry is written, cut, replaced and
// cut again by one of equal index. The completion of the first write must not vouch for the last (rule 9).
func TestCompletionOfWhatWasCut(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 2}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: entries(2, 2, 2)})
	y.step(Message{Type: MsgAppend, From: 3, Term: 3, Index: 1, LogTerm: 1, Entries: entries(2, 3, 3)})
	y.step(Message{Type: MsgAppend, From: 4, Term: 4, Index: 1, LogTerm: 1, Entries: entries(2, 4, 4)})
	if len(y.batches) != 3 || y.batches[2].TruncateAfter != 1 {
		t.Fatalf("batches %+v", y.batches)
	}
	for i, want := range []uint64{1, 1, 3} {
		y.write()
		if y.c.log.durable != want {
			t.Fatalf("after write %d: durable up to %d, want %d", i, y.c.log.durable, want)
		}
	}
}

// TestLeaderDoesNotCountWhatItHasNotWritten acknowledges to itself as the others do: no entry is committed
// by an old completion, nor before the write.
func TestLeaderDoesNotCountWhatItHasNotWritten(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	p := y.c.peer(2)
	if _, _, err := y.c.Propose([]Proposal{{Kind: EntryCommand, Data: []byte("x")}}, y.now); err != nil {
		t.Fatal(err)
	}
	y.out()
	y.c.AppendDone(y.batches[0].Seq-1, 4, 3, y.now)
	y.c.AppendDone(y.batches[0].Seq, 3, 3, y.now)
	y.c.AppendDone(y.batches[0].Seq, 4, 2, y.now)
	if y.c.Stats.StaleCompletions != 3 || y.c.log.durable != 2 {
		t.Fatalf("stats %+v, durable %d", y.c.Stats, y.c.log.durable)
	}
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p.pr.Session, Index: 3})
	if y.c.log.commit != 2 {
		t.Fatalf("commit %d with one durable copy of 3", y.c.log.commit)
	}
	y.write()
	if y.c.log.commit != 3 {
		t.Fatalf("commit %d with two durable copies", y.c.log.commit)
	}
}

// TestLeaderCommitsWithoutItsOwnDisk counts a majority of the others.
func TestLeaderCommitsWithoutItsOwnDisk(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	l.manual = true
	i := nw.propose(l, "x")
	nw.settle()
	if l.c.log.commit != i || len(l.log) >= int(i) {
		t.Fatalf("commit %d, %d on disk", l.c.log.commit, len(l.log))
	}
}

// TestInputsMergeIntoOneBatch appends, cuts and appends again between two outputs.
func TestInputsMergeIntoOneBatch(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 2}, 1, 2)
	in := func(from MemberID, term, index, logTerm uint64, es []Entry) {
		y.c.Step(Message{Type: MsgAppend, From: from, To: 1, Term: term, Index: index, LogTerm: logTerm, Entries: es}, y.now)
	}
	in(2, 2, 2, 2, entries(3, 2))       // 1 2 2
	in(2, 2, 3, 2, entries(4, 2))       // 1 2 2 2
	in(3, 3, 3, 2, entries(4, 3, 3, 3)) // 1 2 2 3 3 3: cuts only what was not handed out
	in(4, 4, 4, 3, entries(5, 4))       // 1 2 2 3 4
	y.out()
	if len(y.batches) != 1 {
		t.Fatalf("%d batches", len(y.batches))
	}
	b := y.batches[0]
	if b.TruncateAfter != 2 || len(b.Entries) != 3 || b.Entries[0].Index != 3 || b.Entries[1].Term != 3 || b.Entries[2].Term != 4 ||
		b.HardState.Term != 4 || b.Last != 5 || b.LastTerm != 4 {
		t.Fatalf("batch %+v", b)
	}
	if len(b.ThenSend) != 3 { // the two of one leader are one
		t.Fatalf("held back: %+v", b.ThenSend)
	}
	in(2, 5, 1, 1, entries(2, 5)) // 1 5: cuts what was handed out
	y.out()
	if b := y.batches[1]; b.TruncateAfter != 1 || len(b.Entries) != 1 || b.Last != 2 {
		t.Fatalf("batch %+v", b)
	}
}

// TestHandedOutEntriesNeverChange keeps slices that were handed out, cuts and appends, and looks again.
func TestHandedOutEntriesNeverChange(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 2}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Entries: entries(2, 2, 2, 2, 2)})
	first := y.batches[0].Entries
	y.step(Message{Type: MsgAppend, From: 3, Term: 3, Index: 2, LogTerm: 2, Entries: entries(3, 3, 3, 3)})
	for i := range first {
		if first[i].Term != 2 || first[i].Index != uint64(i+2) {
			t.Fatalf("entry %+v changed", first[i])
		}
	}
}

// TestCrashBetweenVoteAndAnswer forgets nothing: after the restart the vote still stands.
func TestCrashBetweenVoteAndAnswer(t *testing.T) {
	t.Parallel()
	nw := withLogs(t, [][]uint64{{1}, {1}, {1}})
	h := nw.host(1)
	h.c.Step(Message{Type: MsgVote, From: 2, To: 1, Term: 9, Index: 1, LogTerm: 1}, nw.now)
	nw.turn(h)
	nw.crash(1)
	nw.start(h)
	nw.queue = nil
	h.c.Step(Message{Type: MsgVote, From: 3, To: 1, Term: 9, Index: 1, LogTerm: 1}, nw.now)
	nw.turn(h)
	if m := nw.queue; len(m) != 1 || !m[0].Reject {
		t.Fatalf("answer %+v", m)
	}
}

// TestApplyIsBounded hands out no more than the bound before ApplyDone, and refuses proposals meanwhile.
func TestApplyIsBounded(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxApplyBytes = 1000 })
	l := nw.elect(1)
	nw.settle()
	l.holdApply = true
	before := len(l.applied)
	for range 100 {
		nw.propose(l, "x")
	}
	nw.settle()
	n := len(l.applied) - before
	if n < 10 || n > 1000/(entryOverheadBytes+1) {
		t.Fatalf("%d handed out", n)
	}
	if _, _, err := l.c.Propose([]Proposal{{Kind: EntryCommand}}, nw.now); err != ErrBusy {
		t.Fatalf("error %v", err)
	}
	l.holdApply = false
	l.c.ApplyDone(uint64(len(l.applied)))
	nw.settle()
	if len(l.applied) != before+100 {
		t.Fatalf("%d applied", len(l.applied)-before)
	}
}

// TestRestartAppliesFromDisk loads a short tail and fetches the rest, in order, without a gap.
func TestRestartAppliesFromDisk(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) { c.MaxApplyBytes, c.MaxMessageBytes = 700, 300 })
	l := nw.elect(1)
	for range 200 {
		nw.propose(l, "x")
	}
	nw.pass(time.Second)
	for _, h := range nw.hosts {
		nw.crash(h.id)
	}
	for _, h := range nw.hosts {
		c, err := New(h.cfg, h.restored(int(h.id)), nw.now)
		if err != nil {
			t.Fatal(err)
		}
		h.c, h.down, h.applied = c, false, nil
	}
	nw.pass(2 * time.Second)
	for _, h := range nw.hosts {
		if len(h.applied) != len(h.log) || len(h.log) < 200 {
			t.Fatalf("member %d applied %d of %d", h.id, len(h.applied), len(h.log))
		}
	}
}

// TestProposalBounds refuses what is too much, and appends nothing of it.
func TestProposalBounds(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	if _, _, err := y.c.Propose([]Proposal{{Kind: EntryCommand}}, y.now); err != ErrNotLeader {
		t.Fatalf("follower: %v", err)
	}
	y.lead()
	y.c.cfg.MaxMessageBytes, y.c.cfg.MaxUncommittedBytes = 200, 3*148+y.c.lead.uncommittedBytes
	last := y.c.log.last
	size := func(n int) Proposal { return Proposal{Kind: EntryCommand, Data: make([]byte, n)} }
	if _, _, err := y.c.Propose([]Proposal{size(1), size(200)}, y.now); !isErr(err, ErrTooLarge) {
		t.Fatalf("large: %v", err)
	}
	if _, _, err := y.c.Propose([]Proposal{size(100), size(100), size(100), size(100), size(100)}, y.now); !isErr(err, ErrTooLarge) {
		t.Fatalf("together: %v", err)
	}
	if _, _, err := y.c.Propose([]Proposal{{Kind: EntryNoOp}}, y.now); err == nil {
		t.Fatal("a caller proposed a no-op")
	}
	if y.c.log.last != last {
		t.Fatal("a refused proposal was appended")
	}
	for i := range 4 {
		_, _, err := y.c.Propose([]Proposal{size(100)}, y.now)
		if (err == nil) != (i < 3) || (err != nil && err != ErrBusy) {
			t.Fatalf("proposal %d: %v", i, err)
		}
	}
	if y.out(); y.c.log.last != last+3 {
		t.Fatalf("last %d", y.c.log.last)
	}
}

// TestOwnVoteCountsOnceDurable does not lead on a vote that this member may still forget.
func TestOwnVoteCountsOnceDurable(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 1, Index: 1, LogTerm: 1, Entries: entries(2, 1)})
	y.pass(DefaultElectionTimeoutMax)
	y.step(Message{Type: MsgPreVoteResp, From: 2, Term: 2})
	if y.c.role != Candidate || len(y.batches) != 2 {
		t.Fatalf("role %v with %d writes under way", y.c.role, len(y.batches))
	}
	y.step(Message{Type: MsgVoteResp, From: 3, Term: 2})
	y.write() // the append of before
	if y.c.role != Candidate {
		t.Fatal("it leads by a vote that is not durable")
	}
	y.write()
	if y.c.role != Leader {
		t.Fatalf("it does not lead: %+v", y.c.Status())
	}
}

// TestFailedReadsForApplyAreTriedAgain answers fetches for the state machine with nothing, and with entries
// of another term, before the right ones.
func TestFailedReadsForApplyAreTriedAgain(t *testing.T) {
	t.Parallel()
	h := &host{id: 1, log: entries(1, 1, 1, 1, 1), hard: HardState{Term: 2, Commit: 4}}
	c, err := New(Config{ID: 1, Members: members(3), Rand: h.draw1}, h.restored(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Duration(0)
	for attempt, answer := range [][]Entry{nil, entries(1, 2, 2), entries(1, 1, 1, 1)} {
		out := c.Output()
		if len(out.Fetch) != 1 || out.Fetch[0].Lo != 1 || out.Fetch[0].Hi != 4 || out.Fetch[0].To != 1 || len(out.Apply) > 0 {
			t.Fatalf("attempt %d: %+v", attempt, out)
		}
		if out := c.Output(); len(out.Fetch) > 0 {
			t.Fatalf("attempt %d: asked twice at once", attempt)
		}
		c.Fetched(1, 1, answer, now)
		if out := c.Output(); len(out.Fetch) > 0 || len(out.Apply) != 3*(attempt/2) {
			t.Fatalf("attempt %d: %+v", attempt, out)
		}
		now += 100 * time.Millisecond
		c.Tick(now)
	}
	if out := c.Output(); len(out.Apply) != 1 || out.Apply[0].Index != 4 {
		t.Fatalf("the rest: %+v", out.Apply)
	}
	c.Fetched(1, 1, entries(1, 1), now)
	if c.Stats.StaleFetches != 1 {
		t.Fatalf("stats %+v", c.Stats)
	}
}
