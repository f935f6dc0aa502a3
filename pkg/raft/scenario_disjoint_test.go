package raft

import (
	"math/bits"
	"slices"
	"testing"
	"time"
)

// TestScenarioDisjointMajorities is the fault of single-server changes that was found in 2015 (Ongaro, raft-dev, "bug
// in single-server membership changes"): leader 1 of four writes that 5 joins, and only 5 hears of it; leader 2 of
// the next term writes that 1 leaves. If it may do so before an entry of its own term is committed, each has a
// majority of its own configuration that knows nothing of the other. The guard is taken out by writing the entry
// past it; then two leaders commit different entries at one index.
func TestScenarioDisjointMajorities(t *testing.T) {
	t.Parallel()
	for _, guarded := range []bool{true, false} {
		nw := newNetwork(t, 4)
		one, two := nw.elect(1), nw.host(2)
		nw.pass(time.Second)
		five := nw.blank(5)
		nw.isolate(1, 5)
		nw.change(one, func(c *Configuration) { c.Members = append(c.Members, Member{ID: 5, Incarnation: five.inc}) })
		nw.settle()
		if roles(five) != "vvvvv" || one.c.log.commit >= one.c.log.last {
			t.Fatalf("leader 1: %+v", one.c.Status())
		}
		fork := one.c.log.last

		// Leader 2 is elected by 2, 3 and 4; then 4 hears no more of it.
		nw.drop = func(m Message) bool {
			return m.From == 1 || m.To == 1 || m.From == 5 || m.To == 5 || (m.To == 4 && m.Type != MsgPreVote && m.Type != MsgVote)
		}
		two.eager = true
		two.c.resetElectionTimer()
		if !nw.passUntil(time.Second, func() bool { return two.c.role == Leader }) {
			t.Fatal("2 is not elected")
		}
		nw.settle()
		conf, _ := two.c.Config()
		conf.Members = slices.DeleteFunc(conf.Members, func(m Member) bool { return m.ID == 1 })
		_, err := two.c.ProposeConfChange(conf, nw.now)
		if !isErr(err, ErrChangePending) || two.c.ready() {
			t.Fatalf("a change before an entry of the term is committed: %v", err)
		}
		if !guarded {
			two.c.appendOwn(EntryConfig, conf.Encode())
		}
		nw.settle()

		// Now 1 hears from 5 and 4 again, under the configuration that it wrote.
		nw.drop = func(m Message) bool {
			return slices.Contains([]MemberID{2, 3}, m.From) || slices.Contains([]MemberID{2, 3}, m.To)
		}
		one.eager = true
		nw.passUntil(3*time.Second, func() bool { return one.c.hard.Term > 2 && one.c.ready() })
		split := two.c.log.commit >= fork && one.c.log.commit >= fork && one.at(fork).Term != two.at(fork).Term
		if split == guarded {
			t.Fatalf("with the guard %v: split %v; 1 has committed %d, 2 %d, from %d on they differ", guarded, split, one.c.log.commit, two.c.log.commit, fork)
		}
		if !guarded {
			continue
		}
		// With the guard only one of them can go on, and everybody follows it.
		nw.heal()
		if !nw.passUntil(3*time.Second, func() bool { l := nw.leader(); return l != nil && l.c.ready() }) {
			t.Fatal("nobody leads")
		}
		nw.pass(time.Second)
		for _, h := range nw.hosts[:4] {
			if !slices.EqualFunc(h.log, nw.leader().log, sameEntry) {
				t.Fatalf("log of %d: %v", h.id, terms(h.log))
			}
		}
	}
}

// sets lists the subsets of a set of members.
func sets(of uint) (all []uint) {
	for s := of; ; s = (s - 1) & of {
		all = append(all, s)
		if s == 0 {
			return all
		}
	}
}

func isMajority(set, voters uint) bool {
	return 2*bits.OnesCount(set&voters) > bits.OnesCount(voters)
}

// changesOfOne lists the sets of voters that differ in one of n members.
func changesOfOne(voters uint, n int) (all []uint) {
	for id := range n {
		if next := voters ^ 1<<id; next != 0 {
			all = append(all, next)
		}
	}
	return all
}

// disjointSchedules counts the schedules of the fault above among n members that start from a set of voters: a leader
// a writes one change, which the members heard get; a leader b of the next term, whom voted elects, writes another,
// which reaches own; and then those who hold neither, or a's change, elect a again, and it commits. With the guard,
// b's first entry has to be with a majority of the configuration that was before its change.
func disjointSchedules(voters uint, n int, guarded bool) (schedules int) {
	for _, first := range changesOfOne(voters, n) {
		for a := range n {
			if voters&(1<<a) == 0 {
				continue
			}
			for _, heard := range sets((first | voters) &^ (1 << a)) {
				heard |= 1 << a
				if isMajority(heard, first) {
					continue // committed at once: no fork
				}
				// Who elects b has no log that is newer than b's, so none of those that heard of a's change.
				free := voters &^ heard
				if !isMajority(free, voters) {
					continue
				}
				for _, second := range changesOfOne(voters, n) {
					for _, own := range sets((voters | second) &^ heard) {
						if own == 0 || !isMajority(own, second) || (guarded && !isMajority(own, voters)) {
							continue // b's change is not committed, or may not even be written
						}
						// a stands again: it counts by its own change, and whoever has b's entries refuses.
						if isMajority(first&^own, first) {
							schedules++
						}
					}
				}
			}
		}
	}
	return schedules
}

// TestScenarioDisjointMajoritiesOverAllSchedules looks for the fault of 2015 from every set of voters among six
// members, in every schedule of two changes. With an entry of the leader's own term committed first there is none.
func TestScenarioDisjointMajoritiesOverAllSchedules(t *testing.T) {
	t.Parallel()
	const members = 6
	found := map[int]int{}
	for voters := uint(1); voters < 1<<members; voters++ {
		if n := disjointSchedules(voters, members, true); n > 0 {
			t.Fatalf("voters %06b: %d schedules in which both commit", voters, n)
		}
		found[bits.OnesCount(voters)] += disjointSchedules(voters, members, false)
	}
	// A new leader that has heard of nothing needs a majority of the old voters, and the first change must not be with
	// one of the new: that leaves room for both only among an even number, from four on.
	for size := 1; size <= members; size++ {
		if (found[size] > 0) != (size >= 4 && size%2 == 0) {
			t.Errorf("without the guard %d voters: %d schedules", size, found[size])
		}
	}
}
