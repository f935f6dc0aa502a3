package raft

import (
	"slices"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/quorum"
)

// maybeCommit commits what a majority holds durably, if it ends with an entry of this term (dissertation,
// section 3.6.2, figure 3.7; rule 2). Match indexes only grow, so an answer of an earlier round counts.
func (c *Core) maybeCommit() {
	matches := c.lead.scratch[:0]
	if c.current().conf.isVoter(c.id) {
		own := c.log.durable // the leader acknowledges to itself as the others do
		if canary.Broken(canary.LeaderCountsDurable) {
			own = c.log.last
		}
		matches = append(matches, own)
	}
	for _, p := range c.peers {
		if p.voter || canary.Broken(canary.LearnerDoesNotCount) {
			matches = append(matches, p.pr.Match)
		}
	}
	c.lead.scratch = matches
	index := quorum.Reached(matches)
	if canary.Broken(canary.CommitMajority) {
		index = slices.Max(matches)
	}
	if index > c.log.commit && (c.log.term(index) == c.hard.Term || canary.Broken(canary.CommitOwnTerm)) {
		c.commitTo(index)
	}
}

// commitTo raises the commit index.
func (c *Core) commitTo(index uint64) {
	if index <= c.log.commit {
		return
	}
	if index > c.log.last {
		broken("commit of index %d beyond the last index %d", index, c.log.last)
	}
	before := c.log.commit
	c.log.commit = index
	if len(c.configs.stack) > 1 {
		c.noteListed()
	}
	if c.configs.forget(index) {
		c.contacts++
		c.lead.untended = true
		if c.removed() {
			c.hardChanged = true // the commit index is stored, so that it still knows after a restart
		}
	}
	bytes := c.log.bytesBetween(before, index)
	c.applies.waitingBytes += bytes
	if c.role != Leader {
		return
	}
	c.lead.uncommittedBytes -= bytes
	if c.lead.uncommittedBytes < 0 || index == c.log.last {
		c.lead.uncommittedBytes = 0
	}
	// A leader that removed itself leads until that is committed (dissertation, section 4.2.2). It has somebody
	// stand at once, rather than let everybody wait for an election timeout.
	if at := c.current(); at.index <= index && !at.conf.isVoter(c.id) {
		if p := c.transferTarget(0); p != nil && p.pr.Match == c.log.last {
			c.send = append(c.send, Message{Type: MsgTimeoutNow, From: c.id, To: p.id, Term: c.hard.Term})
		}
		c.becomeFollower(c.hard.Term, 0)
	}
}
