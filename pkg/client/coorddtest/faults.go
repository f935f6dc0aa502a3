package coorddtest

import (
	"time"

	"github.com/coordd/coordd/pkg/client"
)

// electionTimeout is how long a new leader's election takes in [Server.Failover], and what the service takes for it.
const electionTimeout = 300 * time.Millisecond

// DropReply lets the answers to the next n requests be lost that all matches mean (without a match: the next n of any kind,
// renewals included). They are executed; their clients hear nothing, and ask again after a time-out of theirs, a quarter of a
// second at first: time moves on by so much, by itself.
func (s *Server) DropReply(n int, matches ...Match) {
	s.relay.add(&rule{left: n, matches: matches, drop: true})
}

// DuplicateRequest lets the next n requests that all matches mean reach the service twice, and both answers their clients.
func (s *Server) DuplicateRequest(n int, matches ...Match) {
	s.relay.add(&rule{left: n, matches: matches, twice: true})
}

// Pause stops a client that [Server.Client] made, as SIGSTOP does a process: it sees neither time nor messages, and sends
// none, until wake is called; then it finds that time has passed, its timers go off late, and its messages come. Goroutines
// of the test are not stopped: what they ask the client, it answers out of its old world. Wake returns when all that
// followed has happened; a second call does nothing.
func (s *Server) Pause(c *client.Client) (wake func()) {
	g := s.guestOf(c)
	if g == nil {
		s.fail("pause: not a client of this server")
		return func() {}
	}
	s.moving.Lock()
	defer s.moving.Unlock()
	s.settle()
	g.clock.pause()
	g.door.set(true)
	return func() {
		s.moving.Lock()
		defer s.moving.Unlock()
		g.wake()
		s.settle()
	}
}

func (g *guest) wake() {
	g.clock.wake()
	g.door.set(false)
}

// PauseClient stops a client for d, in which time passes for everybody else, and wakes it.
func (s *Server) PauseClient(c *client.Client, d time.Duration) {
	wake := s.Pause(c)
	s.Advance(d)
	wake()
}

// ExpireSession cuts a session off from the service until its lease has run out there, and then lets its client hear of
// it: time moves on by up to its TTL. Other sessions are renewed meanwhile, those of the same client as well.
func (s *Server) ExpireSession(session uint64) { s.expire(session) }

// ExpireClient is [Server.ExpireSession] for all sessions of a client that [Server.Client] made.
func (s *Server) ExpireClient(c *client.Client) {
	g := s.guestOf(c)
	if g == nil {
		s.fail("expire: not a client of this server")
		return
	}
	s.expire(s.relay.sessionsOf(g.name)...)
}

func (s *Server) expire(sessions ...uint64) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.settle()
	s.relay.setCut(true, sessions)
	defer s.settle()
	defer s.relay.setCut(false, sessions)
	s.advance(longestTTL, func() bool {
		gone := true
		s.node.look(func() {
			for _, id := range sessions {
				gone = gone && !s.node.sm.Machine().Live().HasSession(id)
			}
		})
		return gone
	})
}

// longestTTL is that of a session.
const longestTTL = 24*time.Hour + time.Second

func (r *relay) setCut(cut bool, sessions []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range sessions {
		if cut {
			r.cut[id] = true
		} else {
			delete(r.cut, id)
		}
	}
}

// Failover lets the leader die and another one begin to serve after an election: requests that were under way are lost,
// nobody answers for a moment, and sessions get their grace. Time moves on by the election and by what clients need to find
// the new leader.
func (s *Server) Failover() { s.Outage(electionTimeout) }

// Outage is [Server.Failover] with a cluster that has no leader for d. It is not served, and nothing in it ends meanwhile;
// clients go by their own clocks.
func (s *Server) Outage(d time.Duration) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.settle()
	s.node.fall()
	if err := s.await("the end of a leadership", func() bool { return !s.svc.Serving() }); err != nil {
		s.fail("%v", err)
		return
	}
	s.relay.forget()
	s.advance(d, nil)
	s.relay.forget()
	s.node.elect()
	if err := s.await("a new leader", s.svc.Serving); err != nil {
		s.fail("%v", err)
		return
	}
	s.advance(repeatTime, func() bool { return s.waiting() == 0 })
}

// waiting returns how many requests of clients that are not paused have no answer.
func (s *Server) waiting() (n int) {
	for _, g := range s.everybody() {
		if !g.isPaused() {
			n += s.relay.open(g.name)
		}
	}
	return n
}

func (g *guest) isPaused() bool {
	g.clock.t.mu.Lock()
	defer g.clock.t.mu.Unlock()
	return g.clock.paused
}

// Queued returns how many wait for a lock (a semaphore, an election).
func (s *Server) Queued(name string) (n int) {
	s.node.look(func() {
		if l, ok := s.node.sm.Machine().Live().Lock(s.cfg.namespace, name); ok {
			n = int(l.Waiting)
		}
	})
	return n
}

// AwaitQueued waits, in real time, until exactly n wait for a lock: for goroutines of the test to have come there before it
// goes on.
func (s *Server) AwaitQueued(name string, n int) {
	if err := s.await("a queue", func() bool { return s.Queued(name) == n }); err != nil {
		s.fail("%d wait for %q, not %d: %v", s.Queued(name), name, n, err)
	}
}
