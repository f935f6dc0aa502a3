package raft

import (
	"slices"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/quorum"
)

// Lease returns until when no other leader can have been elected, as far as the voters' promises and the
// drift bound say (dissertation, section 6.4.1; rule 18). Each promise counts from when the round that it
// answers was sent, divided by the drift bound; the lease lasts as long as those of a majority.
//
// It is false before an entry of this term is committed, for the rest of a term in which a transfer was
// asked for, and for who does not lead. It ends at once with the role: a caller that keeps the instant
// must drop it when Output.State shows another role or term.
func (c *Core) Lease(now time.Duration) (until time.Duration, ok bool) {
	now = max(now, c.now)
	if !c.ready() || (c.lead.noLease && !canary.Broken(canary.LeaseEndsInTransfer)) {
		return 0, false
	}
	ends := c.lead.instants[:0]
	if c.current().conf.isVoter(c.id) {
		// A leader gives its own vote away only by ceasing to lead.
		ends = append(ends, now+time.Duration(float64(c.cfg.ElectionTimeoutMin)/c.cfg.DriftBound))
	}
	for _, p := range c.peers {
		if p.voter {
			ends = append(ends, p.pr.PromisedUntil)
		}
	}
	c.lead.instants = ends
	until = quorum.Reached(ends)
	if canary.Broken(canary.LeaseMajority) {
		until = slices.Max(ends)
	}
	return until, until > now
}
