package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Result is what became of a proposal.
type Result struct {
	Index uint64
	Term  uint64
	Value any // what StateMachine.Apply returned
}

// Node is one running member. All its methods may be called from any goroutine.
type Node struct {
	cfg    Config
	found  storage.State // at open
	clock  clock
	in     *inbox
	loop   *loop // its fields are for calls that it runs
	append *appender
	apply  *applier
	fetch  *fetcher
	snaps  *snapshotter // nil: the state machine has no snapshots, or there is nowhere to keep them
	events eventHub
	out    *outgoing
	into   *incoming
	says   *announcer

	metadata atomic.Pointer[map[string]string] // as SetMetadata left it; nil: that of cfg
	witness  witness
	refused  refusals
	waiters  sync.Pool // of *waiter

	view          atomic.Pointer[view]
	status        atomic.Pointer[Status]
	commit        atomic.Uint64
	last          atomic.Uint64
	base          atomic.Uint64 // the log begins behind it
	saysStandby   atomic.Bool   // Config.Standby, until this member's record says so
	leaderContact atomic.Int64  // monotonic nanoseconds of the leader's last message
	version       atomic.Uint32 // of commands that may be proposed
	joining       atomic.Pointer[string]
	leadership    *lifetime
	consensus     *lifetime

	ready     chan struct{}
	readyOnce sync.Once

	ctx      context.Context // ends when the node halts
	cancel   context.CancelFunc
	haltOnce sync.Once
	halted   chan struct{} // closed: everything ends
	cause    error         // why; set before halted is closed
	done     chan struct{} // closed: everything has ended
	stopping atomic.Bool
}

// view is what the loop last knew, for any goroutine.
type view struct {
	soft   raft.SoftState
	config raft.Configuration // in effect
	active raft.Configuration // the last committed one
}

func (v *view) leaderName() string {
	for i := range v.config.Members {
		if v.config.Members[i].ID == v.soft.Leader {
			return v.config.Members[i].Name
		}
	}
	return ""
}

// Start opens a member on its log and transport and returns when it runs. On an error nothing runs, subscriptions that
// OnStart made are closed, the transport is closed if it was started, and the log is still the caller's.
func Start(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, found: cfg.Log.State(), in: newInbox(cfg.Limits), clock: clock{origin: time.Now()},
		waiters: sync.Pool{New: newWaiter},
		ready:   make(chan struct{}), halted: make(chan struct{}), done: make(chan struct{}),
		leadership: newLifetime(raft.ErrNotLeader), consensus: newLifetime(raft.ErrNotLeader)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.cancel()
		n.events.close() // OnStart may have subscribed
		return nil, err
	}
	go n.run(n.loop)
	return n, nil
}

// open brings the node to where it can run.
func (n *Node) open() error {
	n.base.Store(n.found.Base.Last)
	from, err := restoreState(&n.cfg, &n.found)
	if err != nil {
		return err
	}
	l, err := newLoop(n, &from)
	if err != nil {
		return err
	}
	n.furnish(&from)
	n.loop = l
	l.publish(n.clock.now())
	if n.cfg.OnStart != nil {
		n.start()
	}
	if t := n.cfg.Transport; t != nil {
		if err := t.Start(handler{n}); err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			return errors.Join(fmt.Errorf("starting the transport: %w", err), t.Close(ctx))
		}
	}
	l.setPeers()
	return nil
}

// start calls the hook, which may change what this node says of itself.
func (n *Node) start() {
	metadata := make(map[string]string, len(n.cfg.Metadata))
	maps.Copy(metadata, n.cfg.Metadata)
	n.cfg.OnStart(n, metadata)
	if n.cfg.Metadata != nil || len(metadata) > 0 {
		n.cfg.Metadata = maps.Clone(metadata) // the hook may have kept its own
	}
}

// furnish makes what works behind the loop.
func (n *Node) furnish(from *restored) {
	cfg := &n.cfg
	n.append = &appender{log: cfg.Log, queue: newQueue[pipeline.Item](),
		writer: pipeline.NewWriter(n.found.HardState, n.found.Last, cfg.Limits.AppendBytes),
		send:   n.send, report: n.written, fail: n.halt, observer: cfg.Observer, now: n.clock.now}
	n.append.committed.Store(n.found.HardState.Commit)
	n.apply = &applier{machine: cfg.StateMachine, queue: newQueue[job](), fail: n.halt, halted: n.halted, at: from.at,
		observer: cfg.Observer, advanced: func() { wake(n.in.ready) }, tellAt: cfg.Limits.MaxApplyBytes / 4,
		taker: taker{mode: cfg.Compaction, settled: n.settled, now: n.clock.now,
			base: func(index uint64) { raise(&n.base, index) },
			open: func(m *raft.SnapshotMeta) (storage.SnapshotReader, error) { return cfg.Snapshots.Open(m.Index, m.Term) }}}
	n.apply.applied.Store(from.at.Index)
	_, n.apply.taker.lagging = cfg.StateMachine.(Durable)
	if _, ok := cfg.StateMachine.(Snapshotter); ok && cfg.Snapshots != nil {
		n.snaps = newSnapshotter(n, from.snapshot, from.at.Index)
		n.apply.taker.snaps, n.apply.taker.policy = n.snaps, cfg.CompactionPolicy
	}
	n.out, n.into, n.says = newOutgoing(n), &incoming{n: n}, newAnnouncer(n)
	n.fetch = &fetcher{log: cfg.Log, queue: newQueue[raft.FetchRequest](), report: n.fetched, fail: n.halt, logger: cfg.Logger}
}

