package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
)

// The names of what clients want.
var (
	lockNamed     = []string{"lock/0", "lock/1", "lock/2"}
	poolNames     = []string{"pool/0"} // semaphores
	electionNames = []string{"election/0"}
	barrierNames  = []string{"barrier/0"}
	latchNames    = []string{"latch/0"}
	allLocks      = slices.Concat(lockNamed, poolNames, electionNames)
)

const (
	poolLimit     = 3
	otherLimit    = 4 // which somebody asks for by mistake
	sequenceNames = 2
	mostTickets   = 3 // that a session waits for or holds at once
)

func lockName(k int) string     { return lockNamed[k] }
func sequenceName(k int) string { return fmt.Sprintf("seq/%d", k) }
func isElection(name string) bool {
	return strings.HasPrefix(name, "election/")
}

// patience draws how long somebody waits.
func (w *world) patience() (wait int64, what string) {
	switch w.act.intn(4) {
	case 0:
		return 0, "try"
	case 1:
		return int64(w.between(10*time.Millisecond, 3*time.Second)), "acquire for a while"
	}
	return replicated.NoWaitLimit, "acquire"
}

// want has a session ask for something that it may have to wait for.
func (w *world) want(s *clientSession) {
	if w.rolling && !w.chance(8) { // of what old members know
		wait, what := w.patience()
		name := lockName(w.act.intn(len(lockNamed)))
		s.ask(what, replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
			Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: wait}}, name)
		return
	}
	switch k := w.act.intn(20); {
	case k < 7:
		w.lock(s, replicated.Exclusive)
	case k < 10:
		w.lock(s, replicated.Shared)
	case k < 13:
		w.permits(s)
	case k < 15:
		w.several(s)
	case k < 17:
		w.campaign(s)
	case k < 18:
		w.again(s)
	case k < 19:
		w.barrier(s)
	default:
		w.latch(s)
	}
}

// ends draws a lock-delay and a max-hold: mostly none.
func (w *world) ends(s *clientSession) (delay, maxHold int64) {
	if w.chance(3) {
		delay = int64(w.between(10*time.Millisecond, s.ttl/2))
	}
	if w.chance(4) {
		maxHold = int64(w.between(50*time.Millisecond, 2*s.ttl))
	}
	return delay, maxHold
}

// holding is what a caller says that it holds: mostly all of it.
func (w *world) holding(s *clientSession) (fences []uint64) {
	for _, h := range s.holds {
		if !w.chance(4) {
			fences = append(fences, h.fence)
		}
	}
	return fences
}

func (w *world) lock(s *clientSession, mode replicated.Mode) *ticket {
	return w.lockNamed(s, mode, lockName(w.act.intn(len(lockNamed))))
}

func (w *world) lockNamed(s *clientSession, mode replicated.Mode, name string) *ticket {
	wait, what := w.patience()
	if mode == replicated.Shared {
		what = "acquire shared"
	}
	delay, maxHold := w.ends(s)
	return s.ask(what, replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
		Acquire: &replicated.Acquire{Mode: mode, Wait: wait, Delay: delay, MaxHold: maxHold, Holding: w.holding(s)}}, name)
}

// permits asks for some of a semaphore's.
func (w *world) permits(s *clientSession) {
	name := poolNames[w.act.intn(len(poolNames))]
	limit := uint64(poolLimit)
	if w.chance(15) {
		limit = otherLimit
	}
	wait, _ := w.patience()
	delay, maxHold := w.ends(s)
	s.ask("acquire permits", replicated.Command{Kind: replicated.KindLockAcquire, Name: name, Acquire: &replicated.Acquire{Mode: replicated.Semaphore,
		Wait: wait, Delay: delay, MaxHold: maxHold, Count: uint64(1 + w.act.intn(poolLimit)), Limit: limit}}, name)
}

