package node

import (
	"sync/atomic"
	"time"
)

// clock is what the loop publishes of the core's times, for any goroutine to read without a lock.
type clock struct {
	origin time.Time // of this node's monotonic time
	anchor atomic.Pointer[anchor]
	lease  atomic.Int64 // monotonic nanoseconds up to which the lease is valid; 0: none
}

// anchor ties cluster time to this node's monotonic time for one term of leadership.
type anchor struct {
	cluster int64
	at      time.Duration
}

// now is monotonic time since the node's start.
func (c *clock) now() time.Duration { return time.Since(c.origin) }

// clusterTime is the leader's cluster time now.
func (c *clock) clusterTime() (int64, bool) {
	a := c.anchor.Load()
	if a == nil {
		return 0, false
	}
	return a.cluster + int64(c.now()-a.at), true
}

// setClusterTime publishes that cluster time is t at the moment at. It stores only what is not known yet.
func (c *clock) setClusterTime(t int64, at time.Duration, ok bool) {
	old := c.anchor.Load()
	switch {
	case !ok && old != nil:
		c.anchor.Store(nil)
	case ok && (old == nil || old.cluster-int64(old.at) != t-int64(at)):
		c.anchor.Store(&anchor{t, at})
	}
}

// leased reports whether the lease is valid at this moment.
func (c *clock) leased() bool {
	until := c.lease.Load()
	return until > 0 && int64(c.now()) < until
}

func (c *clock) setLease(until time.Duration, ok bool) {
	if !ok {
		until = 0
	}
	if c.lease.Load() != int64(until) {
		c.lease.Store(int64(until))
	}
}
