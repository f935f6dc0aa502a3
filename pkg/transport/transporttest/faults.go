package transporttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// promptly is how long a Send may take, or a message between two healthy members beside a broken one. Both take
// milliseconds; a machine that does much else makes seconds of them, and waiting for what never comes takes endless.
const promptly = time.Minute

// within fails when f takes longer than promptly.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > promptly {
		t.Fatalf("%s took %s", what, took)
	}
}

// stuck is a member whose appends are stuck: it takes one and does not come back before the test ends.
func stuck(t *testing.T, n *node) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	n.hook(func(m raft.Message) {
		if m.Type == raft.MsgAppend {
			<-release
		}
	})
}

// testControlPassesBulk stalls the appends to a member: its heartbeats go on.
func testControlPassesBulk(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	stuck(t, nodes[1])
	big := make([]byte, 256<<10)
	for i := range uint64(20) {
		nodes[0].Send([]raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Index: i, Data: big}}}})
	}
	await(t, "an append arrives", func() bool { return len(nodes[1].received(1, raft.MsgAppend)) == 1 })
	for i := range uint64(20) {
		within(t, "a heartbeat beside stuck appends", func() {
			nodes[0].say(2, raft.MsgHeartbeat, i)
			await(t, "heartbeat arrives", func() bool { return len(nodes[1].received(1, raft.MsgHeartbeat)) == int(i)+1 })
		})
	}
}

// testOverflow sends more than any queue holds.
func testOverflow(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	stuck(t, nodes[1])
	big := make([]byte, 1<<20)
	within(t, "sending 100 MiB to a stuck peer", func() {
		for i := range uint64(100) {
			nodes[0].Send([]raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Index: i, Data: big}}}})
		}
	})
	await(t, "the sender is told", func() bool { return nodes[0].given(2) > 0 })
	if nodes[0].Stats()[2].Dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	if told := nodes[0].given(2); told > 50 {
		t.Fatalf("told %d times of one failure", told)
	}
	within(t, "a message to another peer", func() { nodes[0].reaches(t, nodes[2]) })
}

// testHole has a third member that answers nothing (rule 19: the other two must not feel it).
func testHole(t *testing.T, h Harness) {
	for _, hole := range h.Holes(t) {
		one, two := newNode(t, h, 1, "", nil).start(t), newNode(t, h, 2, "", nil).start(t)
		peers := []transport.Peer{one.peer(), two.peer(), {ID: 3, Name: "n3", Address: hole}}
		one.SetPeers(peers)
		two.SetPeers(peers)
		// The third class must not be felt either: requests, notifications and an announcement wait for the hole.
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() { one.Request(ctx, 3, make([]byte, 64<<10)) })
			group.Go(func() { two.Request(ctx, 3, make([]byte, 64<<10)) })
		}
		group.Go(func() { one.Announce(ctx, hole, nil) })
		big := []raft.Entry{{Index: 1, Data: make([]byte, 64<<10)}}
		for round := range uint64(200) {
			for i, n := range []*node{one, two} {
				other := []*node{two, one}[i]
				within(t, "a message beside a hole at "+hole, func() {
					n.Send([]raft.Message{{Type: raft.MsgVote, From: n.id, To: 3, Round: round}, {Type: raft.MsgAppend, From: n.id, To: 3, Entries: big}})
					n.Notify(3, big[0].Data)
					n.reaches(t, other)
					if round%20 == 0 {
						n.asks(t, other, nil)
					}
				})
			}
		}
		if one.Stats()[3].Connected {
			t.Fatalf("member 1 believes to be connected to the hole at %s", hole)
		}
		cancel()
		group.Wait()
		one.stop(t)
		two.stop(t)
	}
}

