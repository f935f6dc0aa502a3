package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// A recovering member lost the end of a log that it once acknowledged. It never campaigns, grants its vote
// only to candidates whose log reaches its mark, acknowledges truthfully what it holds, and is an ordinary
// member again as soon as its log reaches the mark (storage.md).

// Witnessed says that a peer saw a mark of this member. If the log does not reach it, this member lost
// what it acknowledged.
func (c *Core) Witnessed(m Mark, now time.Duration) {
	c.advance(now)
	defer c.settle()
	if !c.end().Before(m) || canary.Broken(canary.WitnessedRecovers) {
		return
	}
	if c.recovering == nil || c.recovering.Before(m) {
		c.recovering = &m
	}
	if c.role == Leader || c.role == PreCandidate || c.role == Candidate {
		c.becomeFollower(c.hard.Term, 0)
	}
}

// end is the position of the log's last entry. Whatever this member says on the strength of it waits for
// the entry to be durable.
func (c *Core) end() Mark { return Mark{LastTerm: c.log.lastTerm, Last: c.log.last} }

func (c *Core) leaveRecovery() {
	if c.recovering != nil && !c.end().Before(*c.recovering) {
		c.recovering = nil
	}
}
