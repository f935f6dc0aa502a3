package locks

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is what a lock table is, said as simply as possible: lists, and one rule for who is served.
type model struct {
	fence  uint64
	limits map[string]uint64
	holds  map[string][]Hold
	queues map[string][]*modelTicket
}

type modelTicket struct {
	r       Request
	arrival uint64
}

func newModel() *model {
	return &model{limits: map[string]uint64{}, holds: map[string][]Hold{}, queues: map[string][]*modelTicket{}}
}

// fits says whether the holds of a lock leave room.
func (m *model) fits(key string, r *Request) bool {
	used := uint64(0)
	for _, h := range m.holds[key] {
		switch {
		case h.Mode == Exclusive || r.Mode == Exclusive:
			return false
		case h.Mode == Semaphore:
			used += h.Permits
		}
	}
	return r.Mode != Semaphore || used+r.Permits <= r.Limit
}

func (m *model) grant(r *Request) (granted []*Hold) {
	for _, key := range r.Keys {
		m.fence++
		h := Hold{Session: r.Session, Ticket: r.Ticket, Fence: m.fence, Mode: r.Mode, Permits: r.Permits, Entries: 1}
		m.holds[key] = append(m.holds[key], h)
		m.limits[key] = r.Limit
		granted = append(granted, &h)
	}
	return granted
}

// settle serves the queue of a lock as long as its first ticket is the first one everywhere and fits everywhere.
func (m *model) settle(key string) (granted []*Hold) {
	for len(m.queues[key]) > 0 {
		first := m.queues[key][0]
		for _, k := range first.r.Keys {
			if m.queues[k][0] != first || !m.fits(k, &first.r) {
				return granted
			}
		}
		m.leave(first)
		granted = append(granted, m.grant(&first.r)...)
	}
	return granted
}

func (m *model) leave(t *modelTicket) {
	for _, k := range t.r.Keys {
		m.queues[k] = slices.DeleteFunc(slices.Clone(m.queues[k]), func(o *modelTicket) bool { return o == t })
	}
}

func (m *model) used(key string) bool { return len(m.holds[key])+len(m.queues[key]) > 0 }

// closes says whether the request would wait for itself: it follows every way from it, without any cleverness.
func (m *model) closes(r *Request) bool {
	if len(r.Holding) == 0 || r.Limit > 0 {
		return false
	}
	seen := map[*modelTicket]bool{}
	var stuck func(r *Request, self *modelTicket) bool
	stuck = func(w *Request, self *modelTicket) bool {
		for _, key := range w.Keys {
			if w.Limit > 0 {
				continue // any holder of a semaphore may let it in
			}
			queue := m.queues[key]
			if i := slices.Index(queue, self); i >= 0 {
				queue = queue[:i]
			}
			for _, ahead := range queue { // nobody is served before those ahead of him
				if !seen[ahead] {
					seen[ahead] = true
					if stuck(&ahead.r, ahead) {
						return true
					}
				}
			}
			for _, h := range m.holds[key] {
				if h.Mode == Shared && w.Mode == Shared || !h.Live() {
					continue
				}
				if h.Session == r.Session && slices.Contains(r.Holding, h.Fence) {
					return true
				}
				for _, q := range m.queues {
					for _, other := range q {
						if other.r.Session == h.Session && slices.Contains(other.r.Holding, h.Fence) && !seen[other] {
							seen[other] = true
							if stuck(&other.r, other) {
								return true
							}
						}
					}
				}
			}
		}
		return false
	}
	return stuck(r, nil)
}

func (m *model) find(key string, fence uint64) int {
	return slices.IndexFunc(m.holds[key], func(h Hold) bool { return h.Fence == fence && fence != 0 })
}

var modelKeys = []string{"a", "b", "c", "s"}

// modelRig draws changes, makes them in a table and in the model, and compares what they say.
type modelRig struct {
	tab    *Table
	m      *model
	ticket uint64
}

func (g *modelRig) pickFence(t *rapid.T, key string) uint64 {
	if hs := g.m.holds[key]; len(hs) > 0 && rapid.IntRange(0, 5).Draw(t, "wrong") > 0 {
		return rapid.SampledFrom(hs).Draw(t, "hold").Fence
	}
	return rapid.Uint64Range(0, g.m.fence+1).Draw(t, "fence")
}

func (g *modelRig) request(t *rapid.T) Request {
	g.ticket++
	r := Request{Session: rapid.Uint64Range(1, 4).Draw(t, "session"), Ticket: g.ticket, Now: 1, Until: Forever, Permits: 1,
		Try: rapid.IntRange(0, 3).Draw(t, "try") == 0, Mode: Exclusive, Keys: []string{rapid.SampledFrom(modelKeys).Draw(t, "key")}}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0, 1:
		r.Mode = Shared
	case 2:
		r.Keys = rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys[:3]), 2, 3, rapid.ID[string]).Draw(t, "keys")
	case 3:
		r.Mode, r.Limit, r.Keys = Semaphore, 3, []string{"s"}
		if rapid.IntRange(0, 9).Draw(t, "other limit") == 0 {
			r.Limit = 4
		}
		r.Permits = rapid.Uint64Range(1, 3).Draw(t, "permits")
	}
	for _, key := range modelKeys {
		for _, h := range g.m.holds[key] {
			if rapid.IntRange(0, 3).Draw(t, "holding") == 0 {
				r.Holding = append(r.Holding, h.Fence) // of whichever session: others' are ignored
			}
		}
	}
	r.Reentrant = len(r.Keys) == 1 && r.Mode != Semaphore && rapid.Bool().Draw(t, "reentrant")
	return r
}

