package raft

import (
	"slices"
	"testing"
	"time"
)

// drop takes a member out of a configuration.
func drop(id MemberID) func(*Configuration) {
	return func(c *Configuration) {
		c.Members = slices.DeleteFunc(c.Members, func(m Member) bool { return m.ID == id })
	}
}

// committed lets time pass until a leader has committed everything in its log.
func (nw *network) committed(l *host) {
	nw.t.Helper()
	if !nw.passUntil(time.Second, func() bool { return l.c.role == Leader && l.c.log.commit == l.c.log.last }) {
		nw.t.Fatalf("leader %d does not commit: %+v", l.id, l.c.Status())
	}
}

// blank starts a host that knows of nobody.
func (nw *network) blank(id MemberID) *host {
	h := &host{id: id, inc: Incarnation{byte(id)}, rnd: nw.hosts[0].rnd}
	h.cfg = Config{ID: id, CheckQuorum: true, Incarnation: h.inc, Rand: h.draw}
	nw.hosts = append(nw.hosts, h)
	nw.start(h)
	return h
}

// voter makes a learner that catches up, and waits until it is a voter.
func (nw *network) voter(l *host, id MemberID) *host {
	nw.t.Helper()
	h := nw.join(l, id)
	if !nw.passUntil(2*time.Second, func() bool { return l.c.current().conf.isVoter(id) && !l.c.configs.pending(l.c.log.commit) }) {
		nw.t.Fatalf("member %d is not promoted: %s", id, roles(l))
	}
	return h
}

// TestScenarioLearnerMustVoteIfAsked promotes a learner behind its back: the change is committed by the others.
// When the leader dies its vote is needed, though it still takes itself for a learner; to refuse it would leave
// two of three voters without a leader for good (etcd-io/etcd 10998, tikv/raft-rs 57).
func TestScenarioLearnerMustVoteIfAsked(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 2)
	l := nw.elect(1)
	h := nw.join(l, 3)
	nw.drop = func(m Message) bool {
		return m.To == 3 && slices.ContainsFunc(m.Entries, func(e Entry) bool {
			conf, err := DecodeConfiguration(e.Data)
			return e.Kind == EntryConfig && err == nil && conf.isVoter(3)
		})
	}
	if !nw.passUntil(2*time.Second, func() bool {
		active := nw.core(2).configs.active(nw.core(2).log.commit)
		return active.conf.isVoter(3) && h.c.role == Learner
	}) {
		t.Fatalf("the promotion is not committed without the learner: %+v", nw.core(2).Status())
	}
	nw.crash(1)
	if !nw.passUntil(3*time.Second, func() bool { return nw.core(2).ready() || (nw.core(2).role == Leader && h.c.role == Learner) }) {
		t.Fatalf("stuck: %+v and %+v", nw.core(2).Status(), h.c.Status())
	}
	if h.c.hard.Vote != 2 {
		t.Fatalf("elected without the learner's vote: %+v", h.c.Status())
	}
	nw.heal()
	i := nw.propose(nw.host(2), "x")
	nw.pass(time.Second)
	if h.c.role != Follower || h.c.log.commit < i {
		t.Fatalf("the promoted member: %+v", h.c.Status())
	}
}

