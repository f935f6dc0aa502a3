package raft

import (
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/tracker"
)

// TestScenarioSlowFollowerAfterCompaction fills a follower's window, loses what was in it, and cuts the leader's log:
// beyond what it would send next, or, worse, right behind what it believes to have sent. The leader has to notice that
// the window will never drain, and go over to a snapshot (etcd-io/raft 31).
func TestScenarioSlowFollowerAfterCompaction(t *testing.T) {
	t.Parallel()
	for _, beyond := range []bool{true, false} {
		nw := newNetwork(t, 3, func(c *Config) { c.MaxInflightBytes, c.MaxMessageBytes = 400, 120 })
		l := nw.elect(1)
		nw.pass(100 * time.Millisecond)
		lost := 0
		nw.drop = func(m Message) bool {
			if m.To == 3 && m.Type == MsgAppend {
				lost++
			}
			return m.To == 3 && m.Type == MsgAppend
		}
		for range 20 {
			nw.propose(l, "x")
			nw.settle()
		}
		p := l.c.peer(3)
		if p.pr.State != tracker.Replicate || p.pr.Next > l.c.log.commit-5 || lost < 3 {
			t.Fatalf("the window is not full: %+v, %d lost", p.pr, lost)
		}
		keep := uint64(0)
		if !beyond {
			keep = l.lastApplied() - p.pr.Next + 1
		}
		nw.snapshot(1, keep)
		nw.snapshot(2, keep)
		if (p.pr.Next <= l.c.log.base) != beyond || p.pr.Match >= l.c.log.base {
			t.Fatalf("base %d, match %d, next %d", l.c.log.base, p.pr.Match, p.pr.Next)
		}
		nw.heal()
		nw.pass(time.Second)
		h := nw.host(3)
		if p.pr.State != tracker.Replicate || p.pr.Match != l.c.log.last || h.base.Last != l.snap.Index || h.lastApplied() != l.lastApplied() {
			t.Fatalf("its progress %+v, base %d, applied %d of %d", p.pr, h.base.Last, h.lastApplied(), l.lastApplied())
		}
	}
}

// TestScenarioSnapshotSucceedsViaAppendResponse never hears what became of a snapshot from who carried it. The
// member's own acknowledgement is enough, and one that is older is not (etcd-io/etcd 10308).
func TestScenarioSnapshotSucceedsViaAppendResponse(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	nw.holdSnapshotDone = true
	nw.drop = func(m Message) bool { return m.Type == MsgSnapshot }
	nw.pass(200 * time.Millisecond)
	p := l.c.peer(3)
	ack := func(index uint64) {
		l.c.Step(Message{Type: MsgAppendResp, From: 3, To: 1, Term: l.c.hard.Term, Session: p.pr.Session, Index: index,
			Incarnation: nw.host(3).inc}, nw.now)
	}
	if p.pr.State != tracker.Snapshot || p.pr.Pending != l.snap.Index {
		t.Fatalf("no snapshot is under way: %+v", p.pr)
	}
	ack(nw.core(3).log.last)
	if p.pr.State != tracker.Snapshot {
		t.Fatalf("an acknowledgement from before the snapshot ends it: %+v", p.pr)
	}
	// It arrives by whatever way, and nobody reports it.
	nw.core(3).Step(Message{Type: MsgSnapshot, From: 1, To: 3, Term: l.c.hard.Term, Session: p.pr.Session, Snapshot: l.snap,
		Incarnation: l.inc}, nw.now)
	nw.drop = nil
	nw.settle()
	if p.pr.State != tracker.Replicate || p.pr.Match != l.c.log.last || nw.core(3).log.commit != l.c.log.commit {
		t.Fatalf("its progress %+v, its commit %d of %d", p.pr, nw.core(3).log.commit, l.c.log.commit)
	}
	// The report that comes after all changes nothing.
	l.c.SnapshotDone(3, l.snap.Index, false, nw.now)
	if p.pr.State != tracker.Replicate {
		t.Fatalf("a late report takes it back: %+v", p.pr)
	}
}

// TestScenarioSnapshotThenLeadershipChange changes the leader while a snapshot is on its way. The old leader's
// arrives in an older term and is refused; its report is nobody's business any more; the new leader sends its own.
func TestScenarioSnapshotThenLeadershipChange(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	nw.holdSnapshotDone = true
	var air []Message
	var deaf bool
	nw.drop = func(m Message) bool {
		if m.Type == MsgSnapshot {
			m.Incarnation = nw.host(m.From).inc
			air = append(air, m)
		}
		// Of the new leader 3 hears at first that it stands, and not that it won.
		return m.Type == MsgSnapshot || (deaf && m.From == 2 && m.To == 3 && m.Type != MsgVote)
	}
	nw.pass(200 * time.Millisecond)
	deaf = true
	if len(air) != 1 || air[0].From != 1 {
		t.Fatalf("under way: %+v", air)
	}
	if err := l.c.TransferLeadership(2, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.settle()
	n, h := nw.host(2), nw.host(3)
	if n.c.role != Leader || h.c.hard.Term != n.c.hard.Term || h.c.leader != 0 {
		t.Fatalf("the new leader: %+v, the other: %+v", n.c.Status(), h.c.Status())
	}
	before := h.lastApplied()
	h.c.Step(air[0], nw.now)
	nw.settle()
	if h.lastApplied() != before || h.c.log.base != 0 || h.c.leader != 0 {
		t.Fatalf("a snapshot of an older term is taken: %+v", h.c.Status())
	}
	deaf = false
	nw.pass(100 * time.Millisecond)
	nw.propose(n, "of the new leader")
	nw.settle()
	nw.snapshot(2, 0)
	nw.pass(100 * time.Millisecond)
	unexpected := l.c.Stats.Unexpected
	l.c.SnapshotDone(3, air[0].Snapshot.Index, true, nw.now)
	if l.c.Stats.Unexpected != unexpected+1 || l.c.role != Follower {
		t.Fatalf("the old leader: %+v", l.c.Status())
	}
	i := slices.IndexFunc(air, func(m Message) bool { return m.From == 2 })
	p := n.c.peer(3)
	if i < 0 || p.pr.State != tracker.Snapshot || p.pr.Pending != air[i].Snapshot.Index {
		t.Fatalf("the new leader sends none: %+v", p.pr)
	}
	nw.drop = nil
	h.c.Step(air[i], nw.now)
	n.c.SnapshotDone(3, p.pr.Pending, true, nw.now)
	nw.pass(200 * time.Millisecond)
	// Its log was cut again meanwhile, so that takes another one.
	if p.pr.State != tracker.Replicate || h.lastApplied() != n.lastApplied() || h.base != n.snap.Mark() || n.snap.Index <= air[i].Snapshot.Index {
		t.Fatalf("its progress %+v, applied %d of %d, base %+v", p.pr, h.lastApplied(), n.lastApplied(), h.base)
	}
	// And who came by a snapshot can lead.
	if err := n.c.TransferLeadership(3, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.settle()
	if nw.leader() != h || !h.c.ready() {
		t.Fatalf("after the hand-over: %+v", h.c.Status())
	}
}