// own returns the caller's hold of the request's locks, as far as it says so.
func (g *modelRig) own(r *Request) (State, string, int) {
	for _, key := range r.Keys {
		for i, h := range g.m.holds[key] {
			if h.Session == r.Session && h.Live() && h.Mode != Semaphore && slices.Contains(r.Holding, h.Fence) {
				if r.Mode == Exclusive && h.Mode == Shared {
					return Upgrade, key, i
				}
				if r.Reentrant {
					return Reentered, key, i
				}
			}
		}
	}
	return 0, "", 0
}

func (g *modelRig) acquire(t *rapid.T) {
	r, m := g.request(t), g.m
	o := g.tab.Acquire(r)
	for _, key := range r.Keys {
		if m.used(key) && m.limits[key] != r.Limit {
			if o.State != Mismatch || o.Key != key {
				t.Fatalf("%+v on %q: %+v", r, key, o)
			}
			return
		}
	}
	if state, key, i := g.own(&r); state != 0 {
		if o.State != state {
			t.Fatalf("%+v: %+v, not %d", r, o, state)
		}
		if state == Reentered {
			h := &m.holds[key][i]
			if h.Entries++; o.Holds[0].Entries != h.Entries || o.Holds[0].Fence != h.Fence {
				t.Fatalf("%+v, model %+v", o, h)
			}
		}
		return
	}
	free := !slices.ContainsFunc(r.Keys, func(k string) bool { return len(m.queues[k]) > 0 || !m.fits(k, &r) })
	want := Queued
	switch {
	case free:
		want = Granted
	case r.Try:
		want = Refused
	case m.closes(&r):
		want = Deadlock
	}
	if o.State != want {
		t.Fatalf("%+v: %+v, not %d", r, o, want)
	}
	switch want {
	case Granted:
		g.same(t, o.Holds, m.grant(&r))
	case Deadlock:
		if last := o.Cycle[len(o.Cycle)-1]; last.Session != r.Session || !slices.Contains(r.Holding, last.Fence) || !slices.Contains(r.Keys, last.Wants) {
			t.Fatalf("%+v ends %+v", r, o.Cycle)
		}
	case Queued:
		for _, k := range r.Keys {
			m.limits[k] = r.Limit
		}
		q := &modelTicket{r, o.Arrival}
		for _, k := range r.Keys {
			m.queues[k] = append(m.queues[k], q)
		}
	}
}

func (g *modelRig) same(t *rapid.T, got, want []*Hold) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b *Hold) bool {
		return a.Session == b.Session && a.Ticket == b.Ticket && a.Fence == b.Fence && a.Mode == b.Mode && a.Permits == b.Permits
	}) {
		t.Fatalf("granted %+v, model %+v", got, want)
	}
}

func granted(gs []Grant) (hs []*Hold) {
	for _, g := range gs {
		hs = append(hs, g.Hold)
	}
	return hs
}

func (g *modelRig) release(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	fence := g.pickFence(t, key)
	i := g.m.find(key, fence)
	_, grants, ok := g.tab.Release(key, fence, 1, nil)
	if ok != (i >= 0) {
		t.Fatalf("released %d of %q: %t", fence, key, ok)
	}
	if ok {
		g.m.holds[key] = slices.Delete(slices.Clone(g.m.holds[key]), i, i+1)
		g.same(t, granted(grants), g.m.settle(key))
	}
}

func (g *modelRig) exit(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	fence := g.pickFence(t, key)
	i := g.m.find(key, fence)
	want := i >= 0 && g.m.holds[key][i].Live() && g.m.holds[key][i].Entries > 1
	left, ok := g.tab.Exit(key, fence)
	if ok != want {
		t.Fatalf("left %d of %q: %t", fence, key, ok)
	}
	if ok {
		if g.m.holds[key][i].Entries--; left != g.m.holds[key][i].Entries {
			t.Fatalf("%d entries, model %+v", left, g.m.holds[key][i])
		}
	}
}

func (g *modelRig) leave(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	q := g.m.queues[key]
	if len(q) == 0 {
		return
	}
	gone := rapid.SampledFrom(q).Draw(t, "ticket")
	if w, ok := g.tab.Leave(key, gone.arrival); !ok || w.Ticket != gone.r.Ticket {
		t.Fatalf("%+v", w)
	}
	g.m.leave(gone)
	for _, k := range gone.r.Keys {
		g.same(t, granted(g.tab.Settle(k, 1, nil)), g.m.settle(k))
	}
}

