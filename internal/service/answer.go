package service

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// answerer encodes and publishes, off the applier. One goroutine does all that belongs to sessions, so that a
// session's events have one order, and its answers have one; another one does the big listings, which have none. Their
// queues are bounded by what may be outstanding, and by what one entry can end.
type answerer struct {
	s *Service
	// Calls that were taken and neither answered nor dropped; keepalives have a count of their own, so that no other
	// load keeps a session from being renewed.
	outstanding, beats atomic.Int64

	work    jobs
	reads   jobs
	formats formats         // belongs to the goroutine of work
	late    []machine.Event // a storm's, which wait behind answers; belongs to it too
	wg      sync.WaitGroup
}

// eventChunk is how many events may go before answers that are ready: a millisecond's worth.
const eventChunk = 256

// job is what one entry, one read or one refusal leaves to be said.
type job struct {
	calls  []*call
	events []machine.Event
	forget bool // the reign is over: what was learned in it is of no use any more
}

// jobs is a queue that never makes its sender wait.
type jobs struct {
	mu     sync.Mutex
	list   []job
	closed bool
	wake   chan struct{}
}

func (q *jobs) put(j job) {
	q.mu.Lock()
	q.list = append(q.list, j)
	q.mu.Unlock()
	q.kick()
}

func (q *jobs) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take takes all jobs, and waits for one if wait is set; false: closed and nothing is left.
func (q *jobs) take(spare []job, wait bool) (list []job, open bool) {
	for {
		q.mu.Lock()
		list, closed := q.list, q.closed
		if len(list) > 0 {
			q.list = spare[:0]
			q.mu.Unlock()
			return list, true
		}
		q.mu.Unlock()
		if closed || !wait {
			return nil, !closed
		}
		<-q.wake
	}
}

func (q *jobs) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.kick()
}

func newAnswerer(s *Service) *answerer {
	a := &answerer{s: s}
	a.work.wake, a.reads.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	a.formats.reset()
	return a
}

func (a *answerer) start() {
	a.wg.Go(func() { a.run(&a.work) })
	a.wg.Go(func() { a.run(&a.reads) })
}

// stop says what is left to be said and ends.
func (a *answerer) stop() {
	a.work.close()
	a.reads.close()
	a.wg.Wait()
}

// run does jobs until the queue is closed. Between them it pushes what is left of a storm of events, a chunk at a time:
// thousands of sessions that end at once must not keep the others waiting for their answers.
func (a *answerer) run(q *jobs) {
	var spare []job
	for {
		storm := q == &a.work && len(a.late) > 0
		list, open := q.take(spare, !storm)
		if !open && !storm {
			return
		}
		for i := range list {
			a.do(&list[i])
			list[i] = job{}
		}
		if list != nil {
			spare = list
		}
		if storm {
			a.someEvents()
		}
	}
}

// someEvents pushes the next events of a storm.
func (a *answerer) someEvents() {
	n := min(len(a.late), eventChunk)
	for i := range n {
		a.event(&a.late[i])
		a.late[i] = machine.Event{}
	}
	if a.late = a.late[n:]; len(a.late) == 0 {
		a.late = nil
	}
}

func (a *answerer) do(j *job) {
	if j.forget {
		a.formats.reset()
	}
	for _, c := range j.calls {
		if c.replies != nil {
			a.formats.learn(c)
		}
		a.answer(c)
	}
	if len(a.late) > 0 || len(j.events) > eventChunk {
		a.late = append(a.late, j.events...) // behind those of before: a session's events keep their order
		return
	}
	for i := range j.events {
		a.event(&j.events[i])
	}
}

// entry answers the calls of an applied entry and pushes its events: few of them right after the answers, many when
// no answer is ready. Called on the applier goroutine.
func (a *answerer) entry(calls []*call, events []machine.Event) {
	if len(calls) > 0 || len(events) > 0 {
		a.work.put(job{calls: calls, events: events})
	}
}

// finish answers one call.
func (a *answerer) finish(c *call) { a.work.put(job{calls: []*call{c}}) }

// read answers one read.
func (a *answerer) read(c *call) {
	if c.verb.big {
		a.reads.put(job{calls: []*call{c}})
		return
	}
	a.finish(c)
}

// taken is where a call is counted.
func (a *answerer) taken(c *call) *atomic.Int64 {
	if c.beat {
		return &a.beats
	}
	return &a.outstanding
}

