package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// TestStandbyIsRecorded starts one of three as a standby: everybody learns of it, so that leadership is not handed to it,
// and the others are not removed until nobody may lead.
func TestStandbyIsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) {
			if cfg.Standby = cfg.ID == 2; cfg.Standby { // its own list says so too, as the daemon's does
				cfg.Members = slices.Clone(cfg.Members)
				cfg.Members[1].Standby = true
			}
		}
		v.start()
		defer v.stop()
		l := v.leader()
		for _, m := range v.running() {
			if err := m.await(v.ctx(), func() bool { self, _ := m.loop.active.Member(2); return self.Standby }); err != nil {
				t.Fatalf("node %d does not know of the standby: %v, %+v", m.id, err, m.Status().Active)
			}
		}
		for range 4 {
			if err := l.TransferLeadership(v.ctx(), 0); err != nil {
				t.Fatal(err)
			}
			if l = v.leader(v.nodes[1], v.nodes[3]); l.id == 2 {
				t.Fatal("a standby leads")
			}
		}
		other := v.nodes[4-l.id]
		if err := l.RemoveMember(v.ctx(), other.id); err != nil {
			t.Fatal(err)
		}
		if err := l.RemoveMember(v.ctx(), l.id); !errors.Is(err, raft.ErrLastVoter) {
			t.Fatalf("removing the last one that may lead: %v", err)
		}
		// What an operator takes back stays so: the record decides, also before the member knows that it is committed.
		known := v.barrier(l)
		v.net.SetDrop(l.id, 2, func(m raft.Message) bool {
			return (m.Type == raft.MsgAppend || m.Type == raft.MsgHeartbeat) && m.Commit > known
		})
		if err := l.SetMemberStandby(v.ctx(), 2, false); err != nil {
			t.Fatal(err)
		}
		if err := l.TransferLeadership(v.ctx(), 2); err != nil {
			t.Fatalf("to a member that is no standby any more: %v", err)
		}
		v.leader(v.nodes[2])
		if self, _ := memberOf(v.nodes[2].Status().Active.Members, 2); self.Standby || v.nodes[2].saysStandby.Load() {
			t.Errorf("it calls itself a standby again: %+v", self)
		}
		time.Sleep(time.Second) // virtual: it leads on
		if s := v.nodes[2].Status(); !s.Leading {
			t.Errorf("it gave leadership back: leader %v, term %d", s.Leader, s.Term)
		}
	})
}

// TestAJoinerMayBeAStandby records it from the first moment on.
func TestAJoinerMayBeAStandby(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 2)
		v.joining(1)
		also := v.also
		v.also = func(cfg *Config) { also(cfg); cfg.Standby = cfg.ID == 2 }
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		two := v.startOne(2, storage.NewMemory())
		<-two.Ready()
		if s := two.Status(); s.Role != raft.Standby || !s.Active.Members[1].Standby || s.Active.Members[1].Learner {
			t.Errorf("the joiner: %v, %+v", s.Role, s.Active.Members)
		}
	})
}

// TestAdmissionsLowerNothing keeps the voters that an operator set when a removed member joins again, and when one is
// replaced while others are missing.
func TestAdmissionsLowerNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 4)
		v.joining(1)
		one := v.startOne(1, storage.NewMemory())
		defer v.stop()
		v.leader(one)
		<-v.startOne(2, storage.NewMemory()).Ready()
		if _, err := one.change(v.ctx(), false, func(c raft.Configuration) (raft.Configuration, error) {
			c.SetVoters = 7 // of which a detector has removed five
			return c, nil
		}); err != nil {
			t.Fatal(err)
		}
		<-v.startOne(3, storage.NewMemory()).Ready()
		if set := one.Status().Active.SetVoters; set != 7 {
			t.Errorf("%d voters are set after one came by itself", set)
		}
		conf := one.Status().Active
		if next, err := conf.Replaced(3, ""); err != nil || next.SetVoters != 7 {
			t.Errorf("%d voters are set after a replacement: %v", next.SetVoters, err)
		}
		if err := one.RemoveMember(v.ctx(), 3); err != nil {
			t.Fatal(err)
		}
		if set := one.Status().Active.SetVoters; set != 2 {
			t.Errorf("%d voters are set after an operator removed one", set)
		}
	})
}

// newer is a store of snapshots of a version that this program does not read.
type newer struct{ storage.Snapshots }

func (newer) Receive(raft.SnapshotMeta, int64) (storage.SnapshotReceiver, error) {
	return nil, fmt.Errorf("header: %w", storage.ErrSnapshotVersion)
}

// TestASnapshotOfANewerVersionStopsNothing waits for the upgrade of this member, as in a rolling one.
func TestASnapshotOfANewerVersionStopsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 200)
		also := v.also
		v.also = func(cfg *Config) {
			if also != nil {
				also(cfg)
			}
			cfg.Snapshots = newer{cfg.Snapshots}
		}
		back := v.revive(away)
		asked := func() bool {
			back.into.mu.Lock()
			defer back.into.mu.Unlock()
			return back.into.unreadable.Last > 0
		}
		if err := back.await(v.ctx(), asked); err != nil {
			t.Fatalf("no snapshot came: %v", err)
		}
		if err := back.Err(); err != nil {
			t.Fatalf("it stopped: %v", err)
		}
		v.load(l, 5)
	})
}
