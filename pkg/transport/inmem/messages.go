package inmem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// parcelBytes is what a request, an answer or a notification counts for beyond its body.
const parcelBytes = 32

// Request asks a member and waits for its answer.
func (t *Transport) Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
	return t.client.Request(ctx, to, body)
}

// Notify queues a one-way message.
func (t *Transport) Notify(to raft.MemberID, body []byte) error {
	err := t.client.Notify(to, body)
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if r := t.routes[to]; r != nil {
			r.lose(1)
		}
	}
	return err
}

// carryAll connects and carries requests and notifications until the context ends.
func (l *lane) carryAll(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			l.connected.Store(false)
			return
		case <-l.outbox.Wake():
		case <-retry.C:
		}
		if l.outbox.Len() == 0 {
			continue
		}
		if !l.ensure() {
			l.route.lose(l.outbox.DropNotices())
			retry.Reset(l.route.t.cfg.RetryInterval)
			continue
		}
		for _, p := range l.outbox.Take(nil, l.route.t.cfg.BulkBytes) {
			l.carry(ctx, l.session, p)
		}
	}
}

// carry brings one parcel to the peer, after the delay of the line.
func (l *lane) carry(ctx context.Context, s session, p exchange.Parcel) {
	t := l.route.t
	way, _ := t.network.way(t.self, l.route.peer.ID)
	switch {
	case way.cut: // swallowed: the sender cannot tell
	case way.delay > 0:
		due := time.Now().Add(way.delay)
		t.running.Go(func() {
			if sleepUntil(ctx, due) {
				l.hand(s, p)
			}
		})
	default:
		l.hand(s, p)
	}
}

// hand gives one parcel to the peer's server. One that has closed is noticed as a broken connection is.
func (l *lane) hand(s session, p exchange.Parcel) {
	r := l.route
	if s.target.enter() == nil {
		if l.outbox.Broken(); !p.Request {
			r.lose(1)
		}
		return
	}
	defer s.target.receiving.RUnlock()
	r.t.counted(s.target, r.peer, s.ours, len(p.Body))
	body := bytes.Clone(p.Body)
	if !p.Request {
		s.target.server.Notify(s.ours.Member, body)
		return
	}
	s.target.server.Request(s.ours, wire.Request{ID: p.ID, Body: body}, func(reply wire.Reply) {
		s.target.sendBack(r.t, s.ours, reply, l.outbox)
	})
}

// sendBack carries a reply to who asked, after the delay of the line.
func (t *Transport) sendBack(asker *Transport, caller transport.Identity, reply wire.Reply, outbox *exchange.Outbox) {
	way, _ := t.network.way(t.self, caller.Member)
	if way.cut {
		return
	}
	deliver := func() {
		reply.Body = bytes.Clone(reply.Body)
		t.counted(asker, transport.Peer{ID: caller.Member, Name: caller.Name}, t.handler.Identity(), len(reply.Body))
		outbox.Reply(reply)
	}
	if way.delay == 0 {
		deliver()
		return
	}
	due := time.Now().Add(way.delay)
	t.running.Go(func() {
		if sleepUntil(t.alive, due) {
			deliver()
		}
	})
}

// counted has both sides count a body on its way to a peer.
func (t *Transport) counted(target *Transport, peer transport.Peer, ours transport.Identity, size int) {
	t.cfg.Observer.PeerSent(peer.Label(), transportLabel, size+parcelBytes)
	target.cfg.Observer.PeerReceived(transport.Peer{ID: ours.Member, Name: ours.Name}.Label(), transportLabel, size+parcelBytes)
}

// Announce says who this node is to whatever listens at an address.
func (t *Transport) Announce(ctx context.Context, address string, body []byte) ([]byte, error) {
	answer, err := exchange.Announcing(ctx, body, func(ctx context.Context) (wire.Status, []byte, error) {
		t.mu.Lock()
		ready := t.handler != nil && !t.ended
		t.mu.Unlock()
		if !ready {
			return 0, nil, ErrClosed
		}
		return t.announce(ctx, address, bytes.Clone(body))
	})
	if remote := (*transport.RemoteError)(nil); err != nil && !errors.As(err, &remote) {
		return nil, fmt.Errorf("announce to %s: %w", address, err)
	}
	return answer, err
}

// announced is how an announcement went.
type announced struct {
	status wire.Status
	body   []byte
	ok     bool
}

// announce is one connection.
func (t *Transport) announce(ctx context.Context, address string, body []byte) (wire.Status, []byte, error) {
	target := t.network.lookup(address)
	var theirHandler transport.Handler
	if target != nil {
		theirHandler = target.enter()
	}
	if theirHandler == nil {
		return 0, nil, errors.New("nobody listens")
	}
	ours, result := t.handler.Identity(), make(chan announced, 1)
	if refusal := transport.AdmitStranger(theirHandler.Identity(), ours); refusal != nil {
		target.receiving.RUnlock()
		target.reject(ours.Member, refusal)
		return 0, nil, refusal
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reachable := func() bool {
		there, _ := t.network.way(t.self, target.self)
		back, _ := t.network.way(target.self, t.self)
		return !there.cut && !back.cut
	}
	connected := reachable()
	if connected {
		target.running.Go(func() {
			status, answer, ok := target.server.Announce(ctx, t.Addr(), ours, body)
			if reachable() { // otherwise the answer is swallowed
				result <- announced{status, bytes.Clone(answer), ok}
			}
		})
	}
	target.receiving.RUnlock()
	var patience <-chan time.Time // a connection that is not made is given up, one that stands is the context's matter
	if !connected {
		patience = time.After(10 * t.cfg.RetryInterval)
	}
	select {
	case <-patience:
		return 0, nil, errors.New("no answer")
	case r := <-result:
		if !r.ok {
			return 0, nil, errors.New("the node there has closed")
		}
		return r.status, r.body, nil
	case <-t.alive.Done():
		return 0, nil, ErrClosed
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}
