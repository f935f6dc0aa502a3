package raft

import (
	"slices"
	"testing"
	"time"
)

// join starts a blank member that knows nobody, and has the leader add it as a learner that is to be promoted.
func (nw *network) join(l *host, id MemberID) *host {
	nw.t.Helper()
	h := &host{id: id, inc: Incarnation{byte(id)}, rnd: nw.hosts[0].rnd}
	h.cfg = Config{ID: id, CheckQuorum: true, Incarnation: h.inc, NewClusterID: ClusterID{byte(id), 7}, Rand: h.draw}
	nw.hosts = append(nw.hosts, h)
	nw.start(h)
	nw.change(l, func(c *Configuration) {
		c.Members = append(c.Members, Member{ID: id, Learner: true, Promote: true})
		slices.SortFunc(c.Members, byID)
	})
	return h
}

// change has a leader go on to a changed configuration.
func (nw *network) change(l *host, change func(*Configuration)) {
	nw.t.Helper()
	conf, _ := l.c.Config()
	change(&conf)
	if _, err := l.c.ProposeConfChange(conf, nw.now); err != nil {
		nw.t.Fatal(err)
	}
}

// roles lists what the configuration in effect on a host makes of each member.
func roles(h *host) (s string) {
	conf, _ := h.c.Config()
	for _, m := range conf.Members {
		switch {
		case m.Promote:
			s += "w"
		case m.Learner:
			s += "l"
		case m.Standby:
			s += "s"
		default:
			s += "v"
		}
	}
	return s
}

// TestLearnerIsPromoted once it has caught up, and counts from then on.
func TestLearnerIsPromoted(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 1)
	l := nw.elect(1)
	for range 10 {
		nw.propose(l, "x")
		nw.settle()
	}
	h := nw.join(l, 2)
	if roles(l) != "vw" {
		t.Fatalf("roles %s", roles(l))
	}
	nw.pass(time.Second)
	if roles(l) != "vv" || roles(h) != "vv" || h.lastApplied() != l.lastApplied() || h.c.role != Follower {
		t.Fatalf("roles %s and %s, applied %d of %d", roles(l), roles(h), h.lastApplied(), l.lastApplied())
	}
	nw.isolate(2)
	i := nw.propose(l, "alone")
	nw.settle()
	if l.c.log.commit >= i {
		t.Fatal("committed without the new voter")
	}
	nw.heal()
	nw.join(l, 3)
	nw.pass(time.Second)
	if roles(nw.host(3)) != "vvv" {
		t.Fatalf("roles %s", roles(nw.host(3)))
	}
}

// TestLearnerStays without a wish to promote it.
func TestLearnerStays(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 1)
	l := nw.elect(1)
	nw.isolate(2)
	h := nw.join(l, 2)
	nw.settle()
	nw.change(l, func(c *Configuration) { c.Members[1].Promote = false })
	nw.settle()
	nw.heal()
	nw.pass(5 * time.Second)
	if roles(l) != "vl" || h.c.role != Learner || h.lastApplied() != l.lastApplied() {
		t.Fatalf("roles %s, %v", roles(l), h.c.role)
	}
	nw.change(l, func(c *Configuration) { c.Members[1].Promote = true })
	nw.pass(time.Second)
	if roles(l) != "vv" {
		t.Fatalf("roles %s after it was asked for", roles(l))
	}
}

