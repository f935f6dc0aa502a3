package raft

import "time"

// SetSnapshot tells the core of a snapshot of this member's own that is durable: what peers that need entries
// which are gone are given from now on.
func (c *Core) SetSnapshot(meta SnapshotMeta, now time.Duration) {}

// Compacted tells the core that the log begins behind an index now, because a snapshot has what was before.
func (c *Core) Compacted(index uint64, now time.Duration) {}

// SnapshotDone ends what an outgoing MsgSnapshot began: the snapshot with that index is with the peer and was
// handed to its core (ok), or it could not be brought there.
func (c *Core) SnapshotDone(to MemberID, index uint64, ok bool, now time.Duration) {}
