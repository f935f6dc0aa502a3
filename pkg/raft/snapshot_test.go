package raft

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/internal/allocs"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// behind makes three members of which 3 was away while the others went on and cut their logs.
func behind(t *testing.T, keep uint64) (nw *network, l *host) {
	t.Helper()
	nw = newNetwork(t, 3)
	l = nw.elect(1)
	nw.isolate(3)
	for range 20 {
		nw.propose(l, "x")
		nw.settle()
	}
	nw.snapshot(1, keep)
	nw.snapshot(2, keep)
	nw.propose(l, "behind the snapshot")
	nw.settle()
	return nw, l
}

// TestSnapshotBringsBackWhoWasAway installs a snapshot, then the entries behind it.
func TestSnapshotBringsBackWhoWasAway(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 2)
	var snapshots, early int
	nw.seen = func(m Message) {
		switch {
		case m.Type == MsgSnapshot:
			snapshots++
		case m.Type == MsgAppend && m.To == 3 && len(m.Entries) > 0 && m.Index < l.snap.Index:
			early++
		}
	}
	nw.heal()
	nw.pass(2 * time.Second)
	h := nw.host(3)
	if h.lastApplied() != l.lastApplied() || h.base.Last != l.snap.Index || snapshots != 1 || early > 0 {
		t.Fatalf("applied %d of %d, base %d, %d snapshots, %d appends before it", h.lastApplied(), l.lastApplied(), h.base.Last, snapshots, early)
	}
	if p := l.c.peer(3); p.pr.State != tracker.Replicate || p.pr.Match != l.c.log.last {
		t.Fatalf("progress %+v", p.pr)
	}
	if got, want := h.c.clock.last, l.c.clock.last; got != want {
		t.Fatalf("cluster time %d, the leader's %d", got, want)
	}
	// It goes on from disk as it went on without a restart, and can lead.
	nw.crash(3)
	nw.start(h)
	nw.pass(time.Second)
	if err := l.c.TransferLeadership(3, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.pass(100 * time.Millisecond)
	nw.propose(h, "y")
	nw.pass(time.Second)
	if nw.core(1).log.commit != h.c.log.commit || nw.leader() != h {
		t.Fatalf("after its election: %+v", h.c.Status())
	}
}

// TestSnapshotIsLost has the leader try again after a sign of life, not at once and for ever.
func TestSnapshotIsLost(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	tries, last := 0, time.Duration(0)
	nw.drop = func(m Message) bool {
		if m.Type != MsgSnapshot {
			return false
		}
		if tries++; nw.now == last {
			t.Errorf("try %d at the same instant", tries)
		}
		last = nw.now
		return tries <= 3
	}
	nw.pass(2 * time.Second)
	if tries != 4 || nw.host(3).lastApplied() != l.lastApplied() {
		t.Fatalf("%d tries, applied %d of %d", tries, nw.host(3).lastApplied(), l.lastApplied())
	}
}

// TestSnapshotSilence sends nothing else while a snapshot is on its way, but heartbeats.
func TestSnapshotSilence(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	nw.holdSnapshotDone = true
	nw.drop = func(m Message) bool { return m.Type == MsgSnapshot }
	nw.pass(time.Second)
	if p := l.c.peer(3); p.pr.State != tracker.Snapshot || p.pr.Pending != l.snap.Index {
		t.Fatalf("progress %+v", p.pr)
	}
	heartbeats := 0
	nw.seen = func(m Message) {
		switch {
		case m.To == 3 && m.Type == MsgHeartbeat:
			heartbeats++
		case m.To == 3:
			t.Errorf("%v while a snapshot is on its way", m.Type)
		}
	}
	nw.propose(l, "y")
	nw.pass(time.Second)
	if heartbeats == 0 || nw.core(3).leader != 1 {
		t.Fatal("no heartbeats while a snapshot is on its way")
	}
	// What is not of this transfer changes nothing.
	before := l.c.Stats.Unexpected
	l.c.SnapshotDone(3, l.snap.Index-1, true, nw.now)
	l.c.SnapshotDone(2, l.snap.Index, true, nw.now)
	l.c.SnapshotDone(9, l.snap.Index, true, nw.now)
	if l.c.Stats.Unexpected != before+3 || l.c.peer(3).pr.State != tracker.Snapshot {
		t.Fatalf("%d unexpected, progress %+v", l.c.Stats.Unexpected-before, l.c.peer(3).pr)
	}
	nw.drop, nw.seen = nil, nil
	l.c.SnapshotDone(3, l.snap.Index, false, nw.now)
	nw.holdSnapshotDone = false
	nw.pass(time.Second)
	if nw.host(3).lastApplied() != l.lastApplied() {
		t.Fatal("not tried again")
	}
}

