package client

import (
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// releasePause is how long a release waits before it is sent as a new command, after an answer that neither
// released nor said why it never will.
const releasePause = 100 * time.Millisecond

// giveBack releases a lock that has ended on this side by Unlock.
func (s *Session) giveBack(l *Lock) {
	s.mu.Lock()
	delete(s.holds, l.fence)
	s.mu.Unlock()
	c := s.release(l.name, l.fence, func(err error) {
		l.releaseErr = err
		close(l.released)
	})
	s.mu.Lock()
	l.release = c
	s.mu.Unlock()
}

// release gives a hold back by its fence and repeats that until it is known; then it calls done, with an error
// if it can't be known or is not allowed.
func (s *Session) release(name string, fence uint64, done func(error)) *call {
	c, err := newCall("lock.release", name, &coorddv1.LockReleaseRequest{Fence: fence})
	if err != nil { // cannot happen: one number
		done(err)
		return nil
	}
	c.answered = func() {
		switch code := codeOf(c.err); {
		case c.err == nil, sessionGone(c.err), code == coorddv1.CodeNotHeld:
			done(nil)
		case code == "", code == coorddv1.CodeDenied, code == coorddv1.CodeBadRequest, code == coorddv1.CodeBadName, code == coorddv1.CodeWrongCluster:
			done(c.err)
		default:
			// Whatever came of it, to release by fence once more is safe.
			s.c.clock.AfterFunc(jitter(releasePause), func() { s.release(name, fence, done) })
		}
	}
	s.submit(c)
	return c
}

// drop ends a hold that is lost, and tells so.
func (s *Session) drop(l *Lock, why error, reason string) {
	s.mu.Lock()
	_, held := s.holds[l.fence]
	delete(s.holds, l.fence)
	s.mu.Unlock()
	if !held {
		return
	}
	s.cfg.log.Warn("a lock was lost", "lock", l.name, "fence", l.fence, "reason", reason)
	l.end(why)
	s.events.put(Event{Kind: EventLost, Lock: l.name, Fence: l.fence, Reason: reason})
}
