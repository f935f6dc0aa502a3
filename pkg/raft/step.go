package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// handler takes one message in one role. The message passed admit: it is well formed, of this term (votes
// of the term that they ask for), and its sender is known, but for what leaders and candidates send, where p is
// nil for one that this member's configuration does not list yet.
type handler func(c *Core, p *peer, m *Message)

const numRoles = int(Learner) + 1

// handlers says what each role does with each type of message. An empty cell has no meaning: the message
// is late, and it is counted as unexpected.
var handlers = [numRoles][numMessageTypes]handler{
	Follower:     resting(onTimeoutNow),
	Standby:      resting(nil),
	Learner:      resting(nil),
	PreCandidate: campaigning(MsgPreVoteResp, onPreVoteResp),
	Candidate:    campaigning(MsgVoteResp, onVoteResp),
	Leader: {
		MsgPreVote:       onPreVote,
		MsgVote:          onVote,
		MsgAppendResp:    onAppendResp,
		MsgHeartbeatResp: onHeartbeatResp,
		MsgReadIndex:     onReadIndex,
		MsgHello:         onHello,
	},
}

func resting(timeoutNow handler) [numMessageTypes]handler {
	return [numMessageTypes]handler{
		MsgPreVote:       onPreVote,
		MsgVote:          onVote,
		MsgAppend:        onAppend,
		MsgHeartbeat:     onHeartbeat,
		MsgTimeoutNow:    timeoutNow,
		MsgReadIndex:     refuseReadIndex,
		MsgReadIndexResp: onReadIndexResp,
		MsgHello:         onHello,
		MsgHelloResp:     onHelloResp,
		MsgSnapshot:      onSnapshot,
	}
}

// campaigning roles give way to a leader of their own term.
func campaigning(answer MessageType, h handler) [numMessageTypes]handler {
	t := resting(nil)
	t[answer] = h
	t[MsgReadIndexResp] = nil
	return t
}

// Step takes one message. It never fails: a bad message is dropped and counted in Stats.
func (c *Core) Step(m Message, now time.Duration) {
	c.advance(now)
	if p, ok := c.admit(&m); ok {
		if h := handlers[c.role][m.Type]; h != nil {
			h(c, p, &m)
		} else {
			c.Stats.Unexpected++
		}
	}
	c.settle()
}

// admit decides whether a message reaches its handler, answers those that a refusal must not leave
// unanswered (rule 6), and adopts newer terms.
func (c *Core) admit(m *Message) (*peer, bool) {
	if !c.wellFormed(m) {
		c.Stats.BadMessages++
		return nil, false
	}
	p := c.peer(m.From)
	stranger := p != nil && !c.sameIncarnation(p, m.Incarnation)
	if stranger {
		p = nil // it is not the one that is listed
	}
	switch {
	case p != nil:
	case m.Term < c.hard.Term && asks(m.Type):
		// A node that was removed, or that we do not know yet: it learns of the newer term below.
	case m.Type == MsgAppend || m.Type == MsgHeartbeat || m.Type == MsgSnapshot || m.Type == MsgPreVote || m.Type == MsgVote:
		// An elected leader, or a candidate, that our configuration does not list yet, or lists with the directory that
		// it had before it was replaced: it is the sender's that counts (dissertation, section 4.1). [Who was away while
		// the others were replaced may have the vote that they need.] A wiped directory neither leads nor stands.
	case m.From == c.leader && m.Term == c.hard.Term:
		// The leader whose own removal is in our log already.
	case stranger:
		c.Stats.WrongIncarnation++
		return nil, false
	default:
		c.Stats.UnknownMember++
		return nil, false
	}
	m.Transfer = m.Transfer && c.mayTransfer(m)
	switch {
	case m.Type == MsgHello || m.Type == MsgHelloResp:
		return p, true // of no term
	case m.Term > c.hard.Term:
		return p, c.admitNewer(m)
	case m.Term < c.hard.Term:
		return p, c.admitOlder(m)
	}
	return p, true
}

// asks reports whether a message of a lower term is answered.
func asks(t MessageType) bool {
	switch t {
	case MsgPreVote, MsgVote, MsgAppend, MsgHeartbeat, MsgReadIndex, MsgSnapshot:
		return true
	}
	return false
}

