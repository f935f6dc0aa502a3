package client

import (
	"context"
	"iter"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// TransitionKind says what happened to a lock.
type TransitionKind string

// The kinds of transitions.
const (
	TransitionGranted    TransitionKind = "GRANTED"
	TransitionQueued     TransitionKind = "QUEUED"
	TransitionReleased   TransitionKind = "RELEASED"
	TransitionExpired    TransitionKind = "EXPIRED"     // the holder's session, or its MaxHold
	TransitionForced     TransitionKind = "FORCED"      // taken away by an operator
	TransitionDelayed    TransitionKind = "DELAYED"     // taken away, and in the way until Until
	TransitionLeft       TransitionKind = "LEFT"        // a waiter gave up, or its time or session was over
	TransitionHandedOver TransitionKind = "HANDED_OVER" // to a waiter, out of turn
	TransitionProclaimed TransitionKind = "PROCLAIMED"  // a leader's new value
	TransitionRefenced   TransitionKind = "REFENCED"    // the holder's session was resumed
	TransitionReentered  TransitionKind = "REENTERED"
	TransitionMissed     TransitionKind = "MISSED" // Count of them could not be had any more
)

// Transition is one change of a lock. Times are cluster time: nanoseconds since the cluster's birth.
type Transition struct {
	Number  uint64 // counts the transitions of this lock while it is remembered, from 1 on
	Kind    TransitionKind
	Lock    string
	At      time.Duration
	Index   uint64 // of the log
	Session string
	Owner   string
	Ticket  uint64
	Fence   uint64
	Mode    Mode
	Count   int
	Until   time.Duration // of DELAYED
	Reason  string
	Value   []byte // of an election; not in a history
}

func transitionOf(name string, t *coorddv1.Transition) Transition {
	return Transition{Number: t.GetNumber(), Kind: TransitionKind(t.GetKind().String()), Lock: name, At: time.Duration(t.GetAt()), Index: t.GetIndex(),
		Session: idText(t.GetSession()), Owner: t.GetOwner(), Ticket: t.GetTicket(), Fence: t.GetFence(), Mode: Mode(t.GetMode().String()),
		Count: int(t.GetCount()), Until: time.Duration(t.GetUntil()), Reason: t.GetReason(), Value: t.GetValue()}
}

// Watch tells each transition of a lock from now on, in order and once. What was missed, in an outage say, is read from the
// lock's history; of what has been forgotten there [TransitionMissed] says how much it was. An error is the last thing that
// is told: the end of ctx, or that it was not possible to begin.
func (c *Client) Watch(ctx context.Context, name string) iter.Seq2[Transition, error] {
	return func(yield func(Transition, error) bool) {
		err := checkName("lock", name)
		if err == nil {
			err = c.follow(ctx, c.cfg, name, &watching{c: c, name: name, yield: yield})
		}
		if err != nil {
			yield(Transition{}, err)
		}
	}
}

// watching is the view of one Watch.
type watching struct {
	c     *Client
	name  string
	yield func(Transition, error) bool

	started bool
	at      position // of what was told
}

// read tells what the history has that was not told yet; of the first one, nothing.
func (v *watching) read(ctx context.Context) (position, bool, error) {
	rep, err := v.c.why(ctx, v.c.cfg, v.name)
	if err != nil {
		return v.at, false, err
	}
	for _, t := range rep.GetTimeline() {
		if !v.started {
			v.at = position{index: t.GetIndex(), number: t.GetNumber()}
			continue
		}
		if v.at.passed(t) {
			continue
		}
		if v.at.gap(t) && t.GetNumber() > v.at.number {
			missed := Transition{Kind: TransitionMissed, Lock: v.name, Number: v.at.number + 1, Index: v.at.index, Count: int(t.GetNumber() - v.at.number - 1)}
			if !v.yield(missed, nil) {
				return v.at, true, nil
			}
		}
		if _, enough := v.take(t); enough {
			return v.at, true, nil
		}
	}
	v.started = true
	// All up to the answer's index is known now, and with what number it ends.
	v.at = position{index: rep.GetIndex(), number: v.at.number, whole: true}
	return v.at, false, nil
}

func (v *watching) take(t *coorddv1.Transition) (unclear, enough bool) {
	v.at = position{index: t.GetIndex(), number: t.GetNumber()}
	return false, !v.yield(transitionOf(v.name, t), nil)
}
