package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// The seed's own list of scenarios (docs/conformance.md maps each to its guard).

// joiner makes a cluster's nodes ones that join, but for those that cold say how they start.
func (v *vaulted) joining(cold raft.MemberID) {
	v.also = func(cfg *Config) {
		address := fmt.Sprintf("host%d", cfg.ID)
		cfg.Address = address
		if cfg.ID == cold {
			cfg.Members = []raft.Member{{ID: cold, Name: cfg.Name, Address: address}}
			return
		}
		cfg.Members, cfg.Join = nil, []string{fmt.Sprintf("host%d", cold), "host1", "host2"}
	}
}

// voters waits until a node knows that so many members vote, and all agree with the configuration.
func (v *vaulted) voters(m *member, want int) {
	v.t.Helper()
	err := m.await(v.ctx(), func() bool {
		return len(m.loop.active.Voters()) == want && m.loop.activeIndex == m.loop.configIndex
	})
	if err != nil {
		v.t.Fatalf("node %d does not see %d voters: %v, %+v", m.id, want, err, m.Status())
	}
}

func TestColdStartPlusTwoAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		v.load(one, 10)
		for _, id := range []raft.MemberID{2, 3} {
			m := v.startOne(id, storage.NewMemory())
			<-m.Ready()
			v.voters(m, int(id))
		}
		v.load(one, 10)
		v.agree(20)
		for _, m := range v.running() {
			s := m.Status()
			if len(s.Active.Members) != 3 || s.Joining != "" || s.Active.SetVoters != 3 || s.ClusterID != one.Status().ClusterID {
				t.Errorf("node %d: %+v", m.id, s)
			}
			for _, o := range s.Active.Members {
				if o.Learner || o.Incarnation.IsZero() || o.Address != fmt.Sprintf("host%d", o.ID) || o.Name != fmt.Sprintf("n%d", o.ID) {
					t.Errorf("node %d has member %+v", m.id, o)
				}
			}
		}
	})
}

func TestTheColdStartLeaderKilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		for _, id := range []raft.MemberID{2, 3} {
			<-v.startOne(id, storage.NewMemory()).Ready()
		}
		v.load(one, 10)
		v.voters(one, 3)
		one.kill()
		l := v.leader()
		v.load(l, 10)
		v.agree(20)
		// It comes back on its log, which it goes on from: it starts no cluster of its own, whatever it is told.
		back := v.revive(one)
		<-back.Ready()
		v.agree(20)
		if s := back.Status(); s.Leader != l.id || len(s.Active.Members) != 3 {
			t.Errorf("the first node came back to %+v", s)
		}
	})
}

func TestThreeParallelStarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		defer v.stop()
		for _, id := range []raft.MemberID{3, 2, 1} { // the joiners first: they have nobody to ask yet
			v.startOne(id, storage.NewMemory())
		}
		for _, m := range v.running() {
			<-m.Ready()
			v.voters(m, 3)
		}
		v.load(v.leader(), 10)
		v.agree(10)
		if l := v.leader(); l.Status().ClusterID.IsZero() {
			t.Error("no cluster ID")
		}
	})
}

func TestStopAllAndRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		v.leader(one)
		for _, id := range []raft.MemberID{2, 3} {
			<-v.startOne(id, storage.NewMemory()).Ready()
		}
		v.load(one, 30)
		if err := one.Compact(v.ctx()); err != nil {
			t.Fatal(err)
		}
		before := one.Status()
		for _, m := range v.running() {
			if err := m.Stop(v.ctx()); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []raft.MemberID{1, 2, 3} {
			v.revive(v.nodes[id])
		}
		defer v.stop()
		l := v.leader()
		v.load(l, 10)
		v.agree(40)
		if s := l.Status(); s.Term <= before.Term || s.ClusterID != before.ClusterID || len(s.Active.Members) != 3 {
			t.Errorf("after the restart: %+v", s)
		}
	})
}

func TestLeaveAndRejoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		v.load(l, 10)
		gone := v.others(l)[0]
		<-gone.Ready()
		if err := gone.Leave(v.ctx()); err != nil {
			t.Fatal(err)
		}
		v.voters(l, 2)
		if err := gone.await(v.ctx(), func() bool { return gone.loop.soft.Removed }); err != nil {
			t.Fatalf("the member that left does not know: %+v", gone.Status())
		}
		if s := gone.Status(); s.Role != raft.Standby || !s.Removed {
			t.Errorf("after it left: %+v", s)
		}
		if err := gone.RevertToNormal(v.ctx()); !errors.Is(err, ErrRemoved) {
			t.Errorf("reverting a removed member: %v", err)
		}
		if err := gone.Leave(v.ctx()); !errors.Is(err, ErrRemoved) {
			t.Errorf("leaving twice: %v", err)
		}
		gone.kill()
		v.load(l, 10)
		// With its old directory it stays out and disturbs nobody.
		v.joining(l.id)
		back := v.revive(gone)
		term := l.Status().Term
		time.Sleep(5 * time.Second) // virtual
		if s := back.Status(); !s.Removed || s.Role != raft.Standby || l.Status().Term != term || !l.Status().Leading {
			t.Errorf("back with its old directory: %+v, the leader: %+v", s, l.Status())
		}
		back.kill()
		delete(v.shelves, gone.id)
		fresh := v.startOne(gone.id, storage.NewMemory())
		<-fresh.Ready()
		v.voters(fresh, 3)
		v.agree(20)
		if m, _ := l.Status().Active.Member(gone.id); m.Incarnation != fresh.Status().Incarnation {
			t.Errorf("the member that came back is %+v", m)
		}
	})
}

// Who joined and is removed stays out, whatever it was told to join, also when it leads and removes itself: between the
// removal and its commit no configuration in effect lists it, and it does not know yet that it is out.
func TestARemovedJoinerDoesNotJoinAgain(t *testing.T) {
	t.Parallel()
	for name, itself := range map[string]bool{"by the leader": false, "by itself as the leader": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := newVaulted(t, 4)
				v.joining(1)
				defer v.stop()
				v.startOne(1, storage.NewMemory())
				for _, id := range []raft.MemberID{2, 3, 4} {
					<-v.startOne(id, storage.NewMemory()).Ready()
				}
				gone, by := v.nodes[4], v.leader()
				if itself {
					if err := by.TransferLeadership(v.ctx(), 4); err != nil {
						t.Fatal(err)
					}
					by = v.leader(gone)
				}
				for _, m := range v.running() { // the commit takes its time
					for _, o := range v.running() {
						v.net.SetDelay(m.id, o.id, 20*time.Millisecond)
					}
				}
				if err := by.RemoveMember(v.ctx(), 4); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second) // virtual: longer than any pause of an announcer
				if s := gone.Status(); !s.Removed {
					t.Errorf("the removed member: %+v", s)
				}
				if s := v.leader(v.others(gone)...).Status(); len(s.Active.Members) != 3 || s.Proposed != nil {
					t.Errorf("the others: %+v", s)
				}
			})
		})
	}
}

func TestResignWithTheOthersOnStandby(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		term := l.Status().Term
		for _, m := range v.others(l) {
			if err := m.EnableStandby(v.ctx()); err != nil {
				t.Fatal(err)
			}
			if s := m.Status(); s.Role != raft.Standby {
				t.Errorf("node %d on standby: %+v", m.id, s)
			}
		}
		if err := l.EnableStandby(v.ctx()); !errors.Is(err, raft.ErrLastVoter) {
			t.Errorf("the last one that may lead on standby: %v", err)
		}
		if err := l.Resign(v.ctx()); err != nil {
			t.Fatal(err)
		}
		// Nobody else may stand, so the same one leads again, in a later term.
		if err := l.await(v.ctx(), func() bool { return l.loop.soft.Ready && l.loop.soft.Term > term }); err != nil {
			t.Fatal(err)
		}
		v.load(v.leader(l), 5)
		other := v.others(l)[0]
		if err := other.RevertToNormal(v.ctx()); err != nil {
			t.Fatal(err)
		}
		if err := other.Resign(v.ctx()); err != nil { // asked of a follower, it is the leader that resigns
			t.Fatal(err)
		}
		next := v.leader(other)
		v.load(next, 5)
		v.agree(10)
		if next != other {
			t.Errorf("node %d leads", next.id)
		}
	})
}

func TestDetectorRemovesAStoppedMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 5)
		v.also = func(cfg *Config) { cfg.FailureDetector = PhiDetector(0) }
		v.start()
		defer v.stop()
		l := v.leader()
		for _, m := range v.running() {
			<-m.Ready()
		}
		time.Sleep(10 * time.Second) // virtual: the window after an election
		v.voters(l, 5)
		gone := v.others(l)
		gone[0].kill()
		v.voters(l, 4)
		gone[1].kill()
		v.voters(l, 3)
		// Three voters are the floor, and a majority of the five that were set.
		gone[2].kill()
		time.Sleep(time.Minute) // virtual
		v.voters(l, 3)
		v.load(l, 10)
		if s := l.Status(); s.Active.SetVoters != 5 {
			t.Errorf("the operator's voters: %d", s.Active.SetVoters)
		}
		// A removed member that comes back is told so.
		back := v.revive(gone[0])
		if err := back.await(v.ctx(), func() bool { return back.loop.soft.Removed || len(back.Status().RefusedBy) > 0 }); err != nil {
			t.Errorf("the removed member does not know: %+v", back.Status())
		}
	})
}

// The consensus token is dead before there is a leader, lives with one, and dies with it; a new one lives then.
func TestConsensusTokenBeforeInAndAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		defer v.stop()
		one := v.startOne(1, storage.NewMemory())
		time.Sleep(time.Second) // virtual
		if one.ConsensusContext().Err() == nil || one.LeadershipContext().Err() == nil {
			t.Error("before: a token lives without a leader")
		}
		v.startOne(2, storage.NewMemory())
		v.startOne(3, storage.NewMemory())
		l := v.leader()
		v.barrier(one)
		token, lead := one.ConsensusContext(), l.LeadershipContext()
		if token.Err() != nil || lead.Err() != nil {
			t.Error("in: a token is dead with a leader")
		}
		for _, m := range v.running() {
			v.net.Isolate(m.id)
		}
		<-token.Done()
		<-lead.Done()
		if one.ConsensusContext().Err() == nil {
			t.Error("after: a new token lives without a leader")
		}
		v.net.HealAll()
		v.leader()
		v.barrier(one)
		if one.ConsensusContext().Err() != nil || token.Err() == nil {
			t.Error("again: there is no new token, or the old one came back")
		}
	})
}

func TestAJoinerOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 2)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		also := v.also
		v.also = func(cfg *Config) { also(cfg); cfg.NameHash = [16]byte{7} }
		named := v.also
		v.also = func(cfg *Config) { also(cfg); cfg.NameHash = [16]byte{8} }
		one.kill()
		v.also = named
		one = v.revive(one)
		v.leader(one)
		v.also = func(cfg *Config) { also(cfg); cfg.NameHash = [16]byte{8} }
		two := v.startOne(2, storage.NewMemory())
		time.Sleep(10 * time.Second) // virtual
		if s := two.Status(); !strings.Contains(s.Joining, "cluster name") || s.Term != 0 {
			t.Errorf("the stranger: %+v", s)
		}
		if s := one.Status(); len(s.Active.Members) != 1 {
			t.Errorf("the cluster: %+v", s.Active)
		}
	})
}

func TestAWipedJoinerIsToldToBeReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		for _, id := range []raft.MemberID{2, 3} {
			<-v.startOne(id, storage.NewMemory()).Ready()
		}
		v.load(one, 10)
		v.nodes[3].kill()
		fresh := v.startOne(3, storage.NewMemory())
		time.Sleep(10 * time.Second) // virtual
		if s := fresh.Status(); !strings.Contains(s.Joining, "member replace") || !s.Blank {
			t.Fatalf("a wiped member: %+v", s)
		}
		if err := one.ReplaceMember(v.ctx(), 3, ""); err != nil {
			t.Fatal(err)
		}
		<-fresh.Ready()
		v.voters(fresh, 3)
		v.agree(10)
		if m, _ := one.Status().Active.Member(3); m.Incarnation != fresh.Status().Incarnation || m.Learner {
			t.Errorf("the replaced member: %+v", m)
		}
	})
}