// slowLearner makes a leader with a learner whose acknowledgements take longer than a round may, while new
// entries come.
func slowLearner(t *testing.T, rounds int) (y *tray, ack func()) {
	t.Helper()
	h := &host{id: 1, log: entries(1, 1)}
	r := h.restored(9)
	r.HardState = HardState{Term: 1, Commit: 1}
	c, err := New(Config{ID: 1, Members: members(1), Rand: h.draw1, WarmupRounds: rounds}, r, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	y = &tray{t: t, c: c, now: time.Hour}
	y.pass(time.Second)
	y.writeAll()
	if !c.ready() {
		t.Fatalf("not ready: %+v", c.Status())
	}
	conf, _ := c.Config()
	conf.Members = append(conf.Members, Member{ID: 2, Incarnation: Incarnation{2}, Learner: true, Promote: true})
	if _, err := c.ProposeConfChange(conf, y.now); err != nil {
		t.Fatal(err)
	}
	y.out()
	y.writeAll()
	return y, func() {
		y.step(Message{Type: MsgAppendResp, From: 2, Term: c.hard.Term, Session: c.peer(2).pr.Session, Index: c.log.last, Incarnation: Incarnation{2}})
		y.writeAll()
	}
}

// TestWarmupGivesUp leaves a learner that never keeps up as a learner, after the rounds that it was given.
func TestWarmupGivesUp(t *testing.T) {
	t.Parallel()
	y, ack := slowLearner(t, 3)
	for round := 1; round <= 3; round++ {
		if s := y.c.Status(); s.Peers[0].WarmupRound != round {
			t.Fatalf("round %d, want %d", s.Peers[0].WarmupRound, round)
		}
		y.pass(200 * time.Millisecond)
		before := y.c.log.last
		if _, _, err := y.c.Propose([]Proposal{{Kind: EntryCommand}}, y.now); err != nil {
			t.Fatal(err)
		}
		y.out()
		y.writeAll()
		y.step(Message{Type: MsgAppendResp, From: 2, Term: y.c.hard.Term, Session: y.c.peer(2).pr.Session, Index: before, Incarnation: Incarnation{2}})
		y.writeAll()
	}
	m, _ := y.c.current().conf.Member(2)
	if !m.Learner || m.Promote {
		t.Fatalf("after three slow rounds: %+v", m)
	}
	ack()
	y.pass(time.Second)
	if m, _ := y.c.current().conf.Member(2); !m.Learner {
		t.Fatal("promoted after it was given up")
	}
}

// TestWarmupTakesTheFirstQuickRound promotes at the end of a quick round after slow ones, even if nothing new came
// meanwhile.
func TestWarmupTakesTheFirstQuickRound(t *testing.T) {
	t.Parallel()
	y, ack := slowLearner(t, 10)
	y.pass(200 * time.Millisecond)
	ack() // ends the slow round, and with nothing to do the next one too
	if m, _ := y.c.current().conf.Member(2); m.Learner || m.Promote {
		t.Fatalf("not promoted: %+v", m)
	}
}

// TestUnrecordedLearnerIsNotPromoted waits until the directory that catches up is the one that is recorded.
func TestUnrecordedLearnerIsNotPromoted(t *testing.T) {
	t.Parallel()
	y, _ := slowLearner(t, 10)
	y.step(Message{Type: MsgAppendResp, From: 2, Term: y.c.hard.Term, Session: y.c.peer(2).pr.Session, Index: y.c.log.last, Incarnation: Incarnation{3}})
	y.writeAll()
	if m, _ := y.c.current().conf.Member(2); !m.Learner {
		t.Fatal("promoted on another directory's word")
	}
}

// TestLearnerIsPromotedOnceItKnowsItsOwnRecord: as a voter it has to vote, and it votes only when the configuration that
// names its directory is in its log. A leader that went down right after a promotion before that would find nobody to
// elect it again.
func TestLearnerIsPromotedOnceItKnowsItsOwnRecord(t *testing.T) {
	t.Parallel()
	y, _ := slowLearner(t, 10)
	conf, _ := y.c.Config()
	conf.Members[1].Incarnation, conf.Members[1].Former = Incarnation{}, Incarnation{2}
	if _, err := y.c.ProposeConfChange(conf, y.now); err != nil {
		t.Fatal(err)
	}
	y.out()
	y.writeAll()
	ack := func(index uint64) {
		y.step(Message{Type: MsgAppendResp, From: 2, Term: y.c.hard.Term, Session: y.c.peer(2).pr.Session, Index: index, Incarnation: Incarnation{3}})
		y.writeAll()
	}
	ack(y.c.log.last) // the leader hears of the directory, and records it
	record := y.c.log.last
	if m, _ := y.c.current().conf.Member(2); m.Incarnation != (Incarnation{3}) {
		t.Fatalf("not recorded: %+v", m)
	}
	ack(record - 1)
	if m, _ := y.c.current().conf.Member(2); !m.Learner {
		t.Fatal("promoted without knowing that its directory is recorded")
	}
	ack(record)
	if m, _ := y.c.current().conf.Member(2); m.Learner {
		t.Fatalf("not promoted: %+v", m)
	}
}

// TestWarmupGoesOnAtTheNextLeader because the wish is in the configuration.
func TestWarmupGoesOnAtTheNextLeader(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.From == 4 || m.To == 4 }
	nw.join(l, 4)
	nw.settle()
	nw.crash(1)
	nw.elect(2)
	if roles(nw.host(2)) != "vvvw" {
		t.Fatalf("roles %s", roles(nw.host(2)))
	}
	nw.heal()
	nw.pass(time.Second)
	if roles(nw.host(2)) != "vvvv" {
		t.Fatalf("roles %s under the next leader", roles(nw.host(2)))
	}
}

