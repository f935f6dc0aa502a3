package coorddtest

import (
	"fmt"
	"runtime"
	"time"
)

const (
	// calmRounds is how often in a row nothing has moved before everything counts as at rest.
	calmRounds = 3
	// settlePatience bounds the wait for clients that are known to have work left.
	settlePatience = 30 * time.Second
	// repeatTime is how long a client is given, in its own time, to ask again for an answer that was dropped.
	repeatTime = 5 * time.Second
)

// Now returns the time since the server's start, as all clients that are not paused and the cluster see it.
func (s *Server) Now() time.Duration { return s.time.read() }

// Advance moves time on by d, for the cluster and for all clients that are not paused, and returns when all that was due by
// then has happened: renewals were sent and answered, waits and sessions that were over have ended, contexts of lost locks
// are done, and whoever was next has been told. It stops at each instant at which something is due, so that everything
// happens at its own time. Goroutines of the caller that were woken by it may still have to run.
func (s *Server) Advance(d time.Duration) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.advance(d, nil)
}

// advance moves time on by d, or until enough says so; nil: by d. The caller holds moving.
func (s *Server) advance(d time.Duration, enough func() bool) {
	s.settle()
	until := s.time.read() + max(d, 0)
	for enough == nil || !enough() {
		at, some := s.time.next(until)
		if due, ok := s.node.nextDue(at); ok {
			at, some = due, true
		}
		s.time.moveTo(at)
		s.svc.TimePassed()
		s.settle()
		if !some {
			return
		}
	}
}

// settle returns when everything that follows from what happened so far has happened.
func (s *Server) settle() {
	limit := time.Now().Add(settlePatience)
	calm, last := 0, uint64(0)
	for calm < calmRounds {
		if err := s.relay.barrier(s.cfg.namespace); err != nil {
			return // the server ends
		}
		for range 4 {
			runtime.Gosched()
		}
		now, why := s.activity(), s.unsettled()
		if now == last && why == "" {
			calm++
			continue
		}
		calm, last = 0, now
		if why == "" {
			continue
		}
		if time.Now().After(limit) {
			s.fail("no rest after %v: %s", settlePatience, why)
			return
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// activity grows with all that happens.
func (s *Server) activity() uint64 {
	applied, _ := s.node.applied()
	s.time.mu.Lock()
	defer s.time.mu.Unlock()
	return s.relay.traffic() + applied + s.time.changes
}

// unsettled says what is known to be left to happen; "" for nothing.
func (s *Server) unsettled() string {
	if _, more := s.node.applied(); more {
		return "entries have yet to be applied"
	}
	if s.svc.Serving() {
		if n := s.relay.underWay(); n > 0 {
			return fmt.Sprintf("%d requests have yet to be answered", n)
		}
		if s.node.behind() {
			return "what is due has yet to end"
		}
	}
	for _, g := range s.everybody() {
		if why := s.time.rest(g.clock, s.relay.messages(g.name)); why != "" {
			return "client " + g.name + ": " + why
		}
	}
	return ""
}

// catchUp moves time on, in the background, until dropped answers were asked for again.
func (s *Server) catchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.pending.Go(func() {
		s.moving.Lock()
		defer s.moving.Unlock()
		s.settle()
		if s.relay.unheard() == 0 {
			return
		}
		s.advance(repeatTime, func() bool { return s.relay.unheard() == 0 || s.isClosed() })
		s.relay.giveUp()
	})
}

func (s *Server) isClosed() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// flow moves time on as the machine's does.
func (s *Server) flow() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-s.stop:
			return
		case now := <-tick.C:
			s.Advance(now.Sub(last))
			last = now
		}
	}
}