func (g *modelRig) handOver(t *rapid.T) {
	key, session := rapid.SampledFrom(modelKeys).Draw(t, "key"), rapid.Uint64Range(1, 4).Draw(t, "session")
	fence := g.pickFence(t, key)
	i := g.m.find(key, fence)
	to := slices.IndexFunc(g.m.queues[key], func(w *modelTicket) bool {
		return w.r.Session == session && len(w.r.Keys) == 1 && w.r.Mode == Exclusive
	})
	want := i >= 0 && to >= 0 && g.m.holds[key][i].Live() && g.m.holds[key][i].Mode == Exclusive
	_, grants, ok := g.tab.HandOver(key, fence, session, 1, nil)
	if ok != want {
		t.Fatalf("handed %d of %q to %d: %t", fence, key, session, ok)
	}
	if ok {
		w := g.m.queues[key][to]
		g.m.holds[key] = nil
		g.m.leave(w)
		g.same(t, granted(grants), g.m.grant(&w.r))
	}
}

func (g *modelRig) change(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	fence := g.pickFence(t, key)
	i := g.m.find(key, fence)
	want := i >= 0 && g.m.holds[key][i].Live()
	if rapid.Bool().Draw(t, "delay") {
		if _, ok := g.tab.Delay(key, fence, 9); ok != want {
			t.Fatalf("delayed %d of %q: %t", fence, key, ok)
		}
		if want {
			g.m.holds[key] = slices.Clone(g.m.holds[key])
			g.m.holds[key][i].DelayedUntil = 9
		}
		return
	}
	h, ok := g.tab.Refence(key, fence)
	if ok != want {
		t.Fatalf("refenced %d of %q: %t", fence, key, ok)
	}
	if ok {
		g.m.fence++
		moved := g.m.holds[key][i]
		moved.Fence = g.m.fence
		g.m.holds[key] = append(slices.Delete(slices.Clone(g.m.holds[key]), i, i+1), moved)
		if h.Fence != g.m.fence {
			t.Fatalf("%+v", h)
		}
	}
}

func (g *modelRig) check(t *rapid.T) {
	if err := g.tab.Check(); err != nil {
		t.Fatal(err)
	}
	used, held, waiting := 0, 0, 0
	for _, key := range modelKeys {
		if g.m.used(key) {
			used++
		}
		held += len(g.m.holds[key])
		waiting += len(g.m.queues[key])
		var got []string
		var want []string
		if l, ok := g.tab.Get(key); ok {
			for _, h := range l.Holds {
				got = append(got, fmt.Sprint(h.Session, h.Ticket, h.Fence, h.Mode, h.Permits, h.Entries, h.DelayedUntil))
			}
		}
		for _, h := range g.m.holds[key] {
			want = append(want, fmt.Sprint(h.Session, h.Ticket, h.Fence, h.Mode, h.Permits, h.Entries, h.DelayedUntil))
		}
		g.tab.Queue(key, func(w *Waiter) bool {
			got = append(got, fmt.Sprint(w.Session, w.Ticket, w.Arrival, g.tab.Position(key, w.Arrival)))
			return true
		})
		for i, w := range g.m.queues[key] {
			want = append(want, fmt.Sprint(w.r.Session, w.r.Ticket, w.arrival, i+1))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: %q, model %q", key, got, want)
		}
	}
	if g.tab.Fence() != g.m.fence || g.tab.Len() != used || g.tab.Waiting() != waiting || g.tab.Holds() != held {
		t.Fatalf("fence %d, %d locks, %d waiters, %d holds; model %d, %d, %d, %d", g.tab.Fence(), g.tab.Len(), g.tab.Waiting(),
			g.tab.Holds(), g.m.fence, used, waiting, held)
	}
}

// restore makes the table anew, as from a snapshot.
func (g *modelRig) restore(t *rapid.T) {
	next := New()
	g.tab.Locks("", func(l *Lock) bool {
		var holds []Hold
		for _, h := range l.Holds {
			holds = append(holds, *h)
		}
		if err := next.PutLock(l.Key, l.Limit, holds); err != nil {
			t.Fatal(err)
		}
		return true
	})
	for _, key := range modelKeys {
		g.tab.Queue(key, func(w *Waiter) bool {
			put := *w
			if err := next.PutWaiter(&put); err != nil {
				t.Fatal(err)
			}
			return true
		})
	}
	next.SetCounters(g.tab.Fence(), g.tab.Arrivals())
	g.tab = next
}

func TestTableIsTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := &modelRig{tab: New(), m: newModel()}
		t.Repeat(map[string]func(*rapid.T){"acquire": g.acquire, "acquire too": g.acquire, "release": g.release, "exit": g.exit,
			"leave": g.leave, "hand over": g.handOver, "change": g.change, "restore": g.restore, "": g.check})
	})
}