// several asks for some locks at once.
func (w *world) several(s *clientSession) {
	names := slices.Clone(lockNamed)
	first := w.act.intn(len(names))
	names[0], names[first] = names[first], names[0]
	names = names[:2+w.act.intn(2)]
	wait, _ := w.patience()
	delay, maxHold := w.ends(s)
	s.ask("acquire several", replicated.Command{Kind: replicated.KindLockAcquireAll,
		AcquireAll: &replicated.AcquireAll{Names: names, Wait: wait, Delay: delay, MaxHold: maxHold, Holding: w.holding(s)}}, names...)
}

// campaign asks for the leadership of an election, or for what its leader holds.
func (w *world) campaign(s *clientSession) {
	name := electionNames[w.act.intn(len(electionNames))]
	if i := slices.IndexFunc(s.tickets, func(t *ticket) bool { return t.names[0] == name && t.state == ticketQueued }); i >= 0 {
		if fence := w.seen.holderOf(name); fence != 0 {
			s.execute("ask for a hand-over", replicated.Command{Kind: replicated.KindLockHandOver, Namespace: namespace, Name: name,
				HandOver: &replicated.HandOver{Fence: fence}}, func(*replicated.Reply) {})
		}
		return
	}
	wait, _ := w.patience()
	s.c.said++
	s.ask("campaign", replicated.Command{Kind: replicated.KindLockAcquire, Name: name,
		Acquire: &replicated.Acquire{Mode: replicated.Exclusive, Wait: wait, Value: s.c.value()}}, name)
}

// value is something that only this client says, once.
func (c *client) value() []byte { return fmt.Appendf(nil, "%d of client %d", c.said, c.number) }

// again enters a lock that the session holds, or asks for it as if it might.
func (w *world) again(s *clientSession) {
	i := slices.IndexFunc(s.holds, func(h *hold) bool { return slices.Contains(lockNamed, h.lock) })
	if i < 0 {
		w.lock(s, replicated.Exclusive)
		return
	}
	h := s.holds[i]
	mode := h.mode
	if w.chance(4) {
		mode = replicated.Exclusive // of a shared hold that would be an upgrade
	}
	s.ask("acquire again", replicated.Command{Kind: replicated.KindLockAcquire, Name: h.lock,
		Acquire: &replicated.Acquire{Mode: mode, Wait: replicated.NoWaitLimit, Reentrant: !w.chance(4), Holding: []uint64{h.fence}}}, h.lock)
}

func (w *world) barrier(s *clientSession) {
	parties := w.parties
	if w.chance(12) {
		parties++
	}
	s.atBarrier(parties, w.between(100*time.Millisecond, 3*time.Second))
}

func (s *clientSession) atBarrier(parties uint64, wait time.Duration) {
	name := barrierNames[s.c.rnd.intn(len(barrierNames))]
	s.ask("wait at a barrier", replicated.Command{Kind: replicated.KindBarrierWait, Name: name,
		BarrierWait: &replicated.BarrierWait{Parties: parties, Wait: int64(wait)}}, name)
}

// latch sets a latch, counts it down or waits for it.
func (w *world) latch(s *clientSession) {
	switch w.act.intn(6) {
	case 0:
		s.setLatch(uint64(w.act.intn(4)))
	case 1, 2, 3:
		s.countDown(uint64(w.act.intn(3)))
	default:
		s.atLatch(w.between(100*time.Millisecond, 3*time.Second))
	}
}

func (s *clientSession) setLatch(count uint64) {
	s.execute("set a latch", replicated.Command{Kind: replicated.KindLatchSet, Namespace: namespace, Name: latchNames[0],
		LatchSet: &replicated.LatchSet{Count: count}}, func(*replicated.Reply) {})
}

func (s *clientSession) countDown(n uint64) {
	s.execute("count down", replicated.Command{Kind: replicated.KindLatchCountDown, Namespace: namespace, Name: latchNames[0],
		LatchCountDown: &replicated.LatchCountDown{N: n}}, func(*replicated.Reply) {})
}

func (s *clientSession) atLatch(wait time.Duration) {
	s.ask("wait at a latch", replicated.Command{Kind: replicated.KindLatchWait, Name: latchNames[0],
		LatchWait: &replicated.LatchWait{Wait: int64(wait)}}, latchNames[0])
}