// TestReplaceMember gives a member's place to another directory: a learner first, with the old one's word worth
// nothing.
func TestReplaceMember(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.crash(3)
	old := nw.host(3).inc
	nw.change(l, func(c *Configuration) {
		c.Members[2].Former, c.Members[2].Incarnation = old, Incarnation{}
		c.Members[2].Learner, c.Members[2].Promote = true, true
	})
	nw.settle()
	// The old directory may still run; it is not heard, and not recorded again.
	before := l.c.Stats.WrongIncarnation
	l.c.Step(Message{Type: MsgAppendResp, From: 3, To: 1, Term: l.c.hard.Term, Session: l.c.peer(3).pr.Session, Index: l.c.log.last, Incarnation: old}, nw.now)
	nw.settle()
	if m, _ := l.c.current().conf.Member(3); !m.Incarnation.IsZero() || l.c.Stats.WrongIncarnation != before+1 {
		t.Fatalf("the old directory is heard: %+v", m)
	}
	for _, h := range nw.hosts[:2] {
		if p := h.c.peer(3); p.pr.Match != 0 || !p.heard.IsZero() {
			t.Fatalf("%d still counts on what the old directory said: match %d, heard %v", h.id, p.pr.Match, p.heard)
		}
	}
	i := nw.propose(l, "with two of two")
	nw.settle()
	if l.c.log.commit != i {
		t.Fatal("the two that stay do not commit")
	}
	h := nw.host(3)
	h.inc, h.log, h.hard = Incarnation{33}, nil, HardState{}
	h.cfg.Incarnation, h.cfg.Members = h.inc, nil
	nw.start(h)
	nw.pass(time.Second)
	if roles(l) != "vvv" || h.lastApplied() != l.lastApplied() {
		t.Fatalf("roles %s, applied %d of %d", roles(l), h.lastApplied(), l.lastApplied())
	}
	if m, _ := l.c.current().conf.Member(3); m.Incarnation != h.inc {
		t.Fatalf("incarnation %v", m.Incarnation)
	}
	before = l.c.Stats.WrongIncarnation
	l.c.Step(Message{Type: MsgAppendResp, From: 3, To: 1, Term: l.c.hard.Term, Index: l.c.log.last, Incarnation: old}, nw.now)
	if l.c.Stats.WrongIncarnation != before+1 {
		t.Fatal("the old directory is still heard")
	}
}

// TestVersionRises when every member has announced it, and never above, nor back (rule 17).
func TestVersionRises(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	announce := func(i int, version uint32) {
		nw.change(l, func(c *Configuration) { c.Members[i].Version = version })
		nw.pass(100 * time.Millisecond)
	}
	version := func() uint32 { c, _ := nw.core(3).Config(); return c.Version }
	announce(2, 4)
	announce(1, 3)
	if version() != 0 {
		t.Fatalf("version %d before member 1 announced any", version())
	}
	announce(0, 2)
	if version() != 2 {
		t.Fatalf("version %d, want 2", version())
	}
	announce(2, 1)
	announce(0, 3)
	if version() != 2 {
		t.Fatalf("version %d after a member went back", version())
	}
	conf, _ := l.c.Config()
	conf.Version = 1
	if _, err := l.c.ProposeConfChange(conf, nw.now); !isErr(err, errConfiguration) {
		t.Fatalf("a version that goes back: %v", err)
	}
}

