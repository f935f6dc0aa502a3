package client

import (
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// withdrawWait is how long a caller whose context ended is kept, so that it can be told that it surely holds
// nothing.
const withdrawWait = time.Second

// withdraw takes a ticket back whose caller does not wait any longer: why is the end of its context, nil for
// the client's time-out. It returns what the caller is told.
func (s *Session) withdraw(t *ticket, c *call, why error) error {
	told := s.abandon(c, why) // before the ticket is touched: it says what was known until now
	s.mu.Lock()
	t.withdrawn = true
	sent, state := t.seq != 0, t.state
	s.mu.Unlock()
	if told == nil { // answered: it stood in the queue
		if told = why; told == nil {
			told = ErrTimeout
		}
	}
	if !sent || state == ticketEnded && why == nil {
		return told
	}
	confirmed := make(chan struct{})
	switch state {
	case ticketEnded:
		close(confirmed)
	case ticketGranted: // at the last moment
		s.background(func() {
			if t.unlock(s) {
				close(confirmed)
			}
		})
	default:
		s.cancelTicket(t, func() { close(confirmed) })
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

// unlock gives back what a ticket got, and reports whether that is known; false: the session ended before.
func (t *ticket) unlock(s *Session) bool {
	var locks []*Lock
	switch {
	case t.lock != nil:
		locks = []*Lock{t.lock}
	case t.set != nil:
		locks = t.set.locks
	}
	for _, l := range locks {
		_ = l.Unlock(s.ctx) // it goes on by itself if this gives up
		if !errors.Is(l.Valid(), ErrReleased) {
			continue // it was lost before: nothing is held
		}
		select {
		case <-l.released:
		case <-s.done:
			return false
		}
	}
	return true
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

// cancelTicket ends the wait of a ticket and gives back what it may have got, until it is known. Then it calls
// confirmed, once.
func (s *Session) cancelTicket(t *ticket, confirmed func()) {
	c, err := newCall("lock.cancel", t.place(), &coorddv1.LockCancelRequest{Ticket: t.seq})
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
		case err == nil && rep.GetState() == coorddv1.LockCancelReply_ALREADY_GRANTED && t.names != nil:
			s.returnSet(t, confirmed)
		case err == nil && rep.GetState() == coorddv1.LockCancelReply_ALREADY_GRANTED && !t.passage:
			s.returnAll(t, []grant{{name: t.name, fence: rep.GetFence()}}, confirmed)
		case err == nil, sessionGone(err):
			s.mu.Lock()
			t.endLocked(errCancelled)
			s.mu.Unlock()
			confirmed()
		default:
			// No cancellation is to be had. The request itself is repeated until it is answered, and its grant,
			// should there be one, given back.
			s.cfg.log.Warn("cancel a wait", "for", t.want, "ticket", t.seq, "error", err)
			if t.names != nil {
				s.returnSet(t, confirmed)
				return
			}
			s.background(func() {
				select {
				case <-s.done:
				case <-t.settled:
					if !t.passage {
						s.returnAll(t, t.got, confirmed)
						return
					}
					confirmed()
				}
			})
		}
	}
	s.submit(c)
}

// stray is a ticket for several locks of whose grants the client does not know all, and which nobody wants any more.
type stray struct {
	since     time.Duration // monotonic, when that was so
	confirmed func()
}

// returnSet gives back what a ticket for several locks got, of which its caller knows nothing, or not all. The answers to
// renewals name what is held under the ticket; when one names nothing, it is done and confirmed is called.
func (s *Session) returnSet(t *ticket, confirmed func()) {
	s.mu.Lock()
	if s.err == nil {
		s.strays[t.seq] = stray{s.c.clock.Now().Mono, confirmed}
	}
	s.mu.Unlock()
	s.soon()
}

// returnStrays gives back the holds that an answer to a renewal, sent at sent, names under stray tickets.
func (s *Session) returnStrays(sent instant, rep *coorddv1.SessionReply) {
	var held []*coorddv1.Hold
	var over []stray
	s.mu.Lock()
	if len(s.strays) > 0 {
		listed := map[uint64]bool{}
		for _, h := range rep.GetHolds() {
			if _, is := s.strays[h.GetTicket()]; is {
				held = append(held, h)
			}
			listed[h.GetTicket()] = true
		}
		for _, w := range rep.GetWaits() { // not cancelled yet
			listed[w.GetSeq()] = listed[w.GetSeq()] || w.GetState() == coorddv1.Wait_QUEUED
		}
		for seq, x := range s.strays {
			if !listed[seq] && !rep.GetIncomplete() && sent.Mono > x.since {
				over = append(over, x)
				delete(s.strays, seq)
			}
		}
	}
	s.mu.Unlock()
	for _, h := range held {
		s.release(h.GetName(), h.GetFence(), false, func(error) { s.soon() })
	}
	for _, x := range over {
		x.confirmed()
	}
}

// returnAll gives back what a ticket got that nobody wants.
func (s *Session) returnAll(t *ticket, got []grant, confirmed func()) {
	var left atomic.Int64
	left.Store(int64(len(got)))
	if len(got) == 0 {
		confirmed()
	}
	for _, g := range got {
		s.release(g.name, g.fence, t.reentrant, func(error) {
			if left.Add(-1) == 0 {
				confirmed()
			}
		})
	}
}
