package raft

import (
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// configurationOf decodes a number in base 3: what each of n members is, absent, a voter or a learner.
func configurationOf(code, n int) (c Configuration, voters uint) {
	for id := range n {
		switch code % 3 {
		case 1:
			c.Members = append(c.Members, Member{ID: MemberID(id + 1)})
			voters |= 1 << id
		case 2:
			c.Members = append(c.Members, Member{ID: MemberID(id + 1), Learner: true})
		}
		code /= 3
	}
	return c, voters
}

// disjoint looks for a majority of each of two sets of voters that share nobody.
func disjoint(from, to uint) bool {
	majorities := func(voters uint) (all []uint) {
		for set := voters; ; set = (set - 1) & voters {
			if 2*bits.OnesCount(set) > bits.OnesCount(voters) {
				all = append(all, set)
			}
			if set == 0 {
				return all
			}
		}
	}
	other := majorities(to)
	for _, a := range majorities(from) {
		for _, b := range other {
			if a&b == 0 {
				return true
			}
		}
	}
	return false
}

// TestChangesOverAllPairs goes through all pairs of configurations of up to six members, each a voter, a learner or
// absent. What is allowed is one voter more or less, and then every majority of the one has a member of every
// majority of the other. With two voters there are pairs where that fails, from every odd number of voters on.
func TestChangesOverAllPairs(t *testing.T) {
	t.Parallel()
	const members = 6
	codes := 1
	for range members {
		codes *= 3
	}
	confs, voters := make([]Configuration, codes), make([]uint, codes)
	for code := range codes {
		confs[code], voters[code] = configurationOf(code, members)
	}
	var split [1 << members][1 << members]bool // by sets of voters, because only they matter for it
	for a := range uint(1 << members) {
		for b := range uint(1 << members) {
			split[a][b] = disjoint(a, b)
		}
	}
	var allowed, refused, splits int
	bySize := map[int]bool{} // numbers of voters from which a change of two is seen to split
	for a := range codes {
		if voters[a] == 0 {
			continue // no configuration that is in effect
		}
		for b := range codes {
			changed := bits.OnesCount(voters[a] ^ voters[b])
			ok := checkChange(confs[a], confs[b]) == nil
			if want := changed <= 1 && voters[b] != 0; ok != want {
				t.Fatalf("from voters %06b to %06b (%v): allowed %v, want %v", voters[a], voters[b], confs[b].Members, ok, want)
			}
			switch apart := split[voters[a]][voters[b]]; {
			case ok && apart:
				t.Fatalf("voters %06b and %06b may each decide without the other", voters[a], voters[b])
			case ok:
				allowed++
			default:
				refused++
				if apart && voters[b] != 0 {
					splits++
					if changed == 2 {
						bySize[bits.OnesCount(voters[a])] = true
					}
				}
			}
		}
	}
	for size := 1; size <= members; size++ {
		if bySize[size] != (size%2 == 1) {
			t.Errorf("from %d voters a change of two may split: %v", size, bySize[size])
		}
	}
	if allowed == 0 || splits == 0 || allowed+refused != (codes-1<<members)*codes {
		t.Fatalf("%d allowed, %d refused, of which %d would split", allowed, refused, splits)
	}
}

// TestConfigurationStackAgainstList compares the stack of configurations with a plain list of all that were ever
// appended and not cut.
func TestConfigurationStackAgainstList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		named := func(index uint64) Configuration { // each index has its own
			return Configuration{Version: uint32(index), Members: members(1 + int(index%5))}
		}
		s := configStack{stack: []configAt{{0, named(0)}}}
		list := []uint64{0}
		var last, commit uint64
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				last += rapid.Uint64Range(1, 4).Draw(t, "entries")
				if rapid.Bool().Draw(t, "configuration") {
					s.push(last, named(last))
					list = append(list, last)
				}
			},
			"cut": func(t *rapid.T) {
				last = rapid.Uint64Range(commit, last).Draw(t, "after")
				before := len(list)
				list = slices.DeleteFunc(list, func(i uint64) bool { return i > last })
				if s.cut(last) != (len(list) < before) {
					t.Fatalf("a cut after %d says wrong whether anything changed", last)
				}
			},
			"commit": func(t *rapid.T) {
				news := rapid.Uint64Range(commit, last).Draw(t, "to")
				told := slices.ContainsFunc(list, func(i uint64) bool { return i > commit && i <= news })
				commit = news
				if s.forget(commit) != told {
					t.Fatalf("a commit of %d says wrong whether a configuration was committed", commit)
				}
			},
			"install": func(t *rapid.T) {
				last += rapid.Uint64Range(1, 4).Draw(t, "beyond")
				commit = last
				at := rapid.Uint64Range(0, last).Draw(t, "configuration")
				s.replace(at, named(at))
				list = []uint64{at}
			},
			"": func(t *rapid.T) {
				current, active := list[len(list)-1], list[0]
				for _, i := range list {
					if i <= commit {
						active = i
					}
				}
				if got := s.current(); got.index != current || got.conf.Version != uint32(current) {
					t.Fatalf("%d is in effect, want %d of %v", got.index, current, list)
				}
				if got := s.active(commit); got.index != active || got.conf.Version != uint32(active) {
					t.Fatalf("%d is active at %d, want %d of %v", got.index, commit, active, list)
				}
				if s.pending(commit) != (current > commit) {
					t.Fatalf("pending %v at %d, in effect is %d", s.pending(commit), commit, current)
				}
				if s.stack[0].index > max(active, list[0]) || (len(s.stack) > 1 && s.stack[1].index <= commit) {
					t.Fatalf("the stack begins at %d, active at %d is %d", s.stack[0].index, commit, active)
				}
			},
		})
	})
}