// TestSnapshotIsAcknowledgedDurable says nothing of a snapshot before the batch that puts it in place of the log
// is durable, and meanwhile does not stand (rules 1 and 8).
func TestSnapshotIsAcknowledgedDurable(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1, 1, 2)
	meta := SnapshotMeta{Index: 9, Term: 2, Time: 90, ConfigIndex: 4, Config: Configuration{ClusterID: ClusterID{1}, Members: members(3)}}
	y.step(Message{Type: MsgSnapshot, From: 2, Term: 3, Session: 7, Snapshot: &meta})
	if len(y.batches) != 1 || y.batches[0].Snapshot == nil || y.batches[0].TruncateAfter != 9 || len(y.take(MsgAppendResp)) != 0 {
		t.Fatalf("batches %+v, sent %+v", y.batches, y.sent)
	}
	y.c.ApplyDone(9)
	y.pass(y.c.election.at - y.now) // the disk is not late yet
	if y.c.role != Follower || len(y.take(MsgPreVote)) > 0 {
		t.Fatalf("%v with a snapshot pending", y.c.role)
	}
	y.writeAll()
	acks := y.take(MsgAppendResp)
	if len(acks) != 1 || acks[0].Index != 9 || acks[0].Reject || acks[0].Session != 7 {
		t.Fatalf("answers %+v", acks)
	}
	y.pass(time.Hour)
	if y.c.role != PreCandidate {
		t.Fatalf("%v with the snapshot in place", y.c.role)
	}
}

// TestSnapshotIsRestoredFirst does not stand before the state machine has what the snapshot holds (rule 8).
func TestSnapshotIsRestoredFirst(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	meta := SnapshotMeta{Index: 9, Term: 2, Config: Configuration{Members: members(3)}, ConfigIndex: 1}
	y.c.Step(Message{Type: MsgSnapshot, From: 2, To: 1, Term: 3, Snapshot: &meta}, y.now)
	o := y.c.Output()
	if o.Restore == nil || o.Restore.Index != 9 || len(o.Apply) > 0 || y.c.Output().Restore != nil {
		t.Fatalf("output %+v", o)
	}
	y.c.AppendDone(o.Append.Seq, o.Append.LastTerm, o.Append.Last, y.now)
	y.pass(time.Hour)
	if y.c.role != Follower {
		t.Fatalf("%v before the snapshot is restored", y.c.role)
	}
	y.c.ApplyDone(9)
	y.pass(time.Hour)
	if y.c.role != PreCandidate {
		t.Fatalf("%v after it", y.c.role)
	}
}

