package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
)

func TestTheLeaderIsKilled(t *testing.T) {
	variants(t, both, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/a", "before")
		old := c.leader()
		term := c.running[old].node.Status().Term
		c.kill(old)
		next := c.leader()
		if s := c.running[next].node.Status(); next == old || s.Term <= term {
			t.Fatalf("node %d leads in term %d after node %d in term %d", next, s.Term, old, term)
		}
		c.everywhere("a", "before")
		c.write(c.follower(), "PUT", "/map/b", "after")
		c.everywhere("b", "after")
		if c.folder == "" {
			return
		}
		c.start(old, nil)
		c.ready(old)
		c.everywhere("a", "before")
		c.everywhere("b", "after")
	})
}

func TestARestartKeepsTheState(t *testing.T) {
	variants(t, withFolder, func(t *testing.T, c *cluster) {
		c.fill(c.leader(), 100, "value")
		c.write(1, "PUT", "/map/a", "v")
		s := c.running[1].node.Status()
		// Some in order, one at once: both keep what was acknowledged.
		c.stop(1)
		c.stop(2)
		c.kill(3)
		c.startAll()
		c.everywhere("a", "v")
		for id, m := range c.running {
			if m.state.Len() != 101 {
				t.Errorf("node %d has %d keys", id, m.state.Len())
			}
		}
		if now := c.running[1].node.Status(); now.ClusterID != s.ClusterID || now.Incarnation != s.Incarnation || now.Term <= s.Term {
			t.Errorf("before %+v\nafter %+v", s, now)
		}
		c.write(2, "PUT", "/map/b", "w")
		c.everywhere("b", "w")
	})
}

func TestWhatIsInMemoryEndsWithTheProcess(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/a", "v")
		id := c.running[1].node.Status().ClusterID
		for _, m := range c.static {
			c.stop(m.ID)
		}
		c.startAll()
		if s := c.running[1].node.Status(); s.ClusterID == id || c.running[1].state.Len() != 0 {
			t.Errorf("%d keys, cluster %s was %s", c.running[1].state.Len(), s.ClusterID, id)
		}
	})
}

func TestAMemberThatWasAwayReturnsBySnapshot(t *testing.T) {
	variants(t, withFolder, func(t *testing.T, c *cluster) {
		away := c.follower()
		c.stop(away)
		last := c.running[c.leader()].node.Status().Last
		// The policy takes a snapshot after 1,000 entries. They are too much for the few messages that may wait for a
		// member that is away.
		value := strings.Repeat("x", 2000)
		c.fill(c.leader(), 1500, value)
		c.await("short log", func() bool { return c.running[c.leader()].node.Status().First > last+1 })
		c.start(away, nil)
		c.ready(away)
		c.everywhere("fill/1499", value)
		s := c.running[away].node.Status()
		if s.First <= last+1 || s.Snapshot == nil || s.Snapshot.Index <= last {
			t.Errorf("it came another way: left at %d, log from %d, snapshot %+v", last, s.First, s.Snapshot)
		}
		if n := c.running[away].state.Len(); n != 1500 {
			t.Errorf("%d keys, want 1500", n)
		}
		// The snapshot is its own now.
		c.stop(away)
		c.start(away, nil)
		c.ready(away)
		c.everywhere("fill/0", value)
	})
}

// A member that kept nothing is another one to the cluster, until somebody says that it takes the old one's place.
func TestAMemberWithoutAFolderIsReplaced(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/a", "v")
		c.everywhere("a", "v")
		gone := c.follower()
		c.kill(gone)
		c.start(gone, nil)
		leader := c.leaderOf(gone)
		c.want(leader, "POST", fmt.Sprintf("/members/%d/replace", gone), "")
		c.ready(gone)
		c.everywhere("a", "v")
		s := c.running[leader].node.Status()
		if m, _ := s.Active.Member(gone); m.Learner || m.Incarnation != c.running[gone].node.Status().Incarnation {
			t.Errorf("the member on record: %+v", m)
		}
	})
}

// leaderOf is the leader among the others.
func (c *cluster) leaderOf(except raft.MemberID) raft.MemberID {
	c.t.Helper()
	m := c.running[except]
	delete(c.running, except)
	defer func() { c.running[except] = m }()
	return c.leader()
}

func TestAFourthMemberJoins(t *testing.T) {
	variants(t, both, func(t *testing.T, c *cluster) {
		c.fill(c.leader(), 50, "value")
		var known []string
		for _, m := range c.static {
			known = append(known, m.Address)
		}
		c.start(4, known)
		c.ready(4)
		for id := range c.running {
			c.ready(id) // with the URL of the new one
		}
		c.everywhere("fill/49", "value")
		c.write(4, "PUT", "/map/a", "v")
		c.everywhere("a", "v")
		s := c.running[4].node.Status()
		if m, ok := s.Active.Member(4); !ok || m.Learner || len(s.Active.Members) != 4 {
			t.Errorf("configuration %+v", s.Active)
		}
		c.want(4, "DELETE", "/members/4", "")
		c.await("end of its membership", func() bool { return c.running[4].node.Status().Removed })
		c.stop(4)
		c.everywhere("a", "v")
	})
}

// What is printed is for readers, so only that it is there is looked at.
func TestMembersPrintWhatHappens(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/city", "Vienna")
		c.everywhere("city", "Vienna")
		leader := c.leader()
		c.stop(leader)
		follower := c.follower()
		c.stop(follower)
		for id, want := range map[raft.MemberID][]string{
			leader:   {"node-%d  leader in term 1", "node-%[1]d leads in term 1", "put city Vienna", "ready", "serves http://", "members: node-1, node-2, node-3"},
			follower: {"node-%d  follower in term 1", "put city Vienna"},
		} {
			for _, w := range want {
				if strings.Contains(w, "%") {
					w = fmt.Sprintf(w, uint64(id))
				}
				if !strings.Contains(c.printed[id].String(), w) {
					t.Errorf("node %d did not print %q:\n%s", id, w, c.printed[id])
				}
			}
		}
	})
}
