package raft

import "github.com/coordd/coordd/internal/canary"

// Output returns what has accumulated since the last call, for the caller to carry out. Many inputs may
// come between two calls: that is the batching. Nothing that it returns is changed later, and the caller
// must not change the entries either, because they are shared.
func (c *Core) Output() Output {
	if c.role == Leader {
		c.joinReads()
		for _, p := range c.peers {
			c.replicate(p)
		}
	} else {
		c.forwardReads()
	}
	var out Output
	out.Append = c.nextBatch()
	out.Restore, c.restoring = c.restoring, nil
	out.Apply = c.nextApply()
	out.Send, out.Reads, out.Fetch = c.send, c.answers, c.fetches
	c.send, c.answers, c.fetches = nil, nil, nil
	out.State = c.softState()
	out.Changed = out.State != c.told
	c.told = out.State
	c.valid()
	return out
}

// nextBatch gathers what has to be written, and the messages that wait for it.
func (c *Core) nextBatch() *AppendBatch {
	if canary.Broken(canary.DurableBeforeSaid) {
		c.send, c.after = append(c.send, c.after...), nil
	}
	changes := c.hardChanged || c.log.handed < c.log.last || c.writes.handed > c.log.handed || c.installing != nil
	if !changes && (len(c.writes.queue) == 0 || canary.Broken(canary.RepeatsWait)) {
		// Everything before is durable, so nothing has to wait.
		c.send = append(c.send, c.after...)
		c.after = nil
		return nil
	}
	if !changes && len(c.after) == 0 {
		return nil
	}
	hard := c.hard
	hard.Commit = c.log.commit
	c.writes.seq++
	entries, _ := c.log.slice(c.log.handed+1, c.log.last+1, int(^uint(0)>>1))
	batch := &AppendBatch{Seq: c.writes.seq, HardState: hard, TruncateAfter: c.log.handed, Entries: entries,
		Snapshot: c.installing, Last: c.log.last, LastTerm: c.log.lastTerm, MustWrite: changes, ThenSend: c.after}
	c.installing = nil
	c.writes.queue = append(c.writes.queue, write{seq: batch.Seq, last: c.log.last, lastTerm: c.log.lastTerm,
		covers: c.log.last, hard: c.hard, changes: changes, at: c.now})
	c.writes.handed = c.log.last
	c.log.handed = c.log.last
	c.hardChanged = false
	c.after = nil
	return batch
}

func (c *Core) softState() SoftState {
	return SoftState{
		Role: c.role, Term: c.hard.Term, Leader: c.leader, Commit: c.log.commit, Last: c.log.last,
		Ready: c.ready(), Recovering: c.recovering != nil, Blank: c.log.last == 0 && !c.trusted(),
		ConfigIndex: c.current().index, Contacts: c.contacts, Removed: c.removed(),
	}
}