// drop forgets a call without an answer.
func (a *answerer) drop(c *call) { a.taken(c).Add(-1) }

// refuse answers a call that was never counted, on the caller's goroutine: the refusal follows from the
// request alone and needs no order.
func (a *answerer) refuse(c *call, e *coorddv1.Error) {
	a.publishError(c, e)
	a.s.cfg.Observer.RequestDone(c.verb.name, e.Code, time.Since(c.arrived))
}

func (a *answerer) answer(c *call) {
	if !c.verb.stale() {
		a.taken(c).Add(-1)
	}
	code := a.publish(c)
	a.s.cfg.Observer.RequestDone(c.verb.name, code, time.Since(c.arrived))
}

// publish encodes and sends the answer of a call and returns its code.
func (a *answerer) publish(c *call) (code string) {
	s := a.s
	body, e, err := a.body(c)
	if err == nil && e == nil && len(body) > s.answerBytes() {
		e = refuse(coorddv1.CodeTooLarge, "the answer has %d bytes, NATS takes %d here", len(body), s.answerBytes())
	}
	if err != nil {
		s.cfg.Logger.Error("an answer can't be encoded", "verb", c.verb.name, "error", err)
		e = refuse(coorddv1.CodeInternal, "the answer can't be encoded")
	}
	if e != nil {
		if e.Leader == "" && !c.verb.stale() {
			e.Leader = s.cfg.Name
		}
		a.publishError(c, e)
		return e.Code
	}
	a.send(c, body, nil)
	return "OK"
}

// body makes the body of an answer, or the error to send instead.
func (a *answerer) body(c *call) (body []byte, e *coorddv1.Error, err error) {
	s := a.s
	switch {
	case c.failed != nil:
		return nil, c.failed, nil
	case c.batch != nil:
		a.count(c)
		body, err = s.batchBody(c)
		return body, nil, err
	case c.verb.read != nil:
		m := c.answer
		if c.view != nil {
			m, e = c.verb.read(c.view, s.query(c))
			if e != nil {
				return nil, e, nil
			}
		}
		if c.verb.stale() {
			setAge(m, c.age)
		}
		body, err = encodeBody(m, c.asJSON)
		return body, nil, err
	}
	a.count(c)
	r := &c.replies[0]
	if r.Code != machine.OK {
		return nil, s.errorOf(c.verb, c.name, r), nil
	}
	body, err = encodeBody(c.verb.reply(s, c, r), c.asJSON)
	return body, nil, err
}

// count tells the observer what the machine's replies say beside their codes. A reply that was executed at
// another entry than this one comes from the reply cache.
func (a *answerer) count(c *call) {
	for i := range c.replies {
		r := &c.replies[i]
		if r.Index != 0 && r.Index != c.index {
			a.s.cfg.Observer.DuplicateRequest()
		}
		if r.Code == machine.CodeQuota {
			a.s.cfg.Observer.QuotaRefused(quotaKind(c.cmds[i].Kind))
		}
	}
}

func quotaKind(k machine.Kind) string {
	switch k {
	case machine.KindSessionOpen:
		return "sessions"
	case machine.KindSeqCreate, machine.KindSeqAlloc:
		return "sequences"
	}
	return "locks"
}

func (a *answerer) publishError(c *call, e *coorddv1.Error) {
	body, err := encodeBody(&coorddv1.ErrorReply{Error: e}, c.asJSON)
	if err != nil {
		a.s.cfg.Logger.Error("an error can't be encoded", "verb", c.verb.name, "code", e.Code, "error", err)
		return
	}
	a.send(c, body, e)
}

// send publishes to the caller's inbox. What can't be sent is not kept: the caller asks again.
func (a *answerer) send(c *call, body []byte, e *coorddv1.Error) {
	if c.inbox == "" {
		return
	}
	msg := &nats.Msg{Subject: c.inbox, Data: body}
	if e != nil {
		msg.Header = errorHeader(e)
	}
	a.transmit(msg, c.trace)
}

func (a *answerer) transmit(msg *nats.Msg, trace string) {
	if trace != "" {
		if msg.Header == nil {
			msg.Header = make(nats.Header, 1)
		}
		msg.Header[traceHeader] = []string{trace}
	}
	if err := a.s.nc.PublishMsg(msg); err != nil {
		a.s.cfg.Logger.Debug("an answer could not be sent", "subject", msg.Subject, "error", err)
	}
}