// TestRemovedLeaderHandsOver has another member stand at once, instead of after an election timeout.
func TestRemovedLeaderHandsOver(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	began := nw.now
	nw.change(l, func(c *Configuration) { c.Members = c.Members[1:] })
	if !nw.passUntil(time.Second, func() bool { n := nw.leader(); return n != nil && n != l && n.c.ready() }) {
		t.Fatal("nobody leads")
	}
	if took := nw.now - began; took > 10*time.Millisecond {
		t.Fatalf("the next leader was ready after %v", took)
	}
	nw.pass(time.Second)
	if l.state.Role != Standby || !l.state.Removed || nw.host(2).state.Removed {
		t.Fatalf("the removed one: %+v", l.state)
	}
}

// TestContacts keeps in touch with who may come back and with who has to be told, and then no longer.
func TestContacts(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	contacts := func(h *host) (ids []MemberID) {
		for _, m := range h.c.Contacts() {
			ids = append(ids, m.ID)
		}
		return ids
	}
	nw.drop = func(m Message) bool { return m.To == 3 }
	nw.change(l, func(c *Configuration) { c.Members = c.Members[:2] })
	before := l.state.Contacts
	nw.settle()
	if got := contacts(l); !slices.Equal(got, []MemberID{2, 3}) {
		t.Fatalf("the leader keeps in touch with %v while 3 does not know", got)
	}
	nw.heal()
	nw.pass(time.Second)
	for _, h := range nw.hosts[:2] {
		if got := contacts(h); slices.Contains(got, 3) {
			t.Fatalf("%d keeps in touch with %v", h.id, got)
		}
	}
	if l.state.Contacts == before {
		t.Fatal("the change of contacts is not told")
	}
	// A follower keeps in touch with a leader that removes itself until that is committed.
	nw.drop = func(m Message) bool { return m.To == 1 }
	nw.change(l, func(c *Configuration) { c.Members = c.Members[1:] })
	nw.settle()
	if got := contacts(nw.host(2)); !slices.Equal(got, []MemberID{1}) {
		t.Fatalf("2 keeps in touch with %v", got)
	}
}

// TestTransferToWhoCantTakeOver is refused at once, and proposals go on.
func TestTransferToWhoCantTakeOver(t *testing.T) {
	t.Parallel()
	nw, l := behind(t, 0)
	nw.pass(400 * time.Millisecond)
	if err := l.c.TransferLeadership(3, nw.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("to a dead member: %v", err)
	}
	nw.holdSnapshotDone = true
	nw.drop = func(m Message) bool { return m.Type == MsgSnapshot }
	nw.pass(time.Second)
	if err := l.c.TransferLeadership(3, nw.now); !isErr(err, ErrNoTransferTarget) {
		t.Fatalf("to one that is given a snapshot: %v", err)
	}
	nw.propose(l, "goes on")
}

// TestReplacedLearnerBeginsAnew: what the directory before had caught up with says nothing about the new one.
func TestReplacedLearnerBeginsAnew(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	nw.change(l, func(c *Configuration) { c.Members[2].Learner, c.Members[2].Promote = true, true })
	nw.drop = func(m Message) bool { return m.From == 3 }
	nw.settle()
	begun := l.c.peer(3).warm
	nw.propose(l, "x")
	nw.change(l, func(c *Configuration) { *c, _ = c.Replaced(3, "") })
	if warm := l.c.peer(3).warm; begun.round != 1 || warm.round != 1 || warm.target <= begun.target {
		t.Fatalf("warm-up %+v, of the directory before %+v", warm, begun)
	}
}
