package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// clock makes cluster time: nanoseconds since the cluster's birth, as the entries of the log carry it. It
// goes on from the last entry of the log, whoever appended it, by this process's monotonic time since it
// had that entry. No wall clock is involved.
type clock struct {
	// last is the time of the log's last entry, at the moment at which this process appended it; for an
	// entry that was on disk, the moment of its start.
	last   int64
	lastAt time.Duration
	// anchor and anchorAt are last and lastAt as of this leader's election.
	anchor   int64
	anchorAt time.Duration
}

func (k *clock) restore(last *Entry, snapshot *SnapshotMeta, now time.Duration) {
	k.lastAt = now
	switch {
	case last != nil:
		k.last = last.Time
	case snapshot != nil: // the log ends with it
		k.last = snapshot.Time
	}
}

// appended notes the time of the log's new last entry.
func (k *clock) appended(time int64, now time.Duration) { k.last, k.lastAt = time, now }

// elect takes the one anchor of a term. [To stamp from the last applied entry instead lets time stand
// still under load and ends leases early after a failover.]
func (k *clock) elect(now time.Duration) {
	k.anchor, k.anchorAt = k.last, k.lastAt
	if canary.Broken(canary.ClockAnchorAtAppend) {
		k.anchorAt = now
	}
}

// at is cluster time at an instant, for a leader. It never goes back behind the last entry.
func (k *clock) at(now time.Duration) int64 {
	return max(k.anchor+int64(now-k.anchorAt), k.last)
}

// ClusterTime returns cluster time now, in nanoseconds since the cluster's birth. Only a leader has it.
func (c *Core) ClusterTime(now time.Duration) (int64, bool) {
	if c.role != Leader {
		return 0, false
	}
	return c.clock.at(max(now, c.now)), true
}
