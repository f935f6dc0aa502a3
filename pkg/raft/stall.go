package raft

import "time"

// SetStandby makes this core stand in no election (true), or stand again as its configuration says (false),
// without a restart. The node uses it from the moment at which its disk stalled until a probe write was quick:
// a member that cannot write must not win a term that it cannot serve (raft.md, rule 13). It ends no
// leadership; see TransferLeadership and StepDown.
func (c *Core) SetStandby(standby bool, now time.Duration) {
	c.advance(now)
	c.cfg.Standby = standby
	switch c.role {
	case Leader:
	case PreCandidate, Candidate:
		if standby {
			c.becomeFollower(c.hard.Term, 0)
		}
	default:
		c.role = c.restingRole()
	}
	c.settle()
}
