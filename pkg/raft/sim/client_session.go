package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/coordd/coordd/internal/canary"
	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/lease"
)

// waitingInterval is how often a session that waits for something is renewed at least.
const waitingInterval = time.Second

// clientSession is what a process knows of its session.
type clientSession struct {
	c          *client
	id         uint64
	secret     replicated.SecretHash
	generation uint64
	ttl        time.Duration

	term lease.Term
	from lease.Instant // when the message was sent that the latest renewal answered
	at   int64         // cluster time in that answer
	lost bool          // by the local clock, for good

	next, floor uint64 // seq of the next command; the lowest outstanding one
	over        map[uint64]bool
	tickets     []*ticket // asked or queued
	holds       []*hold
	eventsSeen  uint64
	ended       bool
	asked       time.Duration // by the monotonic clock, when the keepalive was sent that was answered last
	beats       int           // the timer that counts
	renewing    bool
}

// open asks for a session, as often as it takes.
func (c *client) open() {
	if c.session != nil || c.opening || c.down {
		return
	}
	c.opening = true
	var secret replicated.SecretHash
	binary.BigEndian.PutUint64(secret[:], c.rnd.next()|1)
	c.last++
	nonce := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(c.number)), uint64(c.life)<<32|c.last)
	cmd := replicated.Command{Kind: replicated.KindSessionOpen, Namespace: namespace, Secret: secret,
		Open: &replicated.Open{TTL: int64(c.ttl), Owner: "client", Nonce: nonce}}
	begun := c.w.now
	c.ask("open", 0, func() (message, bool) {
		if c.w.now-begun > 8*c.ttl {
			c.opening = false // whatever came of it ends by itself
			return message{}, false
		}
		return message{cmd: cmd}, true
	}, func(a *answer, sent lease.Instant) {
		c.opening = false
		r := a.reply.Session
		if a.reply.Code != replicated.OK {
			return
		}
		s := &clientSession{c: c, id: r.ID, secret: secret, ttl: time.Duration(r.TTL), next: 1, floor: 1, over: map[uint64]bool{}}
		c.begin(s, sent, r)
	})
}

// begin uses a session that was opened or taken over.
func (c *client) begin(s *clientSession, sent lease.Instant, r *replicated.SessionReply) {
	c.w.seen.told(s, r)
	s.term, s.from, s.at = c.term(sent, r), sent, r.Now
	if s.remaining() <= 0 {
		s.farewell() // the answer came after its end
		return
	}
	c.session = s
	s.plan()
}

// term is what an answer that moves a session's clock says, by the client's own.
func (c *client) term(sent lease.Instant, r *replicated.SessionReply) lease.Term {
	return lease.NewTerm(sent, c.instant(), r.Now, r.Deadline, c.w.clientDrift)
}

// renew takes the answer to a message of this session that moves its clock; false if it comes too late.
func (s *clientSession) renew(sent lease.Instant, r *replicated.SessionReply) bool {
	if s.remaining() <= 0 {
		if !canary.Broken(canary.LostSessionStaysLost) {
			return false
		}
		s.lost = false
	}
	if next := s.c.term(sent, r); next.Outlasts(s.term) {
		s.term, s.from, s.at = next, sent, r.Now
	}
	return true
}

// remainingAt is for how long the session surely lives, by the client's clocks at an instant of virtual time.
func (s *clientSession) remainingAt(t time.Duration) time.Duration {
	if s.lost || s.ended {
		return 0
	}
	left, _ := s.term.Left(s.c.instantAt(t))
	return left
}

// remaining looks at the clock as the client does at each use: what it finds lost is lost for good.
func (s *clientSession) remaining() time.Duration {
	left := s.remainingAt(s.c.w.now)
	if left <= 0 {
		s.lost = true
	}
	return left
}

// alive reports whether the session may be used, and ends it where the local clock says that it is lost.
func (s *clientSession) alive() bool {
	if s.ended {
		return false
	}
	if s.remaining() > 0 || canary.Broken(canary.ClientChecksAtUse) {
		return true
	}
	s.c.w.operated("session lost by the local clock")
	s.end(false)
	return false
}

// end ends the session on this side. gone says that the service has ended it too.
func (s *clientSession) end(gone bool) {
	if s.ended {
		return
	}
	s.forget()
	if s.c.session == s {
		s.c.session = nil
	}
	if !gone {
		s.farewell()
	}
}

// forget drops whatever the process had in it.
func (s *clientSession) forget() {
	s.ended = true
	for _, t := range s.tickets {
		t.state = ticketOver
	}
	s.tickets, s.holds = nil, nil
}

// farewell tells the service that a session may end which nobody will use again.
func (s *clientSession) farewell() {
	s.ended = true
	begun := s.c.w.now
	s.c.ask("farewell", 0, func() (message, bool) {
		return message{cmd: s.command(replicated.KindSessionClose, "", 0)}, s.c.w.now-begun < 2*s.ttl
	}, func(*answer, lease.Instant) {})
}

// close gives everything back.
func (s *clientSession) close() {
	s.end(true)
	s.c.ask("close", 0, func() (message, bool) {
		return message{cmd: s.command(replicated.KindSessionClose, "", 0)}, true
	}, func(a *answer, _ lease.Instant) {})
}

// command is the envelope of a command as of now.
func (s *clientSession) command(k replicated.Kind, name string, seq uint64) replicated.Command {
	return replicated.Command{Kind: k, Namespace: namespace, Name: name, Session: s.id, Secret: s.secret, Generation: s.generation,
		Seq: seq, Ack: s.floor, EventsSeen: s.eventsSeen}
}

