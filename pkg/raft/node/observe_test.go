package node

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
)

// watcher counts what an Observer is told.
type watcher struct {
	NoObserver
	mu                                          sync.Mutex
	roles, appends, contacts, rounds, unreached int
	entries, bytes, applied                     int
	longest                                     float64
	outcomes                                    map[Outcome]int
	stalled, dropped                            int
}

func (w *watcher) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *watcher) RoleChanged(raft.Role, uint64) { w.do(func() { w.roles++ }) }
func (w *watcher) Proposals(o Outcome, n int)    { w.do(func() { w.outcomes[o] += n }) }
func (w *watcher) Appended(_ float64, entries, bytes int) {
	w.do(func() { w.appends, w.entries, w.bytes = w.appends+1, w.entries+entries, w.bytes+bytes })
}
func (w *watcher) Applied(_ uint64, n int) { w.do(func() { w.applied += n }) }
func (w *watcher) LeaderContact(_ raft.MemberID, s float64) {
	w.do(func() { w.contacts, w.longest = w.contacts+1, max(w.longest, s) })
}
func (w *watcher) SendFailed(raft.MemberID)         { w.do(func() { w.unreached++ }) }
func (w *watcher) RoundTrip(raft.MemberID, float64) { w.do(func() { w.rounds++ }) }
func (w *watcher) Dropped(n int)                    { w.do(func() { w.dropped += n }) }
func (w *watcher) DiskStalled(bool)                 { w.do(func() { w.stalled++ }) }

func TestObserverHearsWhatHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		watchers := make(map[raft.MemberID]*watcher)
		c.change = func(cfg *Config) {
			watchers[cfg.ID] = &watcher{outcomes: make(map[Outcome]int)}
			cfg.Observer = watchers[cfg.ID]
		}
		c.start()
		l := c.leader()
		f := c.others(l)[0]
		for range 10 {
			c.propose(l, "1234")
			_, _ = f.Propose(c.ctx(), []byte("refused"))
		}
		time.Sleep(time.Second) // virtual: some heartbeats
		c.stop()
		lw, fw := watchers[l.id], watchers[f.id]
		if lw.roles == 0 || lw.appends == 0 || lw.entries < 12 || lw.bytes < 12*48 || lw.applied < 12 || lw.outcomes[OutcomeApplied] != 10 || lw.rounds < 20 {
			t.Errorf("leader: %+v", lw)
		}
		if fw.contacts < 10 || fw.outcomes[OutcomeNotLeader] != 10 || fw.applied < 12 || fw.longest > 0.1 {
			t.Errorf("follower: %+v", fw)
		}
	})
}

func TestMembersAreAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3).start()
		defer c.stop()
		l := c.leader()
		for _, m := range c.running() {
			<-m.Ready()
		}
		f := c.others(l)[0]
		events, cancel := f.Events()
		defer cancel()
		gone := c.others(l)[1].id
		whole := l.Status().Active
		smaller := raft.Configuration{ClusterID: whole.ClusterID}
		for _, m := range whole.Members {
			if m.ID != gone {
				smaller.Members = append(smaller.Members, m)
			}
		}
		for _, step := range []struct {
			next raft.Configuration
			kind EventKind
		}{{smaller, EventMemberRemoved}, {whole, EventMemberAdded}} {
			result := make(chan error, 1)
			l.in.call(func(now time.Duration) {
				_, err := l.loop.core.ProposeConfChange(step.next, now)
				result <- err
			})
			if err := <-result; err != nil {
				t.Fatal(err)
			}
			for e := range events {
				if e.Kind == step.kind && e.Member.ID == gone {
					break
				}
			}
			c.propose(l, "x") // behind it the change is committed
		}
	})
}

// marked is a log with a sidecar of its own making.
type marked struct {
	storage.Log
	slot uint64
	mark raft.Mark
}

func (m marked) Mark() (uint64, raft.Mark) { return m.slot, m.mark }

func TestAMarkThatTheLogLacksMakesTheMemberRecover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		slot       uint64
		mark       raft.Mark
		other      byte // makes it another incarnation
		recovering bool
	}{
		{"an older slot", 4, raft.Mark{LastTerm: 1, Last: 3}, 0, false},
		{"the same", 5, raft.Mark{LastTerm: 1, Last: 2}, 0, false},
		{"the same slot with a later mark", 5, raft.Mark{LastTerm: 7, Last: 900}, 0, true},
		{"a later slot", 6, raft.Mark{LastTerm: 7, Last: 900}, 0, true},
		{"a later slot of another incarnation", 6, raft.Mark{LastTerm: 7, Last: 900}, 1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3)
			c.wrap = func(_ raft.MemberID, l storage.Log) storage.Log {
				return marked{l, 5, raft.Mark{LastTerm: 1, Last: 2}}
			}
			c.start()
			defer c.stop()
			l := c.leader()
			f := c.others(l)[0]
			c.barrier(f)
			c.net.Isolate(f.id) // nobody may fill its log up again
			seen := transport.Witnessed{Incarnation: f.Status().Incarnation, Slot: tt.slot, Mark: tt.mark}
			seen.Incarnation[0] ^= tt.other
			handler{f.Node}.Seen(transport.Identity{Member: l.id}, seen)
			synctest.Wait()
			if got := f.Status().Recovering; got != tt.recovering {
				t.Errorf("%s: recovering %v, want %v", tt.name, got, tt.recovering)
			}
		})
	}
}

func TestWitnessKeepsTheLatestSlotOfAnIncarnation(t *testing.T) {
	t.Parallel()
	var w witness
	say := func(incarnation byte, slot, last uint64) {
		w.saw(transport.Identity{Member: 2, Incarnation: raft.Incarnation{incarnation}, MarkSlot: slot, Mark: raft.Mark{Last: last}})
	}
	check := func(incarnation byte, slot, last uint64) {
		t.Helper()
		want := transport.Witnessed{Incarnation: raft.Incarnation{incarnation}, Slot: slot, Mark: raft.Mark{Last: last}}
		if got := w.latest(2); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	check(0, 0, 0)
	say(1, 0, 0)
	check(0, 0, 0)
	say(1, 7, 70)
	say(1, 5, 90) // an older one, told late or by a directory that went back
	check(1, 7, 70)
	say(1, 8, 60) // a truncation takes the mark back
	check(1, 8, 60)
	say(2, 1, 3) // another directory counts anew
	check(2, 1, 3)
}
