package service

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft/node"
)

const (
	// pendingMessages and pendingBytes bound what one subscription may hold back. There are some thirty, and a
	// handler never waits: what is beyond this is a flood, and older than its senders' patience.
	pendingMessages = 8192
	pendingBytes    = 4 << 20
	// retryPause is between two tries of what a new leader needs.
	retryPause = 50 * time.Millisecond
	// eventMemory is how far back a new leader repeats events, in cluster time: what the old leader may have
	// granted and not told any more.
	eventMemory = 10 * time.Second
)

// reign is one leadership of this node.
type reign struct {
	s      *Service
	ctx    context.Context // ends with the leadership, or when Stop has drained
	cancel context.CancelFunc
	join   *joiner
	ticks  *ticker

	serving atomic.Bool // Serving is the last of Serving and NotServing that was applied

	mu   sync.Mutex
	subs []*nats.Subscription
}

// followLeadership runs one reign after the other.
func (s *Service) followLeadership() {
	events, unsubscribe := s.node.Events()
	defer unsubscribe()
	for {
		if leading := s.node.LeadershipContext(); leading.Err() == nil && s.ctx.Err() == nil {
			s.lead(leading)
			continue
		}
		select {
		case <-s.ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				return
			}
		}
	}
}

// lead serves until the leadership ends or the service stops.
func (s *Service) lead(leading context.Context) {
	r := &reign{s: s}
	r.ctx, r.cancel = context.WithCancel(leading)
	defer r.cancel()
	r.join = newJoiner(r)
	r.ticks = newTicker(r)
	s.reign.Store(r)
	defer s.reign.Store(nil)

	var wg sync.WaitGroup
	wg.Go(r.join.run)
	wg.Go(r.ticks.run)
	if err := r.rise(); err == nil {
		r.watchNATS()
	} else if r.ctx.Err() == nil && s.ctx.Err() == nil {
		s.cfg.Logger.Warn("this leader could not begin to serve", "error", err)
	}
	r.fall()
	wg.Wait()
	// A leadership that could not be used must not be tried again in a tight loop.
	if leading.Err() == nil && s.ctx.Err() == nil {
		s.pause(retryPause)
	}
}

func (s *Service) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.ctx.Done():
	case <-t.C:
	}
}

// rise makes this leader one that clients find: it has an ID domain, is subscribed, can be reached, and then
// lets time end things.
func (r *reign) rise() error {
	s := r.s
	if err := r.drawDomain(); err != nil {
		return fmt.Errorf("drawing an ID domain: %w", err)
	}
	r.ticks.watch()
	s.sm.told.Store(s.watches)
	if err := r.subscribe(); err != nil {
		return err
	}
	r.repeatEvents()
	s.cfg.Logger.Info("taking commands", "term", s.node.Status().Term)
	for began := time.Now(); !s.prober.reachable(r.ctx) && !canary.Broken(canary.ServingAfterProbe); s.pause(retryPause) {
		if err := r.over(); err != nil {
			return err
		}
		s.cfg.Logger.Warn("not reachable through the other members' servers yet; nothing expires until then")
		if time.Since(began) > s.cfg.Timing.NATSLost {
			return nil // watchNATS looks for a member that is better off, and serves when NATS is back
		}
	}
	return r.setServing(true)
}

// over tells why a reign has to end, nil while it goes on.
func (r *reign) over() error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	return r.s.ctx.Err()
}

