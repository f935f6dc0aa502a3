package node

import (
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
)

// wipe gives a member that does not run an empty directory.
func (r *real) wipe(id raft.MemberID) { r.dirs[id] = r.tb.TempDir() }

// refuses waits until a node has called another one and did not like its incarnation: by then the one that was
// called knows whatever its caller has seen of it.
func (r *real) refuses(by, id raft.MemberID) {
	r.tb.Helper()
	tick, limit := time.NewTicker(5*time.Millisecond), time.NewTimer(patience)
	defer tick.Stop()
	defer limit.Stop()
	for {
		s := r.ways[by].Stats()[id]
		if strings.Contains(s.LastError, "its data directory was lost") {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.tb.Fatalf("node %d never refused %d: %+v", by, id, s)
		}
	}
}

// owesNothing checks, in the directory of a member that was killed, that it took no mark for its own that it did
// not write.
func (r *real) owesNothing(id raft.MemberID) {
	r.tb.Helper()
	log, err := badgerlog.Open(badgerlog.Options{Dir: r.dirs[id], ClusterName: "test", Member: id})
	if err != nil {
		r.tb.Fatal(err)
	}
	defer log.Close()
	if s := log.State(); s.Recovering != nil {
		r.tb.Errorf("the fresh directory of member %d lacks %+v, which another directory wrote", id, *s.Recovering)
	}
}

// ranTwice starts three nodes, each of which has seen a late mark of each other one.
func ranTwice(t *testing.T) *real {
	r := startReal(t, 3)
	c := r.cluster()
	l := c.leader()
	for range 20 {
		c.propose(l, "x")
	}
	c.same()
	for _, m := range r.members { // marks are told at handshakes
		r.nodes[m.ID].kill()
		r.start(m.ID)
		c.barrier(r.nodes[m.ID])
	}
	return r
}

func TestAWipedMemberOwesNothingOfItsFormerDirectory(t *testing.T) {
	t.Parallel()
	r := ranTwice(t)
	c := r.cluster()
	defer c.stop()
	l := c.leader()
	gone := c.others(l)[0]
	gone.kill()
	r.wipe(gone.id)
	fresh := r.start(gone.id)
	for _, m := range c.others(fresh) {
		if slot := m.witness.latest(fresh.id).Slot; slot <= 2 { // both slots of an empty sidecar are written
			t.Fatalf("node %d has seen slot %d only", m.id, slot)
		}
		r.refuses(m.id, fresh.id)
	}
	if s := fresh.Status(); s.Recovering {
		t.Errorf("the wiped member recovers: %+v", s)
	}
	if _, mark := fresh.log.Mark(); mark != (raft.Mark{}) {
		t.Errorf("the wiped member has mark %+v", mark)
	}
	fresh.kill()
	r.owesNothing(fresh.id)
}

func TestAFreshClusterOwesNothingToAnOldOneThatStillRuns(t *testing.T) {
	t.Parallel()
	r := ranTwice(t)
	c := r.cluster()
	defer c.stop()
	old := r.nodes[3]
	for _, id := range []raft.MemberID{1, 2} {
		r.nodes[id].kill()
		r.wipe(id)
	}
	one, two := r.start(1), r.start(2)
	r.refuses(3, 1)
	r.refuses(3, 2)
	old.kill()
	r.wipe(3)
	r.start(3)
	// No member recovers: with any one of them gone the others are a quorum.
	c.propose(c.leader(), "x")
	for _, m := range []*member{one, two} {
		if s := m.Status(); s.Recovering {
			t.Errorf("a fresh member recovers: %+v", s)
		}
	}
	l := c.leader()
	l.kill()
	c.propose(c.leader(), "y")
	c.stop()
	for _, m := range r.members {
		r.owesNothing(m.ID)
	}
}
