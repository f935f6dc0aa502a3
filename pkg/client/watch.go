package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
)

const (
	// What could be missed without any sign of it, the last transition of a leader that died say, is read after so long
	// at the most. The first time is earlier: that somebody listens may not have come round to the leader yet.
	firstReread, longestReread = time.Second, 10 * time.Second
	// maxUntaken bounds the transitions that a slow reader lets wait; beyond it they are dropped, and read instead.
	maxUntaken = 1024
)

// subscription brings the transitions of one lock.
type subscription struct {
	sub  *nats.Subscription
	some chan struct{} // holds one token while there is something to take

	mu     sync.Mutex
	got    []*coorddv1.Transition
	missed bool // some were dropped
}

func watchSubject(ns, name string) string { return "coord.v1." + ns + ".watch." + encodeName(name) }

// subscribe begins to listen to a lock's transitions. When it returns, the NATS server knows of it.
func (w *wire) subscribe(ns, name string) (*subscription, error) {
	x := &subscription{some: make(chan struct{}, 1)}
	subject := watchSubject(ns, name)
	sub, err := w.nc.Subscribe(subject, x.receive)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	x.sub = sub
	// While the connection is down this fails, and the subscription is made with the next one.
	if err := w.nc.FlushTimeout(healthTimeout); err == nil && deniesSubscribe(w.nc.LastError(), subject) {
		x.stop()
		return nil, localError(coorddv1.CodeDenied, "NATS does not let this user subscribe to %s", subject)
	}
	return x, nil
}

func deniesSubscribe(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(`subscription to "`+subject+`"`))
}

func (x *subscription) stop() { _ = x.sub.Unsubscribe() } // the connection may be closed already

func (x *subscription) receive(m *nats.Msg) {
	var t coorddv1.Transition
	bad := unmarshal(m.Data, &t) != nil
	x.mu.Lock()
	if bad || len(x.got) == maxUntaken {
		x.missed = true
	} else {
		x.got = append(x.got, &t)
	}
	x.mu.Unlock()
	select {
	case x.some <- struct{}{}:
	default:
	}
}

// take returns what has come, and whether more than that did.
func (x *subscription) take() (got []*coorddv1.Transition, missed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	got, missed = x.got, x.missed
	x.got, x.missed = nil, false
	return got, missed
}

// position is how far somebody has followed a lock.
type position struct {
	index  uint64 // of the log
	number uint64 // of the last transition; 0: not known
	whole  bool   // all of that index is known: it was read
}

// passed says whether a transition was known before.
func (p position) passed(t *coorddv1.Transition) bool {
	if canary.Broken(canary.ObserveNeverGoesBack) {
		return false
	}
	return t.GetIndex() < p.index || t.GetIndex() == p.index && (p.whole || t.GetNumber() <= p.number)
}

// gap says whether something is missing before a transition. The numbers of a lock that was forgotten begin anew.
func (p position) gap(t *coorddv1.Transition) bool {
	return p.number != 0 && t.GetNumber() != p.number+1 && t.GetNumber() != 1
}

// view is what follows a lock: it is read as a whole, and told what happens.
type view interface {
	// read asks the service how the lock is, and says how far that reaches. enough: nobody wants to know more.
	read(context.Context) (at position, enough bool, err error)
	// take takes a transition. unclear: unless the next one tells, the lock must be read.
	take(*coorddv1.Transition) (unclear, enough bool)
}

// follow keeps a view up to date until ctx ends or it has seen enough. It listens before it reads, so that nothing lies
// between, and reads again whenever something may have been missed. Outages are sat out, but for the first read.
func (c *Client) follow(ctx context.Context, cfg config, name string, v view) error {
	x, err := c.wire.subscribe(cfg.namespace, name)
	if err != nil {
		return err
	}
	defer x.stop()
	timer := c.clock.NewTimer(firstReread)
	defer timer.Stop()
	var at position
	wait, started := firstReread, false
	for {
		again := c.wire.reconnected()
		next, enough, err := v.read(ctx)
		switch {
		case enough:
			return nil
		case ctx.Err() != nil:
			return ended(ctx)
		case err == nil:
			at, started = next, true
			timer.Reset(wait)
			wait = longestReread
		case !started || !transient(err):
			return err
		default:
			timer.Reset(jitter(firstReread))
		}
		for stale := false; !stale; {
			select {
			case <-ctx.Done():
				return ended(ctx)
			case <-c.wire.done:
				return fmt.Errorf("client: %w", ErrClosed)
			case <-again:
				stale = true
			case <-timer.C():
				stale = true
			case <-x.some:
				if at, stale, enough = catchUp(v, x, at); enough {
					return nil
				}
			}
		}
	}
}

// catchUp takes what has come. stale says that the lock must be read.
func catchUp(v view, x *subscription, at position) (_ position, stale, enough bool) {
	got, missed := x.take()
	for _, t := range got {
		if at.passed(t) {
			continue
		}
		if at.gap(t) {
			return at, true, false // the rest is older than what will be read
		}
		at = position{index: t.GetIndex(), number: t.GetNumber()}
		if stale, enough = v.take(t); enough {
			return at, false, true
		}
	}
	return at, stale || missed, false
}

// transient says whether a read may go better later.
func transient(err error) bool {
	return errors.Is(err, ErrNoLeader) || errors.Is(err, ErrTimeout) || errors.Is(err, ErrBusy)
}