// TestSnapshotTakesTheWholeLog replaces a log that differs at the snapshot's last index (rule 8), configurations
// included.
func TestSnapshotTakesTheWholeLog(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Commit: 1, Entries: []Entry{
		{Index: 2, Term: 2, Kind: EntryCommand}, {Index: 3, Term: 2, Kind: EntryCommand},
		{Index: 4, Term: 2, Kind: EntryConfig, Data: Configuration{Members: members(5)}.Encode()}}})
	meta := SnapshotMeta{Index: 3, Term: 3, Time: 30, Config: Configuration{Members: members(3)}}
	y.step(Message{Type: MsgSnapshot, From: 3, Term: 3, Snapshot: &meta})
	if l := &y.c.log; l.base != 3 || l.baseTerm != 3 || l.last != 3 || l.commit != 3 || len(l.tail) != 0 || len(l.runs) != 0 {
		t.Fatalf("log %+v", l)
	}
	if y.c.clock.last != 30 || y.c.clock.lastAt != y.now {
		t.Fatalf("cluster time goes on from %d at %v", y.c.clock.last, y.c.clock.lastAt)
	}
	if conf, at := y.c.Config(); len(conf.Members) != 3 || at != 0 || len(y.c.peers) != 2 {
		t.Fatalf("configuration of %d members at %d", len(conf.Members), at)
	}
	// The write of the old log that completes late vouches for nothing (rule 9).
	y.write()
	if y.c.log.durable != 0 {
		t.Fatalf("durable %d by a write of the old log", y.c.log.durable)
	}
	y.writeAll()
	if y.c.log.durable != 3 {
		t.Fatalf("durable %d", y.c.log.durable)
	}
	y.step(Message{Type: MsgAppend, From: 3, Term: 3, Index: 3, LogTerm: 3, Entries: entries(4, 3), Commit: 4})
	y.writeAll()
	if y.c.log.commit != 4 || y.c.log.term(4) != 3 {
		t.Fatalf("log behind the snapshot %+v", y.c.log)
	}
}

// TestSnapshotOfWhatIsThere keeps a log that has the snapshot's last entry, and commits up to it.
func TestSnapshotOfWhatIsThere(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1, 1, 2, 2)
	conf := Configuration{Members: members(3)}
	y.step(Message{Type: MsgSnapshot, From: 2, Term: 2, Snapshot: &SnapshotMeta{Index: 3, Term: 2, Config: conf}})
	y.writeAll()
	if l := &y.c.log; l.base != 0 || l.last != 4 || l.commit != 3 || len(y.applied) != 3 {
		t.Fatalf("log %+v, %d applied", l, len(y.applied))
	}
	y.take(MsgAppendResp)
	// One that holds less than what is committed changes nothing and says what is.
	y.step(Message{Type: MsgSnapshot, From: 2, Term: 2, Snapshot: &SnapshotMeta{Index: 2, Term: 1, Config: conf}})
	y.writeAll()
	if acks := y.take(MsgAppendResp); len(acks) != 1 || acks[0].Index != 3 || y.c.log.last != 4 {
		t.Fatalf("answers %+v, last %d", acks, y.c.log.last)
	}
}

// TestBadSnapshotMessages are dropped.
func TestBadSnapshotMessages(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	good := SnapshotMeta{Index: 9, Term: 2, Config: Configuration{Members: members(3)}}
	for name, change := range map[string]func(*SnapshotMeta){
		"index 0":             func(m *SnapshotMeta) { m.Index = 0 },
		"huge index":          func(m *SnapshotMeta) { m.Index = 1 << 63 },
		"term 0":              func(m *SnapshotMeta) { m.Term = 0 },
		"term to come":        func(m *SnapshotMeta) { m.Term = 4 },
		"no voter":            func(m *SnapshotMeta) { m.Config = Configuration{} },
		"configuration above": func(m *SnapshotMeta) { m.ConfigIndex = 10 },
	} {
		bad, before := good, y.c.Stats.BadMessages
		change(&bad)
		y.step(Message{Type: MsgSnapshot, From: 2, Term: 3, Snapshot: &bad})
		if y.c.Stats.BadMessages != before+1 || y.c.log.base != 0 {
			t.Errorf("%s: taken", name)
		}
	}
	y.step(Message{Type: MsgSnapshot, From: 2, Term: 3})
	if y.c.Stats.BadMessages != 7 {
		t.Error("without a description: taken")
	}
	// An older term is told of the newer one.
	y.step(Message{Type: MsgSnapshot, From: 2, Term: 1, Snapshot: &SnapshotMeta{Index: 9, Term: 1, Config: good.Config}})
	if refusals := y.take(MsgAppendResp); len(refusals) != 1 || !refusals[0].Reject || refusals[0].Term != 2 {
		t.Errorf("an older term is answered with %+v", refusals)
	}
}

