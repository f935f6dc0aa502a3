package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// closeTimeout bounds how long a node that ends waits for its transport.
const closeTimeout = 5 * time.Second

// run starts the goroutines and ends what they leave, in the order in which they feed each other.
func (n *Node) run(l *loop) {
	var behind sync.WaitGroup
	behind.Go(n.append.run)
	behind.Go(n.apply.run)
	behind.Go(n.fetch.run)
	if n.snaps != nil {
		behind.Go(n.snaps.run)
	}
	behind.Go(n.says.run)
	l.run()
	n.out.end()
	n.append.queue.close()
	n.apply.queue.close()
	n.fetch.queue.close()
	if n.snaps != nil {
		n.snaps.queue.close()
	}
	behind.Wait()
	if n.cfg.OnStop != nil {
		n.cfg.OnStop(n)
	}
	n.events.close()
	if t := n.cfg.Transport; t != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		if err := t.Close(ctx); err != nil {
			n.cfg.Logger.Warn("closing the transport", "error", err)
		}
		cancel()
	}
	n.into.end()
	if n.cfg.Snapshots != nil {
		if err := n.cfg.Snapshots.Close(); err != nil {
			n.cfg.Logger.Warn("closing the snapshots", "error", err)
		}
	}
	if err := n.cfg.Log.Close(); err != nil {
		n.cfg.Logger.Error("closing the log", "error", err)
	}
	close(n.done)
}

// halt ends everything, for the first cause that is given.
func (n *Node) halt(cause error) {
	n.haltOnce.Do(func() {
		if !errors.Is(cause, ErrStopped) {
			n.cfg.Logger.Error("the node stops", "cause", cause)
		}
		n.cause = cause
		close(n.halted)
		n.cancel()
	})
}

// Stop ends the node in order: it refuses proposals, hands leadership over, lets what is under way be applied
// (both for at most 2 × ElectionTimeoutMax), and then closes the transport and the log. When the context ends
// first, Stop hurries: it hands nothing over any more and returns the context's error if a disk or a state
// machine still holds the node; Done tells when it has ended. A node that had failed returns its cause. Stop may
// be called more than once; the first call's context counts for the handover.
func (n *Node) Stop(ctx context.Context) error {
	if n.stopping.CompareAndSwap(false, true) { // another caller waits for this one's work
		n.in.refuse()
		n.quiesce(ctx)
		n.halt(ErrStopped)
	}
	select {
	case <-n.done:
	default:
		select {
		case <-n.done:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the node to end: %w", ctx.Err())
		}
	}
	if !errors.Is(n.cause, ErrStopped) {
		return n.cause
	}
	return nil
}

// quiesce hands over leadership and waits until nothing is under way here.
func (n *Node) quiesce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.ElectionTimeoutMax)
	defer cancel()
	if n.hasPeers() {
		if err := n.TransferLeadership(ctx, 0); err != nil && !errors.Is(err, raft.ErrNotLeader) {
			n.cfg.Logger.Warn("stopping without a handover", "error", err)
		}
	}
	idle := make(chan struct{})
	n.in.call(func(time.Duration) {
		n.loop.watch(func(time.Duration) bool {
			if !n.loop.idle() {
				return false
			}
			close(idle)
			return true
		})
	})
	select {
	case <-idle:
	case <-ctx.Done():
	case <-n.halted:
	}
}

// hasPeers reports whether there is somebody to hand leadership to.
func (n *Node) hasPeers() bool {
	for _, m := range n.view.Load().config.Members {
		if m.ID != n.cfg.ID && !m.Learner && !m.Standby {
			return true
		}
	}
	return false
}

// idle reports whether no proposal, write or committed entry is under way.
func (l *loop) idle() bool {
	return l.pending.Len() == 0 && len(l.disk.unfinished) == 0 && l.n.apply.applied.Load() >= l.soft.Commit
}

// watch has over called at the end of every turn until it returns true.
func (l *loop) watch(over func(now time.Duration) bool) { l.watches = append(l.watches, over) }

// TransferLeadership hands leadership to a member, 0 for the one that has the most of the log, and waits until
// it leads (dissertation, section 3.10). Errors: [NotLeaderError]; what the core refuses (raft.ErrTransferring,
// raft.ErrNoTransferTarget); [ErrTransferFailed] when the transfer was given up or somebody else was elected;
// [ErrStopped]; and the context's.
func (n *Node) TransferLeadership(ctx context.Context, to raft.MemberID) error {
	result := make(chan error, 1)
	if !n.in.call(func(now time.Duration) { n.loop.transfer(to, now, result) }) {
		return ErrStopped
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("handing over leadership: %w", ctx.Err())
	case <-n.halted:
		return ErrStopped
	}
}

// transfer starts a transfer and watches how it ends.
func (l *loop) transfer(to raft.MemberID, now time.Duration, result chan<- error) {
	if err := l.core.TransferLeadership(to, now); err != nil {
		if errors.Is(err, raft.ErrNotLeader) {
			err = l.n.notLeader()
		}
		result <- fmt.Errorf("handing over leadership: %w", err)
		return
	}
	if to == l.n.cfg.ID {
		result <- nil
		return
	}
	term := l.soft.Term
	giveUp := now + 2*l.n.cfg.ElectionTimeoutMax // the core gives up after one election timeout
	l.watch(func(now time.Duration) bool {
		s := l.soft
		switch {
		case s.Leader != 0 && s.Leader != l.n.cfg.ID && (to == 0 || s.Leader == to):
			result <- nil
		case s.Term > term && s.Leader != 0:
			result <- fmt.Errorf("member %s leads: %w", s.Leader, ErrTransferFailed)
		case s.Role == raft.Leader && s.Term == term && l.core.Status().Transferee == 0, now >= giveUp:
			result <- fmt.Errorf("given up: %w", ErrTransferFailed)
		default:
			return false
		}
		return true
	})
}
