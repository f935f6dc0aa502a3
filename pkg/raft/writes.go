package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// write is a batch on its way to the disk.
type write struct {
	seq            uint64
	last, lastTerm uint64 // end of the log as of this batch
	covers         uint64 // up to where it still vouches for the log: last, less what was cut since
	hard           HardState
	changes        bool // it is not there for order alone
	at             time.Duration
}

// writes holds the batches that were handed out and are not known to be durable, oldest first. A batch
// that is durable makes all before it so.
type writes struct {
	queue  []write
	seq    uint64
	handed uint64 // last index of the log as of the latest batch, or as it was found
}

// cut limits what the batches under way vouch for. [Otherwise a completion for an entry that was cut and
// replaced by one of equal index would acknowledge the replacement before it is written.]
func (w *writes) cut(after uint64) {
	if canary.Broken(canary.CutVouchesForNothing) {
		return
	}
	for i := range w.queue {
		w.queue[i].covers = min(w.queue[i].covers, after)
	}
}

// AppendDone says that batch seq, and all before it, is durable. term and last are the batch's LastTerm
// and Last; a completion that does not agree in all three is ignored and counted (rule 9).
func (c *Core) AppendDone(seq, term, last uint64, now time.Duration) {
	c.advance(now)
	defer c.settle()
	n := -1
	for i := range c.writes.queue {
		if w := &c.writes.queue[i]; w.seq == seq {
			if (w.lastTerm == term && w.last == last) || canary.Broken(canary.CompletionMatches) {
				n = i
			}
			break
		}
	}
	if n < 0 {
		c.Stats.StaleCompletions++
		return
	}
	done := c.writes.queue[n]
	c.writes.queue = c.writes.queue[n+1:]
	if len(c.writes.queue) == 0 {
		c.writes.queue = nil
	}
	c.stored = done.hard
	c.log.durable = max(c.log.durable, done.covers)
	switch c.role {
	case Candidate:
		c.countVotes()
	case Leader:
		c.maybeCommit()
	}
	c.log.trim(c.cfg.MaxTailBytes)
}

// diskStalled reports whether a write has been under way for longer than an election timeout. Such a
// member could not even store its own vote in time (rule 13).
func (c *Core) diskStalled() bool {
	for i := range c.writes.queue {
		if w := &c.writes.queue[i]; w.changes {
			return c.now-w.at > c.cfg.ElectionTimeoutMax
		}
	}
	return false
}
