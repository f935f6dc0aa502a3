package client

import (
	"container/heap"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	// joinedRenewals is how many sessions one message renews at the most.
	joinedRenewals = 256
	// earlyRenewal is the part of its interval by which a session is renewed early when another one is due: so the renewals
	// of a client fall together, and none waits for another.
	earlyRenewal = 10
	// refusedPause is between two renewals of a session whose first one was refused for the moment.
	refusedPause = 100 * time.Millisecond
)

// renewals renews the sessions of one client, each when it is due, and those that soon will be along with it.
type renewals struct {
	c    *Client
	wake chan struct{} // holds one token when the first one due may be another

	mu    sync.Mutex
	due   dueHeap
	alone map[string]bool // namespaces in which batches are not permitted
}

// renewal is what renewals knows of a session. It is guarded by their mutex.
type renewal struct {
	due, last time.Duration // monotonic: the next one; when the last one was begun
	early     time.Duration // by which it may be renewed before it is due
	place     int           // in the heap, from 1 on; 0: it is not there
	flying    bool          // one is under way
	again     bool          // another one was asked for meanwhile
	alone     bool          // an answer for several has no room for all that it holds and waits for
	over      bool
}

func newRenewals(c *Client) *renewals {
	return &renewals{c: c, wake: make(chan struct{}, 1), alone: make(map[string]bool)}
}

// run begins renewals until the client is closed.
func (r *renewals) run() {
	timer := r.c.clock.NewTimer(time.Hour)
	defer timer.Stop()
	woken := 0
	for {
		groups, next := r.pick()
		for _, g := range groups {
			r.begin(g)
		}
		timer.Reset(next)
		clock.Work(r.c.clock, -woken)
		woken = 0
		select {
		case <-r.c.ctx.Done():
			return
		case <-r.wake:
			woken = 1
		case <-timer.C():
		}
	}
}

// begin renews a group in a goroutine of its own.
func (r *renewals) begin(group []*Session) {
	clock.Work(r.c.clock, 1)
	r.c.wg.Go(func() {
		defer clock.Work(r.c.clock, -1)
		r.renew(group)
	})
}

// pick takes the sessions that are to be renewed now, in groups of one message each, and says when others will be due.
func (r *renewals) pick() (groups [][]*Session, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.clock.Now().Mono
	if len(r.due) == 0 {
		return nil, time.Hour
	}
	if wait := r.due[0].renewal.due - now; wait > 0 {
		return nil, wait
	}
	byNamespace := map[string][]*Session{}
	for len(r.due) > 0 && r.due[0].renewal.due-r.due[0].renewal.early <= now {
		s := heap.Pop(&r.due).(*Session)
		s.renewal.flying, s.renewal.last = true, now
		if s.renewal.alone {
			groups = append(groups, []*Session{s})
			continue
		}
		ns := s.cfg.namespace
		byNamespace[ns] = append(byNamespace[ns], s)
	}
	for ns, all := range byNamespace {
		most := joinedRenewals
		if r.alone[ns] {
			most = 1
		}
		for len(all) > 0 {
			n := min(most, len(all))
			groups, all = append(groups, all[:n:n]), all[n:]
		}
	}
	if len(r.due) == 0 {
		return groups, time.Hour
	}
	return groups, max(0, r.due[0].renewal.due-now)
}

// add begins to renew a session.
func (r *renewals) add(s *Session) { r.landed(s, s.interval()) }

// remove ends that.
func (r *renewals) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.renewal.over = true
	if s.renewal.place > 0 {
		heap.Remove(&r.due, s.renewal.place-1)
	}
}

// landed says that no renewal of a session is under way, and that the next one is due after so long.
func (r *renewals) landed(s *Session, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := &s.renewal
	x.flying = false
	if x.over || x.place > 0 {
		return
	}
	x.due, x.early = r.c.clock.Now().Mono+after, after/earlyRenewal
	if x.again {
		x.due, x.again = r.c.clock.Now().Mono, false
	}
	heap.Push(&r.due, s)
	r.first(s)
}

// advance has a session renewed at a moment, unless it is to be earlier.
func (r *renewals) advance(s *Session, due time.Duration) {
	if x := &s.renewal; x.place > 0 && due < x.due {
		x.due = due
		heap.Fix(&r.due, x.place-1)
		r.first(s)
	}
}