// TestScenarioCandidateThatAVoterDoesNotListYet replaces two of three members while the third is away, and then
// loses the leader. The third has to vote for a candidate that it has never heard of: it is the candidate's
// configuration that counts (dissertation, section 4.1; RedisLabs/raft 50).
func TestScenarioCandidateThatAVoterDoesNotListYet(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(3)
	nw.voter(l, 4)
	nw.change(l, drop(2))
	nw.committed(l)
	nw.crash(2)
	nw.voter(l, 5)
	if err := l.c.TransferLeadership(4, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.passUntil(time.Second, nw.core(4).ready)
	nw.change(nw.host(4), drop(1))
	nw.committed(nw.host(4))
	nw.pass(time.Second)
	nw.crash(1)
	nw.crash(4)
	nw.start(nw.host(3)) // it knows of 1, 2 and 3 alone
	if conf, _ := nw.core(3).Config(); len(conf.Members) != 3 || nw.core(3).peer(5) != nil {
		t.Fatalf("member 3 lists %d", len(conf.Members))
	}
	if !nw.passUntil(3*time.Second, nw.core(5).ready) {
		t.Fatalf("two of three voters are up, and nobody leads: %+v and %+v", nw.core(5).Status(), nw.core(3).Status())
	}
	nw.pass(time.Second)
	if nw.core(3).leader != 5 || nw.core(3).log.commit != nw.core(5).log.commit {
		t.Fatalf("member 3: %+v", nw.core(3).Status())
	}
}

// TestScenarioRemovedLeaderMustStandUntilItIsCommitted crashes a leader of two that has its own removal on its own
// disk alone. The other's log is older, so only the removed one can win, and it has to stand although its
// configuration does not list it (dissertation, section 4.2.2; scylladb/scylladb 10618).
func TestScenarioRemovedLeaderMustStandUntilItIsCommitted(t *testing.T) {
	t.Parallel()
	for _, vote := range []MemberID{1, 0} { // 0: it saw a newer term before it crashed
		nw := newNetwork(t, 2)
		l := nw.elect(1)
		nw.isolate(1)
		nw.change(l, drop(1))
		nw.settle()
		nw.crash(1)
		if vote == 0 {
			l.hard.Term, l.hard.Vote = l.hard.Term+1, 0
		}
		nw.start(l)
		nw.heal()
		if !nw.passUntil(3*time.Second, nw.core(2).ready) {
			t.Fatalf("nobody leads: %+v and %+v", l.c.Status(), nw.core(2).Status())
		}
		nw.pass(time.Second)
		if conf, _ := nw.core(2).Config(); len(conf.Members) != 1 || l.c.role != Standby || !l.state.Removed {
			t.Fatalf("configuration of %d members, the removed one: %+v", len(conf.Members), l.c.Status())
		}
		// From here on it never stands, whatever becomes of the other, and it still knows why after a restart.
		nw.crash(2)
		nw.crash(1)
		nw.start(l)
		nw.pass(5 * time.Second)
		if l.c.role != Standby || l.c.Stats.Elections > 0 || !l.state.Removed {
			t.Fatalf("a removed member stood: %+v", l.c.Status())
		}
	}
}

// TestScenarioReplaceLeader adds a member, hands over to it and removes the leader of before, all under load: the
// new member leads, and the old one neither counts nor stands.
func TestScenarioReplaceLeader(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	n := nw.voter(l, 4)
	i := nw.propose(l, "under the old leader")
	if err := l.c.TransferLeadership(4, nw.now); err != nil {
		t.Fatal(err)
	}
	if !nw.passUntil(time.Second, n.c.ready) {
		t.Fatalf("not handed over: %+v", l.c.Status())
	}
	nw.change(n, drop(1))
	nw.committed(n)
	nw.pass(time.Second)
	if n.c.log.commit < i || roles(n) != "vvv" || n.c.peer(1) != nil || !l.state.Removed || l.c.role != Standby {
		t.Fatalf("roles %s, the old leader: %+v", roles(n), l.c.Status())
	}
	nw.crash(2) // with 1 it would still be three of four
	j := nw.propose(n, "x")
	nw.pass(time.Second)
	if n.c.log.commit < j {
		t.Fatal("two of three do not commit")
	}
	nw.crash(3)
	j = nw.propose(n, "y")
	nw.pass(time.Second)
	if n.c.log.commit >= j || n.c.role == Leader {
		t.Fatalf("the old leader still counts: %+v", n.c.Status())
	}
}

// TestScenarioConfigurationChangeDroppedIfOneIsUnapplied refuses a change while one is under way, and before an
// entry of the term is committed; a refused one leaves no trace, and can be asked for again later (etcd-io/etcd
// 7625). Here a configuration is in effect at append, so that under way means not committed.
func TestScenarioConfigurationChangeDroppedIfOneIsUnapplied(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.Type == MsgAppend }
	nw.change(l, func(c *Configuration) { c.Members = append(c.Members, Member{ID: 7, Learner: true}) })
	nw.settle()
	second, at := l.c.Config()
	second.Members = append(second.Members, Member{ID: 8, Learner: true})
	last := l.c.log.last
	if _, err := l.c.ProposeConfChange(second, nw.now); !isErr(err, ErrChangePending) {
		t.Fatalf("a second change: %v", err)
	}
	if _, now := l.c.Config(); l.c.log.last != last || now != at || l.c.peer(8) != nil {
		t.Fatalf("the refused change left a trace: last %d of %d", l.c.log.last, last)
	}
	nw.drop = func(m Message) bool { return m.To > 3 }
	nw.committed(l)
	if _, err := l.c.ProposeConfChange(second, nw.now); err != nil {
		t.Fatalf("after the first is committed: %v", err)
	}
	nw.committed(l)
	if l.c.peer(7) == nil || l.c.peer(8) == nil {
		t.Fatal("not both changes are in effect")
	}
}

