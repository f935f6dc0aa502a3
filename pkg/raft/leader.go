package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/quorum"
)

// leaveLimit is how long a removed member goes on being told of its removal (rule 7).
const leaveLimit = 10 * time.Second

// leadership is what only a leader has. It begins empty with each term.
type leadership struct {
	termStart        uint64 // index of this term's no-op
	uncommittedBytes int
	sessions         uint64 // last session number given to a peer
	unrecorded       bool   // a peer showed an incarnation that the configuration does not record
	untended         bool   // there may be something for tend to do

	heartbeatAt time.Duration
	rounds      rounds
	transfer    transfer
	noLease     bool // a transfer was asked for in this term
	scratch     []uint64
	instants    []time.Duration
}

// becomeLeader begins a term. Its first entry is a no-op, because only an entry of this term commits those
// before it (dissertation, section 3.6.2); the first leader of a blank cluster puts the configuration
// before that.
func (c *Core) becomeLeader() {
	c.role = Leader
	c.setLeader(c.id)
	scratch, instants := c.lead.scratch, c.lead.instants
	c.lead = leadership{scratch: scratch, instants: instants}
	if es, _ := c.log.slice(c.log.applied, c.log.applied+1, 0); len(es) > 0 && canary.Broken(canary.StampFromLastEntry) {
		c.clock.appended(es[0].Time, c.now)
	}
	c.clock.elect(c.now)
	for _, p := range c.peers {
		p.pr.Reset(c.log.last, c.newSession(), c.now)
		p.nudge, p.request, p.tellSoon = false, readRequest{}, false
		if p.recorded.IsZero() && !p.heard.IsZero() {
			c.lead.unrecorded = true
		}
	}
	if me, ok := c.current().conf.Member(c.id); ok && me.Incarnation.IsZero() && !c.cfg.Incarnation.IsZero() {
		c.lead.unrecorded = true
	}
	c.lead.uncommittedBytes = c.log.bytesBetween(c.log.commit, c.log.last)
	if c.log.last == 0 {
		c.appendOwn(EntryConfig, c.firstConfiguration().Encode())
	}
	c.appendOwn(EntryNoOp, nil)
	c.lead.termStart = c.log.last
	c.lead.untended = true
	for _, p := range c.peers {
		c.beginWarmup(p)
	}
	c.startRound()
}

// endLeadership answers those who wait for this leader and forgets its view of the others.
func (c *Core) endLeadership() {
	c.failReads()
	c.lead = leadership{scratch: c.lead.scratch, instants: c.lead.instants}
	staying := c.peers[:0:0]
	for _, p := range c.peers {
		if !p.leaving {
			staying = append(staying, p)
		}
	}
	if len(staying) < len(c.peers) {
		c.peers = staying
		c.contacts++
	}
}

func (c *Core) newSession() uint64 {
	c.lead.sessions++
	return c.lead.sessions
}

// ready reports whether this is a leader with an entry of its term committed. Before that it does not know
// what is committed (dissertation, section 6.4).
func (c *Core) ready() bool { return c.role == Leader && c.log.commit >= c.lead.termStart }

func (c *Core) tickLeader() {
	if c.checksQuorum() && !c.inTouch(c.cfg.ElectionTimeoutMax) {
		c.becomeFollower(c.hard.Term, 0)
		return
	}
	c.tickTransfer()
	if c.now >= c.lead.heartbeatAt {
		c.startRound()
		c.letGo()
		if c.lead.transfer.to != 0 {
			c.sendTimeoutNow() // the one before may be lost
		}
	}
}

// checksQuorum reports whether a leader that hears from no majority steps down.
func (c *Core) checksQuorum() bool {
	return c.cfg.CheckQuorum && !canary.Broken(canary.DeafLeaderStepsDown)
}

func (c *Core) nextLeaderTick() time.Duration {
	next := c.lead.heartbeatAt
	if c.checksQuorum() {
		next = min(next, c.touched()+c.cfg.ElectionTimeoutMax)
	}
	if c.lead.transfer.to != 0 {
		next = min(next, c.lead.transfer.until)
	}
	return next
}

// touched is the latest instant at which this leader had heard from a majority, itself included.
func (c *Core) touched() time.Duration {
	at := c.lead.instants[:0]
	if c.current().conf.isVoter(c.id) {
		at = append(at, c.now)
	}
	for _, p := range c.peers {
		if p.voter {
			at = append(at, p.pr.Contact)
		}
	}
	c.lead.instants = at
	return quorum.Reached(at)
}

// inTouch reports whether a majority answered within a window.
func (c *Core) inTouch(window time.Duration) bool { return c.now-c.touched() < window }

// letGo ends the replication to members that were removed and know it, or had time enough.
func (c *Core) letGo() {
	kept := c.peers[:0:0]
	for _, p := range c.peers {
		if !p.leaving || (p.pr.Commit < p.leftAt && c.now < p.leaveBy) {
			kept = append(kept, p)
		}
	}
	if len(kept) < len(c.peers) {
		c.peers = kept
		c.contacts++
	}
}
