package sim

import (
	"slices"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
)

// stormFaults are what several clients do to each other at once.
var stormFaults = []fault{
	{"storm of deadlocking acquires", 3, func(w *world, _ *node) bool {
		cs := w.ready(len(lockNamed))
		if len(cs) < 2 {
			return false
		}
		for i, c := range cs {
			s, next := c.session, lockName((i+1)%len(cs))
			w.hog(s, lockName(i), 0)
			w.after(w.between(5*time.Millisecond, 300*time.Millisecond), func() {
				if !c.paused && s.alive() {
					s.ask("acquire", replicated.Command{Kind: replicated.KindLockAcquire, Name: next,
						Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: replicated.NoWaitLimit, Holding: s.fences()}}, next)
				}
			})
		}
		return true
	}},
	{"mass expiry with lock-delay", 3, func(w *world, _ *node) bool {
		cs := w.ready(8)
		if len(cs) < 2 {
			return false
		}
		for _, c := range cs {
			s := c.session
			w.hog(s, allLocks[w.act.intn(len(lockNamed))], int64(w.between(50*time.Millisecond, s.ttl)))
			w.after(w.between(10*time.Millisecond, 100*time.Millisecond), func() { c.cut = true })
			w.after(2*s.ttl+time.Second, func() { c.cut = false })
		}
		return true
	}},
	{"resume by two processes at once", 4, func(w *world, _ *node) bool {
		c := w.holder()
		if c.session == nil || c.paused {
			return false
		}
		of := c.session
		heirs := slices.DeleteFunc(w.ready(3), func(heir *client) bool { return heir == c })
		if len(heirs) < 2 {
			return false
		}
		for _, heir := range heirs[:2] {
			heir.session.close()
			w.after(w.between(0, 3*time.Millisecond), func() { heir.resume(of) })
		}
		return true
	}},
	{"hand-over to a dying waiter", 6, func(w *world, _ *node) bool {
		for _, c := range w.clients {
			if c.down || c.paused || c.session == nil {
				continue
			}
			for _, h := range slices.Clone(c.session.holds) {
				if to := w.clientOf(w.seen.oneWaiting(w.act, h.lock, c.session.id)); to != nil && h.handOver() {
					w.die(to)
					return true
				}
			}
		}
		return false
	}},
	{"party of a barrier dies at the last moment", 3, func(w *world, _ *node) bool {
		cs := w.ready(int(w.parties) + 1)
		if len(cs) <= int(w.parties) || w.rolling {
			return false
		}
		for i, c := range cs[:w.parties] {
			at := time.Duration(0)
			if i == int(w.parties)-1 {
				at = w.between(time.Millisecond, 100*time.Millisecond) // the last one, and one of the others goes at this time
				w.after(at+w.between(0, 2*time.Millisecond), func() { w.die(cs[0]) })
			}
			s := c.session
			w.after(at, func() {
				if !c.paused && s.alive() {
					s.atBarrier(w.parties, 2*time.Second)
				}
			})
		}
		return true
	}},
	{"latch counted down by many at once", 3, func(w *world, _ *node) bool {
		cs := w.ready(6)
		if len(cs) < 3 || w.rolling {
			return false
		}
		cs[0].session.setLatch(uint64(len(cs) - 2))
		cs[0].session.atLatch(2 * time.Second)
		for _, c := range cs[1:] {
			s := c.session
			w.after(w.between(0, 20*time.Millisecond), func() {
				if !c.paused && s.alive() {
					s.countDown(1)
				}
			})
		}
		return true
	}},
	{"crowd at a lock while the leader dies", 2, func(w *world, _ *node) bool {
		cs, l := w.ready(10), w.leader()
		if len(cs) < 3 || l == nil {
			return false
		}
		name := lockName(w.act.intn(len(lockNamed)))
		for i, c := range cs {
			mode := replicated.Exclusive
			if i%3 > 0 && !w.rolling {
				mode = replicated.Shared
			}
			c.session.ask("acquire", replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
				Acquire: &replicated.Acquire{Mode: mode, Wait: replicated.NoWaitLimit}}, name)
		}
		w.after(w.between(0, 50*time.Millisecond), func() {
			if l.core != nil && w.faulty {
				l.stop()
				w.after(w.between(50*time.Millisecond, time.Second), l.start)
			}
		})
		return true
	}},
	{"hold outlived by a paused holder", 3, func(w *world, _ *node) bool {
		cs := w.ready(1)
		if len(cs) < 1 || w.rolling {
			return false
		}
		c := cs[0]
		name := lockName(w.act.intn(len(lockNamed)))
		own := w.between(60*time.Millisecond, c.session.ttl/2)
		c.session.ask("acquire", replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
			Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: replicated.NoWaitLimit, MaxHold: int64(own)}}, name)
		w.after(w.between(2*time.Millisecond, 50*time.Millisecond), func() { c.pause(own + 100*time.Millisecond) })
		return true
	}},
}

// ready draws clients that run and have a session, at most n of them.
func (w *world) ready(n int) (cs []*client) {
	for i, first := 0, w.act.intn(len(w.clients)); i < len(w.clients) && len(cs) < n; i++ {
		c := w.clients[(first+i)%len(w.clients)]
		if !c.down && !c.paused && c.session != nil && c.session.alive() {
			cs = append(cs, c)
		}
	}
	return cs
}

// clientOf is the client that uses a session, nil if none does.
func (w *world) clientOf(session uint64) *client {
	for _, c := range w.clients {
		if session != 0 && c.session != nil && c.session.id == session {
			return c
		}
	}
	return nil
}

// die ends what a client does, in one of several ways.
func (w *world) die(c *client) {
	switch c.rnd.intn(3) {
	case 0:
		c.crash()
		w.after(c.ttl, c.start)
	case 1:
		c.pause(2 * c.ttl)
	default:
		if c.session != nil && !c.paused {
			c.session.close()
		}
	}
}

// hog takes a lock as soon as it can be had.
func (w *world) hog(s *clientSession, name string, delay int64) {
	if w.rolling {
		delay = 0
	}
	s.ask("acquire", replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
		Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: replicated.NoWaitLimit, Delay: delay}}, name)
}

// fences are those that a session holds.
func (s *clientSession) fences() (fences []uint64) {
	if s.c.w.rolling {
		return nil
	}
	for _, h := range s.holds {
		fences = append(fences, h.fence)
	}
	return fences
}
