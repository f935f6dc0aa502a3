package raft

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestChangesByName asks for each change of a configuration of three voters and a learner.
func TestChangesByName(t *testing.T) {
	t.Parallel()
	conf := Configuration{ClusterID: ClusterID{1}, Members: members(4)}
	for i := range conf.Members {
		conf.Members[i].Address = string(rune('a'+i)) + ":1"
		conf.Members[i].Incarnation = Incarnation{byte(i + 1)}
	}
	conf.Members[3].Learner = true
	lone := Configuration{Members: members(1)}
	guarded := Configuration{Members: members(3)} // only 1 may lead
	guarded.Members[1].Standby, guarded.Members[2].Standby = true, true
	shrunk := conf.Clone() // of seven that an operator set, a failure detector removed four
	shrunk.SetVoters = 7
	for name, c := range map[string]struct {
		next  func() (Configuration, error)
		err   error
		roles string
		set   uint32
	}{
		"add":                    {func() (Configuration, error) { return conf.WithMember(Member{ID: 9, Name: "n9", Address: "z:1"}) }, nil, "vvvlw", 4},
		"add a learner":          {func() (Configuration, error) { return conf.WithMember(Member{ID: 9, Name: "n9", Learner: true}) }, nil, "vvvll", 3},
		"join":                   {func() (Configuration, error) { return conf.Joined(Member{ID: 9, Name: "n9", Address: "z:1"}) }, nil, "vvvlw", 4},
		"join again":             {func() (Configuration, error) { return shrunk.Joined(Member{ID: 9, Name: "n9"}) }, nil, "vvvlw", 7},
		"join as one of them":    {func() (Configuration, error) { return shrunk.Joined(Member{ID: 2, Name: "n9"}) }, ErrMemberExists, "", 0},
		"replace one of fewer":   {func() (Configuration, error) { return shrunk.Replaced(2, "") }, nil, "vwvl", 7},
		"add to fewer":           {func() (Configuration, error) { return shrunk.WithMember(Member{ID: 9, Name: "n9"}) }, nil, "vvvlw", 4},
		"remove of fewer":        {func() (Configuration, error) { return shrunk.Without(2) }, nil, "vvl", 2},
		"promote of fewer":       {func() (Configuration, error) { return shrunk.Promoted(4) }, nil, "vvvw", 4},
		"add one that is there":  {func() (Configuration, error) { return conf.WithMember(Member{ID: 2, Name: "n9"}) }, ErrMemberExists, "", 0},
		"add one of that name":   {func() (Configuration, error) { return conf.WithMember(Member{ID: 9, Name: "n2"}) }, ErrMemberExists, "", 0},
		"add at that address":    {func() (Configuration, error) { return conf.WithMember(Member{ID: 9, Address: "b:1"}) }, ErrMemberExists, "", 0},
		"remove a voter":         {func() (Configuration, error) { return conf.Without(2) }, nil, "vvl", 2},
		"remove a learner":       {func() (Configuration, error) { return conf.Without(4) }, nil, "vvv", 3},
		"remove nobody":          {func() (Configuration, error) { return conf.Without(9) }, ErrNoMember, "", 0},
		"remove the last":        {func() (Configuration, error) { return lone.Without(1) }, ErrLastVoter, "", 0},
		"replace":                {func() (Configuration, error) { return conf.Replaced(2, "") }, nil, "vwvl", 3},
		"replace a learner":      {func() (Configuration, error) { return conf.Replaced(4, "") }, nil, "vvvl", 3},
		"replace nobody":         {func() (Configuration, error) { return conf.Replaced(9, "") }, ErrNoMember, "", 0},
		"replace the last":       {func() (Configuration, error) { return lone.Replaced(1, "") }, ErrLastVoter, "", 0},
		"promote":                {func() (Configuration, error) { return conf.Promoted(4) }, nil, "vvvw", 4},
		"promote a voter":        {func() (Configuration, error) { return conf.Promoted(1) }, nil, "vvvl", 3},
		"promote nobody":         {func() (Configuration, error) { return conf.Promoted(9) }, ErrNoMember, "", 0},
		"standby":                {func() (Configuration, error) { return conf.WithStandby(2, true) }, nil, "vsvl", 0},
		"standby the last":       {func() (Configuration, error) { return lone.WithStandby(1, true) }, ErrLastVoter, "", 0},
		"standby who may lead":   {func() (Configuration, error) { return guarded.WithStandby(1, true) }, ErrLastVoter, "", 0},
		"remove who may lead":    {func() (Configuration, error) { return guarded.Without(1) }, ErrLastVoter, "", 0},
		"replace who may lead":   {func() (Configuration, error) { return guarded.Replaced(1, "") }, ErrLastVoter, "", 0},
		"standby nobody":         {func() (Configuration, error) { return conf.WithStandby(9, true) }, ErrNoMember, "", 0},
		"update":                 {func() (Configuration, error) { return conf.Updated(Member{ID: 2, Address: "y:1", Version: 3}) }, nil, "vvvl", 0},
		"update nobody":          {func() (Configuration, error) { return conf.Updated(Member{ID: 9}) }, ErrNoMember, "", 0},
		"update to that address": {func() (Configuration, error) { return conf.Updated(Member{ID: 2, Address: "a:1"}) }, ErrMemberExists, "", 0},
	} {
		before := conf.Clone()
		next, err := c.next()
		if !errors.Is(err, c.err) || (c.err == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if d := cmp.Diff(before, conf); d != "" {
			t.Fatalf("%s changed what it was given: %s", name, d)
		}
		if c.err != nil || err != nil {
			continue
		}
		h := &host{c: &Core{configs: configStack{stack: []configAt{{conf: next}}}}}
		if got := roles(h); got != c.roles || next.SetVoters != c.set {
			t.Errorf("%s: roles %s with %d voters set, want %s with %d", name, got, next.SetVoters, c.roles, c.set)
		}
		if err := checkChange(conf, next); err != nil {
			t.Errorf("%s: a leader refuses it: %v", name, err)
		}
	}
	if next, _ := conf.Replaced(2, "new:1"); next.Members[1].Former != conf.Members[1].Incarnation || !next.Members[1].Incarnation.IsZero() || next.Members[1].Address != "new:1" {
		t.Errorf("replaced: %+v", next.Members[1])
	}
	if next, _ := conf.Updated(Member{ID: 2, Address: "y:1", Version: 3, Metadata: map[string]string{"k": "v"}}); next.Members[1].Address != "y:1" ||
		next.Members[1].Version != 3 || next.Members[1].Metadata["k"] != "v" || next.Members[1].Name != "n2" || next.Members[1].Incarnation != conf.Members[1].Incarnation {
		t.Errorf("updated: %+v", next.Members[1])
	}
}

// TestEveryChangeIsOneALeaderTakes draws configurations and changes: what is not refused is valid and moves at most
// one voter.
func TestEveryChangeIsOneALeaderTakes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		conf := configurations().Draw(t, "configuration")
		id := rapid.SampledFrom(conf.Members).Draw(t, "member").ID
		if rapid.IntRange(0, 4).Draw(t, "stranger") == 0 {
			id = MemberID(rapid.Uint64Range(1, 1<<50).Draw(t, "id"))
		}
		var next Configuration
		var err error
		switch rapid.IntRange(0, 6).Draw(t, "change") {
		case 0:
			next, err = conf.WithMember(Member{ID: id, Learner: rapid.Bool().Draw(t, "learner")})
		case 1:
			next, err = conf.Without(id)
		case 2:
			next, err = conf.Replaced(id, "")
		case 3:
			next, err = conf.Promoted(id)
		case 4:
			next, err = conf.WithStandby(id, rapid.Bool().Draw(t, "on"))
		case 5:
			next, err = conf.Updated(Member{ID: id, Address: "somewhere:1"})
		case 6:
			next, err = conf.Joined(Member{ID: id, Learner: rapid.Bool().Draw(t, "learner")})
		}
		if err != nil {
			return
		}
		if err := checkChange(conf, next); err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeConfiguration(next.Encode()); err != nil || !cmp.Equal(back, next) {
			t.Fatalf("written and read: %v", err)
		}
	})
}
