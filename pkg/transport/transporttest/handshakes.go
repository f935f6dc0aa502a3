package transporttest

import (
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// refused waits until a node has refused others for this reason more than once, and checks that nothing
// came through and that it was logged once.
func refused(t *testing.T, kind transport.Rejection, by *node, others ...*node) {
	t.Helper()
	await(t, "refused for "+string(kind), func() bool {
		for _, o := range others {
			o.say(by.id, raft.MsgHeartbeat, 0)
			by.say(o.id, raft.MsgHeartbeat, 0)
		}
		return by.obs.rejections(kind) >= 4
	})
	for _, o := range others {
		if n := by.count(o.id); n != 0 {
			t.Errorf("%d messages of a refused peer came through", n)
		}
	}
	if n := by.log.lines("refused", "kind="+string(kind)); n == 0 || n > len(others)+1 {
		t.Errorf("%d refusals for %s gave %d lines in the log", by.obs.rejections(kind), kind, n)
	}
}

// pair starts members 1 and 2 with lists of both.
func pair(t *testing.T, h Harness, first, second func(*transport.Identity)) (one, two *node) {
	t.Helper()
	one, two = newNode(t, h, 1, "", first).start(t), newNode(t, h, 2, "", second).start(t)
	join(one, two)
	return one, two
}

func testWrongCluster(t *testing.T, h Harness) {
	one, two := pair(t, h, nil, func(id *transport.Identity) { id.Cluster = raft.ClusterID{2} })
	refused(t, transport.RejectCluster, one, two)
	refused(t, transport.RejectCluster, two, one)
	await(t, "each is told whom it turned away", func() bool {
		return one.TurnedAwayFor(2) == transport.RejectCluster && two.TurnedAwayFor(1) == transport.RejectCluster
	})
	if one.Stats()[2].Connected || one.Stats()[2].LastError == "" {
		t.Fatalf("the statistics of a refused peer are %+v", one.Stats()[2])
	}
}

func testWrongHash(t *testing.T, h Harness) {
	blank := func(hash byte) func(*transport.Identity) {
		return func(id *transport.Identity) { id.Cluster, id.ClusterHash = raft.ClusterID{}, [16]byte{hash} }
	}
	one, two := pair(t, h, blank(1), blank(2))
	refused(t, transport.RejectCluster, one, two)
	refused(t, transport.RejectCluster, two, one)
}

func testHalfKnownCluster(t *testing.T, h Harness) {
	one, two := pair(t, h, func(id *transport.Identity) { id.ClusterHash = [16]byte{7} },
		func(id *transport.Identity) { id.Cluster, id.ClusterHash = raft.ClusterID{}, [16]byte{7} })
	one.reaches(t, two)
	two.reaches(t, one)
}

// testBlankNode calls on a node that waits to be told its cluster and its peers.
func testBlankNode(t *testing.T, h Harness) {
	one := newNode(t, h, 1, "", nil).start(t)
	two := newNode(t, h, 2, "", func(id *transport.Identity) { id.Cluster = raft.ClusterID{} }).start(t)
	one.SetPeers([]transport.Peer{one.peer(), two.peer()})
	one.reaches(t, two)
	two.SetPeers([]transport.Peer{one.peer(), two.peer()})
	two.reaches(t, one)
}

func testWrongMember(t *testing.T, h Harness) {
	one, two := newNode(t, h, 1, "", nil).start(t), newNode(t, h, 2, "", nil).start(t)
	three := newNode(t, h, 3, "", nil).start(t)
	swapped := two.peer()
	swapped.Address = three.Addr()
	one.SetPeers([]transport.Peer{one.peer(), swapped, {ID: 3, Name: "n3", Address: two.Addr()}})
	two.SetPeers([]transport.Peer{one.peer()})
	three.SetPeers([]transport.Peer{one.peer()})
	refused(t, transport.RejectMember, two, one)
	refused(t, transport.RejectMember, three, one)
}

func testStranger(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	stranger := newNode(t, h, 9, "", nil).start(t)
	stranger.SetPeers([]transport.Peer{nodes[0].peer(), nodes[1].peer(), stranger.peer()})
	refused(t, transport.RejectMember, nodes[0], stranger)
	nodes[0].reaches(t, nodes[1])
}

func testWrongIncarnation(t *testing.T, h Harness) {
	one, two := newNode(t, h, 1, "", nil).start(t), newNode(t, h, 2, "", nil).start(t)
	recorded := two.peer()
	recorded.Incarnation = raft.Incarnation{99}
	one.SetPeers([]transport.Peer{one.peer(), recorded})
	two.SetPeers([]transport.Peer{one.peer(), two.peer()})
	refused(t, transport.RejectIncarnation, one, two)
	if one.log.lines("coordd member replace") == 0 {
		t.Fatal("the log does not say what to do")
	}
	if two.count(1) != 0 {
		t.Fatal("a refused incarnation was sent messages")
	}
	// The operator replaces the member: the configuration records the new incarnation.
	recorded.Incarnation = raft.Incarnation{2}
	one.SetPeers([]transport.Peer{one.peer(), recorded})
	one.reaches(t, two)
	two.reaches(t, one)
}

// testLateIncarnation records an incarnation while the peer is connected with another one.
func testLateIncarnation(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, two := nodes[0], nodes[1]
	if got := one.Stats()[2].Incarnation; got != (raft.Incarnation{2}) {
		t.Fatalf("the statistics have incarnation %s", got)
	}
	right, wrong := two.peer(), two.peer()
	right.Incarnation, wrong.Incarnation = raft.Incarnation{2}, raft.Incarnation{99}
	one.SetPeers([]transport.Peer{one.peer(), right})
	one.reaches(t, two)
	one.SetPeers([]transport.Peer{one.peer(), wrong})
	await(t, "the wrong one is cut off", func() bool {
		two.say(1, raft.MsgHeartbeat, 0)
		return one.obs.rejections(transport.RejectIncarnation) > 0 && !one.Stats()[2].Connected && !two.Stats()[1].Connected
	})
	before := one.count(2)
	for range 20 {
		two.say(1, raft.MsgVoteResp, 0)
		two.Stats()
	}
	one.SetPeers([]transport.Peer{one.peer(), right})
	one.reaches(t, two)
	if n := len(one.received(2, raft.MsgVoteResp)); n > 20 || one.count(2) < before {
		t.Fatalf("member 1 has %d votes", n)
	}
}
