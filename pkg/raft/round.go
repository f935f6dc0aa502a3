package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// rounds remembers when the latest heartbeat rounds were sent.
type rounds struct {
	last   uint64          // number of the latest round; the first is 1
	sentAt []time.Duration // of the rounds up to last, ascending
}

// begin starts a round and forgets those that are older than keep.
func (r *rounds) begin(now, keep time.Duration) uint64 {
	n := 0
	for n < len(r.sentAt) && now-r.sentAt[n] > keep {
		n++
	}
	r.sentAt = append(r.sentAt[n:], now)
	r.last++
	return r.last
}

// sent returns when a round was sent; false for one that is forgotten.
func (r *rounds) sent(round uint64) (time.Duration, bool) {
	first := r.last + 1 - uint64(len(r.sentAt))
	if round < first || round > r.last {
		return 0, false
	}
	return r.sentAt[round-first], true
}

// startRound sends a heartbeat to everybody. Heartbeats are messages of their own, small, and do not wait
// behind appends; their answers prove leadership for reads and renew the lease.
func (c *Core) startRound() {
	c.lead.heartbeatAt = c.now + c.cfg.heartbeatPeriod()
	round := c.lead.rounds.begin(c.now, 2*c.cfg.ElectionTimeoutMax)
	c.join(round)
	for _, p := range c.peers {
		c.sendHeartbeat(p)
	}
	c.finishReads() // a lone voter has nobody to wait for
}

func (c *Core) sendHeartbeat(p *peer) {
	commit := min(p.pr.Match, c.log.commit)
	if canary.Broken(canary.HeartbeatCommit) {
		commit = c.log.commit
	}
	c.send = append(c.send, Message{Type: MsgHeartbeat, From: c.id, To: p.id, Term: c.hard.Term, Session: p.pr.Session,
		Index: p.pr.Match, LogTerm: c.log.term(p.pr.Match), Commit: commit, Round: c.lead.rounds.last})
}

// onHeartbeatResp takes the answer to one round. It says nothing about the log (rule 4).
func onHeartbeatResp(c *Core, p *peer, m *Message) {
	if m.Session != p.pr.Session {
		c.Stats.Unexpected++
		return
	}
	if m.Round > c.lead.rounds.last {
		c.Stats.BadMessages++
		return
	}
	p.pr.Answered(c.now)
	if p.pr.HeartbeatAnswered() {
		p.nudge = true
	}
	if !p.counts(m) {
		return
	}
	p.pr.Commit = max(p.pr.Commit, m.Commit)
	if canary.Broken(canary.HeartbeatIsNoAck) && p.pr.Acked(p.pr.Next-1) {
		c.maybeCommit()
	}
	if sent, ok := c.lead.rounds.sent(m.Round); ok {
		if canary.Broken(canary.LeaseFromSend) {
			sent = c.now
		}
		promise, drift := m.Promise, c.cfg.DriftBound
		if canary.Broken(canary.LeaseByPromise) {
			promise = c.cfg.ElectionTimeoutMin
		}
		if canary.Broken(canary.LeaseDrift) {
			drift = 1
		}
		promised := time.Duration(float64(promise) / drift)
		p.pr.PromisedUntil = max(p.pr.PromisedUntil, sent+promised)
	}
	if m.Round > p.pr.Round {
		p.pr.Round = m.Round
		c.finishReads()
	}
}
