package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/quorum"
)

// election holds the timers of a member that does not lead.
type election struct {
	at       time.Duration // when this member stands, or stands again
	resendAt time.Duration // when unanswered requests are repeated
	// contact is the instant of the last word of a leader; heard is false before the first in this life.
	contact time.Duration
	heard   bool
	// boundUntil is when the promises of an earlier life have ended.
	boundUntil time.Duration
}

// voteAnswer is a peer's answer to a campaign.
type voteAnswer uint8

const (
	unanswered voteAnswer = iota
	granted
	refused
)

// resetElectionTimer draws a fresh timeout; no draw is kept.
func (c *Core) resetElectionTimer() {
	spread := uint64(c.cfg.ElectionTimeoutMax - c.cfg.ElectionTimeoutMin)
	c.election.at = c.now + c.cfg.ElectionTimeoutMin + time.Duration(c.cfg.Rand(spread))
}

// contact notes a sign of life of this term's leader.
func (c *Core) contact() {
	c.election.contact, c.election.heard = c.now, true
	c.resetElectionTimer()
}

// bound reports whether this member promised a leader not to take part in an election yet (dissertation,
// sections 4.2.3 and 6.4.1; rule 18).
func (c *Core) bound() bool {
	return c.now < c.election.boundUntil ||
		(c.election.heard && c.now < c.election.contact+c.cfg.ElectionTimeoutMin)
}

// mayTransfer reports whether a campaign that a leader asked for breaks the promise to that leader, who gave
// up its lease: for one request, in the term after the asking leader's (rule 6).
func (c *Core) mayTransfer(m *Message) bool {
	return m.Type == MsgVote && (m.Term == c.hard.Term+1 || canary.Broken(canary.TransferBypassesOnce)) && (c.role != Leader || c.lead.noLease)
}

// sticky reports whether a request for a vote in a newer term is refused without a look at it.
func (c *Core) sticky(m *Message) bool {
	if m.Transfer || canary.Broken(canary.StickyLeader) {
		return false
	}
	if c.role == Leader {
		return c.inTouch(c.cfg.ElectionTimeoutMin)
	}
	return c.bound()
}

// eligible reports whether this member may campaign. While a snapshot is not durable and restored here, it does
// not (rule 8).
func (c *Core) eligible() bool {
	return c.electable() && (c.recovering == nil || canary.Broken(canary.RecoveringNoStand)) && c.trusted() &&
		(!c.diskStalled() || canary.Broken(canary.StalledDiskNoStand)) &&
		((c.log.durable >= c.log.base && c.log.applied >= c.log.base) || canary.Broken(canary.SnapshotBeforeStand))
}

// electable reports whether this member may campaign as far as the membership goes. One that may not any more still
// may until that is committed: it may be the only one that can win, and so the only one that can commit it
// (dissertation, section 4.2.2). [A leader of two that stored its own removal, or that it is a standby now, and crashed
// leaves a log that the other's does not reach.] A directory that takes a member's place never was what that one was.
func (c *Core) electable() bool {
	if c.cfg.Standby {
		return false
	}
	stands := func(conf *Configuration) bool {
		m, listed := conf.Member(c.id)
		if !listed && canary.Broken(canary.RemovedNeverStands) {
			return true
		}
		return listed && !m.Learner && !m.Standby && (m.Incarnation.IsZero() || m.Incarnation == c.cfg.Incarnation)
	}
	before := c.configs.before(c.log.commit)
	return stands(&c.current().conf) || (before != nil && stands(&before.conf))
}

func (c *Core) tickElection() {
	if c.now >= c.election.at {
		c.setLeader(0)
		switch {
		case c.now < c.election.boundUntil:
			c.election.at = c.election.boundUntil
		case c.eligible():
			c.preCampaign()
		default:
			c.becomeFollower(c.hard.Term, 0)
			c.resetElectionTimer()
		}
		return
	}
	if (c.role == PreCandidate || c.role == Candidate) && c.now >= c.election.resendAt {
		c.askForVotes(false)
	}
}