func (c *Core) admitNewer(m *Message) bool {
	switch m.Type {
	case MsgPreVote:
		return true // asks about a term that nobody is in yet
	case MsgPreVoteResp:
		if !m.Reject {
			return true // echoes the term that was asked for
		}
		c.becomeFollower(m.Term, 0)
		return false
	case MsgVote:
		if c.sticky(m) {
			if canary.Broken(canary.StickyKeepsTerm) {
				c.becomeFollower(m.Term, 0)
			}
			c.refuse(m, MsgVoteResp)
			c.Stats.StickyRefusals++
			return false
		}
		c.becomeFollower(m.Term, 0)
		return true
	case MsgAppend, MsgHeartbeat, MsgSnapshot:
		c.becomeFollower(m.Term, m.From)
		return true
	case MsgTimeoutNow:
		// Only the leader of the term that this member is in may ask.
		c.Stats.Unexpected++
		return false
	}
	// An answer, or a request, of somebody who is ahead: this member's term is over. A read request is
	// then refused in the newer term.
	c.becomeFollower(m.Term, 0)
	return m.Type == MsgReadIndex
}

func (c *Core) admitOlder(m *Message) bool {
	if canary.Broken(canary.LowerTermAnswered) && asks(m.Type) {
		return false
	}
	switch m.Type {
	case MsgPreVote:
		c.refuse(m, MsgPreVoteResp)
	case MsgVote:
		c.refuse(m, MsgVoteResp)
	case MsgAppend, MsgSnapshot:
		c.refuse(m, MsgAppendResp)
	case MsgHeartbeat:
		c.refuse(m, MsgHeartbeatResp)
	case MsgReadIndex:
		c.refuse(m, MsgReadIndexResp)
	case MsgPreVoteResp:
		return m.Reject // refusals carry the refuser's term
	default:
		c.Stats.StaleTerm++
	}
	return false
}

// refuse answers with this member's own term. It claims nothing that has to be durable.
func (c *Core) refuse(m *Message, t MessageType) {
	c.send = append(c.send, Message{Type: t, From: c.id, To: m.From, Term: c.hard.Term, Reject: true, Round: m.Round, Session: m.Session})
}

// maxPosition bounds the terms and indexes that are believed, so that none can overflow.
const maxPosition = 1 << 62

// wellFormed checks what must hold for any message, whoever sent it.
func (c *Core) wellFormed(m *Message) bool {
	if !m.Type.Valid() || m.From == 0 || m.From == c.id || m.To != c.id || m.Term > maxPosition || m.Index > maxPosition {
		return false
	}
	if m.Type == MsgHello || m.Type == MsgHelloResp {
		return true
	}
	switch m.Type {
	case MsgPreVoteResp, MsgVoteResp: // a refusal may come from a member that never saw a term
	default:
		if m.Term == 0 {
			return false
		}
	}
	switch m.Type {
	case MsgAppend:
		if m.LogTerm > m.Term || (m.Index == 0) != (m.LogTerm == 0) {
			return false
		}
		term := m.LogTerm
		for i := range m.Entries {
			e := &m.Entries[i]
			if e.Index != m.Index+1+uint64(i) || e.Term < term || e.Term == 0 || e.Term > m.Term {
				return false
			}
			term = e.Term
		}
	case MsgHeartbeat:
		return m.LogTerm <= m.Term
	case MsgSnapshot:
		return m.Snapshot != nil && m.Snapshot.wellFormed(m.Term)
	case MsgVote, MsgPreVote:
		return m.LogTerm < m.Term && (m.Index == 0) == (m.LogTerm == 0)
	}
	return true
}

// sameIncarnation checks a sender's incarnation against the recorded one. Where none is recorded yet the
// latest one heard stands, and whatever an earlier one said is forgotten.
func (c *Core) sameIncarnation(p *peer, in Incarnation) bool {
	if !p.recorded.IsZero() {
		return in == p.recorded || canary.Broken(canary.IncarnationRecorded)
	}
	if f := p.member.Former; !f.IsZero() && in == f {
		return false
	}
	if in.IsZero() || in == p.heard {
		return true
	}
	if !p.heard.IsZero() {
		p.vote, p.isBlank = unanswered, false
		if c.role == Leader {
			p.pr.Reset(c.log.last, c.newSession(), c.now)
		}
	}
	p.heard = in
	if c.role == Leader {
		c.lead.unrecorded = true
	}
	return true
}
