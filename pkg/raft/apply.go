package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// applies is what was handed out to be applied and is not reported as applied.
type applies struct {
	under tracker.Inflight
	// waitingBytes is the size of the entries in memory that are committed and not handed out yet.
	waitingBytes int
	// fetched are entries that were read from disk in order to be applied.
	fetched  []Entry
	fetching bool
	// pausedUntil delays the next attempt after a read that brought nothing.
	pausedUntil time.Duration
}

// full reports whether the backlog, handed out or not, has reached its bound (rule 12).
func (a *applies) full(maxBytes int) bool { return a.under.Bytes()+a.waitingBytes >= maxBytes }

// nextApply hands out committed entries, in order and without gaps, as far as the backlog's bound allows.
func (c *Core) nextApply() []Entry {
	lo, commit := c.log.applying+1, c.log.commit
	if canary.Broken(canary.OnlyCommittedApplies) {
		commit = c.log.last
	}
	room := c.cfg.MaxApplyBytes - c.applies.under.Bytes()
	if lo > commit || room <= 0 {
		return nil
	}
	var es []Entry
	var bytes int
	if lo >= c.log.tailFirst {
		if es, bytes = c.log.slice(lo, commit+1, room); bytes > room && c.applies.under.Len() > 0 {
			return nil // the first entry alone goes beyond the bound
		}
		c.applies.waitingBytes -= bytes
	} else if es = c.applies.fetched; len(es) > 0 {
		c.applies.fetched = nil
		for i := range es {
			bytes += es[i].Size()
		}
	} else {
		if !c.applies.fetching && c.now >= c.applies.pausedUntil {
			c.applies.fetching = true
			c.fetches = append(c.fetches, FetchRequest{To: c.id, Lo: lo, Hi: min(c.log.tailFirst, c.log.commit+1),
				MaxBytes: min(room, c.cfg.MaxInflightBytes)})
		}
		return nil
	}
	if len(es) == 0 {
		return nil
	}
	c.log.applying = es[len(es)-1].Index
	c.applies.under.Add(c.log.applying, bytes)
	return es
}

func (c *Core) fetchedToApply(lo uint64, es []Entry) {
	if !c.applies.fetching || lo != c.log.applying+1 {
		c.Stats.StaleFetches++
		return
	}
	c.applies.fetching = false
	if len(es) == 0 || es[len(es)-1].Index > c.log.commit || !c.sameAsLog(lo, es) {
		c.applies.pausedUntil = c.now + c.cfg.heartbeatPeriod()
		return
	}
	c.applies.fetched = es
}

// ApplyDone says that all entries up to an index were applied.
func (c *Core) ApplyDone(index uint64) {
	index = min(index, c.log.applying)
	if index <= c.log.applied {
		return
	}
	c.log.applied = index
	c.applies.under.FreeTo(index)
	c.log.trim(c.cfg.MaxTailBytes)
	c.valid()
}
