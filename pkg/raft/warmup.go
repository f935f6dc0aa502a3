package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// warmup follows a learner that is to become a voter (dissertation, section 4.2.1). The leader replicates to it in
// rounds: a round is over when the learner has what the log held at the round's beginning. Once a round took no
// longer than an election timeout, the learner is near enough to the end of the log not to hold up commits.
type warmup struct {
	round  int // from 1 on; 0: this peer is not being warmed up
	target uint64
	since  time.Duration
	result warmed
}

// warmed is how a warm-up ended.
type warmed uint8

const (
	warming warmed = iota
	caughtUp
	gaveUp
)

// beginWarmup starts the first round for a learner that is to be promoted.
func (c *Core) beginWarmup(p *peer) {
	p.warm = warmup{}
	if p.member.Promote && !p.leaving {
		p.warm = warmup{round: 1, target: c.log.last, since: c.now}
	}
}

// warmUp looks at an acknowledgement of a learner. A round does not end before the configuration in effect: the one that
// records the learner's directory has to be in its log, or it could not vote as soon as it has to.
func (c *Core) warmUp(p *peer) {
	w := &p.warm
	if w.round == 0 || w.result != warming || p.pr.Match < max(w.target, c.current().index) || c.role != Leader {
		return
	}
	switch {
	case c.now-w.since <= c.cfg.ElectionTimeoutMin:
		w.result = caughtUp
	case w.round >= c.cfg.WarmupRounds:
		w.result = gaveUp
	default:
		w.round, w.target, w.since = w.round+1, c.log.last, c.now
		c.warmUp(p) // it may have all of it already, and then nothing more would come
		return
	}
	c.lead.untended = true
}

// tend makes the configuration changes that a leader makes by itself, one at a time: it records incarnations, ends
// warm-ups, and raises the version.
func (c *Core) tend() {
	if (!c.lead.untended && !c.lead.unrecorded) || c.configs.pending(c.log.commit) || c.lead.transfer.to != 0 {
		return
	}
	before := c.current().conf
	if c.lead.unrecorded {
		c.lead.unrecorded = false
		// Until an incarnation is recorded its member's acknowledgements do not count, so this one change does not
		// wait for an entry of this term: the voters stay the same.
		next := c.withHeard(before)
		for i := range next.Members {
			if next.Members[i].Incarnation != before.Members[i].Incarnation {
				c.appendOwn(EntryConfig, next.Encode())
				return
			}
		}
	}
	if !c.ready() {
		return
	}
	c.lead.untended = false
	if next, ok := c.nextOwnChange(before); ok {
		c.lead.untended = true // there may be more
		c.appendOwn(EntryConfig, next.Encode())
	}
}

// nextOwnChange is the configuration that a leader with nothing under way goes on to by itself, if any.
func (c *Core) nextOwnChange(before Configuration) (Configuration, bool) {
	for i := range before.Members {
		p := c.peer(before.Members[i].ID)
		if p == nil || p.warm.result == warming || !before.Members[i].Promote {
			continue
		}
		next := before.Clone()
		m := &next.Members[i]
		m.Promote = false
		m.Learner = p.warm.result == gaveUp
		p.warm = warmup{}
		return next, true
	}
	version := ^uint32(0)
	for i := range before.Members {
		version = min(version, before.Members[i].Version)
	}
	if canary.Broken(canary.VersionOfAll) {
		version = before.Version
		for i := range before.Members {
			version = max(version, before.Members[i].Version)
		}
	}
	if len(before.Members) > 0 && version > before.Version {
		next := before.Clone()
		next.Version = version
		return next, true
	}
	return before, false
}
