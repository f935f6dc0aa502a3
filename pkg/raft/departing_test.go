package raft

import (
	"testing"
	"time"
)

// TestWhoIsLeavingStandsUntilThatIsCommitted: a leader wrote its own removal, or demotion, into its log alone and
// crashed. Nobody else's log is as new as its own, and the others still need its vote: it has to stand again, without
// counting itself (dissertation, section 4.2.2, figure 4.6).
func TestWhoIsLeavingStandsUntilThatIsCommitted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Configuration){
		"removed": func(c *Configuration) { c.Members = c.Members[1:] },
		"demoted": func(c *Configuration) { c.Members[0].Learner = true },
		"standby": func(c *Configuration) { c.Members[0].Standby = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, 2)
			l := nw.elect(1)
			conf, _ := l.c.Config()
			change(&conf)
			nw.isolate(1)
			index, err := l.c.ProposeConfChange(conf, nw.now)
			if err != nil {
				t.Fatal(err)
			}
			nw.settle()
			nw.crash(1)
			nw.start(nw.host(1))
			nw.heal()
			if !nw.passUntil(5*time.Second, func() bool { return nw.core(2).log.commit >= index }) {
				t.Fatalf("nobody commits the change: %+v, %+v", nw.core(1).Status(), nw.core(2).Status())
			}
			nw.pass(2 * time.Second)
			if nw.core(1).eligible() {
				t.Fatal("it may still stand though the change is committed")
			}
		})
	}
}

// TestWhoWasAwayFollowsAReplacedLeader: a member that was away knows another one by the directory that it had before it
// was replaced. It follows it where it leads, and votes for it where it stands; but what it says besides counts nothing.
func TestWhoWasAwayFollowsAReplacedLeader(t *testing.T) {
	t.Parallel()
	conf := Configuration{Members: members(3)}
	conf.Members[0].Incarnation, conf.Members[1].Incarnation, conf.Members[2].Incarnation = Incarnation{1}, Incarnation{2}, Incarnation{3}
	begin := func() *tray {
		y := one(t, 3, HardState{Term: 1}, 1)
		y.c.cfg.Incarnation = Incarnation{1}
		y.step(Message{Type: MsgAppend, From: 3, Term: 2, Index: 1, LogTerm: 1, Commit: 2, Incarnation: Incarnation{3},
			Entries: []Entry{{Index: 2, Term: 2, Kind: EntryConfig, Data: conf.Encode()}}})
		y.writeAll()
		y.pass(time.Second)
		y.take(MsgAppendResp)
		return y
	}
	y := begin()
	y.step(Message{Type: MsgVote, From: 2, Term: 9, Index: 7, LogTerm: 8, Incarnation: Incarnation{22}})
	y.writeAll()
	if got := y.take(MsgVoteResp); len(got) != 1 || got[0].Reject {
		t.Fatalf("asked for its vote by a replaced member: %+v", got)
	}
	y = begin()
	y.step(Message{Type: MsgAppend, From: 2, Term: 9, Index: 2, LogTerm: 2, Entries: entries(3, 9), Incarnation: Incarnation{22}})
	y.writeAll()
	if got := y.take(MsgAppendResp); len(got) != 1 || got[0].Index != 3 || got[0].Reject {
		t.Fatalf("sent an entry by a replaced leader: %+v", got)
	}
	before := y.c.Stats.WrongIncarnation
	y.step(Message{Type: MsgHello, From: 2, Round: 4, Incarnation: Incarnation{23}})
	y.step(Message{Type: MsgPreVoteResp, From: 2, Term: 30, Reject: true, Incarnation: Incarnation{23}})
	if y.c.Stats.WrongIncarnation != before+2 || y.c.hard.Term != 9 || len(y.take(MsgHelloResp)) != 0 {
		t.Fatalf("another directory is heard: %+v, term %d", y.c.Stats, y.c.hard.Term)
	}
}

// TestReplacedMemberIsTwoDirectories: as long as it is not committed that a member is replaced, the directory of old
// may stand for it, and leads without recording itself again. The new one may not: it never was the voter.
func TestReplacedMemberIsTwoDirectories(t *testing.T) {
	t.Parallel()
	before := Configuration{Members: members(3)}
	for i := range before.Members {
		before.Members[i].Incarnation = Incarnation{byte(i + 1)}
	}
	replaced, err := before.Replaced(1, "")
	if err != nil {
		t.Fatal(err)
	}
	announced := replaced.Clone()
	announced.Members[0].Incarnation = Incarnation{11}
	begin := func(in Incarnation, conf Configuration) *tray {
		h := &host{id: 1, hard: HardState{Term: 2, Vote: 3}}
		h.log = []Entry{{Index: 1, Term: 1, Kind: EntryConfig, Data: before.Encode()}, {Index: 2, Term: 2, Kind: EntryConfig, Data: conf.Encode()}}
		c, err := New(Config{ID: 1, Members: members(3), CheckQuorum: true, Incarnation: in, Rand: h.draw1}, h.restored(9), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return &tray{t: t, c: c, now: time.Hour}
	}
	if y := begin(Incarnation{11}, announced); y.c.eligible() {
		t.Error("a new directory stands by the right of the one before")
	}
	y := begin(Incarnation{1}, replaced)
	if !y.c.eligible() {
		t.Fatal("the directory before may not stand, though nothing is committed")
	}
	y.pass(time.Second)
	for _, typ := range []MessageType{MsgPreVoteResp, MsgVoteResp} {
		for id := MemberID(2); id <= 3; id++ {
			y.step(Message{Type: typ, From: id, Term: 3, Incarnation: Incarnation{byte(id)}})
			y.writeAll()
		}
	}
	y.writeAll()
	if y.c.role != Leader {
		t.Fatalf("%+v", y.c.Status())
	}
	for id := MemberID(2); id <= 3; id++ {
		y.step(Message{Type: MsgAppendResp, From: id, Term: 3, Session: y.c.peer(id).pr.Session, Index: y.c.log.last, Incarnation: Incarnation{byte(id)}})
	}
	y.writeAll()
	if m, _ := y.c.current().conf.Member(1); !m.Incarnation.IsZero() || y.c.log.commit < 2 || y.c.role == Leader {
		t.Fatalf("it records itself again, or goes on leading: %+v, %+v", m, y.c.Status())
	}
}

// TestGivenUpAtOnce: a member's directory is recorded and given up by configurations of one message. What was heard of
// it before is forgotten, or the next leader would record it again.
func TestGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 1}, 1)
	y.step(Message{Type: MsgPreVote, From: 2, Term: 2, Index: 1, LogTerm: 1, Incarnation: Incarnation{2}})
	recorded := Configuration{Members: members(3)}
	recorded.Members[1].Incarnation = Incarnation{2}
	replaced, err := recorded.Replaced(2, "")
	if err != nil || y.c.peer(2).heard != recorded.Members[1].Incarnation {
		t.Fatalf("heard %v, error %v", y.c.peer(2).heard, err)
	}
	y.step(Message{Type: MsgAppend, From: 3, Term: 2, Index: 1, LogTerm: 1, Entries: []Entry{
		{Index: 2, Term: 2, Kind: EntryConfig, Data: recorded.Encode()}, {Index: 3, Term: 2, Kind: EntryConfig, Data: replaced.Encode()}}})
	if got := y.c.withHeard(y.c.current().conf).Members[1]; !got.Incarnation.IsZero() || got.Former != recorded.Members[1].Incarnation {
		t.Fatalf("a leader would record %v, after %v", got.Incarnation, got.Former)
	}
}
