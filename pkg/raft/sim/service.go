package sim

import (
	"errors"
	"time"

	"github.com/coordd/coordd/internal/canary"
	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/decide"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// namespace is where everything of a run is.
const namespace = "sim"

// The bounds of a simulated leader's service. They are narrow, so that a storm of clients comes to them.
const (
	maxOutstanding = 24
	retryPause     = 50 * time.Millisecond
	eventMemory    = 10 * time.Second // how far back a new leader repeats events, in cluster time
)

// entryBounds fit into the messages of a simulated core.
var entryBounds = decide.Bounds{Commands: 6, Bytes: 800, Entries: 4, Join: 100 * time.Millisecond}

// reign is one leadership of a node as its service sees it, from the application of its first entry on.
type reign struct {
	n          *node
	term       uint64
	subscribed bool
	watching   bool // pushes events
	serving    bool // Serving is the last of Serving and NotServing that was applied
	joiner     decide.Joiner[*message]
	watch      decide.Watch
	calls      int // requests taken and not answered

	running, ticking bool          // a look at the joiner is planned; a Tick is under way
	changing         bool          // Serving or NotServing is under way
	beat, due        uint64        // the timers that count
	dueAt            int64         // what the latter waits for
	proven           time.Duration // by the node's clock: when NATS was last shown to carry messages
}

// followLeadership begins and ends reigns. It is called after every turn of the core.
func (n *node) followLeadership() {
	leads := n.soft.Role == raft.Leader && n.machine.term == n.soft.Term
	switch r := n.reign; {
	case r == nil && leads:
		n.reign = &reign{n: n, term: n.soft.Term, proven: n.clock()}
		n.reign.soon(n.reign.rise)
	case r != nil && (n.soft.Role != raft.Leader || n.soft.Term != r.term):
		n.w.note("node %d does not serve any more", n.id)
		r.joiner.Close()
		n.reign = nil // what was under way is forgotten: the next leader's answers are the true ones
	}
}

// later runs f after a while, if this reign lasts until then.
func (r *reign) later(d time.Duration, f func()) {
	r.n.later(d, func() {
		if r.n.reign == r {
			f()
		}
	})
}

// soon is what another goroutine does as soon as it runs.
func (r *reign) soon(f func()) { r.later(r.n.rnd.between(time.Microsecond, 30*time.Microsecond), f) }

// rise makes this leader one that clients find: it has an ID domain, is subscribed, can be reached, and then lets time
// end things.
func (r *reign) rise() {
	n := r.n
	if n.machine.service.Live().Domain() == 0 {
		domain := uint16(1 + n.rnd.intn(32767))
		r.control(replicated.Command{Kind: replicated.KindInit, Init: &replicated.Init{Domain: domain}}, r.rise)
		return
	}
	r.watching = true
	r.later(n.rnd.between(100*time.Microsecond, 2*time.Millisecond), func() {
		r.subscribed = true
		n.w.note("node %d takes commands in term %d", n.id, r.term)
		r.repeatEvents()
		r.prove()
	})
}

// prove waits until NATS is shown to carry messages through the other members, and serves then.
func (r *reign) prove() {
	n := r.n
	if !n.w.carried(n) && !canary.Broken(canary.ServingAfterProbe) {
		r.later(retryPause, r.prove)
		return
	}
	r.proven = n.clock()
	r.setServing(true)
	r.look()
}

// control proposes a command of the service's own, and does what follows once it is applied.
func (r *reign) control(c replicated.Command, then func()) {
	err := r.propose([]replicated.Command{c}, nil, func(applied bool) {
		if applied {
			then()
		}
	})
	if err != nil {
		r.later(retryPause, func() { r.control(c, then) })
	}
}

func (r *reign) setServing(on bool) {
	c := replicated.Command{Kind: replicated.KindNotServing}
	if on {
		c = replicated.Command{Kind: replicated.KindServing, Serving: &replicated.Serving{ElectionTimeout: int64(electionMax)}}
	} else {
		r.serving = false
	}
	r.changing = true
	r.control(c, func() {
		r.serving, r.changing = on, false
		if !on {
			r.n.w.operated("time stopped without NATS")
		}
		r.tick()
	})
}

// propose hands an entry to the core.
func (r *reign) propose(cmds []replicated.Command, calls []*message, done func(bool)) error {
	n, w := r.n, r.n.w
	data, err := replicated.EncodeCommandsAs(n.commandVersion(), cmds)
	if errors.Is(err, replicated.ErrVersion) {
		return err
	} else if err != nil {
		w.fail("node %d can't encode %d commands: %v", n.id, len(cmds), err)
	}
	index, term, err := n.core.Propose([]raft.Proposal{{Kind: raft.EntryCommand, Wall: n.wall(), Data: data}}, n.clock())
	if err == nil {
		w.seen.proposed[position{index, term}] = cmds
		n.pending.Push(pipeline.Proposal[proposal]{Index: index, Term: term, Value: proposal{reign: r, calls: calls, done: done}})
	}
	n.turn()
	return err
}

// handle takes one message of a client.
func (r *reign) handle(m *message) {
	n := r.n
	if m.read != nil {
		n.readThen(m)
		return
	}
	if r.calls >= maxOutstanding {
		if n.leased() || canary.Broken(canary.BusyNeedsLease) {
			n.w.bus.respond(n.w, n, m, &answer{status: busy})
		}
		return
	}
	r.calls++
	r.joiner.Put(m, m.cmd.Kind == replicated.KindSessionKeepalive)
	r.run()
}

// leased reports whether it is certain that nobody else leads.
func (n *node) leased() bool {
	until, ok := n.core.Lease(n.clock())
	return ok && until > n.clock()
}

// run has what is queued proposed.
func (r *reign) run() {
	if !r.running {
		r.running = true
		r.soon(r.flush)
	}
}

func (r *reign) flush() {
	r.running = false
	for {
		calls, again := r.joiner.Next(r.n.clock(), entryBounds)
		if calls == nil {
			if again < time.Minute {
				r.beat++
				beat := r.beat
				r.later(r.n.virtual(again), func() {
					if beat == r.beat {
						r.flush()
					}
				})
			}
			return
		}
		if r.entry(calls); r.n.reign != r { // the turn ended it
			return
		}
	}
}

// entry proposes one entry of the calls. In a rolling upgrade one that some member does not know yet must not take the others
// along.
func (r *reign) entry(calls []*message) {
	cmds := make([]replicated.Command, len(calls))
	for i, m := range calls {
		cmds[i] = m.cmd
	}
	err := r.propose(cmds, calls, nil)
	switch unknown := errors.Is(err, replicated.ErrVersion); {
	case unknown && len(calls) > 1:
		r.joiner.Split(len(calls))
		for i := range calls {
			if r.n.reign == r {
				r.entry(calls[i : i+1 : i+1])
			}
		}
	case unknown:
		r.n.w.operated("command that not all members know")
		r.refuse(calls, raft.ErrBusy) // until all of them are upgraded
	case err != nil:
		r.refuse(calls, err)
	}
}

// commandVersion is the version of commands that all members read, as far as this node knows. In a rolling upgrade it follows
// what they announce; otherwise all of them know the present one from the beginning.
func (n *node) commandVersion() uint32 {
	if n.w.rolling {
		return n.conf().Version + 1
	}
	return replicated.CommandVersion
}

// virtual is how much virtual time passes while the node's clock goes on by d.
func (n *node) virtual(d time.Duration) time.Duration {
	return time.Duration(float64(d)/n.rate) + time.Microsecond
}

// refuse says what is certain about requests that were not proposed.
func (r *reign) refuse(calls []*message, err error) {
	n := r.n
	r.joiner.Left()
	r.calls -= len(calls)
	var a answer
	switch decide.Refuse(err, n.leased()) {
	case decide.Busy:
		a.status = busy
	case decide.TooLarge:
		a.status = tooLarge
	default:
		return
	}
	for _, m := range calls {
		n.w.bus.respond(n.w, n, m, &a)
	}
}

// applied answers for an entry that this node proposed. What apply did is final, whoever leads by now.
func (r *reign) applied(p *proposal, e *raft.Entry, res *replicated.Result) {
	n, w := r.n, r.n.w
	r.left(p)
	for i, m := range p.calls {
		w.bus.respond(w, n, m, &answer{reply: res.Replies[i], index: e.Index})
	}
	if p.done != nil {
		r.soon(func() { p.done(true) })
	}
}

// lost gives up what was proposed: the next leader's answers are the true ones.
func (r *reign) lost(p *proposal) {
	r.left(p)
	if p.done != nil {
		r.soon(func() { p.done(false) })
	}
}

// left notes that an entry is no longer under way.
func (r *reign) left(p *proposal) {
	if p.calls != nil {
		r.joiner.Left()
		r.calls -= len(p.calls)
		r.run()
	}
}

// after pushes what an entry did to sessions, and lets what is due end.
func (r *reign) after(res *replicated.Result) {
	if r.watching {
		for i := range res.Events {
			r.n.w.bus.publish(r.n.w, r.n, &res.Events[i])
		}
	}
	r.tick()
}

// tick has a Tick proposed when something is due.
func (r *reign) tick() {
	n := r.n
	due, ok := n.machine.service.NextDue()
	if !ok {
		due = decide.NoDue
	}
	if due == r.dueAt && due != decide.NoDue || r.ticking {
		return // its timer runs
	}
	now, leading := n.core.ClusterTime(n.clock())
	propose, again := decide.Tick(due, now, leading, r.serving)
	r.due++
	r.dueAt = due
	switch {
	case propose:
		r.ticking = true
		r.soon(r.proposeTick)
	case again > 0:
		timer := r.due
		r.later(n.virtual(again), func() {
			if timer == r.due {
				r.dueAt = 0
				r.tick()
			}
		})
	}
}

func (r *reign) proposeTick() {
	over := func() {
		r.ticking, r.dueAt = false, 0
		r.tick()
	}
	err := r.propose([]replicated.Command{{Kind: replicated.KindTick}}, nil, func(bool) { over() })
	if err != nil {
		r.later(retryPause, over) // too much under way, which lets time pass as well
		return
	}
	r.n.w.operated("tick")
}

// repeatEvents pushes what was granted or lost lately once more: the old leader may have died before it told.
func (r *reign) repeatEvents() {
	n := r.n
	since := n.machine.service.Live().Now() - int64(eventMemory)
	for i := range n.recent {
		if n.recent[i].At >= since {
			n.w.bus.publish(n.w, n, &n.recent[i])
		}
	}
}

// remember keeps the last events of whatever this node applies, for the time when it leads.
func (n *node) remember(es []replicated.Event) {
	const most = 64
	n.recent = append(n.recent, es...)
	if over := len(n.recent) - most; over > most {
		n.recent = append([]replicated.Event(nil), n.recent[over:]...)
	}
}
