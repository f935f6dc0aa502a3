package node

import (
	"errors"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// The errors of a node, beside those of package raft.
var (
	// ErrStopped says that the node has stopped or is about to; what was asked is certainly not done.
	ErrStopped = errors.New("node: stopped")
	// ErrTransferFailed says that leadership did not go where it was asked to go in time.
	ErrTransferFailed = errors.New("node: leadership was not taken over")
	// ErrDiskStalled is the cause of a step-down because an append was under way for too long.
	ErrDiskStalled = errors.New("node: the disk has stalled")
	// ErrDiskFull is the cause of a step-down because an append waited for room for too long.
	ErrDiskFull = errors.New("node: the disk is full")
	// ErrNoSnapshots says that the state machine has no snapshots, or that there is nowhere to keep them.
	ErrNoSnapshots = errors.New("node: no snapshots are taken here")
	// ErrNotCaughtUp says that a new member stayed a learner, because it did not come near the end of the log in all
	// the rounds that it was given. It can be promoted later.
	ErrNotCaughtUp = errors.New("node: the member did not catch up and stays a learner")
	// ErrOtherCluster is the cause of the end of a node that founded a cluster of its own in another one's place.
	ErrOtherCluster = errors.New("node: another cluster has a member of this name at this address")
	// ErrRemoved says that this member was removed: it comes back with an empty directory alone, as a new member.
	ErrRemoved = errors.New("node: this member was removed from the cluster")
)

// NotLeaderError says that this member does not lead and that what was asked is certainly not done. It
// unwraps to raft.ErrNotLeader.
type NotLeaderError struct {
	Leader     raft.MemberID // 0: none known
	LeaderName string        // empty where the name is not known
}

// Error names the leader where one is known.
func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return "not the leader, and none is known"
	}
	if e.LeaderName == "" {
		return fmt.Sprintf("not the leader; the leader is %s", e.Leader)
	}
	return fmt.Sprintf("not the leader; the leader is %s (%s)", e.LeaderName, e.Leader)
}

// Unwrap returns raft.ErrNotLeader.
func (e *NotLeaderError) Unwrap() error { return raft.ErrNotLeader }

// errAbandoned is given to proposals that were appended, or may have been, when the node stopped. It does not
// unwrap to ErrStopped, which would claim that they were not done.
var errAbandoned = fmt.Errorf("the node stopped: %w", raft.ErrLeadershipLost)

// errTransferring is given to proposals during a transfer: certainly not done, worth another try soon.
var errTransferring = fmt.Errorf("%w: %w", raft.ErrBusy, raft.ErrTransferring)
