package machine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reference is what sessions and locks are, said as simply as possible: lists, looked through from one end
// to the other, with none of the machine's indexes.
type reference struct {
	now      int64
	fence    uint64
	sessions map[uint64]*refSession
	locks    map[string]*refLock
	events   []string // of the last entry
}

type refSession struct {
	ttl, deadline int64
	generation    uint64
}

type refLock struct {
	session, ticket, fence uint64
	delayed                int64
	queue                  []refWaiter
}

type refWaiter struct {
	session, ticket uint64
	until           int64 // 0: none
}

func (r *reference) say(session uint64, what, name string) {
	r.events = append(r.events, fmt.Sprintf("%d:%s:%s", session, what, name))
}

// at starts an entry.
func (r *reference) at(now int64) {
	r.now, r.events = now, nil
	type end struct {
		at   int64
		kind int
		id   [2]uint64
		name string
	}
	var ends []end
	for id, s := range r.sessions {
		ends = append(ends, end{s.deadline, 1, [2]uint64{id}, ""})
	}
	for name, l := range r.locks {
		if l.delayed != 0 {
			ends = append(ends, end{l.delayed, 2, [2]uint64{l.fence}, name})
		}
		for _, w := range l.queue {
			if w.until != 0 {
				ends = append(ends, end{w.until, 3, [2]uint64{w.session, w.ticket}, name})
			}
		}
	}
	ends = slices.DeleteFunc(ends, func(e end) bool { return e.at > now })
	slices.SortFunc(ends, func(a, b end) int {
		return slices.Compare([]int64{a.at, int64(a.kind), int64(a.id[0]), int64(a.id[1])}, []int64{b.at, int64(b.kind), int64(b.id[0]), int64(b.id[1])})
	})
	for _, e := range ends { // the dead leave the queues
		for name, l := range r.locks {
			l.queue = slices.DeleteFunc(l.queue, func(w refWaiter) bool {
				if e.kind == 3 && w.session == e.id[0] && w.ticket == e.id[1] {
					r.say(w.session, "timed-out", name)
					return true
				}
				return e.kind == 1 && w.session == e.id[0]
			})
		}
	}
	for _, e := range ends { // and then what they held is handed on
		switch e.kind {
		case 1:
			r.say(e.id[0], "expired", "")
			r.drop(e.id[0])
		case 2:
			r.free(e.name)
		}
	}
}

// drop ends a session whose waiters have left.
func (r *reference) drop(id uint64) (released int) {
	delete(r.sessions, id)
	for _, l := range r.heldBy(id) {
		r.free(l)
		released++
	}
	return released
}

// heldBy returns the names of the locks of a session, by ticket.
func (r *reference) heldBy(id uint64) (names []string) {
	for name, l := range r.locks {
		if l.session == id && l.delayed == 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(r.locks[a].ticket) - int(r.locks[b].ticket) })
	return names
}

func (r *reference) free(name string) {
	l := r.locks[name]
	if len(l.queue) == 0 {
		delete(r.locks, name)
		return
	}
	w := l.queue[0]
	r.fence++
	r.locks[name] = &refLock{session: w.session, ticket: w.ticket, fence: r.fence, queue: l.queue[1:]}
	r.say(w.session, "granted", name)
}

