package node

import (
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Whether a node has something to say follows from what it knows now, not from what it once saw.
func TestWhatAnAnnouncerHasToSay(t *testing.T) {
	t.Parallel()
	own, other := raft.Incarnation{1}, raft.Incarnation{2}
	with := func(ms ...raft.Member) raft.Configuration {
		return raft.Configuration{Members: append([]raft.Member{{ID: 1}}, ms...)}
	}
	self := raft.Member{ID: 2, Incarnation: own, Address: "here"}
	moved, lost := self, self
	moved.Address, lost.Incarnation = "elsewhere", other
	a := &announcer{n: &Node{cfg: Config{ID: 2, Address: "here"}, found: storage.State{Incarnation: own}}, join: []string{"one"}}
	for _, step := range []struct {
		name   string
		view   view
		silent bool
	}{
		{"nothing known yet", view{}, false},
		{"not a member", view{config: with(), active: with()}, false},
		{"taken in, not committed", view{config: with(self), active: with()}, true},
		{"and rolled back with its leader", view{config: with(), active: with()}, false},
		{"taken in", view{config: with(self), active: with(self)}, true},
		{"with an old address", view{config: with(moved), active: with(moved)}, false},
		{"removal under way", view{config: with(), active: with(self)}, true},
		{"removal rolled back", view{config: with(self), active: with(self)}, true},
		{"removed", view{config: with(), active: with(), soft: raft.SoftState{Removed: true}}, true},
		{"another directory is on record", view{config: with(lost), active: with(lost)}, false},
	} {
		if got := a.silent(&step.view); got != step.silent {
			t.Errorf("%s: silent %v", step.name, got)
		}
	}
	a.join = nil
	if v := (&view{config: with(), active: with()}); !a.silent(v) {
		t.Error("who was told of nobody to join asks nevertheless")
	}
}

// Who comes back after a failure detector removed it says nothing of the others that are still missing.
func TestJoiningDoesNotLowerTheVotersThatWereSet(t *testing.T) {
	t.Parallel()
	c := raft.Configuration{SetVoters: 7}
	for id := raft.MemberID(1); id <= 7; id++ {
		c.Members = append(c.Members, raft.Member{ID: id})
	}
	for _, id := range []raft.MemberID{5, 6, 7} {
		var err error
		if c, err = removingFailed(id)(c); err != nil {
			t.Fatal(err)
		}
	}
	back := announcement{ID: 7, Name: "n7", Address: "host7", Incarnation: raft.Incarnation{7}}
	c, err := back.record(c)
	if m, ok := c.Member(7); err != nil || !ok || !m.Promote || len(c.Members) != 5 || c.SetVoters != 7 {
		t.Errorf("with a member that came back: %v, %+v", err, c)
	}
	if mayGo(&c, 4) {
		t.Error("a fourth voter of seven may go")
	}
}
