package sim

import (
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/client/lease"
)

// clientFaults are what clients do wrong or suffer, and what happens to NATS between them and the cluster.
var clientFaults = []fault{
	{"client paused past its lease", 4, func(w *world, _ *node) bool {
		c := w.holder()
		if c.down || c.paused {
			return false
		}
		c.pause(w.between(c.ttl/2, 2*c.ttl))
		return true
	}},
	{"client crash", 2, func(w *world, _ *node) bool {
		c := w.holder()
		if c.down {
			return false
		}
		c.crash()
		w.after(w.between(50*time.Millisecond, 2*c.ttl), c.start)
		return true
	}},
	{"session taken over while its owner is paused", 5, func(w *world, _ *node) bool {
		c, heir := w.holder(), w.anyClient()
		if c == heir || c.session == nil || c.paused || heir.down || heir.paused || heir.opening {
			return false
		}
		of := c.session
		c.pause(w.between(100*time.Millisecond, c.ttl))
		if heir.session != nil {
			heir.session.close()
		}
		heir.resume(of)
		return true
	}},
	{"reconnect storm", 1, func(w *world, _ *node) bool {
		for _, c := range w.clients {
			if c.down || c.paused {
				continue
			}
			if c.session != nil {
				c.session.close()
			}
			c.open()
		}
		return true
	}},
	{"lost requests", 2, func(w *world, _ *node) bool { w.anyClient().loseRequests += 1 + w.act.intn(4); return true }},
	{"late requests", 2, func(w *world, _ *node) bool { w.anyClient().lateRequests += 1 + w.act.intn(2); return true }},
	{"repeated requests", 2, func(w *world, _ *node) bool { w.anyClient().repeatRequests += 1 + w.act.intn(4); return true }},
	{"lost replies", 2, func(w *world, _ *node) bool { w.anyClient().loseAnswers += 1 + w.act.intn(4); return true }},
	{"late replies", 4, func(w *world, _ *node) bool { w.anyClient().lateAnswers += 1 + w.act.intn(3); return true }},
	{"replies delivered twice", 2, func(w *world, _ *node) bool { w.anyClient().twiceAnswers += 1 + w.act.intn(4); return true }},
	{"lost events", 2, func(w *world, _ *node) bool { w.anyClient().loseEvents += 1 + w.act.intn(6); return true }},
	{"keepalives lost for long", 1, func(w *world, _ *node) bool { w.holder().loseBeats += 3 + w.act.intn(12); return true }},
	{"client cut from NATS", 1, func(w *world, _ *node) bool {
		c := w.holder()
		c.cut = true
		w.after(w.between(100*time.Millisecond, 2*c.ttl), func() { c.cut = false })
		return true
	}},
	{"forced release", 4, func(w *world, _ *node) bool { return w.force() }},
	{"machine of a client suspended", 3, func(w *world, _ *node) bool {
		c := w.holder()
		if !c.sleeps || c.down || c.paused {
			return false
		}
		c.pause(w.between(50*time.Millisecond, 2*c.ttl))
		c.slept = w.now
		return true
	}},
	{"wall clock of a client set", 1, func(w *world, _ *node) bool {
		c := w.holder()
		if c.sleeps {
			return false
		}
		c.jump += w.between(-3*time.Second, 3*time.Second)
		return true
	}},
	{"NATS lost by one node", 3, func(w *world, n *node) bool {
		w.bus.cut[n.id] = true
		w.after(w.outage(), func() { w.bus.cut[n.id] = false })
		return true
	}},
	{"leader cut from NATS alone", 3, func(w *world, _ *node) bool {
		l := w.leader()
		if l == nil {
			return false
		}
		w.bus.cut[l.id] = true
		w.after(w.between(2*time.Second, 8*time.Second), func() { w.bus.cut[l.id] = false })
		return true
	}},
	{"NATS lost everywhere", 1, func(w *world, _ *node) bool {
		w.bus.down = true
		w.after(w.outage(), func() { w.bus.down = false })
		return true
	}},
	{"bad NATS", 2, func(w *world, _ *node) bool {
		w.bus.loss, w.bus.twice, w.bus.slow = 2+w.act.intn(10), 2+w.act.intn(10), w.between(busSlow, 100*time.Millisecond)
		w.after(w.between(100*time.Millisecond, 3*time.Second), func() { w.bus.loss, w.bus.twice, w.bus.slow = 0, 0, busSlow })
		return true
	}},
	{"write that takes its time", 2, func(w *world, _ *node) bool {
		w.lateWrites += 1 + w.act.intn(3)
		return true
	}},
}

// clientConsequences follow from what clients do while faults are on.
var clientConsequences = []string{"lost request", "late request", "repeated request", "lost reply", "late reply", "reply delivered twice",
	"lost event", "cancel races with the grant", "NATS away for longer than a TTL", "write under way for long"}

// holder draws a client, mostly one that holds or waits for something.
func (w *world) holder() *client {
	c := w.anyClient()
	for range 3 {
		if s := c.session; s != nil && len(s.holds)+len(s.tickets) > 0 {
			break
		}
		c = w.anyClient()
	}
	return c
}

// outage is how long NATS is away.
func (w *world) outage() time.Duration {
	if w.chance(3) {
		return w.between(50*time.Millisecond, time.Second)
	}
	d := w.between(time.Second, 12*time.Second)
	if w.opt.Pace == Long {
		d = w.between(time.Second, 90*time.Second)
	}
	for _, c := range w.clients {
		if c.ttl < d {
			w.happened("NATS away for longer than a TTL")
			break
		}
	}
	return d
}

// force has an operator take away a hold that was seen, at once or once nobody can believe in it any more.
func (w *world) force() bool {
	lock := allLocks[w.act.intn(len(allLocks))]
	fence := w.seen.holderOf(lock)
	if fence == 0 {
		return false
	}
	if w.chance(2) {
		for _, c := range w.clients { // who holds it shall find out by itself
			if c.session != nil && c.session.id == w.seen.fences[fence].key.session {
				c.loseEvents += 2
			}
		}
	}
	now := w.chance(3)
	what := "forced release"
	if now {
		what = "forced release now"
	}
	c, tries := w.anyClient(), 0
	cmd := replicated.Command{Kind: replicated.KindLockForceRelease, Namespace: namespace, Name: lock,
		Force: &replicated.Force{Fence: fence, Reason: "drill", Now: now}}
	c.ask(what, 0, func() (message, bool) {
		tries++
		return message{cmd: cmd}, tries < 6
	}, func(*answer, lease.Instant) {})
	return true
}