// TestScenarioTruncatedMembershipChangesRollBack lets a leader that is cut off add a voter, to whom it speaks, and
// then lose to another. The change has to go on both that saw it, on the newcomer back to nothing at all.
func TestScenarioTruncatedMembershipChangesRollBack(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 4)
	l := nw.elect(1)
	nw.isolate(1, 5)
	n := nw.blank(5)
	nw.change(l, func(c *Configuration) {
		c.Members = append(c.Members, Member{ID: 5, Incarnation: n.inc, Learner: true, Promote: true})
	})
	nw.settle()
	if roles(l) != "vvvvw" || roles(n) != "vvvvw" || n.c.role != Learner || n.state.Removed {
		t.Fatalf("before: %s and %s, removed: %v", roles(l), roles(n), n.state.Removed)
	}
	nw.passUntil(2*time.Second, func() bool { o := nw.leader(); return o != nil && o != l && o.c.ready() })
	other := nw.leader()
	if other == l {
		t.Fatal("no other leader")
	}
	nw.heal()
	nw.pass(time.Second)
	if roles(l) != "vvvv" || l.c.peer(5) != nil || other.c.peer(5) != nil {
		t.Fatalf("after: %s, the newcomer %s", roles(l), roles(n))
	}
	if s := l.c.Status(); s.Proposed != nil || l.c.role != Follower || n.state.Removed {
		t.Fatalf("after: %+v", s)
	}
	if ids := l.c.Contacts(); slices.ContainsFunc(ids, func(m Member) bool { return m.ID == 5 }) {
		t.Fatal("it still keeps in touch with the newcomer")
	}
	for _, h := range nw.hosts[:4] {
		if !slices.EqualFunc(h.log, l.log, sameEntry) {
			t.Fatalf("log of %d: %v, that of 1: %v", h.id, terms(h.log), terms(l.log))
		}
	}
	// It is asked for again, of the leader that there is.
	nw.change(other, func(c *Configuration) {
		c.Members = append(c.Members, Member{ID: 5, Incarnation: n.inc, Learner: true, Promote: true})
	})
	nw.pass(time.Second)
	if roles(n) != "vvvvv" {
		t.Fatalf("the newcomer in the end: %s", roles(n))
	}
}

