package sim

import (
	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/lease"
)

// numbers is what a process has left of a range.
type numbers struct {
	sequence   uint64 // ID
	next, left int64
}

// allocate takes a range, in the session or without one.
func (c *client) allocate(name string, want, least int64) {
	cmd := replicated.Command{Kind: replicated.KindSeqAlloc, Namespace: namespace, Name: name, Alloc: &replicated.SeqAlloc{Count: want, MinCount: least}}
	install := func(r *replicated.Reply) {
		if r.Code == replicated.OK {
			c.ranges = append(c.ranges, numbers{r.Range.SequenceID, r.Range.Lo, r.Range.Count})
			c.useNumbers(2)
		}
	}
	if s := c.session; s != nil {
		s.execute("allocate", cmd, install)
		return
	}
	tries := 0
	c.ask("allocate without a session", 0, func() (message, bool) {
		tries++ // each that is executed takes a range of its own
		return message{cmd: cmd}, tries <= 3
	}, func(a *answer, _ lease.Instant) { install(&a.reply) })
}

// useNumbers uses the next of what is at hand. A range outlives its session.
func (c *client) useNumbers(n int) {
	for ; n > 0 && len(c.ranges) > 0; n-- {
		r := &c.ranges[0]
		c.w.seen.useNumber(c, r.sequence, r.next)
		r.next++
		if r.left--; r.left == 0 {
			c.ranges = c.ranges[1:]
		}
	}
}

// sequence does something about a sequence itself.
func (s *clientSession) sequence(k replicated.Kind, name string) {
	cmd := replicated.Command{Kind: k, Namespace: namespace, Name: name}
	what := "create"
	switch k {
	case replicated.KindSeqCreate:
		cmd.Create = &replicated.SeqCreate{MaxRange: 100}
	case replicated.KindSeqAdvance:
		what = "advance"
		cmd.Advance = &replicated.SeqAdvance{To: s.c.w.seen.ahead(name) + int64(s.c.rnd.intn(50))}
	case replicated.KindSeqDelete:
		what = "delete"
	}
	s.execute(what, cmd, func(*replicated.Reply) {})
}

// read asks for a lock or a sequence.
func (c *client) read(q query) {
	what := "read a sequence"
	switch {
	case q.stale:
		what = "stale read"
	case q.lock != "":
		what = "read a lock"
	}
	tries := 0
	begun := c.w.now
	c.ask(what, 0, func() (message, bool) {
		tries++
		try := q
		try.floor = c.w.truth.highestAck
		return message{read: &try}, tries <= 5
	}, func(a *answer, _ lease.Instant) {
		c.w.seen.read(c, &q, a, begun)
	})
}
