package coorddtest

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// nodeName is the name of the one node.
const nodeName = "n1"

// lone is a node without Raft: it applies what it is given, in order, on one goroutine, while it leads. Its log is kept by
// nobody; its time is the timeline's.
type lone struct {
	sm   *service.StateMachine
	time *timeline

	mu       sync.Mutex
	work     []func()
	wake     chan struct{}
	closed   bool
	done     chan struct{}
	busy     bool
	leads    bool
	index    uint64
	term     uint64
	leading  context.Context
	depose   context.CancelFunc
	watchers map[chan node.Event]struct{}
}

var _ service.Node = (*lone)(nil)

func newLone(sm *service.StateMachine, t *timeline) *lone {
	n := &lone{sm: sm, time: t, wake: make(chan struct{}, 1), done: make(chan struct{}), watchers: make(map[chan node.Event]struct{})}
	n.leading, n.depose = context.WithCancel(context.Background())
	n.depose()
	go n.apply()
	return n
}

// elect begins a term.
func (n *lone) elect() {
	n.mu.Lock()
	n.term++
	n.leads = true
	n.leading, n.depose = context.WithCancel(context.Background())
	n.mu.Unlock()
	ready := make(chan struct{})
	n.enqueue(func() {
		n.entry(raft.EntryNoOp, nil)
		close(ready)
	})
	<-ready
	n.tell()
}

// fall ends the leadership. What was proposed and not applied is lost.
func (n *lone) fall() {
	n.mu.Lock()
	n.leads = false
	n.depose()
	n.mu.Unlock()
	n.tell()
}

func (n *lone) tell() {
	st := n.Status()
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.watchers {
		select {
		case w <- node.Event{Kind: node.EventLeading, Role: st.Role, Term: st.Term, Leader: st.Leader, LeaderName: st.LeaderName, Leading: n.leads, Ready: true}:
		default: // it has news to look at already
		}
	}
}

func (n *lone) stop() {
	n.fall()
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.kick()
	<-n.done
}

func (n *lone) enqueue(f func()) {
	n.mu.Lock()
	n.work = append(n.work, f)
	n.mu.Unlock()
	n.kick()
}

func (n *lone) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// apply runs what is queued, until the node is stopped and nothing is left.
func (n *lone) apply() {
	defer close(n.done)
	for {
		n.mu.Lock()
		work, closed := n.work, n.closed
		n.work, n.busy = nil, len(work) > 0
		n.mu.Unlock()
		for _, f := range work {
			f()
		}
		if len(work) == 0 {
			if closed {
				return
			}
			<-n.wake
		}
	}
}

// entry applies one entry; on the applier goroutine.
func (n *lone) entry(kind raft.EntryKind, data []byte) node.Result {
	now := n.time.read()
	n.mu.Lock()
	n.index++
	e := raft.Entry{Index: n.index, Term: n.term, Time: int64(now), Wall: n.time.base.Add(now).UnixNano(), Kind: kind, Data: data}
	n.mu.Unlock()
	v, err := n.sm.Apply(e)
	if err != nil {
		panic(err) // the service encoded it a moment ago
	}
	return node.Result{Index: e.Index, Term: e.Term, Value: v}
}

// applied returns how many entries there were, and whether more are on their way.
func (n *lone) applied() (index uint64, more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.index, n.busy || len(n.work) > 0
}

func (n *lone) isLeading() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leads
}

// Submit implements service.Node.
func (n *lone) Submit(data []byte, done func(node.Result, error)) {
	n.enqueue(func() {
		if !n.isLeading() {
			done(node.Result{}, raft.ErrLeadershipLost)
			return
		}
		done(n.entry(raft.EntryCommand, data), nil)
	})
}

// Propose implements service.Node.
func (n *lone) Propose(ctx context.Context, data []byte) (node.Result, error) {
	type answer struct {
		r   node.Result
		err error
	}
	got := make(chan answer, 1)
	n.Submit(data, func(r node.Result, err error) { got <- answer{r, err} })
	select {
	case a := <-got:
		return a.r, a.err
	case <-ctx.Done():
		return node.Result{}, ctx.Err()
	}
}

// SubmitRead implements service.Node.
func (n *lone) SubmitRead(done func(uint64, error)) {
	n.enqueue(func() {
		if !n.isLeading() {
			done(0, raft.ErrLeadershipLost)
			return
		}
		index, _ := n.applied()
		done(index, nil)
	})
}

// Inspect implements service.Node.
func (n *lone) Inspect(f func(uint64)) bool {
	n.mu.Lock()
	closed := n.closed
	n.mu.Unlock()
	if closed {
		return false
	}
	n.enqueue(func() {
		index, _ := n.applied()
		f(index)
	})
	return true
}

// look calls f on the applier goroutine and waits for it.
func (n *lone) look(f func()) {
	done := make(chan struct{})
	if n.Inspect(func(uint64) { f(); close(done) }) {
		<-done
	}
}

// LeadershipContext implements service.Node.
func (n *lone) LeadershipContext() context.Context {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leading
}

// Events implements service.Node.
func (n *lone) Events() (<-chan node.Event, func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := make(chan node.Event, 1)
	n.watchers[w] = struct{}{}
	return w, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, w)
	}
}

// Status implements service.Node.
func (n *lone) Status() node.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := node.Status{ID: 1, Name: nodeName, Role: raft.Follower, Term: n.term, ClusterID: raft.ClusterID{1},
		Active: raft.Configuration{Members: []raft.Member{{ID: 1, Name: nodeName}}}}
	if n.leads {
		st.Role, st.Leader, st.LeaderName = raft.Leader, 1, nodeName
	}
	return st
}

// ClusterTime implements service.Node.
func (n *lone) ClusterTime() (int64, bool) { return int64(n.time.read()), n.isLeading() }

// ClusterVersion implements service.Node: this node alone is all members.
func (n *lone) ClusterVersion() uint32 { return math.MaxUint32 }

// Lease implements service.Node.
func (n *lone) Lease() bool { return n.isLeading() }

// TransferLeadership implements service.Node.
func (n *lone) TransferLeadership(context.Context, raft.MemberID) error {
	return node.ErrTransferFailed
}

// behind reports whether something is due that has not ended yet.
func (n *lone) behind() (late bool) {
	n.look(func() {
		due, ok := n.sm.Machine().NextDue()
		late = ok && due <= int64(n.time.read()) && n.isLeading()
	})
	return late
}

// nextDue returns when something ends next in cluster time, if that is not after limit. Without a leader nothing does.
func (n *lone) nextDue(limit time.Duration) (at time.Duration, ok bool) {
	n.look(func() {
		if due, some := n.sm.Machine().NextDue(); some && due <= int64(limit) && n.isLeading() {
			at, ok = time.Duration(due), true
		}
	})
	return at, ok
}
