package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// replicate sends a peer what it lacks, as far as its window goes.
func (c *Core) replicate(p *peer) {
	pr := &p.pr
	if pr.Next <= c.log.base {
		c.sendSnapshot(p)
		c.tell(p)
		return
	}
	for pr.CanSend(c.cfg.MaxInflightBytes) && pr.Next <= c.log.last {
		if pr.Next < c.log.tailFirst {
			// Entries that are no longer in memory are read only for a peer that is known to need them.
			if pr.State == tracker.Probe {
				c.sendAppend(p, nil, 0)
			} else {
				c.fetchFor(p)
			}
			return
		}
		es, bytes := c.log.slice(pr.Next, c.log.last+1, min(c.cfg.MaxMessageBytes, pr.Room(c.cfg.MaxInflightBytes)))
		if pr.Inflight.Len() > 0 && pr.Inflight.Bytes()+bytes > c.cfg.MaxInflightBytes && !canary.Broken(canary.InflightBound) {
			break
		}
		c.sendAppend(p, es, bytes)
	}
	if p.nudge || (pr.State == tracker.Probe && !pr.Waiting) {
		c.sendAppend(p, nil, 0)
	}
	c.tell(p)
}

// tell lets a peer that waits for it know the commit index.
func (c *Core) tell(p *peer) {
	if p.tellSoon {
		p.tellSoon = false
		if min(p.pr.Match, c.log.commit) > p.pr.Commit {
			c.sendHeartbeat(p)
		}
	}
}

func (c *Core) sendAppend(p *peer, es []Entry, bytes int) {
	p.nudge = false
	prev := p.pr.Next - 1
	c.send = append(c.send, Message{Type: MsgAppend, From: c.id, To: p.id, Term: c.hard.Term, Session: p.pr.Session,
		Index: prev, LogTerm: c.log.term(prev), Commit: c.log.commit, Entries: es})
	p.pr.Sent(prev+uint64(len(es)), bytes)
}

// fetchFor asks for entries that are on disk alone, once at a time.
func (c *Core) fetchFor(p *peer) {
	if p.pr.Fetching && p.pr.FetchLo == p.pr.Next {
		return
	}
	p.pr.Fetching, p.pr.FetchLo = true, p.pr.Next
	c.fetches = append(c.fetches, FetchRequest{To: p.id, Lo: p.pr.Next, Hi: c.log.tailFirst, MaxBytes: c.cfg.MaxMessageBytes})
}

// Fetched answers a FetchRequest with entries from lo on; none says that they could not be read now. What
// is no longer wanted is dropped.
func (c *Core) Fetched(to MemberID, lo uint64, es []Entry, now time.Duration) {
	c.advance(now)
	defer c.settle()
	if to == c.id {
		c.fetchedToApply(lo, es)
		return
	}
	p := c.peer(to)
	if c.role != Leader || p == nil || !p.pr.Fetching || p.pr.FetchLo != lo {
		c.Stats.StaleFetches++
		return
	}
	p.pr.Fetching = false
	if len(es) == 0 {
		// Tried again after the next heartbeat's answer, not at once and for ever.
		p.pr.ToProbe(p.pr.Next)
		p.pr.Waiting = true
		return
	}
	if p.pr.State != tracker.Replicate || p.pr.Next != lo || !c.sameAsLog(lo, es) {
		c.Stats.StaleFetches++
		return
	}
	bytes := 0
	for i := range es {
		bytes += es[i].Size()
	}
	c.sendAppend(p, es, bytes)
}

// sameAsLog checks entries that were read against the terms of the log, which may have changed since.
func (c *Core) sameAsLog(lo uint64, es []Entry) bool {
	for i := range es {
		if es[i].Index != lo+uint64(i) || !c.log.matches(es[i].Index, es[i].Term) {
			return false
		}
	}
	return true
}

// onAppendResp takes a follower's acknowledgement or rejection.
func onAppendResp(c *Core, p *peer, m *Message) {
	if m.Session != p.pr.Session && !canary.Broken(canary.SessionCompared) {
		c.Stats.Unexpected++
		return
	}
	p.pr.Answered(c.now)
	if m.Index > c.log.last {
		c.Stats.BadMessages++
		return
	}
	if !p.counts(m) {
		return
	}
	p.pr.Commit = max(p.pr.Commit, m.Commit)
	if m.Reject {
		c.rejected(p, m)
		return
	}
	acked := m.Index
	if canary.Broken(canary.CommitByMatch) {
		acked = p.pr.Next - 1
	}
	if p.pr.Acked(acked) {
		c.maybeCommit()
	}
	c.warmUp(p)
	if c.role == Leader && c.lead.transfer.to == p.id {
		c.sendTimeoutNow()
	}
}

// counts reports whether an acknowledgement is that of the directory which the configuration records. [A
// wiped directory would acknowledge in the name of the one that voted.]
func (p *peer) counts(m *Message) bool {
	return m.Incarnation == p.recorded || canary.Broken(canary.IncarnationCounted)
}

// rejected moves to where the logs may agree, a whole term at a time (rule 11).
func (c *Core) rejected(p *peer, m *Message) {
	pr := &p.pr
	if m.Index == 0 {
		c.Stats.BadMessages++ // nothing comes before the first entry, so nothing can be missing
		return
	}
	if pr.State == tracker.Snapshot {
		c.Stats.Unexpected++ // of an append before it
		return
	}
	hint, _ := c.log.mayMatch(min(m.Hint, m.Index), m.LogTerm)
	next := min(hint+1, m.Index)
	if pr.State == tracker.Replicate {
		if m.Index < pr.Match {
			c.Stats.Unexpected++ // overtaken by a later acknowledgement
			return
		}
		// At the match itself: late, or the peer lost its log. A probe tells.
		pr.ToProbe(next)
		return
	}
	switch {
	case m.Index != pr.Next-1:
		c.Stats.Unexpected++ // of an earlier probe
	case next > pr.Match:
		pr.ToProbe(next)
	case next > pr.Known:
		// It refuses what it acknowledged in this session, perhaps before it did: messages overtake each other.
		pr.Doubted(c.newSession())
	default:
		// It refuses what it had acknowledged before this session began: it lost the end of its log. What was
		// committed stays committed.
		c.Stats.MatchLowered++
		pr.Lowered(next-1, c.newSession())
	}
}
