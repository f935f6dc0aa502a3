package sim

import (
	"encoding/binary"
	"slices"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// acked is a command that was acknowledged, and the entry that is said to hold it.
type acked struct {
	index, term uint64
	command     uint64
}

// pendingRead is a read that waits for its index; floor is the highest index acknowledged to anybody when
// it was asked.
type pendingRead struct {
	id    uint64
	floor uint64
	done  func(raft.ReadState) // nil: nothing follows
}

// propose has clients use the service; and now and then it hands entries that are none of the service's to some node:
// most of them are not the leader and refuse.
func (w *world) propose() {
	if !w.decide(clientChain, w.opt.Pace.Client, w.propose) {
		return
	}
	if w.idle {
		return
	}
	if !w.chance(3) {
		w.use()
		return
	}
	n := w.anyNode()
	if l := w.leader(); l != nil && !w.chance(8) {
		n = l
	}
	if !n.awake() {
		return
	}
	switch w.act.intn(6) {
	case 0, 1:
		n.read()
	case 2:
		n.leaseRead()
	}
	burst := 1
	if w.chance(10) {
		burst = 1 + w.act.intn(40)
	}
	n.propose(burst)
}

func (n *node) propose(burst int) {
	var ps []raft.Proposal
	first := n.w.truth.nextCommand
	for i := range burst {
		data := make([]byte, 8+n.w.act.intn(120))
		binary.BigEndian.PutUint64(data, first+uint64(i))
		ps = append(ps, raft.Proposal{Kind: raft.EntryCommand, Wall: n.wall(), Data: data})
	}
	index, term, err := n.core.Propose(ps, n.clock())
	if err == nil {
		n.w.truth.nextCommand += uint64(burst)
		n.w.report.Proposals += burst
		for i := range burst {
			n.pending.Push(pipeline.Proposal[proposal]{Index: index + uint64(i), Term: term, Value: proposal{command: first + uint64(i)}})
		}
	}
	n.turn()
}

// proposal is what there is to do once an entry that this node proposed is applied, or lost.
type proposal struct {
	command uint64     // of an entry that is none of the service's
	reign   *reign     // that proposed it; nil: none
	calls   []*message // whom to answer
	done    func(applied bool)
}

// acknowledge answers for an entry that this node proposed.
func (n *node) acknowledge(e *raft.Entry, res *replicated.Result) {
	rest, is := pipeline.Decided(e, n.deciding)
	if !is {
		return
	}
	p := n.deciding[0].Value
	n.deciding = rest
	if p.reign != nil {
		p.reign.applied(&p, e, res)
	} else {
		n.w.report.Acked++
	}
	n.w.truth.acked = append(n.w.truth.acked, acked{e.Index, e.Term, p.command})
	n.w.truth.highestAck = max(n.w.truth.highestAck, e.Index)
	n.lastAckAt = n.w.now
}

// lost gives a proposal up whose outcome nobody here will learn.
func lost(p proposal) {
	if p.reign != nil {
		p.reign.lost(&p)
	}
}

func (n *node) read() {
	n.readID++
	n.reads = append(n.reads, pendingRead{id: n.readID, floor: n.w.truth.highestAck})
	n.core.ReadIndex(n.readID, n.clock())
	n.turn()
}

// leaseRead reads on the strength of a lease, without a round.
func (n *node) leaseRead() {
	until, ok := n.core.Lease(n.clock())
	if !ok || until <= n.clock() {
		return
	}
	n.w.operated("lease read")
	if !n.w.wildClocks && n.soft.Commit < n.w.truth.highestAck {
		n.w.fail("stale lease on node %d: it has committed %d, and %d was acknowledged", n.id, n.soft.Commit, n.w.truth.highestAck)
	}
}

func (n *node) readDone(r raft.ReadState) {
	i := slices.IndexFunc(n.reads, func(p pendingRead) bool { return p.id == r.ID })
	if i < 0 {
		n.w.fail("node %d answers the read %d that nobody waits for", n.id, r.ID)
	}
	floor, done := n.reads[i].floor, n.reads[i].done
	n.reads = slices.Delete(n.reads, i, i+1)
	if r.Err != nil {
		return
	}
	n.w.report.Reads++
	if n.soft.Role != raft.Leader {
		n.w.operated("read through a follower")
	}
	if r.Index < floor {
		n.w.fail("stale read on node %d: index %d, but %d was acknowledged before it was asked", n.id, r.Index, floor)
	}
	if done != nil {
		done(r)
	}
}

// operated counts what was asked for, or came of it.
func (w *world) operated(what string) { w.report.Ops[what]++ }

// ackedSince reports whether a node acknowledged something after an instant.
func (n *node) ackedSince(at time.Duration) bool { return n.lastAckAt > at }
