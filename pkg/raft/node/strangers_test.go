package node

import (
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