// TestAppendBelowTheBase takes what begins in the part that a snapshot has.
func TestAppendBelowTheBase(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	base := l.c.log.base
	y := &tray{t: t, c: l.c, now: nw.now}
	l.c.StepDown(nw.now)
	y.out()
	y.writeAll()
	y.sent = nil
	all := append(entries(1, make([]uint64, base)...), l.log...)
	for i := range all {
		if all[i].Term == 0 {
			all[i].Term = l.c.hard.Term // as it was
		}
	}
	last := l.c.log.last
	y.step(Message{Type: MsgAppend, From: 2, Term: l.c.hard.Term, Index: base - 5, LogTerm: 1, Entries: all[base-5 : base-2], Incarnation: nw.host(2).inc})
	y.writeAll()
	if acks := y.take(MsgAppendResp); len(acks) != 1 || acks[0].Reject || acks[0].Index != base || l.c.log.last != last {
		t.Fatalf("wholly below: %+v", acks)
	}
	more := append(slices.Clone(all[base-3:]), Entry{Index: last + 1, Term: l.c.hard.Term})
	y.step(Message{Type: MsgAppend, From: 2, Term: l.c.hard.Term, Index: base - 3, LogTerm: 1, Entries: more, Incarnation: nw.host(2).inc})
	y.writeAll()
	if acks := y.take(MsgAppendResp); len(acks) != 1 || acks[0].Reject || acks[0].Index != last+1 || l.c.log.last != last+1 {
		t.Fatalf("across: %+v, last %d of %d", acks, l.c.log.last, last)
	}
}

// TestCompactionAgainstList compares a log that is cut, truncated, restarted and appended to with a plain list.
func TestCompactionAgainstList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := raftLog{tailFirst: 1}
		terms := []uint64{0} // terms[i] is that of index i; known from base on
		term := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "count") {
					term += uint64(rapid.IntRange(0, 1).Draw(t, "step"))
					l.append(Entry{Index: l.last + 1, Term: term})
					terms = append(terms, term)
				}
			},
			"cut": func(t *rapid.T) {
				after := rapid.Uint64Range(l.commit, l.last).Draw(t, "after")
				l.cut(after)
				terms = terms[:after+1]
				term++
			},
			"commit": func(t *rapid.T) {
				l.commit = rapid.Uint64Range(l.commit, l.last).Draw(t, "commit")
				l.applying, l.applied = l.commit, l.commit
			},
			"compact": func(t *rapid.T) {
				l.compact(rapid.Uint64Range(0, l.commit).Draw(t, "to"))
			},
			"trim": func(t *rapid.T) {
				l.durable, l.handed = l.last, l.last
				l.trim(rapid.IntRange(0, 500).Draw(t, "bytes"))
			},
			"restart": func(t *rapid.T) {
				index := l.last + uint64(rapid.IntRange(1, 5).Draw(t, "beyond"))
				l.restart(&SnapshotMeta{Index: index, Term: term})
				terms = append(terms, make([]uint64, index+1-uint64(len(terms)))...)
				terms[index] = term
			},
			"": func(t *rapid.T) {
				if l.last+1 != uint64(len(terms)) || l.base > l.commit {
					t.Fatalf("base %d, commit %d, last %d of %d", l.base, l.commit, l.last, len(terms)-1)
				}
				bytes := 0
				for i := range l.tail {
					if l.tail[i].Index != l.tailFirst+uint64(i) || l.tail[i].Term != terms[l.tail[i].Index] {
						t.Fatalf("tail has %+v at %d", l.tail[i], l.tailFirst+uint64(i))
					}
					bytes += l.tail[i].Size()
				}
				if bytes != l.tailBytes || l.tailFirst <= l.base || l.tailFirst+uint64(len(l.tail)) != l.last+1 {
					t.Fatalf("%d bytes of %d, tail from %d to %d, base %d, last %d", l.tailBytes, bytes, l.tailFirst, l.tailFirst+uint64(len(l.tail)), l.base, l.last)
				}
				for i := l.base; i <= l.last; i++ {
					if l.term(i) != terms[i] || !l.matches(i, terms[i]) {
						t.Fatalf("term %d at %d, want %d", l.term(i), i, terms[i])
					}
				}
				if l.base > 0 && l.matches(l.base-1, terms[l.base-1]) {
					t.Fatal("what is gone is said to match")
				}
				asked, upTo := rapid.Uint64Range(0, term+1).Draw(t, "term"), rapid.Uint64Range(0, l.last+2).Draw(t, "up to")
				want := min(upTo, l.last)
				for want > l.base && terms[want] > asked {
					want--
				}
				if got, at := l.mayMatch(upTo, asked); got != want || at != l.term(want) {
					t.Fatalf("may match at %d of term %d, want %d", got, at, want)
				}
			},
		})
	})
}

