package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// withdrawWait is how long a caller whose context ended is kept, so that it can be told that it surely holds
// nothing.
const withdrawWait = time.Second

// LockOption is a setting of one Lock call.
type LockOption func(*lockOptions)

type lockOptions struct {
	wait     *time.Duration
	metadata map[string]string
}

// Wait bounds the time in the lock's queue. The service counts it, and takes the waiter out of the queue at its
// end: the error is [ErrWaitTimeout], and the lock is surely not held.
func Wait(d time.Duration) LockOption { return func(o *lockOptions) { o.wait = &d } }

// Meta attaches key-value pairs to the hold, which others see.
func Meta(md map[string]string) LockOption { return func(o *lockOptions) { o.metadata = md } }

// Lock takes a lock, and waits for it in the order of arrival. ctx bounds the wait alone; the lock outlives it.
// If ctx ends first the client takes its ticket back and returns ctx's error; should that not be confirmed
// within a second the error also matches [ErrOutcomeUnknown], and the client goes on taking it back.
func (s *Session) Lock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	o, err := checkLock(name, false, opts)
	if err != nil {
		return nil, err
	}
	l, _, err := s.acquire(ctx, name, o)
	return l, err
}

// TryLock takes a lock if it is free. If it is not the error is a *[LockedError].
func (s *Session) TryLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error) {
	o, err := checkLock(name, true, opts)
	if err != nil {
		return nil, err
	}
	l, _, err := s.acquire(ctx, name, o)
	return l, err
}

// checkLock reads the options of a Lock call and says what is wrong with it, before anything is sent.
func checkLock(name string, try bool, opts []LockOption) (o lockOptions, err error) {
	for _, f := range opts {
		f(&o)
	}
	if try {
		o.wait = new(time.Duration)
	}
	if o.wait != nil && *o.wait < 0 {
		return o, localError(coorddv1.CodeBadRequest, "wait %v is negative", *o.wait)
	}
	return o, checkName("lock", name)
}

// acquire takes a lock. stood says whether it had a place in the queue.
func (s *Session) acquire(ctx context.Context, name string, o lockOptions) (l *Lock, stood bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("lock %q: %w", name, ended(ctx))
	}
	req := &coorddv1.LockAcquireRequest{Mode: coorddv1.Mode_EXCLUSIVE, Metadata: o.metadata}
	if o.wait != nil {
		req.Wait = durationpb.New(*o.wait)
	}
	t := &ticket{s: s, name: name, ctx: ctx, outer: heldUnder(ctx), queued: make(chan struct{}), settled: make(chan struct{})}
	req.Holding = t.outer.holding()
	c, err := newCall("lock.acquire", name, req)
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
				return t.lock, stood, nil
			}
			var locked *LockedError
			if errors.As(t.err, &locked) {
				return nil, stood, locked
			}
			return nil, stood, fmt.Errorf("lock %q: %w", name, t.err)
		case <-queued:
			queued, answer, stood = nil, nil, true
			s.sooner() // renewals are the backup for the grant's event
		case <-answer:
			return nil, stood, fmt.Errorf("lock %q: %w", name, s.withdraw(t, c, nil))
		case <-ctx.Done():
			return nil, stood, fmt.Errorf("lock %q: %w", name, s.withdraw(t, c, ended(ctx)))
		}
	}
}

// take takes the answer to the acquire, or to its repetition.
func (t *ticket) take(c *call) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.asking = false
	if c.err != nil {
		err := c.err
		if sessionGone(err) && t.s.err != nil {
			err = t.s.err // what the acquire may have got ended with the session: nothing is unknown
		}
		t.endLocked(err)
		return
	}
	var rep coorddv1.LockAcquireReply
	if err := unmarshal(c.reply, &rep); err != nil {
		t.endLocked(localError(coorddv1.CodeInternal, "the answer to lock.acquire can't be read: %v", err))
		return
	}
	switch rep.GetState() {
	case coorddv1.LockAcquireReply_GRANTED:
		t.grantLocked(rep.GetFence(), rep.GetIndex())
	case coorddv1.LockAcquireReply_QUEUED:
		t.queueLocked(rep.GetIndex())
	default:
		t.endLocked(errCancelled)
	}
}

