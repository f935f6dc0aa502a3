package raft

import "github.com/coordd/coordd/internal/canary"

// append puts entries at the end of the log; a configuration among them is in effect at once.
func (c *Core) append(es []Entry) {
	c.log.append(es...)
	changed := false
	for i := range es {
		if es[i].Kind != EntryConfig {
			continue
		}
		conf, err := DecodeConfiguration(es[i].Data)
		if err != nil {
			broken("a configuration at index %d that was checked before: %v", es[i].Index, err)
		}
		c.configs.push(es[i].Index, conf)
		changed = true
	}
	c.clock.appended(es[len(es)-1].Time, c.now)
	if changed {
		c.configChanged()
	}
}

// cut takes the entries above an index out of the log. Writes under way will still complete, but cannot
// vouch any more for what was cut (rule 9).
func (c *Core) cut(after uint64) {
	c.log.cut(after)
	c.writes.cut(after)
	if c.configs.cut(after) {
		c.configChanged()
	}
	// An append always follows a cut, and sets the clock anew.
}

// configChanged follows the configuration in effect.
func (c *Core) configChanged() {
	c.syncPeers()
	c.contacts++
	c.lead.untended = true
	if c.role == Leader {
		return
	}
	if resting := c.restingRole(); c.role != PreCandidate && c.role != Candidate {
		c.role = resting
	} else if resting != Follower {
		c.becomeFollower(c.hard.Term, c.leader)
	}
}

// giveUp forgets everything that a member's directory said, because the member is replaced: another directory is
// to take its place. [Its match would count for a directory that never had it, and the next leader would record it
// again.]
func (p *peer) giveUp(c *Core) {
	p.heard, p.vote, p.isBlank = Incarnation{}, unanswered, false
	if c.role == Leader {
		p.pr.Reset(c.log.last, c.newSession(), c.now)
		p.pr.Unheard = true
	}
}

// syncPeers makes the list of peers that of the configuration in effect. Who stays keeps its state; who
// is new to a leader gets a session number that this term has not seen (rule 10); who was removed by a
// leader is kept until it knows (rule 7).
func (c *Core) syncPeers() {
	conf := c.current()
	old := c.peers
	c.peers = make([]*peer, 0, len(conf.conf.Members))
	take := func(p *peer) { // keeps the order by ID
		i := len(c.peers)
		c.peers = append(c.peers, p)
		for ; i > 0 && c.peers[i-1].id > p.id; i-- {
			c.peers[i], c.peers[i-1] = c.peers[i-1], c.peers[i]
		}
	}
	for i := range conf.conf.Members {
		m := &conf.conf.Members[i]
		if m.ID == c.id {
			continue
		}
		var p *peer
		for _, o := range old {
			if o.id == m.ID && !o.leaving {
				p = o
			}
		}
		if p == nil {
			p = &peer{id: m.ID}
			if c.role == Leader {
				p.pr.Reset(c.log.last, c.newSession(), c.now)
				p.pr.Unheard = true
			}
		} else if c.role == Leader && !m.Incarnation.IsZero() && m.Incarnation != p.recorded && m.Incarnation != p.heard {
			p.pr.Reset(c.log.last, c.newSession(), c.now) // another directory in the member's place
		}
		// Both, what was recorded and that it is given up, may have come at once.
		if m.Incarnation.IsZero() && (!p.recorded.IsZero() || (!m.Former.IsZero() && p.heard == m.Former)) {
			p.giveUp(c)
		}
		anew := !p.recorded.IsZero() && m.Incarnation != p.recorded
		begins := c.role == Leader && m.Promote && (!p.member.Promote || anew)
		p.voter, p.standby, p.recorded, p.member = !m.Learner, m.Standby, m.Incarnation, *m
		if begins {
			c.beginWarmup(p)
		}
		take(p)
	}
	if c.role != Leader {
		return
	}
	for _, o := range old {
		if _, listed := conf.conf.Member(o.id); listed {
			continue
		}
		if canary.Broken(canary.RemovedIsTold) {
			continue
		}
		if !o.leaving {
			o.leaving, o.voter, o.leftAt, o.leaveBy = true, false, conf.index, c.now+leaveLimit
		}
		take(o)
	}
}