// TestRestoredSnapshots refuses what does not fit together.
func TestRestoredSnapshots(t *testing.T) {
	t.Parallel()
	snap := func(index, term uint64) *SnapshotMeta {
		return &SnapshotMeta{Index: index, Term: term, Time: 7, ConfigIndex: 2, Config: Configuration{ClusterID: ClusterID{1}, Members: members(3)}}
	}
	whole := func() Restored {
		return Restored{HardState: HardState{Term: 3, Commit: 6}, Snapshot: snap(5, 2), Base: Mark{LastTerm: 2, Last: 4}, First: 5, Last: 6, LastTerm: 3,
			Runs: []TermRun{{5, 2}, {6, 3}}, Tail: []Entry{{Index: 5, Term: 2}, {Index: 6, Term: 3}}}
	}
	for name, c := range map[string]struct {
		change func(*Restored)
		ok     bool
	}{
		"whole":        {func(*Restored) {}, true},
		"applied more": {func(r *Restored) { r.Applied = 6 }, true},
		"no entries": {func(r *Restored) {
			*r = Restored{HardState: r.HardState, Snapshot: snap(6, 3), Base: Mark{LastTerm: 3, Last: 6}, First: 7, Last: 6, LastTerm: 3}
		}, true},
		"snapshot at base":  {func(r *Restored) { r.Snapshot = snap(4, 2) }, true},
		"no snapshot":       {func(r *Restored) { r.Snapshot = nil }, false},
		"snapshot below":    {func(r *Restored) { r.Snapshot = snap(3, 2) }, false},
		"snapshot above":    {func(r *Restored) { r.Snapshot = snap(7, 3) }, false},
		"snapshot's term":   {func(r *Restored) { r.Snapshot = snap(5, 3) }, false},
		"first":             {func(r *Restored) { r.First = 4 }, false},
		"runs begin late":   {func(r *Restored) { r.Runs = []TermRun{{6, 3}} }, false},
		"base of a newer":   {func(r *Restored) { r.Base.LastTerm = 3 }, false},
		"base without term": {func(r *Restored) { r.Base.LastTerm = 0 }, false},
		"tail in the base":  {func(r *Restored) { r.Tail = []Entry{{Index: 4, Term: 2}, {Index: 5, Term: 2}, {Index: 6, Term: 3}} }, false},
		"bad configuration": {func(r *Restored) { r.Snapshot.Config = Configuration{} }, false},
	} {
		r := whole()
		c.change(&r)
		core, err := New(Config{ID: 1, Rand: (&host{}).draw1}, r, time.Hour)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if conf, at := core.Config(); at != 2 || len(conf.Members) != 3 || core.log.applied < r.Snapshot.Index || core.log.commit < r.Snapshot.Index {
			t.Errorf("%s: %d members at %d, applied %d", name, len(conf.Members), at, core.log.applied)
		}
	}
}