// A machine that always serves is the reference, whatever is done in whatever order.
func TestMachineIsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(rt)
		ref := &reference{sessions: map[uint64]*refSession{}, locks: map[string]*refLock{}}
		peers := map[uint64]*peer{}
		var ids []uint64
		names := rapid.SampledFrom([]string{"x", "y", "z"})
		tick := func() { // each entry is some time after the last one
			r.now += time.Duration(rapid.SampledFrom([]int{0, 0, 1, 500, 1000, 3000, 9000}).Draw(rt, "passed")) * time.Millisecond
			ref.at(int64(r.now))
		}
		anyPeer := func(t *rapid.T) *peer {
			if len(ids) == 0 {
				t.Skip("no session")
			}
			return peers[rapid.SampledFrom(ids).Draw(t, "session")]
		}
		dead := func(p *peer, got Reply) bool {
			_, lives := ref.sessions[p.id]
			if lives == (got.Code == CodeSessionExpired) {
				rt.Fatalf("session %d lives: %t, got %s", p.id, lives, got.Code)
			}
			return !lives
		}
		rt.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				if len(ids) >= 8 {
					t.Skip("enough")
				}
				tick()
				ttl := time.Duration(rapid.IntRange(1, 12).Draw(t, "ttl")) * time.Second
				p := r.open("p", ttl)
				ref.sessions[p.id] = &refSession{ttl: int64(ttl), deadline: int64(r.now + ttl)}
				peers[p.id], ids = p, append(ids, p.id)
			},
			"keepalive": func(t *rapid.T) {
				p := anyPeer(t)
				tick()
				got := r.apply(p.keepaliveCommand())
				if dead(p, got) {
					return
				}
				s := ref.sessions[p.id]
				s.deadline = int64(r.now) + s.ttl
				if got.Session.Deadline != s.deadline {
					t.Fatalf("deadline %d, want %d", got.Session.Deadline, s.deadline)
				}
				held := ref.heldBy(p.id)
				if len(got.Session.Holds) != len(held) {
					t.Fatalf("%+v, want %v", got.Session.Holds, held)
				}
				for i, h := range got.Session.Holds {
					if h.Name != held[i] || h.Fence != ref.locks[held[i]].fence {
						t.Fatalf("%+v, want %v", h, held[i])
					}
				}
			},
			"resume": func(t *rapid.T) {
				p := anyPeer(t)
				tick()
				got := r.apply(resumeCommand(p.id, "p", ""))
				if dead(p, got) {
					return
				}
				s := ref.sessions[p.id]
				s.generation++
				s.deadline = int64(r.now) + s.ttl
				p.generation = s.generation
				ref.say(p.id, "expired", "")
				for _, name := range ref.heldBy(p.id) {
					ref.fence++
					ref.locks[name].fence = ref.fence
				}
			},
			"close": func(t *rapid.T) {
				p := anyPeer(t)
				tick()
				got := r.apply(p.fill(Command{Kind: KindSessionClose}))
				if dead(p, got) {
					return
				}
				ref.say(p.id, "expired", "")
				for _, l := range ref.locks {
					l.queue = slices.DeleteFunc(l.queue, func(w refWaiter) bool { return w.session == p.id })
				}
				if n := ref.drop(p.id); got.Closed != uint64(n) {
					t.Fatalf("%d released, want %d", got.Closed, n)
				}
			},
			"acquire": func(t *rapid.T) {
				p, name := anyPeer(t), names.Draw(t, "name")
				wait := rapid.SampledFrom([]time.Duration{0, noLimit, time.Second, 4 * time.Second}).Draw(t, "wait")
				tick()
				got := r.apply(p.fill(acquireCommand(name, wait)))
				if dead(p, got) {
					return
				}
				l := ref.locks[name]
				switch {
				case l == nil:
					ref.fence++
					ref.locks[name] = &refLock{session: p.id, ticket: p.seq, fence: ref.fence}
					if got.Code != OK || got.Lock.State != StateGranted || got.Lock.Fence != ref.fence {
						t.Fatalf("%+v %+v", got, got.Lock)
					}
				case wait == 0:
					if got.Code != CodeLocked || got.Detail.Fence != l.fence || got.Detail.Queue != uint64(len(l.queue)) {
						t.Fatalf("%+v %+v", got, got.Detail)
					}
				default:
					w := refWaiter{session: p.id, ticket: p.seq}
					if wait > 0 {
						w.until = int64(r.now + wait)
					}
					l.queue = append(l.queue, w)
					if got.Code != OK || got.Lock.State != StateQueued || got.Lock.Position != uint64(len(l.queue)) {
						t.Fatalf("%+v %+v", got, got.Lock)
					}
				}
			},
			"release": func(t *rapid.T) {
				p, name := anyPeer(t), names.Draw(t, "name")
				tick()
				fence := rapid.Uint64Range(0, ref.fence+1).Draw(t, "fence")
				l := ref.locks[name]
				if l != nil && rapid.IntRange(0, 3).Draw(t, "right") > 0 {
					fence = l.fence
				}
				got := r.apply(p.fill(releaseCommand(name, fence)))
				if dead(p, got) {
					return
				}
				if l != nil && l.fence == fence && l.session == p.id {
					ref.free(name)
					r.want(got, OK)
				} else {
					r.want(got, CodeNotHeld)
				}
			},
			"cancel": func(t *rapid.T) {
				p, name := anyPeer(t), names.Draw(t, "name")
				tick()
				l := ref.locks[name]
				if l == nil {
					r.tick()
					return
				}
				var mine []uint64
				for _, w := range l.queue {
					if w.session == p.id {
						mine = append(mine, w.ticket)
					}
				}
				if l.session == p.id && l.delayed == 0 {
					mine = append(mine, l.ticket)
				}
				if len(mine) == 0 {
					r.tick()
					return
				}
				ticket := rapid.SampledFrom(mine).Draw(t, "ticket")
				got := r.apply(p.fill(cancelCommand(name, ticket)))
				if ticket == l.ticket && l.session == p.id && l.delayed == 0 {
					if r.want(got, OK); got.Lock.State != StateAlreadyGranted || got.Lock.Fence != l.fence {
						t.Fatalf("%+v", got.Lock)
					}
					return
				}
				if r.want(got, OK); got.Lock.State != StateCancelled {
					t.Fatalf("%+v", got.Lock)
				}
				l.queue = slices.DeleteFunc(l.queue, func(w refWaiter) bool { return w.session == p.id && w.ticket == ticket })
			},
			"force": func(t *rapid.T) {
				name, now := names.Draw(t, "name"), rapid.Bool().Draw(t, "now")
				tick()
				l := ref.locks[name]
				fence := ref.fence + 1
				if l != nil && rapid.IntRange(0, 3).Draw(t, "right") > 0 {
					fence = l.fence
				}
				got := r.apply(forceCommand(name, fence, now))
				if l == nil || l.fence != fence {
					r.want(got, CodeNotHeld)
					return
				}
				r.want(got, OK)
				if l.delayed == 0 {
					ref.say(l.session, "lost", name)
					l.delayed = ref.sessions[l.session].deadline
				}
				if now {
					ref.free(name)
				} else if got.Lock.State != StateDelayed || got.Lock.Until != l.delayed {
					t.Fatalf("%+v, want until %d", got.Lock, l.delayed)
				}
			},
			"": func(t *rapid.T) {
				r.wantEvents(ref.events...)
				if r.m.Live().Fence() != ref.fence || r.m.Live().Counts().Sessions != uint64(len(ref.sessions)) {
					t.Fatalf("fence %d, want %d; %d sessions, want %d", r.m.Live().Fence(), ref.fence, r.m.Live().Counts().Sessions, len(ref.sessions))
				}
				for _, name := range []string{"x", "y", "z"} {
					l, held := r.m.Live().Lock("ns", name)
					want := ref.locks[name]
					if held != (want != nil) {
						t.Fatalf("%s is held: %t", name, held)
					}
					if !held {
						continue
					}
					if h := l.Holders[0]; h.Session != want.session || h.Fence != want.fence || l.Until != want.delayed || l.Delayed != (want.delayed != 0) {
						t.Fatalf("%s: %+v, want %+v", name, l, want)
					}
					var queue []refWaiter
					for i, w := range l.Queue {
						queue = append(queue, refWaiter{w.Session, w.Ticket, want.queue[min(i, len(want.queue)-1)].until})
					}
					if !slices.Equal(queue, want.queue) {
						t.Fatalf("%s: queue %+v, want %+v", name, queue, want.queue)
					}
				}
			},
		})
	})
}
