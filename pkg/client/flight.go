package client

import (
	"errors"
	"fmt"
	"slices"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	// maxFlights is how many messages of a session are under way at once. While they are, calls queue, and what
	// has queued is the next message: that is the joining, and it needs no timer.
	maxFlights = 4
	// maxLoneFlights is the same for a session that may not send batches.
	maxLoneFlights = 64
	batchCommands  = 1024
	batchBytes     = 200 << 10
	commandBytes   = 64 // about what a command costs in a batch besides its name and body
)

// launchLocked starts another flight if there is something to send and room for it.
func (s *Session) launchLocked() {
	limit := maxFlights
	if s.noBatch {
		limit = maxLoneFlights
	}
	if len(s.queue) == 0 || s.flights >= limit || s.err != nil {
		return
	}
	s.flights++
	s.wg.Go(s.fly)
}

// fly sends what is queued, message after message, until nothing is.
func (s *Session) fly() {
	for {
		calls := s.take()
		if len(calls) == 0 {
			return
		}
		s.exchange(calls)
		s.landed(calls)
	}
}

// take takes the next message's commands from the queue and numbers them. If there are none the flight is over.
func (s *Session) take() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for _, c := range s.queue {
		size += len(c.raw) + len(c.name) + commandBytes
		if n > 0 && (n == batchCommands || size > batchBytes || c.alone || s.queue[0].alone || s.noBatch) {
			break
		}
		if c.seq == 0 {
			if !s.window.open() {
				break
			}
			c.seq = s.window.begin()
			if t := c.ticket; t != nil {
				t.seq = c.seq
				s.tickets[t.seq] = t
			}
		}
		n++
	}
	if n == 0 || s.err != nil {
		s.flights--
		return nil
	}
	calls := slices.Clone(s.queue[:n])
	s.queue = slices.Delete(s.queue, 0, n)
	return calls
}

// landed notes that the commands which were answered, or given up, are over, and lets go on what waited for
// the window.
func (s *Session) landed(calls []*call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range calls {
		if c.over {
			s.window.end(c.seq)
		}
	}
	s.launchLocked()
}

// returnToQueue puts calls that were not answered before all others, each to go alone.
func (s *Session) returnToQueue(calls []*call) {
	s.mu.Lock()
	why := s.err
	if why == nil {
		for _, c := range calls {
			c.alone = true
		}
		s.queue = slices.Insert(s.queue, 0, calls...)
		for range calls {
			s.launchLocked()
		}
	}
	s.mu.Unlock()
	if why != nil {
		for _, c := range calls {
			s.settle(c, nil, why)
		}
	}
}

// exchange sends the commands until all of them are answered or nobody waits for them.
func (s *Session) exchange(calls []*call) {
	for pause := firstPause; len(calls) > 1; pause = min(2*pause, longestPause) {
		if calls = s.sendBatch(calls); len(calls) == 0 {
			return
		}
		clock.Sleep(s.c.clock, jitter(pause), s.ctx.Done())
	}
	s.sendOne(calls[0])
}

// request returns the request that carries the calls.
func (s *Session) request(verb, name string, body func() ([]byte, error), calls ...*call) *request {
	return &request{
		subject: subjectOf(s.cfg.namespace, verb, name),
		body:    body,
		begin:   func() bool { return s.beginTry(calls) },
		failed: func(trouble error, nobody bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, c := range calls {
				c.trouble = trouble
				if nobody {
					c.delivered--
				}
			}
		},
	}
}

// beginTry says whether anybody still waits for one of the calls; then they count as delivered until the
// contrary is known.
func (s *Session) beginTry(calls []*call) bool {
	if s.Err() != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// An acquire that was sent is sent until it is answered: only then is it known that it holds nothing.
	if !slices.ContainsFunc(calls, func(c *call) bool { return c.ticket != nil || !c.gone }) {
		return false
	}
	for _, c := range calls {
		c.delivered++
	}
	return true
}

// sendOne sends one command by its own verb.
func (s *Session) sendOne(c *call) {
	out, err := s.c.wire.do(s.ctx, s.request(c.verb, c.name, func() ([]byte, error) { return s.single(c) }, c))
	s.settle(c, out.data, err)
}

// sendBatch sends several commands as one message. It returns those that were refused for the moment.
func (s *Session) sendBatch(calls []*call) (again []*call) {
	out, err := s.c.wire.do(s.ctx, s.request("batch", "", func() ([]byte, error) { return s.batch(calls) }, calls...))
	var rep coorddv1.BatchReply
	if err == nil {
		if bad := unmarshal(out.data, &rep); bad != nil || len(rep.GetResults()) != len(calls) {
			err = localError(coorddv1.CodeInternal, "the answer to a batch of %d commands can't be read", len(calls))
		}
	}
	switch code := codeOf(err); {
	case err == nil:
	case code == "" || sessionGone(err):
		for _, c := range calls {
			s.settle(c, nil, err)
		}
		return nil
	default:
		// The refusal is of the whole message: one of the commands, its size, or batches as such. Alone, each
		// command gets an answer of its own.
		if code == coorddv1.CodeDenied {
			s.cfg.log.Info("batches are not permitted; sending single requests from now on", "namespace", s.cfg.namespace)
			s.mu.Lock()
			s.noBatch = true
			s.mu.Unlock()
		}
		s.returnToQueue(calls)
		return nil
	}
	for i, c := range calls {
		r := rep.GetResults()[i]
		switch e := r.GetError(); {
		case e == nil:
			s.settle(c, r.GetRaw(), nil)
		case e.GetRetryable():
			s.mu.Lock()
			c.trouble = errorOf(e, c.name)
			s.mu.Unlock()
			again = append(again, c)
		default:
			s.settle(c, nil, errorOf(e, c.name))
		}
	}
	return again
}

// settle finishes a call with its answer, or with why there is none.
func (s *Session) settle(c *call, reply []byte, err error) {
	var locked *LockedError
	var deadlock *DeadlockError
	switch {
	case err == nil:
	case errors.As(err, &locked):
		locked.Name = c.name
		if c.ticket != nil {
			locked.noun = c.ticket.noun
		}
	case errors.As(err, &deadlock):
		if deadlock.Name = c.name; c.ticket != nil {
			deadlock.Name = c.ticket.place()
		}
	case sessionGone(err):
		s.end(fmt.Errorf("%w: %w", ErrSessionExpired, err), true)
		if s.tries(c) > 1 && !canary.Broken(canary.UnknownAfterRepeat) { // the try before this one may have been executed
			err = chain(ErrOutcomeUnknown, err)
		}
	case codeOf(err) == coorddv1.CodeRequestStale && s.tries(c) > 1 && !canary.Broken(canary.UnknownAfterRepeat):
		err = chain(ErrOutcomeUnknown, err)
	case codeOf(err) != "":
	default: // the session or the connection ended, or nobody waits
		if gone := s.Err(); gone != nil {
			err = gone
		}
		if s.tries(c) > 0 {
			err = chain(ErrOutcomeUnknown, err)
		}
	}
	c.finish(reply, err)
}

// tries returns how many tries of the call the service may have executed.
func (s *Session) tries(c *call) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.delivered
}
