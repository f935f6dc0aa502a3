package raft

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/internal/allocs"
)

// configurations draws valid configurations.
func configurations() *rapid.Generator[Configuration] {
	return rapid.Custom(func(t *rapid.T) Configuration {
		var c Configuration
		copy(c.ClusterID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "cluster"))
		c.Version, c.SetVoters = rapid.Uint32().Draw(t, "version"), rapid.Uint32Range(0, 9).Draw(t, "set voters")
		id := MemberID(0)
		for range rapid.IntRange(1, 6).Draw(t, "members") {
			id += MemberID(rapid.Uint64Range(1, 1<<40).Draw(t, "id"))
			m := Member{ID: id, Name: rapid.String().Draw(t, "name"), Address: rapid.String().Draw(t, "address"),
				Learner: len(c.Members) > 0 && rapid.Bool().Draw(t, "learner"), Standby: rapid.Bool().Draw(t, "standby"),
				Version: rapid.Uint32().Draw(t, "member version")}
			m.Promote = m.Learner && rapid.Bool().Draw(t, "promote")
			copy(m.Incarnation[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "incarnation"))
			copy(m.Former[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "former"))
			if m.Former == m.Incarnation {
				m.Former = Incarnation{}
			}
			if md := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"); len(md) > 0 {
				m.Metadata = md
			}
			c.Members = append(c.Members, m)
		}
		return c
	})
}

// TestConfigurationRoundTrip encodes and decodes, each configuration in one way alone.
func TestConfigurationRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := configurations().Draw(t, "configuration")
		data := c.Encode()
		got, err := DecodeConfiguration(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, got); d != "" {
			t.Fatal(d)
		}
		if !slices.Equal(data, c.Clone().Encode()) {
			t.Fatal("two encodings of one configuration")
		}
		n := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := DecodeConfiguration(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes are read", n, len(data))
		}
		if _, err := DecodeConfiguration(append(data, 0)); err == nil {
			t.Fatal("a byte too many is read")
		}
	})
}

