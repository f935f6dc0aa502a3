package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/inmem"
)

// vaulted is a cluster of vaults whose snapshots outlive their nodes.
type vaulted struct {
	*cluster
	vaults   map[raft.MemberID]*vault
	shelves  map[raft.MemberID]*shelf
	couriers map[raft.MemberID]*courier
	also     func(*Config)
}

// courier is a transport that lets a test look at, and change, what a node asks others.
type courier struct {
	transport.Transport
	mu     sync.Mutex
	asked  func(to raft.MemberID, body []byte) []byte // returns what is sent
	chunks int
	bytes  int
}

func newVaulted(t testing.TB, size int) *vaulted {
	v := &vaulted{cluster: newCluster(t, size), vaults: map[raft.MemberID]*vault{}, shelves: map[raft.MemberID]*shelf{}, couriers: map[raft.MemberID]*courier{}}
	v.change = func(cfg *Config) {
		if v.shelves[cfg.ID] == nil {
			v.shelves[cfg.ID] = &shelf{}
		}
		v.vaults[cfg.ID] = &vault{}
		v.couriers[cfg.ID] = &courier{Transport: cfg.Transport}
		cfg.StateMachine, cfg.Snapshots, cfg.Transport = v.vaults[cfg.ID], v.shelves[cfg.ID], v.couriers[cfg.ID]
		cfg.Limits.TrailingEntries, cfg.Limits.CatchUpEntries = 10, 10
		if v.also != nil {
			v.also(cfg)
		}
	}
	return v
}

// revive starts a node again on the log that it left.
func (v *vaulted) revive(m *member) *member {
	return v.startOne(m.id, m.log.(*storage.Memory).Reopen())
}

// agree checks that all running nodes hold the same commands, after a barrier on each.
func (v *vaulted) agree(want int) {
	v.t.Helper()
	var first []string
	for i, m := range v.running() {
		v.barrier(m)
		_, kept := v.vaults[m.id].state()
		if i == 0 {
			first = kept
		}
		if len(kept) != want || !slices.Equal(kept, first) {
			v.t.Fatalf("node %d holds %d commands, node %d %d, want %d", m.id, len(kept), v.running()[0].id, len(first), want)
		}
	}
}

func (v *vaulted) load(l *member, count int) {
	v.t.Helper()
	data := strings.Repeat(".", 2000)
	for i := range count {
		v.propose(l, fmt.Sprintf("%d%s", i, data))
	}
}

func TestAMemberAwayThroughACompactionReturnsBySnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		v.load(l, 20)
		v.agree(20)
		away := v.others(l)[0]
		away.kill()
		v.load(l, 300)
		if err := l.Compact(v.ctx()); err != nil {
			t.Fatal(err)
		}
		first := l.Status().First
		if first <= away.Status().Last {
			t.Fatalf("the log begins at %d, the member has %d entries", first, away.Status().Last)
		}
		back := v.revive(away)
		<-back.Ready()
		v.agree(320)
		s := back.Status()
		if applied, restored, _ := v.vaults[back.id].counts(); restored != 1 || applied > 60 {
			t.Errorf("restored %d times, %d entries applied", restored, applied)
		}
		if s.Snapshot == nil || s.First <= 100 || s.First > s.Snapshot.Index+1 {
			t.Errorf("the member that came back: %+v", s)
		}
		// It goes on as any other, also over a restart and as the leader.
		v.load(l, 10)
		v.agree(330)
		back.kill()
		if found := back.log.(*storage.Memory).Reopen().State(); found.ClusterID != l.Status().ClusterID || found.Base.Last == 0 {
			t.Errorf("its log: %+v", found)
		}
		back = v.revive(back)
		<-back.Ready()
		v.agree(330)
		if err := l.TransferLeadership(v.ctx(), back.id); err != nil {
			t.Fatal(err)
		}
		v.load(v.leader(back), 10)
		v.agree(340)
	})
}

// count returns how many bytes of snapshots a node has sent.
func (s *courier) count() (chunks, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chunks, s.bytes
}

func (s *courier) set(f func(to raft.MemberID, body []byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = f
}

// behind stops a follower, lets the log go on without it and cuts it.
func (v *vaulted) behind(l *member, commands int) *member {
	v.t.Helper()
	away := v.others(l)[0]
	away.kill()
	v.load(l, commands)
	time.Sleep((awayAfter + 1) * l.cfg.ElectionTimeoutMax) // virtual: it counts as away, and nothing is kept for it
	if err := l.Compact(v.ctx()); err != nil {
		v.t.Fatal(err)
	}
	return away
}

func TestABrokenTransferGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 1000) // about 2 MB
		size := v.shelves[l.id].List()[0].Size
		broken := make(chan struct{})
		var once sync.Once
		v.couriers[l.id].set(func(to raft.MemberID, body []byte) []byte {
			if c, err := decodeChunk(body[1:]); err == nil && c.offset > size/2 {
				once.Do(func() { close(broken); v.net.Isolate(away.id) })
			}
			return body
		})
		back := v.revive(away)
		<-broken
		time.Sleep(time.Minute) // virtual: the transfer is given up
		back.kill()             // what it has of the snapshot is kept, as a directory would
		back = v.revive(back)
		v.net.Rejoin(away.id)
		<-back.Ready()
		v.agree(1000)
		v.shelves[back.id].mu.Lock()
		took := v.shelves[back.id].took
		v.shelves[back.id].mu.Unlock()
		if took != size {
			t.Errorf("the receiver wrote %d bytes of a snapshot of %d", took, size)
		}
		if _, sent := v.couriers[l.id].count(); int64(sent) > size+3*chunkBytes {
			t.Errorf("%d bytes were sent of a snapshot of %d", sent, size)
		}
	})
}

func TestAFlippedChunkIsRefusedAndSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 500)
		size := v.shelves[l.id].List()[0].Size
		flipped := 0
		v.couriers[l.id].set(func(to raft.MemberID, body []byte) []byte {
			if c, err := decodeChunk(body[1:]); err == nil && len(c.data) > 100 && flipped == 0 {
				flipped++
				body = slices.Clone(body)
				body[len(body)-50] ^= 1
			}
			return body
		})
		back := v.revive(away)
		<-back.Ready()
		v.agree(500)
		if _, sent := v.couriers[l.id].count(); flipped != 1 || int64(sent) < 2*size {
			t.Errorf("%d chunks flipped, %d bytes sent of a snapshot of %d", flipped, sent, size)
		}
		if _, restored, _ := v.vaults[back.id].counts(); restored != 1 {
			t.Errorf("restored %d times", restored)
		}
	})
}

func TestADamagedSnapshotOfTheLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 200)
		v.shelves[l.id].flip(0)
		back := v.revive(away)
		<-back.Ready()
		v.agree(200)
	})
}

func TestTheRateOfTransfersIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) { cfg.Limits.SnapshotBytesPerSecond = 256 << 10 }
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 1000)
		start := time.Now()
		back := v.revive(away)
		// The progress shows, and the cluster serves meanwhile.
		time.Sleep(3 * time.Second) // virtual
		v.propose(l, "x")
		var p PeerStatus
		for _, p = range l.Status().Peers {
			if p.ID == away.id {
				break
			}
		}
		if p.SnapshotSent == 0 || p.SnapshotSent >= p.SnapshotSize || p.State != "snapshot" {
			t.Errorf("the peer's status: %+v", p)
		}
		<-back.Ready()
		v.agree(1001)
		if took := time.Since(start); took < 6*time.Second || took > 20*time.Second { // 2 MB
			t.Errorf("the transfer took %v", took)
		}
	})
}

// every is a policy that has a snapshot taken after so many entries.
type every uint64

func (e every) Due(s LogStats) bool { return s.Entries >= uint64(e) }

func TestALearnerNeedsNoSecondSnapshotWhileItCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) {
			cfg.Limits.SnapshotBytesPerSecond = 128 << 10
			cfg.Limits.CatchUpEntries = 1000
			cfg.CompactionPolicy = every(50)
		}
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 300)
		size := v.shelves[l.id].List()[0].Size
		back := v.revive(away)
		for range 20 { // snapshots are taken, and the log is cut, while one is on its way
			v.load(l, 10)
			time.Sleep(250 * time.Millisecond) // virtual
		}
		<-back.Ready()
		v.agree(500)
		_, sent := v.couriers[l.id].count()
		if _, restored, _ := v.vaults[back.id].counts(); restored != 1 || int64(sent) > size {
			t.Errorf("restored %d times, %d bytes were sent of a snapshot of %d", restored, sent, size)
		}
	})
}

// Request implements transport.Messenger.
func (s *courier) Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
	s.mu.Lock()
	asked := s.asked
	if c, err := decodeChunk(body[1:]); frameKind(body[0]) == frameChunk && err == nil {
		s.chunks++
		s.bytes += len(c.data)
	}
	s.mu.Unlock()
	if asked != nil {
		body = asked(to, body)
	}
	return s.Transport.Request(ctx, to, body)
}

// reopen makes a transport at another address, for a member of which the tests look at what it asks.
func (v *vaulted) reopen(address string, id raft.MemberID) transport.Transport {
	v.couriers[id] = &courier{Transport: v.net.New(inmem.Config{Address: address})}
	return v.couriers[id]
}

// The machine takes a leader's snapshot only once the log begins behind it: a machine that keeps its own state would
// be ahead of the log after a crash.
func TestASnapshotIsRestoredOnceTheLogBeginsBehindIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		away := v.behind(l, 300)
		disk := &faultyLog{Log: away.log.(*storage.Memory).Reopen()}
		back := v.startOne(away.id, disk)
		resume := disk.stall()
		time.Sleep(500 * time.Millisecond) // virtual: the snapshot is there
		if n := len(v.shelves[away.id].List()); n != 1 {
			t.Fatalf("%d snapshots arrived", n)
		}
		if _, restored, _ := v.vaults[away.id].counts(); restored != 0 {
			t.Error("restored before the log was written")
		}
		resume()
		<-back.Ready()
		v.agree(300)
	})
}