// enveloped is a command as of now.
func (s *clientSession) enveloped(cmd replicated.Command, seq uint64) replicated.Command {
	cmd.Session, cmd.Secret, cmd.Generation, cmd.Seq, cmd.Ack, cmd.EventsSeen = s.id, s.secret, s.generation, seq, s.floor, s.eventsSeen
	return cmd
}

// plan sets the timer of the next renewal.
func (s *clientSession) plan() {
	every := s.ttl / 3
	for _, t := range s.tickets {
		if t.state == ticketQueued {
			every = min(every, waitingInterval)
		}
	}
	s.beats++
	beat := s.beats
	s.c.later(every, func() {
		if beat == s.beats {
			s.keepalive()
		}
	})
}

// keepalive renews the session: asks until it is answered or the session ends. What the clock says is lost is never
// renewed.
func (s *clientSession) keepalive() {
	if s.ended || s.renewing {
		return
	}
	s.renewing = true
	s.c.ask("keepalive", min(500*time.Millisecond, s.ttl/4), func() (message, bool) {
		if !s.alive() {
			return message{}, false
		}
		return message{cmd: s.command(replicated.KindSessionKeepalive, "", 0)}, true
	}, func(a *answer, sent lease.Instant) {
		s.renewing = false
		if s.ended {
			return
		}
		if s.gone(&a.reply) {
			return
		}
		r := a.reply.Session
		if a.reply.Code != replicated.OK {
			s.c.w.fail("client %d: a keepalive is answered %s", s.c.number, a.reply.Code)
		}
		s.c.w.seen.told(s, r)
		if r.Generation != s.generation {
			s.end(true)
			return
		}
		if !s.renew(sent, r) {
			s.alive()
			return
		}
		s.reconcile(sent, &a.reply)
		s.asked = sent.Mono
		s.plan()
	})
}

// gone ends the session if an answer says that the service has.
func (s *clientSession) gone(r *replicated.Reply) bool {
	if r.Code != replicated.CodeSessionExpired && r.Code != replicated.CodeSessionUnknown {
		return false
	}
	if r.Code == replicated.CodeSessionUnknown {
		s.c.w.fail("client %d: its session %d is not known", s.c.number, s.id)
	}
	s.c.w.operated("session expired")
	s.end(true)
	return true
}

// execute has a command executed once, however often it takes to ask.
func (s *clientSession) execute(what string, cmd replicated.Command, then func(*replicated.Reply)) uint64 {
	seq := s.next
	s.next++
	s.c.ask(what, 0, func() (message, bool) {
		if !s.alive() {
			return message{}, false
		}
		return message{cmd: s.enveloped(cmd, seq)}, true
	}, func(a *answer, _ lease.Instant) {
		if s.ended || s.gone(&a.reply) {
			return
		}
		s.c.w.seen.answered(s, seq, a)
		s.over[seq] = true
		for s.over[s.floor] {
			delete(s.over, s.floor)
			s.floor++
		}
		then(&a.reply)
	})
	return seq
}

// withdraw cancels a ticket that another process made.
func (s *clientSession) withdraw(w *replicated.Wait) {
	t := &ticket{s: s, names: []string{w.Name}, seq: w.Seq, state: ticketQueued, withdrawn: true}
	if len(w.Names) > 0 {
		t.names = w.Names
	}
	if barrier := slices.Contains(barrierNames, w.Name); barrier || slices.Contains(latchNames, w.Name) {
		t.cmd.Kind = replicated.KindLatchWait
	}
	s.tickets = append(s.tickets, t) // a grant may come before the cancellation
	s.cancel(t)
}

// resume takes another process's session over, whose secret and number it was given.
func (c *client) resume(of *clientSession) {
	if c.session != nil || c.opening || c.down {
		return
	}
	c.opening = true
	c.last++
	nonce := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(c.number)), uint64(c.life)<<32|c.last|1<<31)
	begun := c.w.now
	c.ask("resume", 0, func() (message, bool) {
		if c.w.now-begun > 2*of.ttl {
			c.opening = false
			return message{}, false
		}
		return message{cmd: replicated.Command{Kind: replicated.KindSessionResume, Namespace: namespace, Session: of.id, Secret: of.secret,
			Resume: &replicated.Resume{Nonce: nonce}}}, true
	}, func(a *answer, sent lease.Instant) {
		c.opening = false
		r := a.reply.Session
		if a.reply.Code != replicated.OK {
			c.w.operated("resume of a session that has ended")
			return
		}
		s := &clientSession{c: c, id: of.id, secret: of.secret, generation: r.Generation, ttl: time.Duration(r.TTL),
			next: r.HighestSeq + 1, floor: r.HighestSeq + 1, over: map[uint64]bool{}, eventsSeen: r.EventSeq}
		c.begin(s, sent, r)
		if s.ended || c.session != s {
			return
		}
		c.w.operated("session taken over")
		for i := range r.Holds {
			h := &r.Holds[i]
			s.take(h, &ticket{s: s, names: []string{h.Name}, seq: h.Ticket}, a.index)
			c.w.operated("hold taken over")
		}
		for i := range r.Waits {
			if w := &r.Waits[i]; w.State == replicated.TicketQueued {
				// Nobody waits for it any more: a grant would be a hold without an owner.
				s.withdraw(w)
			}
		}
	})
}
