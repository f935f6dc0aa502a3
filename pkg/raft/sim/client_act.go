package sim

import (
	"slices"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
)

// clientOps are what clients do, and what comes of it. Each has to happen in a run of many seeds.
var clientOps = []string{
	"open", "resume", "keepalive", "close", "farewell", "acquire", "acquire for a while", "try", "cancel", "release", "release again",
	"acquire shared", "acquire permits", "acquire several", "acquire again", "campaign", "proclaim", "hand over", "ask for a hand-over",
	"wait at a barrier", "set a latch", "count down", "wait at a latch",
	"readers beside each other", "permits beside each other", "several locks at once", "entered again", "left a hold that was entered again",
	"upgrade refused", "another limit refused", "deadlock refused", "handed over", "hand-over to one who left", "asked for a hand-over",
	"told that a waiter asks", "proclaimed", "barrier passed", "latch opened", "let through", "delayed after its end", "max-hold over",
	"hold lost by its own end", "command that not all members know", "ended by ticks alone",
	"allocate", "allocate without a session", "create", "advance", "delete", "read a lock", "read a sequence", "stale read", "write",
	"forced release", "forced release now",
	"try refused", "granted from the queue", "granted to one who left", "wait timed out", "released twice", "session expired",
	"session lost by the local clock", "session taken over", "hold taken over", "told that another process took over", "told that a lock is lost",
	"hold missing in an answer", "gap in the events", "late write refused", "write of an earlier holder refused",
	"repeated request", "answer that comes too late", "no responders", "BUSY", "request to two leaders",
	"tick", "time stopped without NATS", "served again", "hand-over without NATS", "sessions got their grace", "answered from the reply cache",
	"two grants in one entry",
}

// serve makes the clients, and what watches over the service.
func (w *world) serve() {
	rnd := newStream(w.opt.Seed, "clients", 0)
	w.bus.calm()
	w.seen = newObserver(w)
	// The drift that clients allow for covers that of all clocks, mostly. Beyond it only fences protect.
	w.clientDrift, w.timely = 2*w.drift/(1+w.drift)+0.005, true
	if rnd.chance(8) || w.wildClocks {
		w.clientDrift, w.timely = 0.01, false
	}
	w.rolling = rnd.chance(6)
	w.parties = uint64(2 + rnd.intn(2))
	count := 5 + rnd.intn(16)
	if w.opt.Pace == Long {
		count = 3 + rnd.intn(4)
	}
	for i := range count {
		c := &client{w: w, number: i + 1, rnd: newStream(w.opt.Seed, "client", uint64(i)), slept: -1}
		c.rate = 1 + w.drift*(2*c.rnd.float()-1)
		if !w.timely {
			c.rate = 1 + 0.2*(2*c.rnd.float()-1)
		}
		c.origin = c.rnd.between(0, time.Hour)
		c.sleeps = c.rnd.chance(2)
		c.ttl = c.rnd.between(time.Second, 4*time.Second)
		if w.opt.Pace == Long || c.rnd.chance(4) {
			c.ttl = c.rnd.between(10*time.Second, 30*time.Second)
		}
		if w.opt.Pace == Long && c.rnd.chance(6) {
			c.ttl = c.rnd.between(time.Second, 4*time.Second)
		}
		w.clients = append(w.clients, c)
		w.after(c.rnd.between(0, time.Second), c.open)
	}
}

// anyClient draws one.
func (w *world) anyClient() *client { return w.clients[w.act.intn(len(w.clients))] }

// use has a client do one thing.
func (w *world) use() {
	c := w.anyClient()
	if c.down || c.paused {
		return
	}
	s := c.session
	c.useNumbers(w.act.intn(4))
	if s == nil || !s.alive() {
		if w.chance(6) {
			c.allocate(sequenceName(w.act.intn(sequenceNames)), int64(1+w.act.intn(20)), 0)
			return
		}
		c.open()
		return
	}
	lock, sequence := allLocks[w.act.intn(len(allLocks))], sequenceName(w.act.intn(sequenceNames))
	switch k := w.act.intn(40); {
	case k < 14:
		if len(s.tickets)+len(s.holds) < mostTickets {
			w.want(s)
		}
	case k < 17:
		if len(s.tickets) > 0 {
			if t := s.tickets[w.act.intn(len(s.tickets))]; !t.withdrawn {
				s.cancel(t)
			}
		}
	case k < 20:
		if len(s.holds) > 0 {
			s.holds[w.act.intn(len(s.holds))].unlock()
		}
	case k < 25:
		want := int64(1 + w.act.intn(40))
		c.allocate(sequence, want, 1+want/2)
	case k < 30:
		c.read(query{lock: lock})
	case k < 32:
		c.read(query{lock: lock, stale: true})
	case k < 34:
		c.read(query{sequence: sequence})
	case k < 36:
		s.sequence(replicated.KindSeqCreate, sequence)
	case k < 37:
		s.sequence(replicated.KindSeqAdvance, sequence)
	case k < 38:
		if w.chance(3) {
			s.sequence(replicated.KindSeqDelete, sequence)
		}
	case k < 39:
		for _, h := range slices.Clone(s.holds) { // one that is over leaves the list
			h.write()
		}
	default:
		if w.chance(2) {
			s.close()
		}
	}
}

// healClients ends what clients suffer.
func (w *world) healClients() {
	w.bus.calm()
	for _, c := range w.clients {
		c.cut = false
		c.wake()
		c.start()
	}
}

// checkClients is the end of a run: whoever runs was served since everything is calm.
func (w *world) checkClients() {
	for _, c := range w.clients {
		ttl := c.ttl
		if c.session != nil {
			ttl = c.session.ttl // another client's, maybe, which it took over
		}
		if most := ttl/3 + 2*time.Second; c.answered < w.now-most {
			w.fail("client %d, with a TTL of %v, was answered last at %v", c.number, ttl, c.answered)
		}
	}
	w.seen.atEnd()
}

// openAgain has every client without a session ask for one, when nothing disturbs any more.
func (w *world) openAgain() {
	w.after(100*time.Millisecond, w.openAgain)
	for _, c := range w.clients {
		if c.session == nil && !c.paused {
			c.open()
		}
	}
}
