package service

import (
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/machine"
)

func TestExplanations(t *testing.T) {
	t.Parallel()
	const s = int64(time.Second)
	now := 100 * s
	me := machine.HolderInfo{Session: 5, Owner: "worker-7", Fence: 41, Mode: machine.Exclusive, Count: 1, Since: 88 * s, Deadline: 111 * s}
	next := machine.WaiterInfo{Session: 6, Owner: "worker-8", Ticket: 3, Mode: machine.Exclusive, Since: 96 * s}
	with := func(h machine.HolderInfo, f func(h *machine.HolderInfo)) machine.HolderInfo { f(&h); return h }
	for _, tc := range []struct {
		what string
		lock machine.LockInfo
		past []machine.Transition
		want []string
	}{
		{"free", machine.LockInfo{Name: "a b"}, nil, []string{`"a b" is free: nobody holds it and nobody waits for it.`}},
		{"held, with a waiter, after a loss", machine.LockInfo{Name: "l", Holders: []machine.HolderInfo{me}, Queue: []machine.WaiterInfo{next, {Session: 9, Ticket: 1, Mode: machine.Shared, Since: 99 * s}}, Waiting: 2},
			[]machine.Transition{
				{Kind: machine.TransitionExpired, Session: 4, Owner: "worker-6", Fence: 40, At: 88 * s, Reason: "the session expired"},
				{Kind: machine.TransitionDelayed, Session: 4, Fence: 40, At: 88 * s}, {Kind: machine.TransitionGranted, Session: 5, Fence: 41, At: 88 * s}},
			[]string{`"worker-7" (session 5) has held "l" for 12.0 s under fence 41; its session ends in 11.0 s unless it is renewed.`,
				`"worker-8" (session 6) has waited for 4.0 s with ticket 3, first in the queue, behind "worker-7" (session 5).`,
				`session 9 has waited for 1.0 s with ticket 1, to share it, at place 2 of the queue.`,
				`The last holder before, "worker-6" (session 4) under fence 40, lost it 12.0 s ago: the session expired.`}},
		{"reentrant, with an end", machine.LockInfo{Name: "l", Holders: []machine.HolderInfo{with(me, func(h *machine.HolderInfo) { h.Count, h.Until = 2, 103*s })}}, nil,
			[]string{`"worker-7" (session 5) has held "l", entered 2 times, for 12.0 s under fence 41; its session ends in 11.0 s unless it is renewed; the hold ends in 3.0 s in any case.`}},
		{"delayed by force", machine.LockInfo{Name: "l", Delayed: true, Holders: []machine.HolderInfo{with(me, func(h *machine.HolderInfo) { h.Delayed, h.Deadline = true, 102*s })}},
			[]machine.Transition{{Kind: machine.TransitionForced, Session: 5, Owner: "worker-7", Fence: 41, At: 99 * s, Reason: "stuck\njob."}},
			[]string{`The hold of "worker-7" (session 5) under fence 41 was taken away, and stays in the way of others for another 2.0 s.`,
				`The last holder before, "worker-7" (session 5) under fence 41, was deprived of it 1.0 s ago: stuck job.`}},
		{"given back when it had been forced", machine.LockInfo{Name: "l"},
			[]machine.Transition{{Kind: machine.TransitionReleased, Session: 4, Fence: 40, At: 80 * s},
				{Kind: machine.TransitionForced, Session: 5, Owner: "worker-7", Fence: 41, At: 90 * s, Reason: "forced: stuck job"},
				{Kind: machine.TransitionDelayed, Session: 5, Owner: "worker-7", Fence: 41, At: 90 * s, Until: 99 * s},
				{Kind: machine.TransitionReleased, Session: 5, Owner: "worker-7", Fence: 41, At: 91 * s}},
			[]string{`"l" is free: nobody holds it and nobody waits for it.`,
				`The last holder before, "worker-7" (session 5) under fence 41, was deprived of it 10.0 s ago: forced: stuck job.`}},
		{"expired, and its delay ended", machine.LockInfo{Name: "l"},
			[]machine.Transition{{Kind: machine.TransitionExpired, Session: 5, Owner: "worker-7", Fence: 41, At: 90 * s, Reason: "session expired"},
				{Kind: machine.TransitionReleased, Session: 5, Fence: 41, At: 95 * s, Reason: "its delay ended"}},
			[]string{`"l" is free: nobody holds it and nobody waits for it.`,
				`The last holder before, "worker-7" (session 5) under fence 41, lost it 10.0 s ago: session expired.`}},
		{"released after another one was forced", machine.LockInfo{Name: "l"},
			[]machine.Transition{{Kind: machine.TransitionForced, Session: 5, Fence: 41, At: 90 * s, Reason: "forced"}, {Kind: machine.TransitionReleased, Session: 6, Fence: 42, At: 98 * s}},
			[]string{`"l" is free: nobody holds it and nobody waits for it.`, `The last holder before, session 6 under fence 42, gave it back 2.0 s ago.`}},
		{"semaphore", machine.LockInfo{Name: "p", Limit: 5, InUse: 3, Holders: []machine.HolderInfo{with(me, func(h *machine.HolderInfo) { h.Mode, h.Count = machine.Semaphore, 3 })},
			Queue: []machine.WaiterInfo{{Session: 6, Ticket: 2, Mode: machine.Semaphore, Count: 4, Since: 100 * s}}, Waiting: 1}, nil,
			[]string{`3 of the 5 permits of "p" are taken.`,
				`"worker-7" (session 5) has held "p" with 3 of its permits for 12.0 s under fence 41; its session ends in 11.0 s unless it is renewed.`,
				`session 6 has waited for 0.0 s with ticket 2, for 4 permits, first in the queue, behind "worker-7" (session 5).`}},
		{"shared, released before", machine.LockInfo{Name: "l", Holders: []machine.HolderInfo{with(me, func(h *machine.HolderInfo) { h.Mode = machine.Shared })}},
			[]machine.Transition{{Kind: machine.TransitionReleased, Session: 4, Fence: 40, At: 98 * s}},
			[]string{`"worker-7" (session 5) has held "l" shared for 12.0 s under fence 41; its session ends in 11.0 s unless it is renewed.`,
				`The last holder before, session 4 under fence 40, gave it back 2.0 s ago.`}},
		{"an acquire-all is next", machine.LockInfo{Name: "l", Queue: []machine.WaiterInfo{{Session: 6, Ticket: 2, Since: 99 * s, Names: []string{"l", "m", "n", "o", "p", "q", "r"}}}, Waiting: 1},
			[]machine.Transition{{Kind: machine.TransitionHandedOver, Session: 4, Fence: 40, At: 98 * s}},
			[]string{`"l" is free, but its next waiter wants other locks too, and waits for those.`,
				`session 6 has waited for 1.0 s with ticket 2, for all of "l", "m", "n", "o", "p" and 2 more, first in the queue.`,
				`The last holder before, session 4 under fence 40, handed it over 2.0 s ago.`}},
	} {
		if got := explain(&tc.lock, tc.past, now); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%q\nwant\n%q", tc.what, got, tc.want)
		}
	}
	many := machine.LockInfo{Name: "l", Holders: make([]machine.HolderInfo, 25), Holds: 25, Queue: make([]machine.WaiterInfo, 1000), Waiting: 5000}
	if got := explain(&many, nil, now); len(got) != 22 || got[10] != "15 more hold it." || got[21] != "4990 more wait behind them." {
		t.Errorf("%d sentences: %q", len(got), got)
	}
}