// TestTimeGoesOnBehindASnapshot anchors a term at the snapshot's time where the log holds nothing else.
func TestTimeGoesOnBehindASnapshot(t *testing.T) {
	t.Parallel()
	snap := &SnapshotMeta{Index: 6, Term: 3, Time: 1_000_000, Config: Configuration{Members: members(1)}}
	c, err := New(Config{ID: 1, Rand: (&host{}).draw1}, Restored{HardState: HardState{Term: 3, Commit: 6}, Snapshot: snap,
		Base: snap.Mark(), First: 7, Last: 6, LastTerm: 3}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	y := &tray{t: t, c: c, now: time.Hour}
	y.pass(0)
	y.writeAll()
	if c.role != Leader {
		t.Fatalf("a lone member is %v", c.role)
	}
	if at, ok := c.ClusterTime(y.now + 5); !ok || at != 1_000_005 {
		t.Fatalf("cluster time %d", at)
	}
	if e := c.log.tail[0]; e.Index != 7 || e.Term != 4 || e.Time < 1_000_000 {
		t.Fatalf("the first entry behind the snapshot is %+v", e)
	}
}

// TestASnapshotBringsItsTime has a member whose log is a snapshot and nothing else count on from that one's time and
// from the moment at which it took it, not from the log that it replaced.
func TestASnapshotBringsItsTime(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	nw.snapshot(1, 0)
	nw.heal()
	nw.pass(2 * time.Second)
	h := nw.host(3)
	last := l.c.log.lastEntry()
	if h.base.Last != last.Index || h.c.log.last != last.Index {
		t.Fatalf("member 3 has a log from %d to %d, the snapshot ends at %d", h.base.Last, h.c.log.last, last.Index)
	}
	if h.c.clock.last != last.Time {
		t.Fatalf("the time of its log's end is %v, the snapshot's %v", time.Duration(h.c.clock.last), time.Duration(last.Time))
	}
}

// TestSnapshotMetaRoundTrip encodes and decodes, each in one way alone.
func TestSnapshotMetaRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := SnapshotMeta{Index: rapid.Uint64Range(1, maxPosition).Draw(t, "index"), Term: rapid.Uint64Range(1, maxPosition).Draw(t, "term"),
			Time: rapid.Int64().Draw(t, "time"), Config: configurations().Draw(t, "configuration")}
		m.ConfigIndex = rapid.Uint64Range(0, m.Index).Draw(t, "configuration's index")
		copy(m.Hash[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash"))
		data := m.Encode()
		got, err := DecodeSnapshotMeta(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Fatal(d)
		}
		if n := rapid.IntRange(0, len(data)-1).Draw(t, "cut"); true {
			if _, err := DecodeSnapshotMeta(data[:n]); err == nil {
				t.Fatalf("%d of %d bytes are read", n, len(data))
			}
		}
		if _, err := DecodeSnapshotMeta(append(data, 0)); err == nil {
			t.Fatal("a byte too many is read")
		}
	})
}

// FuzzDecodeSnapshotMeta takes any bytes; what is read can be written and read again.
func FuzzDecodeSnapshotMeta(f *testing.F) {
	m := SnapshotMeta{Index: 9, Term: 2, Time: 3, ConfigIndex: 1, Config: Configuration{ClusterID: ClusterID{1}, Members: members(3)}}
	f.Add(m.Encode())
	f.Add([]byte{snapshotMetaLayout})
	for _, n := range []int{1, 2, 7} {
		m := SnapshotMeta{Index: maxPosition, Term: maxPosition, Time: -1 << 63, ConfigIndex: maxPosition, Config: Configuration{Members: members(n)}}
		f.Add(m.Encode())
		f.Add(append(m.Encode(), 0))
		f.Add(m.Encode()[:len(m.Encode())-1])
		m.Index++
		f.Add(m.Encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		allocs.Within(t, len(data), 256<<10, 64, func() {
			if _, err := DecodeSnapshotMeta(data); err != nil && len(err.Error()) < 16 {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
		m, err := DecodeSnapshotMeta(data)
		if err != nil {
			return
		}
		if back, err := DecodeSnapshotMeta(m.Encode()); err != nil || !cmp.Equal(back, m) {
			t.Fatalf("%x is read and can't be read again: %v", data, err)
		}
		// Two layouts of the configuration are read; in the present one there is one way to write it.
		if again := m.Encode(); len(again) == len(data) && !bytes.Equal(again, data) {
			t.Fatalf("%x is read and written as %x", data, again)
		}
	})
}
