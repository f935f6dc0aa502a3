package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// followed makes the sender of an append or heartbeat of this term this member's leader. It reports false
// where there is another one, which no correct member can bring about.
func (c *Core) followed(from MemberID) bool {
	if c.leader != 0 && c.leader != from {
		c.Stats.BadMessages++
		return false
	}
	if c.role == PreCandidate || c.role == Candidate {
		c.becomeFollower(c.hard.Term, from)
	}
	c.setLeader(from)
	c.contact()
	return true
}

// onAppend takes a leader's entries (dissertation, section 3.5).
func onAppend(c *Core, p *peer, m *Message) {
	if !c.followed(m.From) {
		return
	}
	last := m.Index + uint64(len(m.Entries))
	news := m.Entries
	if base := c.log.base; m.Index < base {
		// What a snapshot has is committed, so every leader has it too: it need not be compared.
		if last <= base {
			c.acknowledge(m, base)
			return
		}
		news = news[base-m.Index:]
	} else if !c.log.matches(m.Index, m.LogTerm) && (m.Index > c.log.last || !canary.Broken(canary.AppendChecksPrevious)) {
		c.reject(m, m.LogTerm)
		return
	}
	for len(news) > 0 && c.log.matches(news[0].Index, news[0].Term) && !canary.Broken(canary.AppendKeepsMatching) {
		news = news[1:] // a repeat; it must not cut what came after it (rule 3)
	}
	if len(news) > 0 && !c.accept(news) {
		return
	}
	// What lies behind the message may still be of another leader (rule 4).
	reach := last
	if canary.Broken(canary.CommitClamped) {
		reach = c.log.last
	}
	c.commitTo(min(m.Commit, reach))
	c.acknowledge(m, last)
}

// accept puts a leader's new entries into the log, in place of whatever contradicts them.
func (c *Core) accept(es []Entry) bool {
	if es[0].Index <= c.log.commit {
		c.Stats.CommitConflicts++
		return false
	}
	// All or nothing: a configuration that cannot be read must not leave half a message behind.
	for i := range es {
		if es[i].Kind == EntryConfig {
			if _, err := DecodeConfiguration(es[i].Data); err != nil {
				c.Stats.BadMessages++
				return false
			}
		}
	}
	if es[0].Index <= c.log.last {
		c.cut(es[0].Index - 1)
	}
	c.append(es)
	return true
}

// reject says that the entry before an append is not in this log, and where the logs may still agree
// (rule 11). It claims nothing that has to be durable.
func (c *Core) reject(m *Message, term uint64) {
	hint, hintTerm := c.log.mayMatch(m.Index, term)
	c.send = append(c.send, Message{Type: MsgAppendResp, From: c.id, To: m.From, Term: c.hard.Term, Session: m.Session,
		Reject: true, Index: m.Index, Hint: hint, LogTerm: hintTerm, Commit: c.log.commit})
}

// acknowledge says that this log is the leader's up to an index, once it is durable (rule 1). Several
// acknowledgements between two outputs are one.
func (c *Core) acknowledge(m *Message, index uint64) {
	promise := c.promise()
	if n := len(c.after); n > 0 {
		before := &c.after[n-1]
		if before.Type == MsgAppendResp && before.To == m.From && before.Term == c.hard.Term && before.Session == m.Session {
			before.Index, before.Commit = max(before.Index, index), c.log.commit
			return
		}
	}
	c.after = append(c.after, Message{Type: MsgAppendResp, From: c.id, To: m.From, Term: c.hard.Term, Session: m.Session,
		Index: index, Commit: c.log.commit, Promise: promise})
}

// promise is the sticky window that an acknowledgement carries. The longest ever promised is durable
// before it is said, because a restarted voter must honour it (rule 18).
func (c *Core) promise() time.Duration {
	if c.hard.Promise < c.cfg.ElectionTimeoutMin && !canary.Broken(canary.PromiseStored) {
		c.hard.Promise = c.cfg.ElectionTimeoutMin
		c.hardChanged = true
	}
	return c.cfg.ElectionTimeoutMin
}

// onHeartbeat takes a round's heartbeat. The answer speaks of the term and of the promise alone, so it
// waits for these to be durable and for nothing else: a stalled disk must not end a leadership (rule 13).
func onHeartbeat(c *Core, p *peer, m *Message) {
	if !c.followed(m.From) {
		return
	}
	resp := Message{Type: MsgHeartbeatResp, From: c.id, To: m.From, Term: c.hard.Term, Session: m.Session, Round: m.Round,
		Promise: c.promise()}
	switch {
	case m.Index < c.log.base, m.LogTerm == 0 && m.Index <= c.log.last:
		// Nothing to compare with, on one side or the other. What is committed comes with the next append.
	case c.log.matches(m.Index, m.LogTerm):
		// What this leader knows to match may be committed; nothing beyond (rule 4).
		reach := m.Index
		if canary.Broken(canary.HeartbeatCommit) {
			reach = c.log.last
		}
		c.commitTo(min(m.Commit, reach))
	case m.LogTerm == 0:
		c.reject(m, c.hard.Term)
	default:
		// The leader counts on entries that are gone, or that a damaged disk has put others in the place of (rule 15).
		// It has to hear of it even if it has nothing to send.
		c.reject(m, m.LogTerm)
	}
	resp.Commit = c.log.commit
	if c.stored.Term == c.hard.Term && c.stored.Promise == c.hard.Promise && !canary.Broken(canary.HeartbeatDoesNotWait) {
		c.send = append(c.send, resp)
	} else {
		c.after = append(c.after, resp)
	}
}
