package sim

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	replicated "github.com/coordd/coordd/internal/machine"
)

// bus is NATS as requests, answers and events see it: it knows who subscribed, it delivers at most once, mostly, and a
// node can be cut from it and not from its peers.
type bus struct {
	down  bool            // for everybody
	cut   [maxID + 1]bool // the server of this node from all others and from clients
	loss  int             // one message of so many is lost; 0: none
	twice int             // one of so many comes twice; 0: none
	slow  time.Duration
}

// busSlow is how long a message takes at most while nothing is wrong.
const busSlow = time.Millisecond

func (b *bus) calm() { *b = bus{slow: busSlow} }

// reaches reports whether messages pass between a node and the clients.
func (b *bus) reaches(n *node) bool { return !b.down && !b.cut[n.id] }

// message is one try of a client's request: a command, or a read.
type message struct {
	from *exchange
	try  int
	cmd  replicated.Command
	read *query
}

// Commands and Bytes implement decide.Call.
func (m *message) Commands() int { return 1 }

// Bytes estimates what the command takes in an entry.
func (m *message) Bytes() int { return 96 + len(m.cmd.Name) }

// status is what an answer says beside, or instead of, the machine's reply.
type status uint8

const (
	replied      status = iota
	noResponders        // NATS itself: nobody is subscribed
	busy
	tooLarge
)

// answer is what comes back for one try.
type answer struct {
	status status
	reply  replicated.Reply
	index  uint64 // of the entry at which this very answer was made, or of the state that was read
	seen   *sight // of a read
}

// travel carries something over the bus, once, twice or not at all.
func (b *bus) travel(w *world, rnd *stream, arrive func()) {
	copies := 1
	if b.loss > 0 && rnd.chance(b.loss) {
		copies = 0
	} else if b.twice > 0 && rnd.chance(b.twice) {
		copies = 2
	}
	for range copies {
		w.after(rnd.between(50*time.Microsecond, b.slow), arrive)
	}
}

// request takes a client's message to every node that is subscribed when it arrives: all that believe to lead. Where
// there is none NATS says so at once.
func (b *bus) request(w *world, m *message) {
	c := m.from.c
	if b.down || c.cut {
		return // the connection is there, nothing moves on it
	}
	b.travel(w, &c.rnd, func() {
		heard := false
		group := canary.Broken(canary.PlainSubscriptions)
		for _, n := range w.nodes {
			r := n.reign
			if r == nil || !r.subscribed || n.core == nil || !b.reaches(n) {
				continue
			}
			if heard && group {
				break // NATS gives a message to one of a queue group
			}
			if heard {
				w.operated("request to two leaders")
			}
			heard = true
			n.whenAwake(func() {
				if n.reign == r && r.subscribed {
					r.handle(m)
				}
			})
		}
		if !heard {
			b.toClient(w, m, &answer{status: noResponders})
		}
	})
}

// ask takes a read to one node, which answers from what it has applied.
func (b *bus) ask(w *world, m *message, n *node) {
	c := m.from.c
	if b.down || c.cut || !b.reaches(n) {
		return
	}
	b.travel(w, &c.rnd, func() {
		n.whenAwake(func() { n.look(m) })
	})
}

// respond takes an answer from a node to whoever asked.
func (b *bus) respond(w *world, n *node, m *message, a *answer) {
	if b.reaches(n) {
		b.toClient(w, m, a)
	}
}

func (b *bus) toClient(w *world, m *message, a *answer) {
	c := m.from.c
	if b.down || c.cut {
		return
	}
	life := c.life
	arrive := func() { c.whenAwake(life, func() { m.from.receive(m.try, a) }) }
	switch {
	case w.faulty && c.loseAnswers > 0 && a.status == replied:
		c.loseAnswers--
		w.happened("lost reply")
	case w.faulty && c.lateAnswers > 0 && a.status == replied:
		c.lateAnswers--
		w.happened("late reply")
		w.after(c.rnd.between(200*time.Millisecond, 4*time.Second), arrive)
	case w.faulty && c.twiceAnswers > 0 && a.status == replied:
		c.twiceAnswers--
		w.happened("reply delivered twice")
		b.travel(w, &c.rnd, arrive)
		w.after(c.rnd.between(time.Millisecond, time.Second), arrive)
	default:
		b.travel(w, &c.rnd, arrive)
	}
}

// publish takes an event to whoever listens for its session.
func (b *bus) publish(w *world, n *node, e *replicated.Event) {
	if !b.reaches(n) {
		return
	}
	ev := *e
	for _, c := range w.clients {
		s := c.session
		if s == nil || s.id != ev.Session || c.cut {
			continue
		}
		if w.faulty && c.loseEvents > 0 {
			c.loseEvents--
			w.happened("lost event")
			continue
		}
		life := c.life
		b.travel(w, &c.rnd, func() {
			c.whenAwake(life, func() {
				if c.session == s && !s.ended {
					s.event(&ev)
				}
			})
		})
	}
}
