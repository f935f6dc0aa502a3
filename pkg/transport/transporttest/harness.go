package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// Tested is what the suite asks of a transport.
type Tested interface {
	transport.Transport
	transport.Statistics
}

// Options of a transport that the suite wants.
type Options struct {
	Member   raft.MemberID
	Address  string // to listen at; empty: any
	Observer transport.Observer
	Logger   hclog.Logger
}

// Harness makes transports of one kind, which can reach each other, and the faults between them.
type Harness struct {
	// New makes a transport that is not started.
	New func(t testing.TB, o Options) Tested
	// Holes returns addresses which, each in its way, swallow everything that is sent to member 3.
	Holes func(t testing.TB) []string
	// Cut swallows everything between two members, until Heal.
	Cut, Heal func(a, b raft.MemberID)
	// Raw opens a bare connection to a transport; nil for one that is not made of streams of package
	// wire: it is not tested with hostile callers.
	Raw func(t testing.TB, address string) net.Conn
	// BindsEarly is true when New, and not Start, takes the address: what Start says of one in use is not tested.
	BindsEarly bool
}

// waitLimit bounds every wait; it is far beyond what any of them needs.
const waitLimit = 20 * time.Second

// Run tests a transport. The function makes a new harness for each test; what it starts ends with the test.
func Run(t *testing.T, harness func(t testing.TB) Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"every message both ways", testEveryMessage},
		{"entries by payload sizes, reader takes all, the first, none", testBatches},
		{"receiver owns the message", testOwnership},
		{"order within a class", testOrder},
		{"concurrent use", testConcurrentUse},
		{"control passes stuck appends", testControlPassesBulk},
		{"overflow is told, nothing blocks", testOverflow},
		{"address that swallows everything", testHole},
		{"partition and heal", testPartition},
		{"peer restarts at its address", testRestart},
		{"peer moves to another address", testMove},
		{"peer is removed", testRemoved},
		{"both sides learn marks", testMarks},
		{"one that is called learns marks", testMarksOfCaller},
		{"marks of another incarnation are not told", testMarksOfAnotherIncarnation},
		{"wrong cluster", testWrongCluster},
		{"wrong static members", testWrongHash},
		{"cluster known on one side", testHalfKnownCluster},
		{"blank node takes any caller", testBlankNode},
		{"wrong member at the address", testWrongMember},
		{"caller outside the configuration", testStranger},
		{"wrong incarnation", testWrongIncarnation},
		{"incarnation recorded later", testLateIncarnation},
		{"sender that is somebody else", testForgedSender},
		{"requests and answers", testRequests},
		{"requests that fail", testRequestErrors},
		{"requests end with their context", testRequestContext},
		{"notifications arrive once", testNotices},
		{"request repeated after a break runs once", testRequestRunsOnce},
		{"request waits for its peer", testRequestWaitsForPeer},
		{"more requests than are handled at a time", testManyRequests},
		{"request follows its peer", testRequestFollowsPeer},
		{"messages are in nobody's way", testMessagesInNobodysWay},
		{"snapshot then entries to one peer", testChunksAndEntries},
		{"snapshot message is not sent", testSnapshotIsNotSent},
		{"announcements", testAnnounce},
		{"announcement ends with its context", testAnnounceContext},
		{"flood of strangers", testFloodOfStrangers},
		{"refused is told", testRefusedIsTold},
		{"close amid requests", testCloseAmidRequests},
		{"close amid traffic", testCloseAmidTraffic},
		{"life cycle", testLifeCycle},
		{"address in use", testAddressInUse},
	}
	traits := harness(t)
	for _, test := range tests {
		if traits.BindsEarly && test.name == "address in use" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, harness(t))
		})
	}
	if traits.Raw != nil {
		runHostile(t, harness)
	}
}

// node is a transport with all that watches it.
type node struct {
	Tested
	*Recorder
	id  raft.MemberID
	obs *counters
	log *logBuffer
}

