package raft

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// Propose appends entries to the leader's log: all of them or none. They are committed when an Apply shows
// them with the term that is returned; an entry of another term at their index means that they are lost.
// The core keeps the data; it must not be changed afterwards.
//
// ErrNotLeader, ErrTransferring, ErrBusy and ErrTooLarge mean that nothing was appended.
func (c *Core) Propose(ps []Proposal, now time.Duration) (first, term uint64, err error) {
	c.advance(now)
	if err := c.mayPropose(); err != nil {
		return 0, 0, err
	}
	bytes := 0
	for i := range ps {
		size := entryOverheadBytes + len(ps[i].Data)
		if size > c.cfg.MaxMessageBytes {
			return 0, 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, c.cfg.MaxMessageBytes)
		}
		bytes += size
		switch ps[i].Kind {
		case EntryCommand:
		case EntryConfig:
			if err := c.checkConfigProposal(ps, i); err != nil {
				return 0, 0, err
			}
		default:
			return 0, 0, fmt.Errorf("raft: proposing: kind %d is not for callers", ps[i].Kind)
		}
	}
	switch {
	case len(ps) == 0:
		return c.log.last + 1, c.hard.Term, nil
	case bytes > c.cfg.MaxUncommittedBytes:
		return 0, 0, fmt.Errorf("%w: %d bytes at once, at most %d", ErrTooLarge, bytes, c.cfg.MaxUncommittedBytes)
	case c.lead.uncommittedBytes+bytes > c.cfg.MaxUncommittedBytes && !canary.Broken(canary.UncommittedBound),
		c.applies.full(c.cfg.MaxApplyBytes) && !canary.Broken(canary.ApplyBacklogBound):
		return 0, 0, ErrBusy
	}
	defer c.settle()
	first = c.log.last + 1
	at := c.clock.at(c.now)
	c.batch = c.batch[:0]
	for i := range ps {
		c.batch = append(c.batch, Entry{Index: first + uint64(i), Term: c.hard.Term, Time: at, Wall: ps[i].Wall,
			Kind: ps[i].Kind, Data: ps[i].Data})
	}
	c.lead.uncommittedBytes += bytes
	c.append(c.batch)
	clear(c.batch)
	return first, c.hard.Term, nil
}

func (c *Core) mayPropose() error {
	switch {
	case c.role != Leader:
		return ErrNotLeader
	case c.lead.transfer.to != 0:
		return ErrTransferring
	}
	return nil
}

// appendOwn appends an entry of the core's own.
func (c *Core) appendOwn(kind EntryKind, data []byte) {
	e := Entry{Index: c.log.last + 1, Term: c.hard.Term, Time: c.clock.at(c.now), Kind: kind, Data: data}
	c.lead.uncommittedBytes += e.Size()
	c.append([]Entry{e})
}

// ProposeConfChange appends a configuration, which is in effect at once. One voter may come or go at a
// time, and only when the configuration before is committed and so is an entry of this term: else two
// leaders could each commit with a majority of their own (Ongaro's note of 2015 to the raft-dev list).
func (c *Core) ProposeConfChange(next Configuration, now time.Duration) (index uint64, err error) {
	p := []Proposal{{Kind: EntryConfig, Data: next.Encode()}}
	index, _, err = c.Propose(p, now)
	return index, err
}

func (c *Core) checkConfigProposal(ps []Proposal, i int) error {
	if len(ps) > 1 {
		return fmt.Errorf("%w: it comes together with other proposals", ErrChangePending)
	}
	if (!c.ready() && !canary.Broken(canary.ChangeAfterTermStart)) ||
		(c.configs.pending(c.log.commit) && !canary.Broken(canary.OneChangeAtATime)) {
		return ErrChangePending
	}
	next, err := DecodeConfiguration(ps[i].Data)
	if err != nil {
		return err
	}
	return checkChange(c.current().conf, next)
}

// firstConfiguration is what the first leader of a blank cluster writes: a random identity for good, and
// the members with the incarnations that they showed.
func (c *Core) firstConfiguration() Configuration {
	conf := c.withHeard(c.current().conf)
	if conf.ClusterID.IsZero() {
		conf.ClusterID = c.cfg.NewClusterID
	}
	return conf
}

// withHeard fills in the incarnations that are not recorded and were heard.
func (c *Core) withHeard(conf Configuration) Configuration {
	conf = conf.Clone()
	for i := range conf.Members {
		m := &conf.Members[i]
		if !m.Incarnation.IsZero() {
			continue
		}
		if m.ID == c.id {
			m.Incarnation = c.cfg.Incarnation
		} else if p := c.peer(m.ID); p != nil {
			m.Incarnation = p.heard
		}
	}
	return conf
}

// Config returns the configuration in effect and the index of its entry, 0 for the static one.
func (c *Core) Config() (Configuration, uint64) {
	at := c.current()
	return at.conf.Clone(), at.index
}