func (c *Core) clearVotes() {
	for _, p := range c.peers {
		p.vote = unanswered
	}
}

// preCampaign asks whether an election could be won, before it disturbs anybody with a new term
// (dissertation, section 9.6).
func (c *Core) preCampaign() {
	c.Stats.Elections++
	c.role = PreCandidate
	c.clearVotes()
	c.resetElectionTimer()
	c.askForVotes(false)
	c.countVotes()
}

// campaign stands for the next term. Nobody hears of it, this member itself included, before the term and
// the vote are durable.
func (c *Core) campaign(transfer bool) {
	c.hard.Term++
	c.hard.Vote = c.id
	c.hardChanged = true
	c.role = Candidate
	c.setLeader(0)
	c.clearVotes()
	c.resetElectionTimer()
	c.askForVotes(transfer)
}

// askForVotes sends the campaign's request to all voters that did not grant it yet. A pre-vote is asked
// for again even of those that refused: they may have been bound to a leader that died.
func (c *Core) askForVotes(transfer bool) {
	c.election.resendAt = c.now + c.cfg.heartbeatPeriod()
	for _, p := range c.peers {
		if !p.voter || p.vote == granted {
			continue
		}
		m := Message{From: c.id, To: p.id, Index: c.log.last, LogTerm: c.log.lastTerm}
		switch {
		case c.role == PreCandidate:
			m.Type, m.Term = MsgPreVote, c.hard.Term+1
			c.send = append(c.send, m)
		case p.vote == unanswered:
			m.Type, m.Term, m.Transfer = MsgVote, c.hard.Term, transfer
			c.after = append(c.after, m)
		}
	}
}

// countVotes decides the campaign as soon as a majority has answered.
func (c *Core) countVotes() {
	var yes, no, voters int
	if c.current().conf.isVoter(c.id) {
		voters++
		// A candidate's own vote counts once it is durable (rule 1).
		if c.role == PreCandidate || (c.stored.Term == c.hard.Term && c.stored.Vote == c.id) || canary.Broken(canary.OwnVoteDurable) {
			yes++
		}
	}
	for _, p := range c.peers {
		if !p.voter {
			continue
		}
		voters++
		switch p.vote {
		case granted:
			yes++
		case refused:
			no++
		}
	}
	outcome := quorum.Decide(voters, yes, no)
	switch {
	case yes > 0 && canary.Broken(canary.VoteMajority):
		outcome = quorum.Won
	case yes+no < voters && canary.Broken(canary.MajorityIsEnough):
		outcome = quorum.Pending
	case no > 0 && canary.Broken(canary.PreVoteLostByMajority):
		outcome = quorum.Lost
	}
	switch {
	case outcome == quorum.Won && c.role == PreCandidate:
		c.campaign(false)
	case outcome == quorum.Won:
		c.becomeLeader()
	case outcome == quorum.Lost:
		c.becomeFollower(c.hard.Term, 0)
	}
}

func onPreVoteResp(c *Core, p *peer, m *Message) {
	switch {
	case !p.voter || (!m.Reject && m.Term != c.hard.Term+1):
		c.Stats.Unexpected++
		return
	case !m.Reject:
		p.vote = granted
	case p.vote == unanswered:
		p.vote = refused
	}
	c.countVotes()
}

func onVoteResp(c *Core, p *peer, m *Message) {
	if !p.voter || p.vote != unanswered {
		c.Stats.Unexpected++
		return
	}
	p.vote = granted
	if m.Reject {
		p.vote = refused
	}
	c.countVotes()
}

// onTimeoutNow stands at once, because the leader asked for it (dissertation, section 3.10).
func onTimeoutNow(c *Core, p *peer, m *Message) {
	if m.From != c.leader || !c.eligible() {
		c.Stats.Unexpected++
		return
	}
	c.Stats.Elections++
	c.campaign(true)
}
