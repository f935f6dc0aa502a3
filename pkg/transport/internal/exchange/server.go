package exchange

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// The bounds on handlers that run at the same time.
const (
	maxRunning      = 256      // in all, strangers aside
	maxRunningPeer  = 64       // for one peer
	maxRunningBytes = 64 << 20 // of the bodies that they were given
)

// Server is the answering side: it runs the handler, a bounded number of times at once, and keeps the journal. It is
// safe for concurrent use.
type Server struct {
	handler transport.MessageHandler
	spawn   func(func()) // begins a goroutine that the transport waits for
	ctx     context.Context
	end     context.CancelFunc
	started time.Time

	mu      sync.Mutex
	journal *transport.Journal
	running map[raft.MemberID]int
	total   int
	bytes   int

	strangers strangers
}

// NewServer makes a server. The handlers' context ends with Stop.
func NewServer(h transport.MessageHandler, journal *transport.Journal, spawn func(func())) *Server {
	s := &Server{handler: h, spawn: spawn, started: time.Now(), journal: journal, running: map[raft.MemberID]int{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Stop ends the handlers' context. No handler begins afterwards, and the answers of those that run are not sent: it
// is the stop that made them.
func (s *Server) Stop() { s.end() }

// now is the time as the journal counts it.
func (s *Server) now() time.Duration { return time.Since(s.started) }

// Request takes a request from a caller, or a repeat of one. answer is called at most once, on this goroutine or on
// another one, and must not block; the body is the server's.
func (s *Server) Request(caller transport.Identity, r wire.Request, answer func(wire.Reply)) {
	if s.ctx.Err() != nil {
		return
	}
	key := transport.RequestKey{Member: caller.Member, Incarnation: caller.Incarnation, ID: r.ID}
	reply := func(a transport.Answer) { answer(wire.ReplyOf(r.ID, a)) }
	s.mu.Lock()
	verdict, known := s.journal.Begin(key, s.now(), reply)
	if verdict == transport.Run && !s.admit(caller.Member, len(r.Body)) {
		s.journal.Abandon(key)
		s.mu.Unlock()
		answer(wire.Reply{ID: r.ID, Status: wire.StatusBusy})
		return
	}
	s.mu.Unlock()
	switch verdict {
	case transport.Run:
		s.spawn(func() { s.run(caller.Member, key, r.Body) })
	case transport.Known:
		reply(known)
	}
}

// run has a request handled and answers all that wait for it.
func (s *Server) run(from raft.MemberID, key transport.RequestKey, body []byte) {
	size := len(body)
	result, err := s.handler.Requested(s.ctx, from, body)
	answer := answerOf(result, err)
	s.mu.Lock()
	s.leave(from, size)
	if s.ctx.Err() != nil {
		s.journal.Abandon(key)
		s.mu.Unlock()
		return
	}
	waiters := s.journal.Finish(key, s.now(), answer)
	s.mu.Unlock()
	for _, reply := range waiters {
		reply(answer)
	}
}

// answerOf is what is sent back for what a handler returned.
func answerOf(body []byte, err error) transport.Answer {
	if err == nil && len(body) > transport.MaxBodyBytes {
		err = fmt.Errorf("answer of %d bytes: %w", len(body), transport.ErrTooLarge)
	}
	if err != nil {
		return transport.Answer{Body: wire.ErrorText(err), Failed: true}
	}
	return transport.Answer{Body: body}
}

// Notify takes a notification; one too many is lost, and false returned.
func (s *Server) Notify(from raft.MemberID, body []byte) bool {
	if s.ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	admitted := s.admit(from, len(body))
	s.mu.Unlock()
	if !admitted {
		return false
	}
	size := len(body)
	s.spawn(func() {
		s.handler.Notified(from, body)
		s.mu.Lock()
		s.leave(from, size)
		s.mu.Unlock()
	})
	return true
}

// admit takes room for a handler, if there is any; s.mu is held.
func (s *Server) admit(from raft.MemberID, size int) bool {
	if s.total >= maxRunning || s.running[from] >= maxRunningPeer || (s.total > 0 && s.bytes+size > maxRunningBytes) {
		return false
	}
	s.running[from]++
	s.total++
	s.bytes += size
	return true
}

// leave gives the room back; s.mu is held.
func (s *Server) leave(from raft.MemberID, size int) {
	if s.running[from]--; s.running[from] == 0 {
		delete(s.running, from)
	}
	s.total--
	s.bytes -= size
}
