package node

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
)

// TestAMemberThatWasAwayAnswersWhoItDoesNotKnow stops member 3 of three, puts 4 and 5 in the places of 1 and 2, and
// then has only 3 and 4 left: 3 knows neither 4 nor that it is listed, and its vote is needed.
func TestAMemberThatWasAwayAnswersWhoItDoesNotKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		c.propose(c.leader(), "before")
		for _, m := range c.running() {
			c.barrier(m)
		}
		away := c.nodes[3]
		away.kill()

		c.change = func(cfg *Config) {
			cfg.Members, cfg.Join, cfg.Address = nil, []string{"host1", "host2"}, "host"+cfg.Name[1:]
		}
		for _, id := range []raft.MemberID{4, 5} {
			m := raft.Member{ID: id, Name: "n" + string('0'+rune(id)), Address: "host" + string('0'+rune(id))}
			c.members = append(c.members, m)
			select {
			case <-c.startOne(id, storage.NewMemory()).Ready():
			case <-c.ctx().Done():
				t.Fatalf("%d did not become a member: %+v", id, c.nodes[id].Status())
			}
		}
		l := c.leader()
		if l.id != 4 {
			if err := l.TransferLeadership(c.ctx(), 4); err != nil {
				t.Fatal(err)
			}
			l = c.nodes[4]
			c.leader(l)
		}
		for _, id := range []raft.MemberID{1, 2} {
			if err := l.RemoveMember(c.ctx(), id); err != nil {
				t.Fatal(err)
			}
			c.nodes[id].kill()
		}
		c.propose(l, "without 1, 2 and 3")
		c.nodes[5].kill()
		l.kill()

		back := c.startOne(3, away.log.(*storage.Memory).Reopen())
		other := c.startOne(4, l.log.(*storage.Memory).Reopen())
		leader := c.leader(back, other)
		c.propose(leader, "together")
		c.barrier(back)
		if _, ok := back.Status().Active.Member(5); !ok || len(back.loop.strangers.known) != 0 {
			t.Errorf("the member that was away has %+v and still keeps %v", back.Status().Active, back.loop.strangers.known)
		}
	})
}

// TestStrangersGiveWay keeps the newest of what each says, within a bound, until it is in the configuration.
func TestStrangersGiveWay(t *testing.T) {
	t.Parallel()
	var s strangers
	one := transport.Identity{Member: 1, Address: "a:1", ConfigIndex: 5, Incarnation: raft.Incarnation{1}}
	moved := transport.Identity{Member: 1, Address: "b:1", ConfigIndex: 7, Incarnation: raft.Incarnation{1}}
	if !s.add(one) || s.add(one) || !s.add(moved) || s.add(one) {
		t.Fatalf("kept %+v", s.known)
	}
	got := s.among([]transport.Peer{{ID: 1, Address: "a:1"}, {ID: 2, Address: "c:1"}})
	if len(got) != 2 || got[0].Address != "b:1" || got[1].Address != "c:1" {
		t.Fatalf("peers %+v", got)
	}
	for id := raft.MemberID(10); id < 200; id++ {
		s.add(transport.Identity{Member: id, Address: "d:1", ConfigIndex: 9})
	}
	if len(s.known) != strangersLimit {
		t.Fatalf("%d strangers are kept", len(s.known))
	}
	if s.forget(8); len(s.known) != strangersLimit-1 {
		t.Fatalf("%d strangers after one is known", len(s.known))
	}
	if s.forget(9); len(s.known) != 0 {
		t.Fatalf("%d strangers after all are known", len(s.known))
	}
}

// TestAWipedFirstNodeEnds starts the node that founded the cluster alone, with its directory lost, as it was started at
// first: the others look for their member there, and it must not serve a cluster of its own in its place.
func TestAWipedFirstNodeEnds(t *testing.T) {
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
		one.kill()
		two := v.leader(v.nodes[2], v.nodes[3])
		wiped := v.startOne(1, storage.NewMemory())
		select {
		case <-wiped.Done():
		case <-v.ctx().Done():
			t.Fatalf("it goes on: %+v", wiped.Status())
		}
		if err := wiped.Err(); !errors.Is(err, ErrOtherCluster) || !strings.Contains(err.Error(), "coordd member replace") || !strings.Contains(err.Error(), "--join") {
			t.Errorf("it ended with %v", err)
		}
		if s := two.Status(); s.Role != raft.Leader || len(s.Active.Members) != 3 {
			t.Errorf("the cluster: %+v", s)
		}
	})
}

// TestWhoStaysBesideAnotherCluster goes through who ends when a member of another cluster looks for it: only who founded a
// cluster alone and holds all of its log.
func TestWhoStaysBesideAnotherCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 1)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		caller := transport.Identity{Member: 2, Cluster: raft.ClusterID{9}}
		refusal := &transport.Refusal{Kind: transport.RejectCluster}
		other := caller
		other.NameHash = [16]byte{1}
		blank := caller
		blank.Cluster = raft.ClusterID{}
		handler{one.Node}.TurnedAway(other, refusal)
		handler{one.Node}.TurnedAway(blank, refusal)
		handler{one.Node}.TurnedAway(caller, &transport.Refusal{Kind: transport.RejectMember})
		one.base.Store(1) // as after a restore
		handler{one.Node}.TurnedAway(caller, refusal)
		if err := one.Err(); err != nil {
			t.Fatalf("it ended: %v", err)
		}
		one.base.Store(0)
		handler{one.Node}.TurnedAway(caller, refusal)
		if err := one.Err(); !errors.Is(err, ErrOtherCluster) {
			t.Fatalf("it stays: %v", err)
		}
	})
}
