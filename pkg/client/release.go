package client

import (
	"slices"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
)

// releasePause is how long a release waits before it is sent as a new command, after an answer that neither
// released nor said why it never will.
const releasePause = 100 * time.Millisecond

// holdLocked takes a lock into the session's holds, beside those of the same fence: it is entered once more.
func (s *Session) holdLocked(l *Lock, index uint64) {
	l.index, l.learned = index, s.c.clock.Now().Mono
	s.holds[l.fence] = append(s.holds[l.fence], l)
	if all := s.holds[l.fence]; len(all) > 1 {
		for _, l := range all {
			l.reentrant = true
		}
	}
	if l.until != 0 {
		sent, now := s.lease.heard()
		l.boundLocked(sent, now)
	}
}

// forgetLocked takes a lock out of the session's holds, and reports whether it was among them.
func (s *Session) forgetLocked(l *Lock) bool {
	if l.timer != nil {
		l.timer.Stop()
	}
	all := s.holds[l.fence]
	i := slices.Index(all, l)
	switch {
	case i < 0:
		return false
	case len(all) == 1 || canary.Broken(canary.EntriesCounted):
		delete(s.holds, l.fence)
	default:
		s.holds[l.fence] = slices.Delete(slices.Clone(all), i, i+1)
	}
	return true
}

// giveBack releases locks that have ended on this side, in one message if that is permitted.
func (s *Session) giveBack(locks ...*Lock) {
	calls := make([]*call, 0, len(locks))
	s.mu.Lock()
	for _, l := range locks {
		s.forgetLocked(l)
		c, err := s.releaseCall(l.name, l.fence, l.reentrant, func(err error) {
			l.releaseErr = err
			close(l.released)
		})
		if err == nil { // always: it is one number
			l.release = c
			calls = append(calls, c)
		}
	}
	s.mu.Unlock()
	s.submit(calls...)
}

// release gives a hold back by its fence and repeats that until it is known; then it calls done, with an error
// if it can't be known or is not allowed.
func (s *Session) release(name string, fence uint64, reentrant bool, done func(error)) {
	c, err := s.releaseCall(name, fence, reentrant, done)
	if err != nil { // cannot happen: one number
		done(err)
		return
	}
	s.submit(c)
}

func (s *Session) releaseCall(name string, fence uint64, reentrant bool, done func(error)) (*call, error) {
	c, err := newCall("lock.release", name, &coorddv1.LockReleaseRequest{Fence: fence})
	if err != nil {
		return nil, err
	}
	c.answered = func() {
		switch code := codeOf(c.err); {
		case c.err == nil, sessionGone(c.err), code == coorddv1.CodeNotHeld:
			done(nil)
		case code == "", code == coorddv1.CodeDenied, code == coorddv1.CodeBadRequest, code == coorddv1.CodeBadName, code == coorddv1.CodeWrongCluster:
			done(c.err)
		case reentrant:
			// Under another seq it could be a second entry that it gives back.
			done(c.err)
		default:
			// Whatever came of it, to release by fence once more is safe.
			s.c.clock.AfterFunc(jitter(releasePause), func() { s.release(name, fence, reentrant, done) })
		}
	}
	return c, nil
}

// drop ends a hold that is lost, with all its entries, and tells so.
func (s *Session) drop(fence uint64, why error, reason string) {
	s.mu.Lock()
	locks := slices.Clone(s.holds[fence])
	for _, l := range locks {
		s.forgetLocked(l)
		l.ended.CompareAndSwap(nil, &why) // now: a grant of one more entry may be on its way
	}
	s.mu.Unlock()
	if len(locks) == 0 {
		return
	}
	name := locks[0].name
	s.events.put(Event{Kind: EventLost, Lock: name, Fence: fence, Reason: reason}) // to be found by whom the context wakes
	for _, l := range locks {
		l.end(why)
	}
	s.cfg.log.Warn("a lock was lost", "lock", name, "fence", fence, "reason", reason)
}
