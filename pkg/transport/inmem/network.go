package inmem

import (
	"fmt"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// pair is one direction between two members.
type pair struct{ from, to raft.MemberID }

// fault is what is wrong with one direction.
type fault struct {
	cut    bool
	delay  time.Duration
	filter func(raft.Message) bool
}

// Network joins transports of one process. It is safe for concurrent use.
type Network struct {
	mu       sync.Mutex
	nodes    map[string]*Transport
	faults   map[pair]*fault
	isolated map[raft.MemberID]bool
	names    int
	// epoch counts the changes after which connections have to be made anew.
	epoch uint64
}

// NewNetwork makes a network without faults.
func NewNetwork() *Network {
	return &Network{nodes: map[string]*Transport{}, faults: map[pair]*fault{}, isolated: map[raft.MemberID]bool{}}
}

// Cut swallows everything between two members, both ways, until Heal.
func (n *Network) Cut(a, b raft.MemberID) {
	n.change(func() { n.fault(a, b).cut, n.fault(b, a).cut = true, true })
}

// CutOneWay swallows everything that one member sends to the other. What is connected goes on in the
// other direction; a new connection needs both.
func (n *Network) CutOneWay(from, to raft.MemberID) {
	n.change(func() { n.fault(from, to).cut = true })
}

// Heal ends the cuts between two members, both ways.
func (n *Network) Heal(a, b raft.MemberID) {
	n.change(func() { n.fault(a, b).cut, n.fault(b, a).cut = false, false })
}

// Isolate swallows everything from and to a member, until Rejoin.
func (n *Network) Isolate(id raft.MemberID) { n.change(func() { n.isolated[id] = true }) }

// Rejoin ends Isolate; cuts between pairs stay.
func (n *Network) Rejoin(id raft.MemberID) { n.change(func() { delete(n.isolated, id) }) }

// HealAll ends every cut, isolation, delay and filter.
func (n *Network) HealAll() {
	n.change(func() {
		clear(n.faults)
		clear(n.isolated)
	})
}

// SetDelay holds back what one member sends to the other for that long; the order is kept.
func (n *Network) SetDelay(from, to raft.MemberID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault(from, to).delay = d
}

// SetDrop has a function decide, for each message of one direction, whether it is lost; nil: none is. It
// is called on the goroutines of the transport and must not call the network.
func (n *Network) SetDrop(from, to raft.MemberID, lose func(raft.Message) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault(from, to).filter = lose
}

// change applies f and makes connections prove themselves again.
func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.epoch++
}

// fault returns the faults of a direction; n.mu is held.
func (n *Network) fault(from, to raft.MemberID) *fault {
	p := pair{from, to}
	if n.faults[p] == nil {
		n.faults[p] = &fault{}
	}
	return n.faults[p]
}

// way returns what a message of one direction meets now, and the epoch in which that is so.
func (n *Network) way(from, to raft.MemberID) (f fault, epoch uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.faults[pair{from, to}]; p != nil {
		f = *p
	}
	f.cut = f.cut || n.isolated[from] || n.isolated[to]
	return f, n.epoch
}

// lookup finds who listens at an address.
func (n *Network) lookup(address string) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[address]
}

// listen enters a transport under its address, or under a free one.
func (n *Network) listen(t *Transport, address string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for address == "" {
		n.names++
		if name := fmt.Sprintf("inmem:%d", n.names); n.nodes[name] == nil {
			address = name
		}
	}
	if n.nodes[address] != nil {
		return "", fmt.Errorf("inmem: listen on %s: address in use", address)
	}
	n.nodes[address] = t
	return address, nil
}

// leave frees an address.
func (n *Network) leave(t *Transport, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[address] == t {
		delete(n.nodes, address)
	}
}
