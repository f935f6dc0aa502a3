package client

import (
	"bytes"
	"context"
	"iter"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
)

// Observe tells who leads: at once, by a linearizable read, and then each time that this, or the leader's value, changes. A
// Leader with the Fence 0 is told when nobody leads. Leaders that came and went quickly may be left out, but none is told
// after a newer one. Outages are sat out; an error is the last thing that is told: the end of ctx, or that it was not possible to begin.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Leader, error] {
	return func(yield func(Leader, error) bool) {
		c, cfg := e.by.home()
		err := checkName("election", e.name)
		if err == nil {
			err = c.follow(ctx, cfg, e.name, &observation{e: e, yield: yield})
		}
		if err != nil {
			yield(Leader{}, err)
		}
	}
}

// observation is the view of one Observe.
type observation struct {
	e     *Election
	yield func(Leader, error) bool

	told   bool
	last   Leader // what was told
	newest uint64 // fence
}

// read asks who leads.
func (o *observation) read(ctx context.Context) (at position, enough bool, err error) {
	l, at, err := o.e.leader(ctx)
	if err != nil {
		return at, false, err
	}
	return at, !o.tell(l), nil
}

// take takes a transition that is later than all that was told.
func (o *observation) take(t *coorddv1.Transition) (unclear, enough bool) {
	switch t.GetKind() {
	case coorddv1.Transition_GRANTED, coorddv1.Transition_PROCLAIMED:
		return false, !o.tell(Leader{Session: idText(t.GetSession()), Owner: t.GetOwner(), Value: t.GetValue(), Fence: t.GetFence()})
	case coorddv1.Transition_QUEUED, coorddv1.Transition_LEFT, coorddv1.Transition_REENTERED:
		return false, false // of candidates
	default:
		// The leader's hold ended or became another one. As a rule the next transition names its successor, in the same
		// entry; if none does, nobody leads.
		return true, false
	}
}

// tell tells who leads if that is news, and reports whether the caller wants to know more.
func (o *observation) tell(l Leader) bool {
	old := l.Fence != 0 && l.Fence < o.newest && !canary.Broken(canary.ObserveNeverGoesBack)
	if old || o.told && l.Fence == o.last.Fence && l.Session == o.last.Session && bytes.Equal(l.Value, o.last.Value) {
		return true
	}
	o.told, o.last, o.newest = true, l, max(o.newest, l.Fence)
	return o.yield(l, nil)
}
