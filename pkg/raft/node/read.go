package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// ReadMode says what a read may be answered from.
type ReadMode uint8

const (
	// Linearizable reads show whatever was done before they began, on any member: they wait for a round of messages
	// (see ReadBarrier).
	Linearizable ReadMode = iota
	// Lease reads are linearizable too, as long as clocks differ by less than the drift bound. On a leader with a lease
	// they wait for no message; elsewhere they are Linearizable ones.
	Lease
	// Stale reads show what this member has applied, and say how old that may be.
	Stale
)

// ReadResult says what a read may look at.
type ReadResult struct {
	// Index is one up to which the state machine shows everything.
	Index uint64
	// Age bounds how old that is, for Stale: the time since this member last heard from a leader, 0 on a leader, and
	// the largest duration where it never did.
	Age time.Duration
}

// Read waits until the state machine may be looked at. Errors: as of ReadBarrier; a Stale read fails with [ErrStopped]
// alone.
func (n *Node) Read(ctx context.Context, mode ReadMode) (ReadResult, error) {
	switch mode {
	case Stale:
		if n.Err() != nil {
			return ReadResult{}, ErrStopped
		}
		return ReadResult{n.apply.applied.Load(), n.age()}, nil
	case Lease:
		// What others were told is committed is published here before they are. So a lease that is valid after a look
		// at the commit index means that nothing beyond it was acknowledged, by anybody, when Read began. In a new
		// term that holds once its first entry is applied.
		commit := n.commit.Load()
		if n.leadership.context().Err() == nil && n.Lease() {
			return ReadResult{Index: commit}, n.WaitApplied(ctx, commit)
		}
	case Linearizable:
	default:
		return ReadResult{}, fmt.Errorf("node: read mode %d", mode)
	}
	index, err := n.ReadBarrier(ctx)
	return ReadResult{Index: index}, err
}

// age is the time since this member last heard from a leader.
func (n *Node) age() time.Duration {
	if n.leadership.context().Err() == nil {
		return 0
	}
	at := n.leaderContact.Load()
	if at == 0 {
		return math.MaxInt64
	}
	return max(n.clock.now()-time.Duration(at), 0)
}

// ReadBarrier waits until this member has applied everything that was committed in the cluster when it was
// called, and returns an index up to which it has. What the state machine shows from then on is linearizable.
// Errors: [NotLeaderError] (no leader confirmed the index), raft.ErrLeadershipLost, raft.ErrBusy, [ErrStopped]
// and the context's; a read may always be repeated.
func (n *Node) ReadBarrier(ctx context.Context) (uint64, error) {
	w := n.waiters.Get().(*waiter)
	n.SubmitRead(func(index uint64, err error) { w.done(Result{Index: index}, err) })
	select {
	case o := <-w.outcome:
		n.waiters.Put(w)
		return o.result.Index, o.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for a read barrier: %w", ctx.Err())
	}
}

// SubmitRead is ReadBarrier without the wait: done is called exactly once; on success on the applier goroutine,
// where it may look at the state machine. It must not block.
func (n *Node) SubmitRead(done func(index uint64, err error)) {
	err := raft.ErrBusy
	if n.apply.open.Add(1) <= int64(n.cfg.Limits.Reads) {
		err = ErrStopped
		if n.in.put(func(in *inputs) { in.reads = append(in.reads, done) }) {
			return
		}
	}
	n.apply.open.Add(-1)
	go done(0, err)
}

// WaitApplied waits until this member has applied an entry, for clients that remember the index of what they wrote.
// Errors: raft.ErrBusy (too many wait), [ErrStopped] and the context's.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	if n.apply.applied.Load() >= index {
		return nil
	}
	if n.apply.open.Add(1) > int64(n.cfg.Limits.Reads) {
		n.apply.open.Add(-1)
		return raft.ErrBusy
	}
	result := make(chan error, 1)
	g := &readGroup{index: index, done: []func(uint64, error){func(_ uint64, err error) { result <- err }}}
	if !n.apply.queue.push(job{read: g}) {
		n.apply.open.Add(-1)
		return ErrStopped
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		n.apply.queue.push(job{abandon: g})
		return fmt.Errorf("waiting for entry %d to be applied: %w", index, ctx.Err())
	}
}

// EnsureConsistency waits until this member has applied an entry of the present leader's term, and everything that was
// committed before: from then on its state is no older than that leadership. It tries again while leadership moves.
// Errors: [ErrStopped], raft.ErrBusy and the context's.
func (n *Node) EnsureConsistency(ctx context.Context) error {
	for {
		_, err := n.ReadBarrier(ctx)
		if err == nil || !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) {
			return wrapf(err, "ensuring consistency")
		}
		if err := n.pause(ctx); err != nil {
			return wrapf(err, "ensuring consistency")
		}
	}
}

// pause waits for one period of heartbeats.
func (n *Node) pause(ctx context.Context) error {
	timer := time.NewTimer(n.heartbeatPeriod())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.halted:
		return ErrStopped
	}
}

// ForceReplication returns when a majority has answered a round of the leader's that began after the call. On another
// member it asks the leader for one. Errors: as of ReadBarrier.
func (n *Node) ForceReplication(ctx context.Context) error {
	result := make(chan error, 1)
	g := &readGroup{proof: true, done: []func(uint64, error){func(_ uint64, err error) { result <- err }}}
	if n.apply.open.Add(1) > int64(n.cfg.Limits.Reads) {
		n.apply.open.Add(-1)
		return raft.ErrBusy
	}
	if !n.in.call(func(time.Duration) { n.loop.ask(g) }) {
		n.apply.open.Add(-1)
		return ErrStopped
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for a round of replication: %w", ctx.Err())
	case <-n.done:
		return ErrStopped
	}
}