// testPartition cuts one member off and heals.
func testPartition(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	h.Cut(1, 3)
	h.Cut(2, 3)
	await(t, "members 1 and 3 notice", func() bool {
		// Something has to be sent for the silence to be noticed by every kind of transport.
		nodes[0].say(3, raft.MsgHeartbeat, 0)
		nodes[2].say(1, raft.MsgHeartbeat, 0)
		return !nodes[0].Stats()[3].Connected && !nodes[2].Stats()[1].Connected
	})
	before := nodes[2].count(1)
	for range 20 {
		nodes[0].say(3, raft.MsgHeartbeat, 0)
		within(t, "a message in the majority", func() { nodes[0].reaches(t, nodes[1]) })
	}
	if nodes[2].count(1) != before {
		t.Fatal("a message crossed the cut")
	}
	h.Heal(1, 3)
	h.Heal(2, 3)
	begin := time.Now()
	nodes[0].reaches(t, nodes[2])
	nodes[2].reaches(t, nodes[1])
	if took := time.Since(begin); took > promptly {
		t.Fatalf("it took %s to heal", took)
	}
}

// testRestart stops a member and starts it again where it was.
func testRestart(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, two := nodes[0], nodes[1]
	for range 3 {
		told := one.given(2)
		address, peers := two.Addr(), []transport.Peer{one.peer(), two.peer()}
		two.stop(t)
		await(t, "member 1 is told that member 2 is gone", func() bool {
			one.say(2, raft.MsgHeartbeat, 0)
			return one.given(2) > told && !one.Stats()[2].Connected
		})
		two = newNode(t, h, 2, address, nil)
		two.SetPeers(peers)
		two.start(t)
		begin := time.Now()
		one.reaches(t, two)
		two.reaches(t, one)
		one.connected(t, 2)
		if took := time.Since(begin); took > promptly {
			t.Fatalf("it took %s to be in touch again", took)
		}
		if s := one.Stats()[2]; s.LastError != "" {
			t.Fatalf("connected, yet the last error is %q", s.LastError)
		}
	}
}

// testMove restarts a member at another address.
func testMove(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, old := nodes[0], nodes[1]
	two := newNode(t, h, 2, "", nil).start(t)
	if old.Addr() == two.Addr() {
		t.Fatalf("two transports at %s", two.Addr())
	}
	join(one, two)
	one.reaches(t, two)
	two.reaches(t, one)
	await(t, "both ways stand", func() bool { return one.Stats()[2].Connected && two.Stats()[1].Connected })
	moved, before := one.Stats()[2].Address, old.count(1) // the first messages may have met the old way's end
	one.reaches(t, two)
	if moved != two.Addr() || old.count(1) != before {
		t.Fatalf("member 1 sends to %s, member 2 is at %s; the old one got %d messages", moved, two.Addr(), old.count(1)-before)
	}
}

// testRemoved takes a member out of the others' lists while it is connected.
func testRemoved(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	for _, n := range nodes[:2] {
		n.SetPeers([]transport.Peer{nodes[0].peer(), nodes[1].peer()})
	}
	await(t, "member 3 is refused", func() bool {
		nodes[2].say(1, raft.MsgHeartbeat, 0)
		return nodes[0].obs.rejections(transport.RejectMember) > 0 && !nodes[2].Stats()[1].Connected
	})
	for range 20 {
		nodes[2].say(1, raft.MsgVote, 0)
		nodes[0].say(3, raft.MsgHeartbeat, 0)
		nodes[0].reaches(t, nodes[1])
	}
	if len(nodes[0].received(3, raft.MsgVote)) != 0 {
		t.Fatal("a removed member was heard")
	}
	if _, listed := nodes[0].Stats()[3]; listed {
		t.Fatal("a removed member is in the statistics")
	}
	nodes[0].obs.locked(func() {
		for label := range nodes[0].obs.failed {
			if label != "n2" && label != "n3" {
				t.Errorf("messages to a removed member are counted under %q", label)
			}
		}
	})
	join(nodes...) // and it may come back
	nodes[2].reaches(t, nodes[0])
	nodes[0].reaches(t, nodes[2])
}