// TestScenarioCatchUpDoesNotCountTowardQuorum has three learners catch up with everything while one of two voters is
// away: what they hold commits nothing, proves no read, keeps no leader in office and gives no lease.
func TestScenarioCatchUpDoesNotCountTowardQuorum(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 2)
	l := nw.elect(1)
	for _, id := range []MemberID{3, 4, 5} {
		nw.isolate(id)
		nw.join(l, id)
		nw.committed(l)
		nw.change(l, func(c *Configuration) { c.Members[id-1].Promote = false })
		nw.committed(l)
	}
	nw.heal()
	nw.pass(time.Second)
	nw.isolate(2)
	i := nw.propose(l, "held by 1, 3, 4 and 5")
	l.c.ReadIndex(9, nw.now)
	nw.pass(DefaultElectionTimeoutMin)
	for _, h := range nw.hosts[2:] {
		if h.c.role != Learner || h.last() < i {
			t.Fatalf("learner %d: %+v", h.id, h.c.Status())
		}
	}
	if _, ok := l.c.Lease(nw.now); l.c.log.commit >= i || len(l.reads) > 0 || ok {
		t.Fatalf("learners count: commit %d of %d, reads %+v, lease %v", l.c.log.commit, i, l.reads, ok)
	}
	nw.pass(DefaultElectionTimeoutMax)
	if l.c.role == Leader {
		t.Fatal("learners keep a leader in office")
	}
	nw.heal()
	if !nw.passUntil(2*time.Second, func() bool { o := nw.leader(); return o != nil && o.c.log.commit >= i }) {
		t.Fatal("nothing is committed with both voters")
	}
}

// TestScenarioTransferToARemovedMember refuses one that is being removed, and a request to stand that was under way
// when the member was removed makes nobody stand (etcd-io/etcd 11326).
func TestScenarioTransferToARemovedMember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	term := l.c.hard.Term
	late := Message{Type: MsgTimeoutNow, From: 1, To: 3, Term: term, Incarnation: l.inc}
	nw.change(l, drop(3))
	if err := l.c.TransferLeadership(3, nw.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("to a member that is leaving: %v", err)
	}
	nw.settle()
	nw.pass(time.Second)
	gone := nw.core(3)
	gone.Step(late, nw.now)
	nw.pass(time.Second)
	if gone.role != Standby || gone.hard.Term != term || nw.leader() != l || l.c.hard.Term != term {
		t.Fatalf("the removed member: %+v", gone.Status())
	}
	if err := l.c.TransferLeadership(3, nw.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("to a member that is gone: %v", err)
	}
	if err := l.c.TransferLeadership(0, nw.now); err != nil {
		t.Fatal(err)
	}
	nw.pass(100 * time.Millisecond)
	if n := nw.leader(); n == nil || n.id != 2 {
		t.Fatal("not handed over to the member that stays")
	}
}

// TestScenarioTransferToARestartingMember hands over to a member that is down: it takes over if it is back within an
// election timeout, though the request was lost; else the leader goes on (dissertation, section 3.10).
func TestScenarioTransferToARestartingMember(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{true, false} {
		nw := newNetwork(t, 3)
		l := nw.elect(1)
		nw.pass(100 * time.Millisecond)
		nw.crash(2)
		nw.host(2).hard.Promise = 0 // nothing else makes it wait
		if err := l.c.TransferLeadership(2, nw.now); err != nil {
			t.Fatal(err)
		}
		nw.pass(100 * time.Millisecond)
		if _, _, err := l.c.Propose([]Proposal{{Kind: EntryCommand}}, nw.now); err != ErrTransferring {
			t.Fatalf("during the transfer: %v", err)
		}
		if back {
			nw.start(nw.host(2))
			nw.host(2).patient = true
			nw.core(2).resetElectionTimer()
			nw.pass(DefaultElectionTimeoutMin)
			if !nw.core(2).ready() || l.c.role != Follower {
				t.Fatalf("back in time, it does not take over: %+v", nw.core(2).Status())
			}
			continue
		}
		nw.pass(DefaultElectionTimeoutMax)
		i := nw.propose(l, "goes on")
		nw.settle()
		if nw.leader() != l || l.c.log.commit < i {
			t.Fatalf("the leader does not go on: %+v", l.c.Status())
		}
	}
}