// waiter turns a callback into a wait; it is used again.
type waiter struct {
	outcome chan outcome
	done    func(Result, error)
}

type outcome struct {
	result Result
	err    error
}

func newWaiter() any {
	w := &waiter{outcome: make(chan outcome, 1)}
	w.done = func(r Result, err error) { w.outcome <- outcome{r, err} }
	return w
}

// Propose appends a command to the cluster's log and waits until this member applied it. Errors:
// [NotLeaderError], raft.ErrBusy (also while leadership is handed over, then raft.ErrTransferring too),
// raft.ErrTooLarge and [ErrStopped] mean certainly not done; raft.ErrLeadershipLost, and the context's error,
// mean that the outcome is unknown. The node keeps data; the caller must not change it afterwards.
func (n *Node) Propose(ctx context.Context, data []byte) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("proposing: %w", err)
	}
	w := n.waiters.Get().(*waiter)
	n.Submit(data, w.done)
	select {
	case o := <-w.outcome:
		n.waiters.Put(w)
		return o.result, o.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for a proposal, outcome unknown: %w", ctx.Err())
	}
}

// Submit is Propose without the wait: done is called exactly once, on success on the applier goroutine right
// after Apply of that entry, on failure on some other goroutine of the node, never on the caller's. It must not block.
func (n *Node) Submit(data []byte, done func(Result, error)) {
	if !n.in.propose(proposal{data, done}) {
		go done(Result{}, ErrStopped)
	}
}

// Inspect runs f on the applier goroutine, between entries, where it may look at the state machine; applied is
// the index of the last applied entry. It returns false if f will not run, because the node has stopped or too
// many wait. After true, f runs unless the node stops first: who waits for f waits for Done too.
func (n *Node) Inspect(f func(applied uint64)) bool {
	if n.apply.inspect.Add(1) <= int64(n.cfg.Limits.Inspects) && n.apply.queue.push(job{inspect: f}) {
		return true
	}
	n.apply.inspect.Add(-1)
	return false
}

// LeadershipContext is live only while this member leads and has applied the first entry of its term; its cause
// says why it ended. While the member does not lead, a context that has ended is returned.
func (n *Node) LeadershipContext() context.Context { return n.leadership.context() }

// ConsensusContext is live while this member is in contact with a leader, itself included. It ends when no
// leader is known; a change from one leader to the next without a gap does not end it.
func (n *Node) ConsensusContext() context.Context { return n.consensus.context() }

// Events subscribes to changes. The first event is the present state. A subscriber who is slow loses the oldest
// events, never the newest; the node does not wait. The channel is closed by the returned function and when the
// node stops.
func (n *Node) Events() (<-chan Event, func()) { return n.events.subscribe() }

// ClusterTime is the leader's cluster time now, in nanoseconds since the cluster's birth; false on any other
// member. It takes no lock.
func (n *Node) ClusterTime() (int64, bool) { return n.clock.clusterTime() }

// Lease reports whether at this moment no other member can lead (raft.md, rule 18). To answer a read from the
// local state on its strength, look at the state first and ask Lease then. It takes no lock.
func (n *Node) Lease() bool { return n.clock.leased() }

// Ready is closed once this member is in the configuration in effect and has applied everything that was
// committed at some moment after it had found a leader.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when the node has stopped: all goroutines ended, all callbacks made, log and transport closed.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is nil until the node begins to end, then the cause: [ErrStopped] after Stop, else what failed.
func (n *Node) Err() error {
	select {
	case <-n.halted:
		return n.cause
	default:
		return nil
	}
}

// notLeader is the error for what only a leader can do.
func (n *Node) notLeader() error {
	v := n.view.Load()
	e := &NotLeaderError{Leader: v.soft.Leader, LeaderName: v.leaderName()}
	if e.Leader == n.cfg.ID { // it has just been elected or deposed; don't send anybody here
		e.Leader, e.LeaderName = 0, ""
	}
	return e
}

func (n *Node) clusterID() raft.ClusterID {
	if v := n.view.Load(); v != nil && !v.config.ClusterID.IsZero() {
		return v.config.ClusterID
	}
	return n.found.ClusterID
}

func (n *Node) send(ms []raft.Message) {
	if n.cfg.Transport != nil {
		n.cfg.Transport.Send(ms)
	}
}

func (n *Node) written(w written) {
	n.in.put(func(in *inputs) { in.written = append(in.written, w) })
}

func (n *Node) fetched(f fetched) {
	n.in.put(func(in *inputs) { in.fetched = append(in.fetched, f) })
}
