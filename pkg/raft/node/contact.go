package node

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// contact measures what passes between leader and followers, for metrics and Status alone.
type contact struct {
	leader raft.MemberID
	at     time.Duration // of the last message from the leader
	rounds []round       // the last heartbeat sent to each peer
}

type round struct {
	peer raft.MemberID
	id   uint64
	at   time.Duration
}

// received reports whether a message is a sign of life of the leader.
func (c *contact) received(o Observer, m *raft.Message, leader raft.MemberID, now time.Duration) bool {
	switch m.Type {
	case raft.MsgHeartbeat, raft.MsgAppend:
		if m.From != leader {
			return false
		}
		if c.leader == leader {
			o.LeaderContact(leader, (now - c.at).Seconds())
		}
		c.leader, c.at = leader, now
		return true
	case raft.MsgHeartbeatResp:
		for i := range c.rounds {
			if r := &c.rounds[i]; r.peer == m.From && r.id == m.Round && r.id != 0 {
				o.RoundTrip(r.peer, (now - r.at).Seconds())
				r.id = 0
			}
		}
	}
	return false
}

func (c *contact) sent(ms []raft.Message, now time.Duration) {
next:
	for i := range ms {
		m := &ms[i]
		if m.Type != raft.MsgHeartbeat {
			continue
		}
		for j := range c.rounds {
			if r := &c.rounds[j]; r.peer == m.To {
				r.id, r.at = m.Round, now
				continue next
			}
		}
		c.rounds = append(c.rounds, round{m.To, m.Round, now})
	}
}