// FuzzDecodeConfiguration takes any bytes; what is read encodes to the same bytes.
func FuzzDecodeConfiguration(f *testing.F) {
	f.Add(Configuration{ClusterID: ClusterID{1}, Members: members(3)}.Encode())
	f.Add(Configuration{Members: []Member{{ID: 9, Name: "a", Metadata: map[string]string{"k": "v", "l": ""}, Standby: true}}}.Encode())
	f.Add([]byte{configurationLayout})
	f.Add(configurationOfLayout1)
	large := Configuration{Version: 1<<32 - 1, SetVoters: 9}
	for i := range 9 {
		large.Members = append(large.Members, Member{ID: MemberID(1<<60 + i), Name: strings.Repeat("n", 127+i), Address: strings.Repeat("a", 128), Learner: i > 6, Promote: i == 7,
			Standby: i == 1, Version: 1<<32 - 1, Incarnation: Incarnation{1}, Former: Incarnation{2}, Metadata: map[string]string{"": strings.Repeat("v", 300), "k": ""}})
		f.Add(large.Encode())
	}
	f.Add(append(large.Encode(), 0))
	f.Add(large.Encode()[:len(large.Encode())-1])
	f.Add(Configuration{Members: []Member{{ID: 2}, {ID: 1}}}.Encode()) // out of order
	f.Add(Configuration{}.Encode())
	// After the layout, the cluster, two versions: a count of members beyond all bounds.
	f.Add(append(append([]byte{configurationLayout}, make([]byte, 16)...), 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))
	f.Fuzz(func(t *testing.T, data []byte) {
		allocs.Within(t, len(data), 256<<10, 64, func() {
			if _, err := DecodeConfiguration(data); err != nil && len(err.Error()) < 16 {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
		c, err := DecodeConfiguration(data)
		if err != nil {
			return
		}
		again := c.Encode()
		if data[0] == firstLayout {
			// Read for good, written in the present layout alone.
			if back, err := DecodeConfiguration(again); err != nil || !cmp.Equal(back, c) {
				t.Fatalf("%x is read and written as %x (%v)", data, again, err)
			}
			return
		}
		if !slices.Equal(again, data) {
			t.Fatalf("%x is read and written as %x", data, again)
		}
	})
}

// configurationOfLayout1 was written before the first release: cluster ID 1, member 9 "a" at "b:1", a learner.
var configurationOfLayout1 = append(append([]byte{1, 1}, make([]byte, 15)...),
	append(append([]byte{2, 7, 0}, make([]byte, 16)...), append([]byte{1, 'v', 3, 'v', ':', '1', 0, 9, flagLearner},
		append(make([]byte, 16), 1, 'a', 3, 'b', ':', '1', 1, 1, 'k', 1, 'w')...)...)...)

// TestConfigurationOfLayout1 reads what the first data directories hold.
func TestConfigurationOfLayout1(t *testing.T) {
	t.Parallel()
	got, err := DecodeConfiguration(configurationOfLayout1)
	if err != nil {
		t.Fatal(err)
	}
	want := Configuration{ClusterID: ClusterID{1}, Members: []Member{{ID: 7, Name: "v", Address: "v:1"},
		{ID: 9, Name: "a", Address: "b:1", Learner: true, Metadata: map[string]string{"k": "w"}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
}

// TestConfigurationsRollBack takes back configurations whose entries are cut, one after the other.
func TestConfigurationsRollBack(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1)
	conf := func(n int) []byte { return Configuration{Members: members(n)}.Encode() }
	y.step(Message{Type: MsgAppend, From: 2, Term: 2, Index: 1, LogTerm: 1, Commit: 1, Entries: []Entry{
		{Index: 2, Term: 2, Kind: EntryConfig, Data: conf(4)},
		{Index: 3, Term: 2, Kind: EntryCommand},
		{Index: 4, Term: 2, Kind: EntryConfig, Data: conf(5)},
	}})
	size := func() int { c, _ := y.c.Config(); return len(c.Members) }
	if size() != 5 || len(y.c.peers) != 4 || y.c.peer(5) == nil {
		t.Fatalf("%d members in effect", size())
	}
	if s := y.c.Status(); len(s.Active.Members) != 3 || s.Proposed == nil || s.ProposedIndex != 4 {
		t.Fatalf("status %+v", s)
	}
	y.step(Message{Type: MsgAppend, From: 3, Term: 3, Index: 3, LogTerm: 2, Entries: entries(4, 3)})
	if size() != 4 || y.c.peer(5) != nil {
		t.Fatalf("%d members after the first cut", size())
	}
	y.step(Message{Type: MsgAppend, From: 2, Term: 4, Index: 1, LogTerm: 1, Entries: entries(2, 4)})
	if size() != 3 {
		t.Fatalf("%d members after the second cut", size())
	}
	// The same over a restart in between.
	h := &host{id: 1, hard: HardState{Term: 4, Commit: 2}}
	h.log = append(entries(1, 1), Entry{Index: 2, Term: 1, Kind: EntryConfig, Data: conf(4)}, Entry{Index: 3, Term: 2, Kind: EntryConfig, Data: conf(5)})
	c, err := New(Config{ID: 1, Members: members(2), Rand: h.draw1}, h.restored(9), 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Step(Message{Type: MsgAppend, From: 2, To: 1, Term: 5, Index: 2, LogTerm: 1, Entries: entries(3, 5)}, 0)
	if got, index := c.Config(); len(got.Members) != 4 || index != 2 {
		t.Fatalf("%d members after the restart and the cut", len(got.Members))
	}
}

// TestBadConfigurationLeavesNothingBehind drops the whole message.
func TestBadConfigurationLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 2}, 1, 2)
	y.step(Message{Type: MsgAppend, From: 2, Term: 3, Index: 1, LogTerm: 1, Entries: []Entry{
		{Index: 2, Term: 3, Kind: EntryCommand},
		{Index: 3, Term: 3, Kind: EntryConfig, Data: []byte("nonsense")},
	}})
	if y.c.log.last != 2 || y.c.log.lastTerm != 2 || y.c.Stats.BadMessages != 1 {
		t.Fatalf("last (%d, %d), stats %+v", y.c.log.lastTerm, y.c.log.last, y.c.Stats)
	}
}

// TestConfChangeRules allows one change at a time, after a commit of this term (the bug of 2015), of one voter.
func TestConfChangeRules(t *testing.T) {
	t.Parallel()
	y := one(t, 3, HardState{Term: 3}, 1)
	four, five := Configuration{Members: members(4)}, Configuration{Members: members(5)}
	if _, err := y.c.ProposeConfChange(four, y.now); !isErr(err, ErrNotLeader) {
		t.Fatalf("follower: %v", err)
	}
	y.lead()
	if _, err := y.c.ProposeConfChange(four, y.now); !isErr(err, ErrChangePending) {
		t.Fatalf("before a commit of the term: %v", err)
	}
	ack := func(id MemberID) {
		y.step(Message{Type: MsgAppendResp, From: id, Term: 4, Session: y.c.peer(id).pr.Session, Index: y.c.log.last})
		y.writeAll()
	}
	ack(2)
	for name, bad := range map[string]Configuration{
		"two at once":  five,
		"nobody":       {},
		"cluster ID":   {ClusterID: ClusterID{3}, Members: members(4)},
		"out of order": {Members: []Member{{ID: 2}, {ID: 1}}},
		"no voter":     {Members: []Member{{ID: 1, Learner: true}}},
	} {
		if _, err := y.c.ProposeConfChange(bad, y.now); !isErr(err, errConfiguration) {
			t.Errorf("%s: %v", name, err)
		}
	}
	index, err := y.c.ProposeConfChange(four, y.now)
	if err != nil || y.c.current().index != index || y.c.peer(4) == nil {
		t.Fatalf("index %d, error %v", index, err)
	}
	y.out()
	y.writeAll()
	if _, err := y.c.ProposeConfChange(five, y.now); !isErr(err, ErrChangePending) {
		t.Fatalf("a second one: %v", err)
	}
	ack(2)
	if y.c.log.commit >= index {
		t.Fatal("committed by two of four: the configuration is not in effect at append")
	}
	ack(3)
	if y.c.log.commit != index {
		t.Fatalf("commit %d of %d", y.c.log.commit, index)
	}
	if _, err := y.c.ProposeConfChange(five, y.now); err != nil {
		t.Fatal(err)
	}
}

// TestLearnerDoesNotCount replicates to a learner without counting it, and lets it vote if asked.
func TestLearnerDoesNotCount(t *testing.T) {
	t.Parallel()
	ms := members(3)
	ms[2].Learner = true
	nw := newNetwork(t, 3, func(c *Config) { c.Members = ms })
	l := nw.elect(1)
	nw.drop = func(m Message) bool { return m.To == 2 }
	i := nw.propose(l, "x")
	nw.settle()
	if l.c.log.commit >= i || nw.core(3).log.last < i || nw.core(3).role != Learner {
		t.Fatalf("commit %d of %d: %+v", l.c.log.commit, i, nw.core(3).Status())
	}
	nw.heal()
	nw.pass(time.Second)
	conf, _ := l.c.Config()
	conf.Members = append(conf.Members, Member{ID: 4, Learner: true}, Member{ID: 5, Learner: true})
	if _, err := l.c.ProposeConfChange(conf, nw.now); err != nil {
		t.Fatalf("two learners at once: %v", err)
	}
	nw.drop = func(m Message) bool { return m.To > 3 }
	nw.settle()
	y := nw.core(3)
	y.Step(Message{Type: MsgVote, From: 2, To: 3, Term: 90, Index: 90, LogTerm: 80, Incarnation: nw.host(2).inc}, nw.now+time.Hour)
	if y.hard.Vote != 2 {
		t.Fatal("a learner does not vote though asked")
	}
}

// TestLeaderRemovesItself commits the change without counting itself, then goes on as a standby.
func TestLeaderRemovesItself(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	conf, _ := l.c.Config()
	conf.Members = conf.Members[1:]
	nw.drop = func(m Message) bool { return m.To == 3 }
	index, err := l.c.ProposeConfChange(conf, nw.now)
	if err != nil {
		t.Fatal(err)
	}
	nw.settle()
	if l.c.role != Leader || l.c.log.commit >= index {
		t.Fatal("it counted itself")
	}
	nw.heal()
	nw.pass(2 * time.Second)
	if l.c.role != Standby || l.c.log.commit < index {
		t.Fatalf("after its removal: %+v", l.c.Status())
	}
	if other := nw.leader(); other == nil || !other.c.ready() {
		t.Fatal("the others do not go on")
	}
}

// TestRemovedMemberIsTold goes on replicating to it until it knows, then stops.
func TestRemovedMemberIsTold(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	conf, _ := l.c.Config()
	conf.Members = conf.Members[:2]
	index, err := l.c.ProposeConfChange(conf, nw.now)
	if err != nil {
		t.Fatal(err)
	}
	nw.pass(time.Second)
	gone := nw.core(3)
	if gone.log.commit < index || gone.role != Standby || l.c.peer(3) != nil {
		t.Fatalf("removed: %+v", gone.Status())
	}
	term, stood := l.c.hard.Term, gone.Stats.Elections
	nw.pass(5 * time.Second)
	if l.c.hard.Term != term || nw.leader() != l || gone.Stats.Elections != stood {
		t.Fatalf("the removed member disturbed the others: it stood %d times", gone.Stats.Elections-stood)
	}
}

// TestReturnWithinATerm gives a member that left and came back within a term a new session.
func TestReturnWithinATerm(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, 3)
	l := nw.elect(1)
	session := max(l.c.peer(2).pr.Session, l.c.peer(3).pr.Session)
	conf, _ := l.c.Config()
	without := conf.Clone()
	without.Members = without.Members[:2]
	for _, c := range []Configuration{without, conf} {
		if _, err := l.c.ProposeConfChange(c, nw.now); err != nil {
			t.Fatal(err)
		}
		nw.settle()
	}
	if p := l.c.peer(3); p.pr.Session <= session || p.leaving {
		t.Fatalf("session %d again", session)
	}
	nw.pass(time.Second)
	nw.same()
}
