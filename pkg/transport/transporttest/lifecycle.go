package transporttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// testCloseAmidTraffic closes a member while all send: no call to its handler may follow.
func testCloseAmidTraffic(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	stop := make(chan struct{})
	var group sync.WaitGroup
	defer func() {
		close(stop)
		group.Wait()
	}()
	for _, n := range nodes {
		group.Go(func() {
			entries := []raft.Entry{{Index: 1, Data: make([]byte, 1<<10)}}
			tick := time.NewTicker(200 * time.Microsecond) // leaves the processor to others
			defer tick.Stop()
			for number := uint64(0); ; number++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				for _, to := range nodes {
					if to != n {
						n.Send([]raft.Message{{Type: raft.MsgHeartbeat, From: n.id, To: to.id, Round: number},
							{Type: raft.MsgAppend, From: n.id, To: to.id, Entries: entries}})
					}
				}
				n.Stats()
			}
		})
	}
	await(t, "traffic flows", func() bool { return nodes[1].count(1) > 100 && nodes[1].count(3) > 100 })
	nodes[1].stop(t)
	calls := nodes[1].total()
	for range 20 {
		nodes[0].reaches(t, nodes[2])
	}
	if now := nodes[1].total(); now != calls {
		t.Fatalf("%d calls to the handler after Close had returned", now-calls)
	}
}

func testLifeCycle(t *testing.T, h Harness) {
	never := newNode(t, h, 1, "", nil)
	never.SetPeers([]transport.Peer{{ID: 2, Address: "127.0.0.1:1"}})
	never.Send([]raft.Message{{Type: raft.MsgVote, From: 1, To: 2}})
	never.stop(t)
	if err := never.Start(never.Recorder); err == nil {
		t.Error("started after Close")
	}

	early := newNode(t, h, 1, "", nil)
	two := newNode(t, h, 2, "", nil).start(t)
	early.SetPeers([]transport.Peer{two.peer()}) // before Start
	early.start(t)
	two.SetPeers([]transport.Peer{early.peer(), two.peer()})
	early.reaches(t, two)
	if early.Addr() == "" {
		t.Error("started without an address")
	}
	if err := early.Start(early.Recorder); err == nil {
		t.Error("started twice")
	}
	early.Send(nil)
	early.Send([]raft.Message{{Type: raft.MsgVote, From: 1, To: 77}}) // nobody
	early.Send([]raft.Message{{Type: raft.MsgVote, From: 1, To: 1}})  // itself
	early.reaches(t, two)
	early.stop(t)
	early.stop(t)
	early.Send([]raft.Message{{Type: raft.MsgVote, From: 1, To: 2}})
	early.SetPeers([]transport.Peer{two.peer()})

	gone, cancel := context.WithCancel(context.Background())
	cancel()
	hasty := newNode(t, h, 3, "", nil).start(t)
	if err := hasty.Close(gone); err != nil {
		t.Logf("close without time: %v", err)
	}
}

func testAddressInUse(t *testing.T, h Harness) {
	one := newNode(t, h, 1, "", nil).start(t)
	two := newNode(t, h, 2, one.Addr(), nil)
	if err := two.Start(two.Recorder); err == nil {
		t.Fatalf("two transports listen on %s", one.Addr())
	}
}