// askAgain repeats the acquire of a ticket that the service did not mention: the answer is its present state.
func (s *Session) askAgain(t *ticket) {
	s.mu.Lock()
	skip := t.asking || t.withdrawn || t.state != ticketQueued
	t.asking = true
	s.mu.Unlock()
	if skip {
		return
	}
	c := &call{verb: "lock.acquire", name: t.name, raw: t.raw, seq: t.seq, alone: true, done: make(chan struct{})}
	c.answered = func() { t.take(c) }
	s.submit(c)
}

// withdraw takes a ticket back whose caller does not wait any longer: why is the end of its context, nil for
// the client's time-out. It returns what the caller is told.
func (s *Session) withdraw(t *ticket, c *call, why error) error {
	told := s.abandon(c, why) // before the ticket is touched: it says what was known until now
	s.mu.Lock()
	t.withdrawn = true
	sent, l, over := t.seq != 0, t.lock, t.state == ticketEnded
	s.mu.Unlock()
	if told == nil { // answered: it stood in the queue
		if told = why; told == nil {
			told = ErrTimeout
		}
	}
	if !sent || over && why == nil {
		return told
	}
	confirmed := make(chan struct{})
	switch {
	case over:
		close(confirmed)
	case l != nil: // granted at the last moment
		s.background(func() {
			_ = l.Unlock(s.ctx) // it goes on by itself if this gives up
			if !errors.Is(l.Valid(), ErrReleased) {
				close(confirmed) // it was lost before: nothing is held
				return
			}
			select {
			case <-l.released:
				close(confirmed)
			case <-s.done:
			}
		})
	default:
		s.cancelTicket(t, confirmed)
	}
	timer := s.c.clock.NewTimer(withdrawWait)
	defer timer.Stop()
	select {
	case <-confirmed:
		return withoutUnknown(told, why)
	case <-s.done: // nothing of the session is held any more, or soon
	case <-timer.C():
	}
	if errors.Is(told, ErrOutcomeUnknown) {
		return told
	}
	return chain(ErrOutcomeUnknown, told)
}

// withoutUnknown returns told, or what remains of it when the outcome has become known.
func withoutUnknown(told, why error) error {
	if !errors.Is(told, ErrOutcomeUnknown) {
		return told
	}
	if why != nil {
		return why
	}
	return ErrTimeout
}

// cancelTicket ends the wait of a ticket and gives back what it may have got, until it is known. confirmed is
// closed then.
func (s *Session) cancelTicket(t *ticket, confirmed chan struct{}) {
	giveBack := func(fence uint64) {
		s.release(t.name, fence, func(error) { close(confirmed) })
	}
	c, err := newCall("lock.cancel", t.name, &coorddv1.LockCancelRequest{Ticket: t.seq})
	if err != nil { // cannot happen: one number
		return
	}
	c.answered = func() {
		var rep coorddv1.LockCancelReply
		err := c.err
		if err == nil {
			err = proto.Unmarshal(c.reply, &rep)
		}
		switch {
		case err == nil && rep.GetState() == coorddv1.LockCancelReply_ALREADY_GRANTED:
			giveBack(rep.GetFence())
		case err == nil, sessionGone(err):
			s.mu.Lock()
			t.endLocked(errCancelled)
			s.mu.Unlock()
			close(confirmed)
		default:
			// No cancellation is to be had. The acquire itself is repeated until it is answered, and its grant,
			// should there be one, given back.
			s.cfg.log.Warn("cancel a wait", "lock", t.name, "ticket", t.seq, "error", err)
			s.background(func() {
				select {
				case <-s.done:
				case <-t.settled:
					if t.fence != 0 {
						giveBack(t.fence)
						return
					}
					close(confirmed)
				}
			})
		}
	}
	s.submit(c)
}
