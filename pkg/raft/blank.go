package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// blankness is how a member with an empty log comes to take part. [A wiped directory that starts again with
// the same flags would vote away what it had acknowledged.] It waits until every listed member said that
// its log is empty too, or until a leader's configuration with its incarnation is in its log.
type blankness struct {
	// passed: everybody was empty, at a moment after this process began.
	passed bool
	// voted: storage holds a vote, so this directory took part before.
	voted bool
	askAt time.Duration
	// nonce marks the answers to the questions of this life of the process.
	nonce uint64
}

func (c *Core) restoreBlank(vote MemberID) {
	c.blank.voted = vote != 0
	c.blank.askAt = c.now
	c.blank.nonce = c.cfg.Rand(1<<63) + 1
	c.checkBlank()
}

// trusted reports whether this member may vote and campaign, as far as the identity of its directory goes. Where the
// configuration in effect does not list it any more, the one before speaks for it until that is committed.
func (c *Core) trusted() bool {
	at := c.current()
	m, listed := at.conf.Member(c.id)
	if !listed {
		m, listed = c.configs.active(c.log.commit).conf.Member(c.id)
	}
	if at.index > 0 {
		if listed && m.Incarnation == c.cfg.Incarnation {
			return true
		}
		if listed && !m.Incarnation.IsZero() {
			return false // another directory stands for this member
		}
	}
	return c.blank.passed || c.blank.voted || canary.Broken(canary.BlankDoesNotVote) || (at.index == 0 && c.log.last > 0)
}

func (c *Core) askingBlank() bool { return c.log.last == 0 && !c.blank.passed && len(c.peers) > 0 }

func (c *Core) tickBlank() {
	if !c.askingBlank() || c.now < c.blank.askAt {
		return
	}
	c.blank.askAt = c.now + c.cfg.heartbeatPeriod()
	for _, p := range c.peers {
		if !p.isBlank {
			c.send = append(c.send, Message{Type: MsgHello, From: c.id, To: p.id, Round: c.blank.nonce})
		}
	}
}

// onHello answers a blank member. An empty log is what counts, not an unused vote: who voted in the first
// election must not keep the others from learning that there was nothing before it.
func onHello(c *Core, p *peer, m *Message) {
	c.send = append(c.send, Message{Type: MsgHelloResp, From: c.id, To: m.From, Round: m.Round, Blank: c.log.last == 0})
}

func onHelloResp(c *Core, p *peer, m *Message) {
	if m.Round != c.blank.nonce || !c.askingBlank() {
		c.Stats.Unexpected++
		return
	}
	p.isBlank = m.Blank
	c.checkBlank()
}

// checkBlank looks whether everybody listed has answered to be empty. A member without a list waits for a
// leader.
func (c *Core) checkBlank() {
	conf := c.current().conf
	if _, listed := conf.Member(c.id); !listed || c.log.last > 0 || c.blank.passed {
		return
	}
	for _, p := range c.peers {
		if !p.isBlank {
			return
		}
	}
	c.blank.passed = true
	c.resetElectionTimer()
}
