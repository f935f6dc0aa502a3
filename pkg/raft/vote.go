package raft

import "github.com/coordd/coordd/internal/canary"

// onPreVote answers whether this member would vote for a candidate. It changes nothing: no term, no vote,
// no timer (dissertation, section 9.6). A grant echoes the term that was asked for, a refusal carries ours.
func onPreVote(c *Core, p *peer, m *Message) {
	if c.sticky(m) {
		c.Stats.StickyRefusals++
		c.refuse(m, MsgPreVoteResp)
		return
	}
	free := m.Term > c.hard.Term || c.hard.Vote == m.From || (c.hard.Vote == 0 && c.leader == 0)
	if !free || !c.wouldVote(m) {
		c.refuse(m, MsgPreVoteResp)
		return
	}
	c.send = append(c.send, Message{Type: MsgPreVoteResp, From: c.id, To: m.From, Term: m.Term})
}

// onVote answers a request for this term's vote (dissertation, section 3.4). The vote is said only once it
// is durable, and so is the repetition of one.
func onVote(c *Core, p *peer, m *Message) {
	repeated := c.hard.Vote == m.From
	// The promise to a leader outlives its term: this term may have been adopted without a vote.
	free := c.hard.Vote == 0 && c.leader == 0 && (m.Transfer || !c.bound() || canary.Broken(canary.StickyLeader))
	free = free || canary.Broken(canary.OneVoteATerm)
	if !c.wouldVote(m) || (!repeated && !free) {
		c.refuse(m, MsgVoteResp)
		return
	}
	if !repeated {
		c.hard.Vote = m.From
		c.hardChanged = true
		c.resetElectionTimer()
	}
	c.after = append(c.after, Message{Type: MsgVoteResp, From: c.id, To: m.From, Term: c.hard.Term})
}

// wouldVote tells whether a candidate's log is new enough, for any log and for one that lost its end, and
// whether this member may vote at all.
func (c *Core) wouldVote(m *Message) bool {
	if c.role == Standby && canary.Broken(canary.StandbyLogCounts) {
		return true
	}
	if !c.trusted() || !c.log.upToDate(m.Index, m.LogTerm) {
		return false
	}
	return c.recovering == nil || canary.Broken(canary.RecoveringVotes) || !(Mark{LastTerm: m.LogTerm, Last: m.Index}).Before(*c.recovering)
}
