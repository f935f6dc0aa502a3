package inmem_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/inmem"
)

// recorder is a handler that keeps what it gets.
type recorder struct {
	transport.MessageHandler // nil: nothing is asked
	id                       transport.Identity
	mu                       sync.Mutex
	got                      []raft.Message
}

func (r *recorder) Receive(m raft.Message)                       { r.mu.Lock(); r.got = append(r.got, m); r.mu.Unlock() }
func (r *recorder) Identity() transport.Identity                 { return r.id }
func (r *recorder) Witness(raft.MemberID) transport.Witnessed    { return transport.Witnessed{} }
func (r *recorder) Seen(transport.Identity, transport.Witnessed) {}
func (r *recorder) Unreachable(raft.MemberID)                    {}
func (r *recorder) count() int                                   { r.mu.Lock(); defer r.mu.Unlock(); return len(r.got) }

// TestControlsInVirtualTime drives every control with a clock that moves only when all is quiet.
func TestControlsInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := inmem.NewNetwork()
		one, two := &recorder{id: transport.Identity{Member: 1}}, &recorder{id: transport.Identity{Member: 2}}
		a, b := network.New(inmem.Config{Address: "a"}), network.New(inmem.Config{Address: "b"})
		peers := []transport.Peer{{ID: 1, Address: "a"}, {ID: 2, Address: "b"}}
		for tr, h := range map[*inmem.Transport]*recorder{a: one, b: two} {
			tr.SetPeers(peers)
			if err := tr.Start(h); err != nil {
				t.Fatal(err)
			}
			defer tr.Close(context.Background())
		}
		settle := func() { time.Sleep(50 * time.Millisecond); synctest.Wait() }
		settle()
		to2 := []raft.Message{{Type: raft.MsgHeartbeat, From: 1, To: 2, Term: 1}}
		to1 := []raft.Message{{Type: raft.MsgHeartbeatResp, From: 2, To: 1, Term: 1}}
		step := func(what string, want1, want2 int) {
			t.Helper()
			before1, before2 := one.count(), two.count()
			a.Send(to2)
			b.Send(to1)
			settle()
			if got1, got2 := one.count()-before1, two.count()-before2; got1 != want1 || got2 != want2 {
				t.Fatalf("%s: member 1 got %d, want %d; member 2 got %d, want %d", what, got1, want1, got2, want2)
			}
		}
		step("healthy", 1, 1)
		network.CutOneWay(1, 2)
		step("cut 1 to 2", 1, 0)
		network.Heal(1, 2)
		settle()
		step("healed", 1, 1)
		network.Cut(1, 2)
		step("cut", 0, 0)
		network.HealAll()
		settle()
		network.Isolate(2)
		step("isolated", 0, 0)
		network.Rejoin(2)
		settle()
		step("rejoined", 1, 1)
		network.SetDrop(2, 1, func(m raft.Message) bool { return m.Type == raft.MsgHeartbeatResp })
		step("dropped", 0, 1)
		network.SetDrop(2, 1, nil)
		network.SetDelay(1, 2, time.Minute)
		step("delayed", 1, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if two.count() != 5 {
			t.Fatalf("member 2 got %d messages after the delay, want 5", two.count())
		}
	})
}
