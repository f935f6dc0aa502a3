package service

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// maxExplained bounds the holders and the waiters that an explanation tells of, each in a sentence of its own.
const maxExplained = 10

// readWhy shows a lock with what happened to it last, and says in words who is in the way of whom.
func readWhy(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	x, ok := v.Lock(q.ns, q.name)
	if !ok {
		x = machine.LockInfo{Namespace: q.ns, Name: q.name}
	}
	past := v.Timeline(q.ns, q.name)
	m := &coorddv1.LockWhyReply{Index: v.Index(), Lock: lockMessage(&x, q.now), Explanation: explain(&x, past, q.now)}
	for i := range past {
		m.Timeline = append(m.Timeline, transition(&past[i]))
	}
	return m, nil
}

// explain makes sentences for people of a lock's state and of its last transitions, oldest first; now is cluster time.
func explain(x *machine.LockInfo, past []machine.Transition, now int64) (text []string) {
	say := func(format string, args ...any) { text = append(text, fmt.Sprintf(format, args...)) }
	switch {
	case len(x.Holders) == 0 && x.Waiting == 0:
		say("%s is free: nobody holds it and nobody waits for it.", quote(x.Name))
	case len(x.Holders) == 0:
		say("%s is free, but its next waiter wants other locks too, and waits for those.", quote(x.Name))
	case x.Limit > 0:
		say("%d of the %d permits of %s are taken.", x.InUse, x.Limit, quote(x.Name))
	}
	for i := range x.Holders[:min(len(x.Holders), maxExplained)] {
		text = append(text, explainHolder(x, &x.Holders[i], now))
	}
	if more := int(x.Holds) - maxExplained; more > 0 {
		say("%d more hold it.", more)
	}
	for i := range x.Queue[:min(len(x.Queue), maxExplained)] {
		text = append(text, explainWaiter(x, i, now))
	}
	if shown := uint64(min(len(x.Queue), maxExplained)); x.Waiting > shown {
		say("%d more wait behind them.", x.Waiting-shown)
	}
	if t := lastLoss(past); t != nil {
		text = append(text, explainLoss(t, now))
	}
	return text
}

func who(owner string, session uint64) string {
	if owner == "" {
		return fmt.Sprintf("session %d", session)
	}
	return fmt.Sprintf("%s (session %d)", quote(owner), session)
}

// seconds writes a time for people.
func seconds(ns int64) string { return fmt.Sprintf("%.1f s", time.Duration(max(0, ns)).Seconds()) }

func explainHolder(x *machine.LockInfo, h *machine.HolderInfo, now int64) string {
	var b strings.Builder
	if h.Delayed {
		fmt.Fprintf(&b, "The hold of %s under fence %d was taken away, and stays in the way of others for another %s", who(h.Owner, h.Session), h.Fence, seconds(h.Deadline-now))
		return b.String() + "."
	}
	how := ""
	switch {
	case h.Mode == machine.Shared:
		how = " shared"
	case h.Mode == machine.Semaphore:
		how = fmt.Sprintf(" with %d of its permits", h.Count)
	case h.Count > 1:
		how = fmt.Sprintf(", entered %d times,", h.Count)
	}
	fmt.Fprintf(&b, "%s has held %s%s for %s under fence %d", who(h.Owner, h.Session), quote(x.Name), how, seconds(now-h.Since), h.Fence)
	fmt.Fprintf(&b, "; its session ends in %s unless it is renewed", seconds(h.Deadline-now))
	if h.Until != 0 {
		fmt.Fprintf(&b, "; the hold ends in %s in any case", seconds(h.Until-now))
	}
	return b.String() + "."
}

func explainWaiter(x *machine.LockInfo, i int, now int64) string {
	w := &x.Queue[i]
	var b strings.Builder
	fmt.Fprintf(&b, "%s has waited for %s with ticket %d", who(w.Owner, w.Session), seconds(now-w.Since), w.Ticket)
	switch {
	case len(w.Names) > 0:
		fmt.Fprintf(&b, ", for all of %s", names(w.Names))
	case w.Mode == machine.Shared:
		b.WriteString(", to share it")
	case w.Mode == machine.Semaphore:
		fmt.Fprintf(&b, ", for %d permits", max(1, w.Count))
	}
	switch {
	case i > 0:
		fmt.Fprintf(&b, ", at place %d of the queue", i+1)
	case len(x.Holders) == 0:
		b.WriteString(", first in the queue")
	case len(x.Holders) == 1:
		fmt.Fprintf(&b, ", first in the queue, behind %s", who(x.Holders[0].Owner, x.Holders[0].Session))
	default:
		fmt.Fprintf(&b, ", first in the queue, behind %d holds", x.Holds)
	}
	return b.String() + "."
}

// names lists names for people, the first few of many.
func names(all []string) string {
	const most = 5
	var quoted []string
	for _, name := range all[:min(len(all), most)] {
		quoted = append(quoted, quote(name))
	}
	list := strings.Join(quoted, ", ")
	if more := len(all) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// lastLoss is the last transition by which a hold ended, nil if none is remembered. A hold that was taken away and
// delayed has two, and its holder lost it by the first: the second only says that nobody is kept out any more.
func lastLoss(past []machine.Transition) (last *machine.Transition) {
	for i := len(past) - 1; i >= 0; i-- {
		t := &past[i]
		switch t.Kind {
		case machine.TransitionExpired, machine.TransitionForced:
			if last == nil || t.Fence == last.Fence {
				return t
			}
		case machine.TransitionReleased, machine.TransitionHandedOver:
			if last == nil {
				last = t
			}
		}
	}
	return last
}

func explainLoss(t *machine.Transition, now int64) string {
	how := "gave it back"
	switch t.Kind {
	case machine.TransitionExpired:
		how = "lost it"
	case machine.TransitionForced:
		how = "was deprived of it"
	case machine.TransitionHandedOver:
		how = "handed it over"
	}
	text := fmt.Sprintf("The last holder before, %s under fence %d, %s %s ago", who(t.Owner, t.Session), t.Fence, how, seconds(now-t.At))
	if t.Reason != "" {
		text += ": " + plainSpaces(t.Reason)
	}
	return strings.TrimSuffix(text, ".") + "."
}
