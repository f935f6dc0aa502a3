package client

import (
	"context"
	"errors"
	"fmt"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// obtain asks for what is wanted and waits until it is granted, refused, or not waited for any longer. stood says whether
// it had a place in the queue.
func (s *Session) obtain(ctx context.Context, w *want) (_ *ticket, stood bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("%v: %w", w, ended(ctx))
	}
	t := newTicket(s, w, ctx)
	c, err := newCall(w.verb, w.name, w.request(fencesOf(t.outer)))
	if err != nil {
		return nil, false, err
	}
	t.raw, c.ticket = c.raw, t
	c.answered = func() { t.take(c) }
	s.submit(c)

	timer := s.c.clock.NewTimer(s.cfg.timeout)
	defer timer.Stop()
	answer := timer.C() // nil once the service has answered: waiting in the queue is not bounded by it
	queued := t.queued
	for {
		select {
		case <-t.settled:
			if t.err == nil {
				return t, stood, nil
			}
			var locked *LockedError
			var deadlock *DeadlockError
			if errors.As(t.err, &locked) || errors.As(t.err, &deadlock) {
				return nil, stood, t.err // they name the lock
			}
			return nil, stood, fmt.Errorf("%v: %w", w, t.err)
		case <-queued:
			queued, answer, stood = nil, nil, true
			timer.Stop()
			s.sooner() // renewals are the backup for the grant's event
		case <-answer:
			return nil, stood, fmt.Errorf("%v: %w", w, s.withdraw(t, c, nil))
		case <-ctx.Done():
			return nil, stood, fmt.Errorf("%v: %w", w, s.withdraw(t, c, ended(ctx)))
		}
	}
}

// take takes the answer to the ticket's request, or to its repetition.
func (t *ticket) take(c *call) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.asking = false
	if c.err != nil {
		err := c.err
		if sessionGone(err) && t.s.err != nil {
			err = t.s.err // what the request may have got ended with the session: nothing is unknown
		}
		t.endLocked(err)
		return
	}
	var rep coorddv1.LockAcquireReply
	if err := unmarshal(c.reply, &rep); err != nil {
		t.endLocked(localError(coorddv1.CodeInternal, "the answer to %s can't be read: %v", t.verb, err))
		return
	}
	switch rep.GetState() {
	case coorddv1.LockAcquireReply_GRANTED:
		for _, g := range t.grantsOf(&rep) {
			t.grantLocked(g, rep.GetIndex())
		}
	case coorddv1.LockAcquireReply_QUEUED:
		t.queueLocked(rep.GetIndex())
	default:
		t.endLocked(errCancelled)
	}
}

// grantsOf returns what an answer grants.
func (t *ticket) grantsOf(rep *coorddv1.LockAcquireReply) []grant {
	if t.names == nil {
		return []grant{{t.name, rep.GetFence(), rep.GetUntil()}}
	}
	all := make([]grant, 0, len(rep.GetFences()))
	for _, f := range rep.GetFences() {
		all = append(all, grant{f.GetName(), f.GetFence(), f.GetUntil()})
	}
	return all
}

// askAgain repeats the request of a ticket that the service did not mention: the answer is its present state.
func (s *Session) askAgain(t *ticket) {
	s.mu.Lock()
	skip := t.asking || t.withdrawn || t.state != ticketQueued
	t.asking = true
	s.mu.Unlock()
	if skip {
		return
	}
	c := t.repeat()
	c.answered = func() { t.take(c) }
	s.submit(c)
}

// repeat returns the ticket's request once more, under its seq.
func (t *ticket) repeat() *call {
	return &call{verb: t.verb, name: t.name, raw: t.raw, seq: t.seq, alone: true, done: make(chan struct{})}
}
