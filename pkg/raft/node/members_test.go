package node

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// grown is a cluster that began with its first node alone; the others join with join.
func grown(t *testing.T, size int) (*vaulted, *member) {
	v := newVaulted(t, size)
	v.joining(1)
	one := v.startOne(1, storage.NewMemory())
	v.leader(one)
	for id := 2; id <= size; id++ {
		<-v.startOne(raft.MemberID(id), storage.NewMemory()).Ready()
	}
	v.voters(one, size)
	return v, one
}

// Who was added and never ran is not one that was heard lately.
func TestAnAddedMemberIsUnheardUntilItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		contact := func() time.Duration {
			for _, p := range one.Status().Peers {
				if p.ID == 2 {
					return p.LastContact
				}
			}
			t.Fatal("member 2 is not listed")
			return 0
		}
		if err := one.AddMember(v.ctx(), v.members[1], AddOptions{Learner: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * statusPeriod) // virtual
		if got := contact(); got >= 0 {
			t.Errorf("a member that never ran was heard %v ago", got)
		}
		<-v.startOne(2, storage.NewMemory()).Ready()
		time.Sleep(2 * statusPeriod) // virtual
		if got := contact(); got < 0 || got > time.Second {
			t.Errorf("a member that runs: %v", got)
		}
		if err := one.ReplaceMember(v.ctx(), 2, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * statusPeriod) // virtual
		if got := contact(); got >= 0 {
			t.Errorf("a member that was replaced and never ran since was heard %v ago", got)
		}
	})
}

func TestBadChangesAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		f := v.others(l)[0]
		v.voters(l, 3)
		before := l.Status().Active
		fresh := raft.Member{ID: 9, Name: "n9", Address: "host9"}
		for _, c := range []struct {
			what string
			do   func() error
			want error
		}{
			{"adding an ID that is there", func() error { return l.AddMember(v.ctx(), raft.Member{ID: f.id, Name: "x"}, AddOptions{}) }, raft.ErrMemberExists},
			{"adding a name that is there", func() error { return l.AddMember(v.ctx(), raft.Member{ID: 9, Name: "n1"}, AddOptions{}) }, raft.ErrMemberExists},
			{"removing who is not there", func() error { return l.RemoveMember(v.ctx(), 9) }, raft.ErrNoMember},
			{"replacing who is not there", func() error { return l.ReplaceMember(v.ctx(), 9, "") }, raft.ErrNoMember},
			{"promoting who is not there", func() error { return l.PromoteMember(v.ctx(), 9) }, raft.ErrNoMember},
			{"standby of who is not there", func() error { return l.SetMemberStandby(v.ctx(), 9, true) }, raft.ErrNoMember},
			{"updating who is not there", func() error { return l.UpdateMember(v.ctx(), fresh) }, raft.ErrNoMember},
			{"adding, asked of a follower", func() error { return f.AddMember(v.ctx(), fresh, AddOptions{}) }, raft.ErrNotLeader},
			{"removing, asked of a follower", func() error { return f.RemoveMember(v.ctx(), l.id) }, raft.ErrNotLeader},
		} {
			if err := c.do(); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.what, err, c.want)
			}
		}
		if err := l.ReplaceMember(v.ctx(), l.id, ""); err == nil {
			t.Error("the leader replaced itself")
		}
		time.Sleep(2 * statusPeriod) // virtual
		if after := l.Status().Active; len(after.Members) != len(before.Members) || l.Status().Proposed != nil {
			t.Errorf("refused changes left %+v", after)
		}
	})
}

func TestTheLastVoterStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 1)
		v.start()
		defer v.stop()
		l := v.leader()
		for _, err := range []error{l.RemoveMember(v.ctx(), 1), l.Leave(v.ctx()), l.EnableStandby(v.ctx())} {
			if !errors.Is(err, raft.ErrLastVoter) {
				t.Errorf("%v, want %v", err, raft.ErrLastVoter)
			}
		}
		v.load(l, 3)
	})
}

func TestASecondChangeIsRefusedWhileOneRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		v.voters(l, 3)
		for _, f := range v.others(l) {
			v.net.SetDrop(l.id, f.id, func(m raft.Message) bool { return m.Type == raft.MsgAppend })
		}
		first := make(chan error, 1)
		go func() {
			first <- l.AddMember(v.ctx(), raft.Member{ID: 9, Name: "n9", Address: "host9"}, AddOptions{Learner: true})
		}()
		synctest.Wait()
		if err := l.RemoveMember(v.ctx(), v.others(l)[0].id); !errors.Is(err, raft.ErrChangePending) {
			t.Errorf("a second change: %v", err)
		}
		if s := l.Status(); s.Proposed == nil || len(s.Active.Members) != 3 {
			t.Errorf("active and proposed: %+v, %+v", s.Active, s.Proposed)
		}
		v.net.HealAll()
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if err := l.RemoveMember(v.ctx(), 9); err != nil {
			t.Errorf("the next change: %v", err)
		}
	})
}

func TestAddedLearnerAndItsPromotion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 3)
		defer v.stop()
		v.load(one, 20)
		v.members = append(v.members, raft.Member{ID: 4, Name: "n4", Address: "host4"})
		if err := one.AddMember(v.ctx(), v.members[3], AddOptions{Learner: true}); err != nil {
			t.Fatal(err)
		}
		four := v.startOne(4, storage.NewMemory())
		<-four.Ready() // a learner that is to stay one is ready as such
		v.agree(20)
		if s := four.Status(); s.Role != raft.Learner || len(s.Active.Voters()) != 3 || s.Active.SetVoters != 3 {
			t.Errorf("the learner: %+v", s)
		}
		if err := one.PromoteMember(v.ctx(), 4); err != nil {
			t.Fatal(err)
		}
		v.voters(four, 4)
		if err := one.PromoteMember(v.ctx(), 4); err != nil {
			t.Errorf("promoting a voter: %v", err)
		}
		if s := one.Status(); s.Active.SetVoters != 4 {
			t.Errorf("%d voters set", s.Active.SetVoters)
		}
	})
}

func TestAMemberThatDoesNotKeepUpStaysALearner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 1)
		v.also = func(cfg *Config) { cfg.Members, cfg.Join, cfg.Address = nil, []string{"host1"}, "host2" }
		defer v.stop()
		v.members = append(v.members, raft.Member{ID: 2, Name: "n2", Address: "host2"})
		v.net.SetDelay(1, 2, 400*time.Millisecond) // no round ends within an election timeout while there is something new
		two := v.startOne(2, storage.NewMemory())
		var stop atomic.Bool
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			for !stop.Load() {
				v.propose(one, "x")
				time.Sleep(10 * time.Millisecond) // virtual: a moderate load
			}
		}()
		time.Sleep(2 * time.Second) // virtual: it is being warmed up
		if m, _ := two.Status().Active.Member(2); !m.Promote || two.Status().Ready {
			t.Errorf("while it is warmed up: %+v, ready: %v", m, two.Status().Ready)
		}
		err := one.await(v.ctx(), func() bool {
			m, ok := one.loop.active.Member(2)
			return ok && m.Learner && !m.Promote
		})
		if err != nil {
			t.Fatalf("the slow member: %v, %+v", err, one.Status())
		}
		if err := one.PromoteMember(v.ctx(), 2); !errors.Is(err, ErrNotCaughtUp) {
			t.Errorf("promoting a slow member: %v", err)
		}
		v.net.HealAll()
		stop.Store(true)
		<-loaded
		if err := one.PromoteMember(v.ctx(), 2); err != nil {
			t.Errorf("promoting it once it is quick: %v", err)
		}
		<-two.Ready()
		v.voters(two, 2)
	})
}

func TestTheLeaderRemovesItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 3)
		defer v.stop()
		v.load(one, 5)
		if err := one.RemoveMember(v.ctx(), 1); err != nil {
			t.Fatal(err)
		}
		rest := v.others(one)
		l := v.leader(rest...)
		v.voters(l, 2)
		if err := one.await(v.ctx(), func() bool { return one.loop.soft.Removed && one.loop.soft.Role == raft.Standby }); err != nil {
			t.Errorf("the former leader: %+v", one.Status())
		}
		if _, err := one.Propose(v.ctx(), []byte("x")); !errors.Is(err, raft.ErrNotLeader) {
			t.Errorf("a proposal to the former leader: %v", err)
		}
		one.kill()
		v.load(l, 5)
		v.agree(10)
	})
}

func TestAStandbyLeaderHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 3)
		defer v.stop()
		if err := one.EnableStandby(v.ctx()); err != nil {
			t.Fatal(err)
		}
		l := v.leader(v.others(one)...)
		if err := one.await(v.ctx(), func() bool { return one.loop.soft.Role == raft.Standby }); err != nil {
			t.Fatalf("the standby: %+v", one.Status())
		}
		v.load(l, 5)
		v.agree(5)
		if err := one.RevertToNormal(v.ctx()); err != nil {
			t.Fatal(err)
		}
		if s := one.Status(); s.Role != raft.Follower {
			t.Errorf("reverted: %+v", s)
		}
		if err := l.TransferLeadership(v.ctx(), 1); err != nil {
			t.Error(err)
		}
	})
}

func TestANodeStartedOnStandbyCanBeReverted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) { cfg.Standby = cfg.ID == 3 }
		v.start()
		defer v.stop()
		l := v.leader()
		three := v.nodes[3]
		<-three.Ready()
		if s := three.Status(); s.Role != raft.Standby {
			t.Fatalf("started on standby: %+v", s)
		}
		if err := three.RevertToNormal(v.ctx()); err != nil {
			t.Fatal(err)
		}
		if err := l.TransferLeadership(v.ctx(), 3); err != nil {
			t.Errorf("after it was reverted: %v", err)
		}
	})
}

// What a node says of itself may change while it runs, on whichever member.
func TestMetadataChangesWhileANodeRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		for _, zone := range []string{"a", "b"} {
			for _, m := range v.running() {
				m.SetMetadata(map[string]string{"zone": zone})
			}
			for _, m := range v.running() {
				err := m.await(v.ctx(), func() bool {
					with := 0
					for _, o := range m.loop.active.Members {
						if o.Metadata["zone"] == zone {
							with++
						}
					}
					return with == 3
				})
				if err != nil {
					t.Fatalf("zone %s: %v: %+v", zone, err, m.Status().Active)
				}
			}
		}
	})
}

func TestRecordsFollowTheSettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		version := uint32(1)
		v := newVaulted(t, 3)
		var told atomic.Uint32
		zone := "a"
		v.also = func(cfg *Config) {
			cfg.Version = version
			cfg.Address = fmt.Sprintf("host%d", cfg.ID)
			cfg.Metadata = map[string]string{"zone": zone}
			cfg.OnStart = func(n *Node, metadata map[string]string) { metadata["name"] = n.cfg.Name }
			cfg.OnVersion = told.Store
		}
		v.start()
		defer v.stop()
		reached := func(m *member, version uint32, zones int) {
			t.Helper()
			err := m.await(v.ctx(), func() bool {
				c, with := &m.loop.active, 0
				for i := range c.Members {
					if maps.Equal(c.Members[i].Metadata, map[string]string{"zone": zone, "name": c.Members[i].Name}) {
						with++
					}
				}
				return c.Version == version && with == zones
			})
			if err != nil {
				t.Fatalf("%v: %+v", err, m.Status().Active)
			}
		}
		for _, m := range v.running() {
			reached(m, 1, 3)
			if m.ClusterVersion() != 1 {
				t.Errorf("node %d allows version %d", m.id, m.ClusterVersion())
			}
		}
		if told.Load() != 1 {
			t.Errorf("told of version %d", told.Load())
		}
		// A rolling upgrade: the version rises when the last one has come back.
		version, zone = 2, "b"
		for i, id := range []raft.MemberID{1, 2, 3} {
			m := v.nodes[id]
			if err := m.Stop(v.ctx()); err != nil {
				t.Fatal(err)
			}
			m = v.revive(m)
			want := uint32(1)
			if i == 2 {
				want = 2
			}
			reached(m, want, i+1)
		}
	})
}

func TestAMemberWithAnotherAddressIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 3)
		defer v.stop()
		three := v.nodes[3]
		three.kill()
		v.also = func(cfg *Config) {
			cfg.Members, cfg.Address = nil, "elsewhere"
			// The network was asked for host3: this one listens elsewhere.
			cfg.Transport = v.reopen("elsewhere", cfg.ID)
		}
		three = v.revive(three)
		<-three.Ready()
		v.load(one, 5)
		v.agree(5)
		if m, _ := one.Status().Active.Member(3); m.Address != "elsewhere" {
			t.Errorf("recorded as %+v", m)
		}
	})
}

func TestTwoDifferentListsElectNobodyTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) {
			cfg.ClusterHash = [16]byte{1}
			if cfg.ID == 3 { // it was given another list
				cfg.Members = append([]raft.Member{}, v.members[:2]...)
				cfg.Members = append(cfg.Members, raft.Member{ID: 3, Name: "n3"}, raft.Member{ID: 4, Name: "n4", Address: "host4"})
				cfg.ClusterHash = [16]byte{2}
			}
		}
		v.start()
		defer v.stop()
		time.Sleep(10 * time.Second) // virtual
		for _, m := range v.running() {
			s := m.Status()
			if s.Leader != 0 || s.Term != 0 || !s.Blank {
				t.Errorf("node %d went ahead: %+v", m.id, s)
			}
			if m.id == 3 && (len(s.RefusedBy) == 0 || !strings.Contains(s.RefusedBy[0], "different cluster names or lists")) {
				t.Errorf("node 3 is told %q", s.RefusedBy)
			}
		}
	})
}

func TestAWipedVolumeWithItsOldListIsToldToBeReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) { cfg.ClusterHash = [16]byte{1} }
		v.start()
		defer v.stop()
		l := v.leader()
		v.voters(l, 3)
		gone := v.others(l)[0]
		gone.kill()
		v.load(l, 5)
		fresh := v.startOne(gone.id, storage.NewMemory())
		time.Sleep(10 * time.Second) // virtual
		s := fresh.Status()
		if len(s.RefusedBy) == 0 || !strings.Contains(s.RefusedBy[0], "member replace") || s.Term > l.Status().Term || !s.Blank {
			t.Fatalf("a wiped volume: %+v", s)
		}
		if err := l.ReplaceMember(v.ctx(), gone.id, ""); err != nil {
			t.Fatal(err)
		}
		<-fresh.Ready()
		v.agree(5)
	})
}

func TestEventsTellOfMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, one := grown(t, 3)
		defer v.stop()
		events, cancel := one.Events()
		defer cancel()
		seen := func(what string, suits func(Event) bool) {
			t.Helper()
			limit := time.NewTimer(patience)
			defer limit.Stop()
			for {
				select {
				case e := <-events:
					if suits(e) {
						return
					}
				case <-limit.C:
					t.Fatalf("no event: %s", what)
				}
			}
		}
		v.net.Isolate(3)
		seen("unreachable", func(e Event) bool { return e.Kind == EventStatus && e.Member.ID == 3 && !e.Reachable })
		v.net.Rejoin(3)
		seen("reachable", func(e Event) bool { return e.Kind == EventStatus && e.Member.ID == 3 && e.Reachable })
		before := one.Status().ActiveIndex
		if err := one.RemoveMember(v.ctx(), 3); err != nil {
			t.Fatal(err)
		}
		seen("removed", func(e Event) bool { return e.Kind == EventMemberRemoved && e.Member.ID == 3 })
		seen("configuration", func(e Event) bool { return e.Kind == EventConfiguration && e.ConfigIndex > before })
	})
}

func TestTheHooksSeeTheWholeLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var events <-chan Event
		var stopped atomic.Bool
		c := newCluster(t, 1)
		c.change = func(cfg *Config) {
			cfg.OnStart = func(n *Node, _ map[string]string) { events, _ = n.Events() }
			cfg.OnStop = func(n *Node) { stopped.Store(n.Status().Role != raft.Leader) }
		}
		c.start()
		l := c.leader()
		if err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !stopped.Load() {
			t.Error("OnStop was not called, or before the node had ended its work")
		}
		var kinds []EventKind
		leading := false
		for e := range events {
			kinds = append(kinds, e.Kind)
			leading = leading || e.Leading
		}
		if kinds[0] != EventState || !leading {
			t.Errorf("the subscription saw %v", kinds)
		}
	})
}
