package sim

import "github.com/coordd/coordd/pkg/raft"

// ask is the latest request for a vote that reached a node from another one.
type ask struct {
	term uint64
	end  raft.Mark // of the log that the candidate claims
}

// session is the latest one of a peer that a leader named.
type session struct {
	term, number uint64
	listed       uint64 // index of the configuration that lists the peer since
}

// checkPromise checks that what a message promises is durable at the moment at which it leaves.
func (n *node) checkPromise(m *raft.Message) {
	d, w := &n.disk, n.w
	switch m.Type {
	case raft.MsgPreVote:
		n.checkCampaign()
	case raft.MsgVote:
		n.checkCampaign()
		if d.hard.Term < m.Term || (d.hard.Term == m.Term && d.hard.Vote != n.id) {
			w.fail("node %d asks for votes in term %d before its own vote is durable", n.id, m.Term)
		}
	case raft.MsgVoteResp:
		if !m.Reject && (d.hard.Term < m.Term || (d.hard.Term == m.Term && d.hard.Vote != m.To)) {
			w.fail("node %d grants its vote of term %d to %d before that is durable", n.id, m.Term, m.To)
		}
		if ask := n.asked[m.To]; !m.Reject && d.mark != nil && !d.unaware && ask.term == m.Term && ask.end.Before(*d.mark) {
			w.fail("node %d, which lost what it had up to %v, votes in term %d for %d with a log up to %v", n.id, *d.mark, m.Term, m.To, ask.end)
		}
	case raft.MsgAppend, raft.MsgHeartbeat, raft.MsgSnapshot:
		n.checkSession(m)
	case raft.MsgAppendResp:
		if m.Reject || d.hard.Term > m.Term {
			break
		}
		at, known := d.segment.at(m.Index)
		wrong := false
		if known && m.Index <= uint64(len(w.truth.committed)) {
			// What was committed by then is in that leader's log, and so must be here.
			c := &w.truth.committed[m.Index-1]
			wrong = c.in <= m.Term && c.ref != at
		}
		if d.segment.last() < m.Index || wrong {
			w.fail("node %d acknowledges %d in term %d; durable is %v", n.id, m.Index, m.Term, d.end())
		}
	}
	if m.Promise > d.hard.Promise {
		w.fail("node %d promises to wait %v in %s; durable is %v", n.id, m.Promise, m.Type, d.hard.Promise)
	}
}

// checkCampaign checks that a candidate has all that its log goes on from, in its storage and in its state machine
// (rule 8).
func (n *node) checkCampaign() {
	if n.log.base == 0 {
		return
	}
	if s := n.disk.snap; s == nil || s.meta.Index < n.log.base || n.machine.applied < n.log.base {
		n.w.fail("node %d stands with a snapshot at %d that is not installed; applied is %d", n.id, n.log.base, n.machine.applied)
	}
}

// checkSession checks that who left and came back has another session than before (rule 10).
func (n *node) checkSession(m *raft.Message) {
	was, now := n.sessions[m.To], session{m.Term, m.Session, n.inEffect().listed[m.To]}
	if now.listed == 0 && was.listed != 0 {
		return // it is leaving
	}
	if was.term == now.term && was.number == now.number && was.listed != now.listed {
		n.w.fail("node %d has the session %d of term %d with member %d, listed since %d, and again since %d", n.id, now.number, now.term, m.To, was.listed, now.listed)
	}
	n.sessions[m.To] = now
}
