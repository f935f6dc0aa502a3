package sim

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/lease"
)

// client is one process that uses the service, on a clock of its own.
type client struct {
	w      *world
	number int
	rnd    stream // of its messages, and of what it does by itself
	ttl    time.Duration
	rate   float64       // of its clocks against virtual time
	origin time.Duration // of its monotonic clock
	jump   time.Duration // by which somebody set its wall clock
	lag    time.Duration // for which its monotonic clock stood still while the machine slept
	sleeps bool          // its machine may be suspended; that of another one may have its wall clock set: not both

	life     int // raised by each crash
	down     bool
	paused   bool
	slept    time.Duration // virtual, since when the machine is suspended; -1: it is not
	deferred []deferral
	cut      bool // from NATS
	session  *clientSession
	opening  bool
	ranges   []numbers     // of sequences
	last     uint64        // nonces so far
	said     int           // in elections
	answered time.Duration // virtual, when anything was answered last

	// How many of the next messages go wrong, in which way.
	loseRequests, lateRequests, repeatRequests, loseAnswers, lateAnswers, twiceAnswers, loseEvents, loseBeats int
}

// deferral is what waits for a paused process.
type deferral struct {
	life int
	f    func()
}

// whenAwake runs f now, or when the process goes on; a crash in between forgets it.
func (c *client) whenAwake(life int, f func()) {
	switch {
	case c.life != life || c.down:
	case c.paused:
		c.deferred = append(c.deferred, deferral{life, f})
	default:
		f()
	}
}

// later runs f once the client's clock has gone on by d.
func (c *client) later(d time.Duration, f func()) {
	life := c.life
	c.w.after(time.Duration(float64(d)/c.rate)+time.Microsecond, func() { c.whenAwake(life, f) })
}

// instant is one reading of both clocks of a client.
func (c *client) instant() lease.Instant { return c.instantAt(c.w.now) }

func (c *client) instantAt(t time.Duration) lease.Instant {
	wall := c.origin + time.Duration(float64(t)*c.rate)
	mono := wall - c.lag
	if c.slept >= 0 {
		mono -= time.Duration(float64(t-c.slept) * c.rate)
	}
	return lease.Instant{Mono: mono, Wall: wall + c.jump}
}

// pause stops the process for a while: its clocks go on, and what reaches it waits.
func (c *client) pause(d time.Duration) {
	if c.down || c.paused {
		return
	}
	c.paused = true
	life := c.life
	c.w.after(d, func() {
		if c.life == life {
			c.wake()
		}
	})
}

func (c *client) wake() {
	if !c.paused {
		return
	}
	c.paused = false
	if c.slept >= 0 {
		c.lag += time.Duration(float64(c.w.now-c.slept) * c.rate)
		c.slept = -1
	}
	late := c.deferred
	c.deferred = nil
	for _, d := range late {
		c.whenAwake(d.life, d.f)
	}
}

// crash ends the process. Whatever it knew is gone; its session ends by itself.
func (c *client) crash() {
	if c.down {
		return
	}
	c.life++
	c.down, c.paused, c.deferred, c.slept = true, false, nil, -1
	if s := c.session; s != nil {
		s.forget()
	}
	c.session, c.opening, c.ranges = nil, false, nil
}

// start lets it run again, with nothing.
func (c *client) start() { c.down = c.w.silent }

// exchange is one question, which is sent again until it is answered.
type exchange struct {
	c     *client
	what  string
	build func() (message, bool) // anew for each try, so that ack and events_seen are fresh; false: nobody wants it any more
	done  func(a *answer, sent lease.Instant)
	wait  time.Duration // time-out of the next try
	rest  time.Duration // pause after a try that was refused
	most  time.Duration // of a try's time-out
	sent  []lease.Instant
	timer int
	over  bool
}

// The time-outs and pauses of tries.
const (
	firstTry, longestTry = 250 * time.Millisecond, time.Second
	firstRest, longRest  = 10 * time.Millisecond, 50 * time.Millisecond
)

// ask begins an exchange.
func (c *client) ask(what string, patience time.Duration, build func() (message, bool), done func(*answer, lease.Instant)) *exchange {
	x := &exchange{c: c, what: what, build: build, done: done, wait: max(firstTry, patience), rest: firstRest, most: max(longestTry, patience)}
	x.try()
	return x
}

// try sends the question once more.
func (x *exchange) try() {
	c := x.c
	if x.over {
		return
	}
	m, wanted := x.build()
	if !wanted {
		x.over = true
		return
	}
	m.from, m.try = x, len(x.sent)
	x.sent = append(x.sent, c.instant()) // before it leaves: a lease counts from here
	if len(x.sent) > 1 {
		c.w.operated("repeated request")
	}
	x.transmit(&m)
	x.arm(x.wait, func() {
		x.wait = min(x.wait*3/2, x.most)
		x.try()
	})
}

// transmit lets a try leave, through what may go wrong with it.
func (x *exchange) transmit(m *message) {
	c, w := x.c, x.c.w
	leave := func() {
		if m.read != nil && (m.read.stale || w.opt.unproven) {
			w.bus.ask(w, m, w.nodes[c.rnd.intn(len(w.nodes))])
			return
		}
		w.bus.request(w, m)
	}
	switch {
	case !w.faulty:
		leave()
	case c.loseRequests > 0:
		c.loseRequests--
		w.happened("lost request")
	case x.what == "keepalive" && c.loseBeats > 0:
		c.loseBeats--
		w.operated("keepalive lost")
	case c.lateRequests > 0:
		c.lateRequests--
		w.happened("late request") // maybe after the end of its session
		w.after(c.rnd.between(500*time.Millisecond, 3*c.ttl), leave)
	case c.repeatRequests > 0:
		c.repeatRequests--
		w.happened("repeated request")
		leave()
		w.after(c.rnd.between(0, 2*time.Second), leave)
	default:
		leave()
	}
}

// arm plans what happens unless an answer comes before it.
func (x *exchange) arm(d time.Duration, f func()) {
	x.timer++
	timer := x.timer
	x.c.later(d, func() {
		if timer == x.timer {
			f()
		}
	})
}

// receive takes an answer to one of the tries; a late answer to an earlier one counts as well.
func (x *exchange) receive(try int, a *answer) {
	c := x.c
	if x.over {
		c.w.operated("answer that comes too late")
		if !canary.Broken(canary.AnswerTakenOnce) {
			return
		}
	}
	if a.status == replied {
		x.over = true
		c.answered = c.w.now
		c.w.served(x.what)
		x.done(a, x.sent[try])
		return
	}
	switch a.status {
	case noResponders:
		c.w.operated("no responders")
	case busy:
		c.w.operated("BUSY")
	}
	if try == len(x.sent)-1 {
		x.arm(x.rest/2+c.rnd.between(0, x.rest), x.try)
		x.rest = min(2*x.rest, longRest)
	}
}

// served counts an operation of a client that was answered.
func (w *world) served(what string) {
	w.report.Ops[what]++
	w.report.ClientOps++
}
