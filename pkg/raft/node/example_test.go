package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/node/failure"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport/inmem"
)

// list is a state machine: what was appended, in order.
type list struct {
	mu    sync.Mutex
	items []string
}

// Apply answers with the number of items.
func (l *list) Apply(e raft.Entry) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == raft.EntryCommand {
		l.items = append(l.items, string(e.Data))
	}
	return len(l.items), nil
}

func (l *list) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.items, " ")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// startThree starts three members in this process; a real one has a log on a disk and a TCP transport.
func startThree(machines *[3]list) (nodes [3]*node.Node) {
	network := inmem.NewNetwork()
	var members []raft.Member
	for i := range nodes {
		members = append(members, raft.Member{ID: raft.MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("host%d", i+1)})
	}
	for i, m := range members {
		var err error
		nodes[i], err = node.Start(node.Config{ID: m.ID, Name: m.Name, Members: members, CheckQuorum: true,
			ElectionTimeoutMin: 400 * time.Millisecond, // a busy machine shall not bring about elections here
			Log:                storage.NewMemory(), Transport: network.New(inmem.Config{Address: m.Address}), StateMachine: &machines[i]})
		must(err)
	}
	for _, n := range nodes {
		<-n.Ready()
	}
	return nodes
}

func stop(nodes ...*node.Node) {
	for _, n := range nodes {
		must(n.Stop(context.Background()))
	}
}

// leads waits until a node leads, and is ready to.
func leads(n *node.Node) *node.Node {
	events, unsubscribe := n.Events()
	defer unsubscribe()
	for e := range events {
		if e.Leading {
			break
		}
	}
	return n
}

// leaderOf returns the node that leads.
func leaderOf(nodes [3]*node.Node) *node.Node {
	events, unsubscribe := nodes[0].Events()
	defer unsubscribe()
	for e := range events {
		if e.Leader != 0 {
			return leads(nodes[e.Leader-1])
		}
	}
	panic("the node has stopped")
}

// A cluster of one: it leads itself, which is how a service is debugged.
func ExampleStart() {
	n, err := node.Start(node.Config{ID: 1, Members: []raft.Member{{ID: 1}}, Log: storage.NewMemory(), StateMachine: &list{}})
	must(err)
	<-n.Ready()
	r, err := n.Propose(context.Background(), []byte("hello"))
	must(err)
	fmt.Println("items:", r.Value, "role:", n.Status().Role)
	must(n.Stop(context.Background()))
	// Output: items: 1 role: leader
}

// What a client is told of a proposal decides whether it may send it again.
func ExampleNode_Propose() {
	var machines [3]list
	nodes := startThree(&machines)
	defer stop(nodes[:]...)
	done := false
	for i := 0; !done; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := nodes[i%3].Propose(ctx, []byte("hello"))
		cancel()
		var elsewhere *node.NotLeaderError
		switch {
		case err == nil:
			done = true
		case errors.As(err, &elsewhere): // certainly not done; the error names the leader where one is known
		case errors.Is(err, raft.ErrBusy), errors.Is(err, node.ErrStopped): // certainly not done
		default: // raft.ErrLeadershipLost, a context that ended: unknown; needs commands that may be repeated
			panic(err)
		}
	}
	fmt.Println(leaderOf(nodes).Status().Role)
	// Output: leader
}

// Each member answers reads that see all that was committed before.
func ExampleNode_ReadBarrier() {
	var machines [3]list
	nodes := startThree(&machines)
	defer stop(nodes[:]...)
	_, err := leaderOf(nodes).Propose(context.Background(), []byte("hello"))
	must(err)
	for i, n := range nodes {
		_, err := n.ReadBarrier(context.Background())
		must(err)
		fmt.Println(machines[i].String())
	}
	// Output:
	// hello
	// hello
	// hello
}

// A subscription made in OnStart sees every event, and each one carries the whole state.
func ExampleNode_Events() {
	var events <-chan node.Event
	n, err := node.Start(node.Config{ID: 1, Members: []raft.Member{{ID: 1}}, Log: storage.NewMemory(), StateMachine: node.ConsensusOnly{},
		OnStart: func(n *node.Node, metadata map[string]string) { events, _ = n.Events() }})
	must(err)
	for e := range events {
		if e.Kind == node.EventLeading && e.Leading {
			fmt.Println("leads in term", e.Term)
			break
		}
	}
	must(n.Stop(context.Background()))
	// Output: leads in term 1
}

// What only a leader may do runs under a context that ends with the leadership.
func ExampleNode_LeadershipContext() {
	n, err := node.Start(node.Config{ID: 1, Members: []raft.Member{{ID: 1}}, Log: storage.NewMemory(), StateMachine: node.ConsensusOnly{}})
	must(err)
	leading := leads(n).LeadershipContext()
	fmt.Println("before:", leading.Err())
	must(n.Stop(context.Background()))
	fmt.Println("after:", leading.Err())
	// Output:
	// before: <nil>
	// after: context canceled
}

// deadline is a failure detector without statistics: a member has failed that was silent for too long.
type deadline struct {
	limit, last time.Duration
	heard       bool
}

// Heard implements failure.Detector.
func (d *deadline) Heard(now time.Duration) { d.heard, d.last = true, now }

// Level implements failure.Detector; a member that was never heard is not judged.
func (d *deadline) Level(now time.Duration) float64 {
	if !d.heard {
		return 0
	}
	return (now - d.last).Seconds()
}

// Failed implements failure.Detector.
func (d *deadline) Failed(now time.Duration) bool { return d.Level(now) > d.limit.Seconds() }

// A failure detector of one's own is given by its factory. What is done with its verdicts stays the node's: one member
// at a time, and never below the floor.
func ExampleFailureDetectorFactory() {
	detector := func(member raft.MemberID, heartbeat time.Duration) failure.Detector {
		return &deadline{limit: 100 * heartbeat}
	}
	n, err := node.Start(node.Config{ID: 1, Members: []raft.Member{{ID: 1}}, Log: storage.NewMemory(),
		StateMachine: node.ConsensusOnly{}, FailureDetector: detector})
	must(err)
	<-n.Ready()
	fmt.Println(len(n.Status().Active.Members), "member")
	stop(n)
	// Output: 1 member
}

// Members say things to each other: what one of them can answer, here the leader.
func ExampleNode_RequestLeader() {
	network := inmem.NewNetwork()
	members := []raft.Member{{ID: 1, Address: "host1"}, {ID: 2, Address: "host2"}}
	var nodes []*node.Node
	for _, m := range members {
		n, err := node.Start(node.Config{ID: m.ID, Members: members, CheckQuorum: true, Log: storage.NewMemory(),
			Transport: network.New(inmem.Config{Address: m.Address}), StateMachine: node.ConsensusOnly{},
			OnRequest: func(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
				return append([]byte("the leader heard "), body...), nil
			}})
		must(err)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		answer, err := n.RequestLeader(context.Background(), []byte("hello"))
		must(err)
		fmt.Println(string(answer))
	}
	stop(nodes...)
	// Output:
	// the leader heard hello
	// the leader heard hello
}
