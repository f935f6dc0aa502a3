package raft

import (
	"math/rand/v2"
	"testing"
	"time"
)

// one makes a single core of a cluster of n, with a hand-made log, and an outgoing tray.
func one(t *testing.T, n int, hard HardState, ts ...uint64) *tray {
	t.Helper()
	h := &host{id: 1, log: entries(1, ts...), hard: hard}
	r := h.restored(1 << 30)
	rnd := rand.New(rand.NewPCG(1, 2))
	cfg := Config{ID: 1, Members: members(n), CheckQuorum: true, Rand: rnd.Uint64N}
	c, err := New(cfg, r, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &tray{t: t, c: c, now: time.Hour}
}

// tray holds a single core; the test is its disk and its network.
type tray struct {
	t       *testing.T
	c       *Core
	now     time.Duration
	sent    []Message
	batches []*AppendBatch
	applied []Entry
	reads   []ReadState
}

// out takes one output apart.
func (y *tray) out() {
	o := y.c.Output()
	y.sent = append(y.sent, o.Send...)
	if o.Append != nil {
		y.batches = append(y.batches, o.Append)
	}
	y.applied = append(y.applied, o.Apply...)
	y.reads = append(y.reads, o.Reads...)
}

// step gives the core a message of another member.
func (y *tray) step(m Message) {
	m.To = 1
	y.c.Step(m, y.now)
	y.out()
}

// write makes the oldest batch durable.
func (y *tray) write() {
	y.t.Helper()
	if len(y.batches) == 0 {
		y.t.Fatal("nothing to write")
	}
	b := y.batches[0]
	y.batches = y.batches[1:]
	y.sent = append(y.sent, b.ThenSend...)
	y.c.AppendDone(b.Seq, b.LastTerm, b.Last, y.now)
	y.out()
}

func (y *tray) writeAll() {
	y.t.Helper()
	for len(y.batches) > 0 {
		y.write()
	}
}

// take returns what was sent of a type and forgets everything sent.
func (y *tray) take(t MessageType) (ms []Message) {
	for _, m := range y.sent {
		if m.Type == t {
			ms = append(ms, m)
		}
	}
	y.sent = nil
	return ms
}

// pass lets time pass.
func (y *tray) pass(d time.Duration) {
	y.now += d
	y.c.Tick(y.now)
	y.out()
}

// lead makes the core the leader of its next term with the votes of 2 and 3.
func (y *tray) lead() {
	y.t.Helper()
	y.pass(time.Second)
	term := y.c.hard.Term + 1
	for _, id := range []MemberID{2, 3} {
		if y.c.role == PreCandidate {
			y.step(Message{Type: MsgPreVoteResp, From: id, Term: term})
		}
	}
	y.writeAll()
	for _, id := range []MemberID{2, 3} {
		if y.c.role == Candidate {
			y.step(Message{Type: MsgVoteResp, From: id, Term: term})
		}
	}
	if y.c.role != Leader {
		y.t.Fatalf("not elected: %+v", y.c.Status())
	}
	y.writeAll()
	y.sent = nil
}