// drawDomain gives a new cluster its ID domain, before any client can see the lack of one.
func (r *reign) drawDomain() error {
	s := r.s
	domain := make(chan uint16, 1)
	if !s.node.Inspect(func(uint64) { domain <- s.sm.machine.Live().Domain() }) {
		return errors.New("the node does not let itself be looked at")
	}
	select {
	case d := <-domain:
		if d != 0 {
			return nil
		}
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	var b [2]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	d := binary.BigEndian.Uint16(b[:])%32767 + 1
	return r.control(machine.Command{Kind: machine.KindInit, Init: &machine.Init{Domain: d}})
}

// control proposes a command of the service's own and waits for it.
func (r *reign) control(c machine.Command) error {
	s := r.s
	data, err := machine.EncodeCommandsAs(s.node.ClusterVersion(), []machine.Command{c})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	s.node.Submit(data, func(_ node.Result, err error) {
		if err == nil {
			s.answers.entry(nil, s.sm.takeEvents())
		}
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

func (r *reign) setServing(on bool) error {
	c := machine.Command{Kind: machine.KindNotServing}
	if on {
		c = machine.Command{Kind: machine.KindServing, Serving: &machine.Serving{ElectionTimeout: int64(r.s.cfg.ElectionTimeoutMax)}}
	} else {
		r.serving.Store(false)
	}
	if err := r.control(c); err != nil {
		return err
	}
	r.serving.Store(on)
	r.ticks.kick()
	return nil
}

// subscribe makes this leader the one that hears commands. Plain subscriptions, not a queue group: with a
// stalled old leader in the group half of all requests would be lost.
func (r *reign) subscribe() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subs != nil {
		return nil
	}
	subscribe := r.s.nc.Subscribe
	if canary.Broken(canary.PlainSubscriptions) {
		subscribe = func(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
			return r.s.nc.QueueSubscribe(subject, "leaders", h)
		}
	}
	add := func(subject string, h nats.MsgHandler) error {
		sub, err := subscribe(subject, h)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		r.subs = append(r.subs, sub)
		if err := sub.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		return nil
	}
	var errs []error
	for _, v := range append(verbs[:len(verbs):len(verbs)], batchVerb) {
		subject, h := clientPrefix+"*."+v.name, r.handle(v)
		errs = append(errs, add(subject, h))
		if v.named {
			// A name that is missing, or one with dots, deserves better than "no responders".
			errs = append(errs, add(subject+".>", h))
		}
	}
	errs = append(errs, add(adminPrefix+"lock.force-release.>", r.handleForce))
	for _, v := range adminVerbs() {
		if r.s.offers(v) {
			errs = append(errs, add(adminPrefix+v.name, r.handleAdmin(v)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.unsubscribeLocked()
		return err
	}
	// A connection that is down takes the subscriptions along when it comes back; the probe will tell.
	_ = r.s.nc.FlushTimeout(r.s.cfg.Timing.NATSLost)
	return nil
}

// unsubscribe comes before anything else on the way down: from then on clients are told "no responders"
// instead of waiting.
func (r *reign) unsubscribe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsubscribeLocked()
}

func (r *reign) unsubscribeLocked() {
	if r.subs == nil {
		return
	}
	for _, sub := range r.subs {
		_ = sub.Unsubscribe() // fails on a closed connection only, where nothing is subscribed any more
	}
	r.subs = nil
	if r.s.nc.IsConnected() {
		_ = r.s.nc.FlushTimeout(100 * time.Millisecond)
	}
}

// repeatEvents pushes what was granted or lost lately once more: the old leader may have died before it told.
// Clients take an event, and a transition, once by its number.
func (r *reign) repeatEvents() {
	s := r.s
	s.node.Inspect(func(uint64) {
		since := s.sm.machine.Live().Now() - int64(eventMemory)
		s.answers.entry(nil, s.sm.lastEvents(since))
		s.watches.put(s.sm.lastChanges(since))
	})
}

// fall ends the reign. A leader that stops of its own will answers what is under way; a deposed one forgets
// it: the next leader's answers are the true ones.
func (r *reign) fall() {
	s := r.s
	r.unsubscribe()
	if r.ctx.Err() == nil {
		r.drain(s.cfg.Timing.Drain)
	}
	r.serving.Store(false)
	r.ticks.unwatch()
	s.sm.told.Store(nil)
	r.cancel()
	for _, c := range r.join.close() {
		if canary.Broken(canary.DeposedIsSilent) {
			s.answers.refuse(c, refuse("BUSY", "node %s leads no more", s.cfg.Name))
		}
		s.answers.drop(c)
	}
	s.answers.work.put(job{forget: true})
}

// drain waits until nothing is under way, the reign ends, or the time is over.
func (r *reign) drain(most time.Duration) {
	limit := time.NewTimer(most)
	defer limit.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for r.s.answers.outstanding.Load()+r.s.answers.beats.Load() > 0 {
		select {
		case <-r.ctx.Done():
			return
		case <-limit.C:
			return
		case <-look.C:
		}
	}
}

// abandon ends the reign at once.
func (r *reign) abandon() { r.cancel() }

// admit takes a decoded call in, or refuses it.
func (r *reign) admit(c *call) {
	s := r.s
	taken := s.answers.taken(c)
	if taken.Add(1) > int64(s.cfg.Limits.Outstanding) {
		taken.Add(-1)
		r.refuseBusy(c, "the leader "+s.cfg.Name+" has too many requests under way")
		return
	}
	switch {
	case len(c.cmds) > 0:
		if !r.join.put(c) {
			s.answers.drop(c)
		}
	case c.batch != nil && !c.batch.reads():
		s.answers.finish(c) // every command of it was refused
	case canary.Broken(canary.ServiceReadProved):
		s.node.Inspect(func(uint64) { s.look(c) })
	default:
		s.node.SubmitRead(func(_ uint64, err error) {
			if err != nil {
				s.answers.drop(c)
				return
			}
			s.look(c)
		})
	}
}

// refuseBusy says BUSY if it is certain that nobody else leads, and nothing otherwise: the real leader's answer
// must win.
func (r *reign) refuseBusy(c *call, why string) {
	if r.s.node.Lease() || canary.Broken(canary.BusyNeedsLease) {
		r.s.answers.refuse(c, refuse("BUSY", "%s", why))
	}
}
