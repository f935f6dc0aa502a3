package sim

import (
	"slices"

	replicated "github.com/coordd/coordd/internal/machine"
)

// behind calls f for each acquire that has to end before one that waits can be granted, as far as callers said what they
// hold: whoever stands before it in a queue, and whoever holds what is in its way and waits for something else. Semaphores
// count for nothing: any of their holders may let it in. asking is in no queue yet, maybe, and counts as if it were.
func (o *observer) behind(a, asking *acquire, f func(*acquire)) {
	if a.limit > 0 {
		return
	}
	for _, name := range a.names {
		l := o.lock(name)
		for _, b := range l.queue {
			if b != a && b.limit == 0 && b.number < a.number && o.waits(b) {
				f(b)
			}
		}
		for i := range l.holds {
			h := &l.holds[i]
			if h.delayed || h.of.limit > 0 || a.mode == replicated.Shared && h.of.mode == replicated.Shared {
				continue
			}
			says := func(b *acquire) bool {
				return b.key.session == h.of.key.session && slices.Contains(b.holding, h.fence)
			}
			if says(asking) {
				f(asking)
			}
			for _, other := range o.locks {
				for _, b := range other.queue {
					if b.limit == 0 && o.waits(b) && says(b) {
						f(b)
					}
				}
			}
		}
	}
}

// waits reports whether an acquire waits, as far as the entry has been looked at.
func (o *observer) waits(a *acquire) bool { return a.phase == phaseQueued }

// circle reports whether an acquire waits for itself, or would if it waited. While an entry is looked at, what is known is the
// state before it and what its commands did so far: that has at least the waits of the moment.
func (o *observer) circle(a *acquire) bool {
	seen := map[*acquire]bool{}
	found := false
	var visit func(*acquire)
	visit = func(b *acquire) {
		found = found || b == a
		if found || seen[b] {
			return
		}
		seen[b] = true
		o.behind(b, a, visit)
	}
	o.behind(a, a, visit)
	return found
}

// circles checks that nobody who said what he holds waits for himself.
func (o *observer) circles() {
	for _, l := range o.locks {
		for _, a := range l.queue {
			if len(a.holding) > 0 && a.limit == 0 && o.circle(a) {
				o.w.fail("entry %d: session %d waits for %v, and holds what that has to wait for", o.index, a.key.session, a.names)
			}
		}
	}
}