// newNode makes a node that is not started. edit may change what it says of itself.
func newNode(t testing.TB, h Harness, id raft.MemberID, address string, edit func(*transport.Identity)) *node {
	t.Helper()
	n := &node{id: id, obs: newCounters(), log: &logBuffer{}}
	identity := transport.Identity{Cluster: raft.ClusterID{1}, Member: id, Name: fmt.Sprintf("n%d", id), Incarnation: raft.Incarnation{byte(id)}}
	if edit != nil {
		edit(&identity)
	}
	n.Recorder = NewRecorder(identity)
	logger := hclog.New(&hclog.LoggerOptions{Name: identity.Name, Level: hclog.Info, Output: n.log})
	n.Tested = h.New(t, Options{Member: id, Address: address, Observer: n.obs, Logger: logger})
	t.Cleanup(func() { n.stop(t) })
	return n
}

// start starts the node.
func (n *node) start(t testing.TB) *node {
	t.Helper()
	if err := n.Start(n.Recorder); err != nil {
		t.Fatalf("start member %s: %v", n.id, err)
	}
	return n
}

// stop closes the node; it may be closed already.
func (n *node) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Errorf("close member %s: %v", n.id, err)
	}
}

// peer is what others have in their lists for the node.
func (n *node) peer() transport.Peer {
	return transport.Peer{ID: n.id, Name: fmt.Sprintf("n%d", n.id), Address: n.Addr()}
}

// join gives all nodes the list of all.
func join(nodes ...*node) []transport.Peer {
	var peers []transport.Peer
	for _, n := range nodes {
		peers = append(peers, n.peer())
	}
	for _, n := range nodes {
		n.SetPeers(peers)
	}
	return peers
}

// cluster starts members 1 to size and waits until each can send to each.
func cluster(t testing.TB, h Harness, size int) []*node {
	t.Helper()
	var nodes []*node
	for id := 1; id <= size; id++ {
		nodes = append(nodes, newNode(t, h, raft.MemberID(id), "", nil).start(t))
	}
	join(nodes...)
	for _, n := range nodes {
		for _, p := range nodes {
			if n != p {
				n.connected(t, p.id)
			}
		}
	}
	return nodes
}

// connected waits until both classes reach a peer.
func (n *node) connected(t testing.TB, id raft.MemberID) {
	t.Helper()
	await(t, fmt.Sprintf("member %s is connected to %s", n.id, id), func() bool {
		s := n.Stats()[id]
		return s.Connected && s.BulkConnected
	})
}

// say sends one message of a type; number is its round.
func (n *node) say(to raft.MemberID, kind raft.MessageType, number uint64) {
	n.Send([]raft.Message{{Type: kind, From: n.id, To: to, Term: 1, Round: number}})
}

// reaches sends heartbeats until one arrives.
func (n *node) reaches(t testing.TB, to *node) {
	t.Helper()
	before := to.count(n.id)
	await(t, fmt.Sprintf("member %s reaches %s", n.id, to.id), func() bool {
		n.say(to.id, raft.MsgHeartbeat, 0)
		return to.count(n.id) > before
	})
}

// await waits for a condition.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %s in vain: %s", waitLimit, what)
		}
	}
}

// counters is an observer that counts.
type counters struct {
	mu         sync.Mutex
	sent       map[string]int
	received   map[string]int
	failed     map[string]int
	rejected   map[transport.Rejection]int
	roundTrips int
}

func newCounters() *counters {
	return &counters{sent: map[string]int{}, failed: map[string]int{}, received: map[string]int{}, rejected: map[transport.Rejection]int{}}
}

func (c *counters) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *counters) PeerSent(peer, _ string, bytes int) { c.locked(func() { c.sent[peer] += bytes }) }
func (c *counters) PeerReceived(peer, _ string, bytes int) {
	c.locked(func() { c.received[peer] += bytes })
}
func (c *counters) PeerSendFailed(peer, _ string)         { c.locked(func() { c.failed[peer]++ }) }
func (c *counters) PeerRejected(kind transport.Rejection) { c.locked(func() { c.rejected[kind]++ }) }
func (c *counters) PeerRoundTrip(string, string, float64) { c.locked(func() { c.roundTrips++ }) }

// rejections returns how often something was refused for this reason.
func (c *counters) rejections(kind transport.Rejection) (n int) {
	c.locked(func() { n = c.rejected[kind] })
	return n
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// lines returns how many lines contain all of the texts.
func (l *logBuffer) lines(texts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.buf.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		n++
	}
	return n
}
