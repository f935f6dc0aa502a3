package transporttest

import (
	"bytes"
	"cmp"
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
	Member  raft.MemberID
	Address string // to listen at; empty: any
	// Silence is for how long a peer may say nothing, or take nothing, before the transport gives the connection up.
	Silence  time.Duration
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

	silence time.Duration // Options.Silence of all transports of the test
}

// waitLimit bounds every wait; it is far beyond what any of them needs on a machine that does much else.
const waitLimit = 2 * time.Minute

// A transport gives up a connection that is silent, and what was on its way is lost; a machine that does much else makes
// silence of any length. So only the tests that are about silence have it end a connection (brief); in all others nothing
// may be lost and nothing may wait for another's end (endless), which is longer than any test waits.
const (
	brief   = time.Second
	endless = 10 * waitLimit
)

// Run tests a transport. The function makes a new harness for each test; what it starts ends with the test.
func Run(t *testing.T, harness func(t testing.TB) Harness) {
	tests := []struct {
		name    string
		run     func(*testing.T, Harness)
		silence time.Duration // 0: endless
	}{
		{"every message both ways", testEveryMessage, 0},
		{"entries by payload sizes, reader takes all, the first, none", testBatches, 0},
		{"receiver owns the message", testOwnership, 0},
		{"order within a class", testOrder, 0},
		{"concurrent use", testConcurrentUse, 0},
		{"control passes stuck appends", testControlPassesBulk, 0},
		{"overflow is told, nothing blocks", testOverflow, 0},
		{"address that swallows everything, soon given up", testHole, brief},
		{"address that swallows everything", testHole, 0},
		{"partition and heal", testPartition, brief},
		{"peer restarts at its address", testRestart, 0},
		{"peer moves to another address", testMove, 0},
		{"peer is removed", testRemoved, 0},
		{"both sides learn marks", testMarks, 0},
		{"one that is called learns marks", testMarksOfCaller, 0},
		{"marks of another incarnation are not told", testMarksOfAnotherIncarnation, 0},
		{"wrong cluster", testWrongCluster, 0},
		{"wrong static members", testWrongHash, 0},
		{"cluster known on one side", testHalfKnownCluster, 0},
		{"blank node takes any caller", testBlankNode, 0},
		{"wrong member at the address", testWrongMember, 0},
		{"caller outside the configuration", testStranger, 0},
		{"wrong incarnation", testWrongIncarnation, 0},
		{"incarnation recorded later", testLateIncarnation, 0},
		{"sender that is somebody else", testForgedSender, 0},
		{"requests and answers", testRequests, 0},
		{"requests that fail", testRequestErrors, 0},
		{"requests end with their context", testRequestContext, 0},
		{"notifications arrive once", testNotices, 0},
		{"request repeated after a break runs once", testRequestRunsOnce, brief},
		{"request waits for its peer", testRequestWaitsForPeer, 0},
		{"more requests than are handled at a time", testManyRequests, 0},
		{"request follows its peer", testRequestFollowsPeer, 0},
		{"messages are in nobody's way", testMessagesInNobodysWay, 0},
		{"snapshot then entries to one peer", testChunksAndEntries, 0},
		{"snapshot message is not sent", testSnapshotIsNotSent, 0},
		{"announcements", testAnnounce, 0},
		{"announcement ends with its context", testAnnounceContext, 0},
		{"flood of strangers", testFloodOfStrangers, 0},
		{"refused is told", testRefusedIsTold, 0},
		{"close amid requests", testCloseAmidRequests, 0},
		{"close amid traffic", testCloseAmidTraffic, 0},
		{"life cycle", testLifeCycle, 0},
		{"address in use", testAddressInUse, 0},
	}
	traits := harness(t)
	for _, test := range tests {
		if traits.BindsEarly && test.name == "address in use" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := harness(t)
			h.silence = cmp.Or(test.silence, endless)
			test.run(t, h)
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
	n.Tested = h.New(t, Options{Member: id, Address: address, Silence: h.silence, Observer: n.obs, Logger: logger})
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