// first wakes run if a session is the first one due.
func (r *renewals) first(s *Session) {
	if s.renewal.place == 1 {
		select {
		case r.wake <- struct{}{}:
			clock.Work(r.c.clock, 1)
		default:
		}
	}
}

// soon asks for a renewal at once.
func (s *Session) soon() {
	r := s.c.renewals
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.renewal.place == 0 {
		s.renewal.again = true
	}
	r.advance(s, r.c.clock.Now().Mono)
}

// sooner says that a renewal may be due earlier than before.
func (s *Session) sooner() {
	r, every := s.c.renewals, s.interval()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(s, s.renewal.last+every)
}

// renew renews the sessions of a group.
func (r *renewals) renew(group []*Session) {
	if len(group) == 1 {
		group[0].renew()
		r.landed(group[0], group[0].interval())
		return
	}
	if refused := r.together(group); refused != nil {
		for _, s := range refused {
			r.begin([]*Session{s})
		}
		return
	}
	for _, s := range group {
		after := s.interval()
		if s.busy.Swap(false) {
			after = jitter(refusedPause)
		}
		if s.cut.Load() {
			r.apart(s)
		}
		r.landed(s, after)
	}
}

// apart has a session renewed alone from now on, and at once.
func (r *renewals) apart(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.renewal.alone, s.renewal.again = true, true
}

// together renews several sessions by one message. It returns those that must be renewed alone, as messages for several are
// not taken.
func (r *renewals) together(group []*Session) (refused []*Session) {
	var tries [][]*Session // those that each try was for: what the clock says is lost is never renewed
	ttl := group[0].ttl
	for _, s := range group {
		ttl = min(ttl, s.ttl)
	}
	out, err := r.c.wire.do(r.c.ctx, &request{
		subject: subjectOf(group[0].cfg.namespace, "batch", ""),
		patient: patience(ttl),
		body: func() ([]byte, error) {
			req := &coorddv1.BatchRequest{Cluster: r.c.clusterID()}
			var alive []*Session
			for _, s := range group {
				if s.Err() != nil {
					continue
				}
				raw, err := s.keepalive()
				if err != nil {
					return nil, err
				}
				alive = append(alive, s)
				req.Commands = append(req.Commands, &coorddv1.BatchCommand{Verb: "session.keepalive", Raw: raw})
			}
			if tries = append(tries, alive); len(alive) == 0 {
				return nil, errUnwanted
			}
			return proto.Marshal(req)
		},
	})
	if err == nil {
		asked := tries[out.try]
		var rep coorddv1.BatchReply
		if bad := unmarshal(out.data, &rep); bad != nil || len(rep.GetResults()) != len(asked) {
			return group
		}
		for i, s := range asked {
			s.answered(out.sent, rep.GetResults()[i])
		}
		return nil
	}
	if codeOf(err) == "" {
		return nil // the client or all sessions ended
	}
	if codeOf(err) == coorddv1.CodeDenied {
		r.mu.Lock()
		r.alone[group[0].cfg.namespace] = true
		r.mu.Unlock()
	}
	r.c.cfg.log.Info("sessions can't be renewed together", "sessions", len(group), "error", err)
	return group
}

// answered takes a session's part of the answer to a message that was sent at sent.
func (s *Session) answered(sent instant, r *coorddv1.BatchResult) {
	e := r.GetError()
	if e == nil {
		s.takeRenewal(sent, r.GetRaw())
		return
	}
	s.busy.Store(e.GetRetryable())
	if !e.GetRetryable() {
		s.notRenewed(errorOf(e, ""))
	}
}

// dueHeap has the sessions by when their renewals are due.
type dueHeap []*Session

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].renewal.due < h[j].renewal.due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].renewal.place, h[j].renewal.place = i+1, j+1
}

// Push adds a session at the end.
func (h *dueHeap) Push(x any) {
	s := x.(*Session)
	*h = append(*h, s)
	s.renewal.place = len(*h)
}

// Pop takes the last one.
func (h *dueHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h, s.renewal.place = old[:len(old)-1], 0
	return s
}
