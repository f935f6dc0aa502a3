package raft

import (
	"testing"
	"time"
)

// TestLeaseCountsFromTheSend divides the promise by the drift bound, from when the round left.
func TestLeaseCountsFromTheSend(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	y.lead()
	p := y.c.peer(2)
	answer := func(promise time.Duration) {
		y.step(Message{Type: MsgHeartbeatResp, From: 2, Term: 4, Session: p.pr.Session, Round: y.c.lead.rounds.last, Promise: promise})
	}
	sent := y.now
	y.pass(20 * time.Millisecond) // on its way
	answer(110 * time.Millisecond)
	if _, ok := y.c.Lease(y.now); ok {
		t.Fatal("a lease before the first commit of the term")
	}
	y.step(Message{Type: MsgAppendResp, From: 2, Term: 4, Session: p.pr.Session, Index: 2})
	until, ok := y.c.Lease(y.now)
	if want := sent + 100*time.Millisecond; !ok || until < want-time.Microsecond || until > want {
		t.Fatalf("lease until %v, want %v", until-sent, want-sent)
	}
	if _, ok := y.c.Lease(sent + 100*time.Millisecond); ok {
		t.Fatal("the lease does not end")
	}
	// A shorter promise of a later round does not take back the earlier one, a longer one extends it.
	y.pass(60 * time.Millisecond)
	answer(1)
	if u, _ := y.c.Lease(y.now); u != until {
		t.Fatalf("lease until %v, was %v", u, until)
	}
}

// TestLeaseIsTheShortestOfAMajority needs a majority's promises, the leader's included.
func TestLeaseIsTheShortestOfAMajority(t *testing.T) {
	t.Parallel()
	y := one(t, 5, HardState{Term: 3}, 1)
	y.lead()
	promises := map[MemberID]time.Duration{2: 300 * time.Millisecond, 3: 150 * time.Millisecond, 4: 50 * time.Millisecond}
	sent := y.now
	for _, id := range []MemberID{2, 3, 4} {
		p := y.c.peer(id)
		y.step(Message{Type: MsgAppendResp, From: id, Term: 4, Session: p.pr.Session, Index: 2})
		y.step(Message{Type: MsgHeartbeatResp, From: id, Term: 4, Session: p.pr.Session, Round: 1, Promise: promises[id]})
		until, ok := y.c.Lease(y.now)
		switch id {
		case 2:
			if ok {
				t.Fatal("a lease of two out of five")
			}
		default: // of 1, 2, 3 the shortest is that of 3, unless it is the leader's own
			own := float64(DefaultElectionTimeoutMin)
			if want := sent + time.Duration(own/DefaultDriftBound); !ok || until != want {
				t.Fatalf("after %d: lease until %v, want %v", id, until-sent, want-sent)
			}
		}
	}
}

// TestLeaseEndsBeforeTheNextLeader cuts a leader off and looks at every instant whether it still has a lease
// while another one leads. The followers' clocks are those of the leader; drift is the simulator's matter.
func TestLeaseEndsBeforeTheNextLeader(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		nw := newNetwork(t, 3)
		l := nw.elect(1)
		nw.pass(time.Duration(seed) * 7 * time.Millisecond)
		nw.isolate(1)
		other := func() bool { return nw.core(2).role == Leader || nw.core(3).role == Leader }
		for range 10_000 {
			nw.pass(100 * time.Microsecond)
			if other() {
				break
			}
		}
		if _, ok := l.c.Lease(nw.now); !other() || ok {
			t.Fatalf("seed %d: another leader: %v, and the lease is valid: %v", seed, other(), ok)
		}
	}
}

// TestRollingChangeOfTheTimeout is rule 18: the new leader promises itself 300 ms, the old followers 150.
func TestRollingChangeOfTheTimeout(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3, func(c *Config) {
		if c.ID == 1 {
			c.ElectionTimeoutMin, c.ElectionTimeoutMax, c.HeartbeatThreshold = 300*time.Millisecond, 600*time.Millisecond, 0.2
		}
	})
	l := nw.host(1)
	if err := nw.elect(2).c.TransferLeadership(1, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.pass(time.Second)
	until, ok := l.c.Lease(nw.now)
	if left := until - nw.now; !ok || left > 137*time.Millisecond {
		t.Fatalf("lease of %v, but followers wait 150 ms", left)
	}
}
