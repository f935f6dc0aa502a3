package node

import (
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// inputs is everything that can wait for the loop, by kind.
type inputs struct {
	control   []raft.Message // votes, heartbeats, reads: small, never behind the bulk
	bulk      []raft.Message // entries and their acknowledgements
	seen      []raft.Mark    // marks of ours, told by peers
	proposals []proposal
	refused   []proposal // over the bound: to be answered
	reads     []func(index uint64, err error)
	written   []written
	fetched   []fetched
	calls     []func(now time.Duration)
	dropped   int // messages that did not fit
}

// proposal is what Submit was given.
type proposal struct {
	data []byte
	done func(Result, error)
}

// inbox collects what goes to the loop, within bounds.
type inbox struct {
	ready  chan struct{} // holds one token while there may be something to take
	limits Limits

	mu            sync.Mutex
	in            inputs
	proposalBytes int
	messageBytes  int
	refusing      bool // no more proposals
	closed        bool // nothing any more
}

func newInbox(l Limits) *inbox { return &inbox{ready: make(chan struct{}, 1), limits: l} }

// receive takes a message from a peer, or drops it: a network may lose messages.
func (b *inbox) receive(m raft.Message) {
	size := 0
	for i := range m.Entries {
		size += m.Entries[i].Size()
	}
	b.mu.Lock()
	switch bulk := m.Type == raft.MsgAppend || m.Type == raft.MsgAppendResp; {
	case b.closed:
	case bulk && len(b.in.bulk) < b.limits.Messages && b.messageBytes+size <= b.limits.MessageBytes:
		b.in.bulk = append(b.in.bulk, m)
		b.messageBytes += size
	case !bulk && len(b.in.control) < b.limits.Messages:
		b.in.control = append(b.in.control, m)
	default:
		b.in.dropped++
	}
	b.mu.Unlock()
	wake(b.ready)
}

// propose takes a proposal; false: the node has stopped, and done was not and will not be called.
func (b *inbox) propose(p proposal) bool {
	b.mu.Lock()
	switch {
	case b.refusing || b.closed:
		b.mu.Unlock()
		return false
	case len(b.in.proposals) >= b.limits.Proposals,
		b.proposalBytes > 0 && b.proposalBytes+len(p.data) > b.limits.ProposalBytes:
		b.in.refused = append(b.in.refused, p)
	default:
		b.in.proposals = append(b.in.proposals, p)
		b.proposalBytes += len(p.data)
	}
	b.mu.Unlock()
	wake(b.ready)
	return true
}

// put runs add on the inputs, under the lock; false: the node has stopped.
func (b *inbox) put(add func(in *inputs)) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	add(&b.in)
	b.mu.Unlock()
	wake(b.ready)
	return true
}

// call has the loop run f.
func (b *inbox) call(f func(now time.Duration)) bool {
	return b.put(func(in *inputs) { in.calls = append(in.calls, f) })
}

// refuse lets no proposal in any more.
func (b *inbox) refuse() {
	b.mu.Lock()
	b.refusing = true
	b.mu.Unlock()
}

// close lets nothing in any more.
func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
}

// take swaps what has queued with spare, an emptied set of inputs.
func (b *inbox) take(spare *inputs) {
	spare.reset()
	b.mu.Lock()
	b.in, *spare = *spare, b.in
	b.proposalBytes, b.messageBytes = 0, 0
	b.mu.Unlock()
}

// reset empties the inputs, keeps their memory and lets go of what they pointed to.
func (in *inputs) reset() {
	in.control = emptied(in.control)
	in.bulk = emptied(in.bulk)
	in.seen = emptied(in.seen)
	in.proposals = emptied(in.proposals)
	in.refused = emptied(in.refused)
	in.reads = emptied(in.reads)
	in.written = emptied(in.written)
	in.fetched = emptied(in.fetched)
	in.calls = emptied(in.calls)
	in.dropped = 0
}

// keptItems bounds the memory that an idle queue keeps after a burst.
const keptItems = 8192

func emptied[T any](s []T) []T {
	if cap(s) > keptItems {
		return nil
	}
	clear(s)
	return s[:0]
}
