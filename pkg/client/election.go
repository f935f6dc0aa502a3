package client

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Election is a lock with a value: whoever holds it leads, and the value is what others should know of the leader, an
// address say.
type Election struct {
	by   caller
	name string
}

// Election returns the election of that name, used in the client's default session. No request is sent.
func (c *Client) Election(name string) *Election { return &Election{c, name} }

// Election returns the election of that name, used in this session. No request is sent.
func (s *Session) Election(name string) *Election { return &Election{s, name} }

// Leader is who leads. Fence is 0, and all else is empty, when nobody does.
type Leader struct {
	Session string // as in [Leadership.HandOver]
	Owner   string
	Value   []byte
	Fence   uint64
}

// Leadership is the hold of an election. Its context ends before somebody else can lead. Of a session that was resumed it
// is made of what [Session.Locks] returns: &Leadership{Lock: l}.
type Leadership struct {
	*Lock
}

// Campaign waits until this candidate leads, in the order of arrival; value is what others see of it then. For the rest it
// is as [Session.Lock].
func (e *Election) Campaign(ctx context.Context, value []byte, opts ...LockOption) (*Leadership, error) {
	o, err := lockOptionsOf(coorddv1.Mode_EXCLUSIVE, false, opts)
	if err != nil {
		return nil, err
	}
	if err := checkName("election", e.name); err != nil {
		return nil, err
	}
	if o.reentrant {
		return nil, localError(coorddv1.CodeBadRequest, "election %q: a leadership can't be entered twice", e.name)
	}
	value = slices.Clone(value)
	t, err := obtain(ctx, e.by, &want{noun: "election", verb: "election.campaign", name: e.name, request: func(holding []uint64) proto.Message {
		return &coorddv1.ElectionCampaignRequest{Value: value, Wait: o.waiting(), Delay: duration(o.delay), MaxHold: duration(o.maxHold),
			Metadata: o.metadata, Holding: holding}
	}})
	if err != nil {
		return nil, err
	}
	return &Leadership{t.lock}, nil
}

// Leader returns who leads, by a linearizable read: a Leader with the Fence 0 if nobody does.
func (e *Election) Leader(ctx context.Context) (Leader, error) {
	l, _, err := e.leader(ctx)
	return l, err
}

func (e *Election) leader(ctx context.Context) (Leader, position, error) {
	if err := checkName("election", e.name); err != nil {
		return Leader{}, position{}, err
	}
	c, cfg := e.by.home()
	var rep coorddv1.ElectionObserveReply
	if _, err := c.ask(ctx, cfg, "election.observe", e.name, &coorddv1.ElectionObserveRequest{Cluster: c.clusterID()}, &rep); err != nil {
		return Leader{}, position{}, fmt.Errorf("election %q: %w", e.name, err)
	}
	at := position{index: rep.GetIndex(), whole: true}
	l := rep.GetLeader()
	if l.GetFence() == 0 {
		return Leader{}, at, nil
	}
	return Leader{Session: idText(l.GetSession()), Owner: l.GetOwner(), Value: l.GetValue(), Fence: l.GetFence()}, at, nil
}

// idText writes the number of a session as the service's JSON has it.
func idText(id uint64) string { return strconv.FormatUint(id, 10) }

// Proclaim changes the value that others see of this leader.
func (l *Leadership) Proclaim(ctx context.Context, value []byte) error {
	if err := l.Valid(); err != nil {
		return fmt.Errorf("proclaim in election %q: %w", l.name, err)
	}
	err := l.s.execute(ctx, "election.proclaim", l.name, &coorddv1.ElectionProclaimRequest{Fence: l.fence, Value: value}, &coorddv1.ElectionProclaimReply{})
	if err != nil {
		return fmt.Errorf("proclaim in election %q: %w", l.name, err)
	}
	return nil
}

// Resign gives the leadership up: it is [Lock.Unlock].
func (l *Leadership) Resign(ctx context.Context) error { return l.Unlock(ctx) }

// HandOver gives the leadership to a session that campaigns for it, out of turn. As with Unlock the context ends first,
// and the leadership is over for this leader from then on: should the other session have given up in this very moment, an
// error says so and the next candidate leads. If it is known beforehand that it does not campaign the leadership is kept.
func (l *Leadership) HandOver(ctx context.Context, session string) error {
	fail := func(err error) error {
		return fmt.Errorf("hand election %q over to session %s: %w", l.name, session, err)
	}
	to, err := strconv.ParseUint(session, 10, 64)
	if err != nil || to == 0 {
		return fail(localError(coorddv1.CodeBadRequest, "%q is not the number of a session", session))
	}
	if err := l.s.waits(ctx, l.name, to); err != nil {
		return fail(err)
	}
	if err := l.Valid(); err != nil {
		return fail(err)
	}
	c, err := newCall("election.hand-over", l.name, &coorddv1.LockHandOverRequest{Fence: l.fence, To: to})
	if err != nil {
		return fail(err)
	}
	if !l.end(ErrReleased) {
		return fail(*l.ended.Load())
	}
	var refused error
	over := func(err error) {
		l.releaseErr = err
		close(l.released)
	}
	c.answered = func() {
		if c.err == nil || sessionGone(c.err) {
			over(nil)
			return
		}
		refused = c.err
		l.s.release(l.name, l.fence, false, over)
	}
	l.s.mu.Lock()
	l.s.forgetLocked(l.Lock)
	l.release = c
	l.s.mu.Unlock()
	l.s.submit(c)
	if err := l.awaitRelease(ctx); err != nil {
		return fail(err)
	}
	if refused != nil {
		return fail(refused)
	}
	return nil
}

// waits returns an error if it is known that a session does not wait for a lock.
func (s *Session) waits(ctx context.Context, name string, session uint64) error {
	var rep coorddv1.LockGetReply
	if _, err := s.c.ask(ctx, s.cfg, "lock.get", name, &coorddv1.LockGetRequest{Cluster: s.c.clusterID()}, &rep); err != nil {
		return err
	}
	l := rep.GetLock()
	all := l.GetWaiting() <= uint64(len(l.GetQueue()))
	if all && !slices.ContainsFunc(l.GetQueue(), func(w *coorddv1.Waiter) bool { return w.GetSession() == session }) {
		return localError(coorddv1.CodeNotFound, "it does not wait")
	}
	return nil
}

// AskHandOver asks the leader to hand over to this session, which must campaign meanwhile. It sees that as
// [EventHandOverAsked] among its session's events, and does as it likes.
func (e *Election) AskHandOver(ctx context.Context) error {
	now, err := e.Leader(ctx)
	if err != nil {
		return err
	}
	w := &want{noun: "election", name: e.name}
	if now.Fence == 0 {
		return fmt.Errorf("%v: %w", w, localError(coorddv1.CodeNotFound, "nobody leads who could be asked"))
	}
	return e.by.through(ctx, w, func(s *Session) (bool, error) {
		err := s.execute(ctx, "election.hand-over", e.name, &coorddv1.LockHandOverRequest{Fence: now.Fence, To: s.id}, &coorddv1.LockHandOverReply{})
		if err != nil {
			return true, fmt.Errorf("%v: ask for it: %w", w, err)
		}
		return true, nil
	})
}
