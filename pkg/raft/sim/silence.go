package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// The end of a run, when everything is whole and calm.
const (
	idleTime   = 2 * time.Second // in which clients ask for nothing new, and finish what they began
	silentTime = 3 * time.Second // without clients, in which the leader's ticks alone let time pass
	overdue    = time.Second     // by which something may end late
)

// fallSilent ends a run: first clients ask for nothing new, and whatever a session of theirs holds they have to believe in, or be
// about to give back; then all clients die, nobody proposes anything, and what is due has to end all the same.
func (w *world) fallSilent() {
	w.note("clients ask for nothing new")
	w.idle = true
	began := w.now
	w.runUntil(began + idleTime)
	w.seen.knownToHolders(began)
	w.note("all clients die")
	w.silent = true
	for _, c := range w.clients {
		c.crash()
	}
	w.runUntil(w.now + silentTime)
	w.seen.endedInTime()
}

// knownToHolders checks that nobody is kept from a lock by a hold that its session's process does not know of. What that
// process was told in an answer to a question of the idle time is all there is to know.
func (o *observer) knownToHolders(since time.Duration) {
	for _, l := range o.locks {
		for i := range l.holds {
			h := &l.holds[i]
			c := o.w.clientOf(h.of.key.session)
			if h.delayed || c == nil || c.down || c.paused || h.of.maxHold > 0 { // who has an end of his own lets go before it
				continue
			}
			s := c.session
			if s.generation != o.sessions[s.id].generation || s.asked <= c.instantAt(since).Mono || s.busy() {
				continue
			}
			mine := slices.IndexFunc(s.holds, func(mine *hold) bool { return mine.fence == h.fence })
			waits := slices.ContainsFunc(s.tickets, func(t *ticket) bool { return t.seq == h.of.key.seq })
			switch {
			case mine < 0 && !waits:
				o.w.fail("%s is held by session %d under fence %d, of which client %d knows nothing", l.name, s.id, h.fence, c.number)
			case mine >= 0 && s.holds[mine].entries != int(*o.fences[h.fence].inside()):
				o.w.fail("client %d has entered %s %d times; the service counts %d (fence %d)", c.number, l.name, s.holds[mine].entries, *o.fences[h.fence].inside(), h.fence)
			}
		}
	}
}

// busy reports whether something that the session asked for is not answered.
func (s *clientSession) busy() bool { return s.floor < s.next }

// endedInTime checks that whatever was due has ended, though nobody but the leader let time pass.
func (o *observer) endedInTime() {
	w, l := o.w, o.w.leader()
	if l == nil || l.soft.Role != raft.Leader || l.reign == nil || !l.reign.serving {
		w.fail("there is no leader that serves, and nothing is wrong; %s", w.describe())
	}
	now, _ := l.core.ClusterTime(l.clock())
	late := func(at int64) bool { return at != 0 && at < now-int64(overdue) }
	for _, s := range o.live {
		if late(s.deadline) {
			w.fail("session %d was to end at %v, and lives at %v", s.id, time.Duration(s.deadline), time.Duration(now))
		}
	}
	for _, l := range o.locks {
		for i := range l.holds {
			if h := &l.holds[i]; h.delayed && late(h.until) || !h.delayed && late(h.of.ends()) {
				w.fail("the hold %d of %s was to end at %v or %v, and is there at %v", h.fence, l.name, time.Duration(h.until), time.Duration(h.of.ends()), time.Duration(now))
			}
		}
		for _, a := range l.queue {
			if late(a.until) {
				w.fail("session %d was to wait for %s until %v, and waits at %v", a.key.session, l.name, time.Duration(a.until), time.Duration(now))
			}
		}
	}
	for _, m := range o.meetings {
		for _, a := range m.waiting {
			if late(a.until) {
				w.fail("session %d was to wait at %s until %v, and waits at %v", a.key.session, m.name, time.Duration(a.until), time.Duration(now))
			}
		}
	}
	w.operated("ended by ticks alone")
}
