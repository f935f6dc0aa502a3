package machine

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/covered"
)

// walk gives a machine and the model the same random commands.
type walk struct {
	*rig
	p     *primitives
	pick  func(int) int
	peers []*peer
	kinds map[Kind]uint64
}

// do sends a command of a peer after some time has passed. It reports false if the session has ended.
func (w *walk) do(p *peer, c Command) (Reply, bool) {
	w.t.Helper()
	w.kinds[c.Kind]++
	got := w.apply(p.fill(c))
	_, lives := w.p.sessions[p.id]
	if lives == (got.Code == CodeSessionExpired) {
		w.t.Fatalf("session %d lives: %t, got %s", p.id, lives, got.Code)
	}
	return got, lives
}

func (w *walk) step() {
	w.t.Helper()
	w.now += time.Duration([]int{0, 0, 0, 1, 100, 700, 1500, 4000}[w.pick(8)]) * time.Millisecond
	w.p.at(int64(w.now))
	if len(w.peers) < 4 || w.pick(40) == 0 && len(w.p.sessions) < 10 {
		ttl := time.Duration(2+w.pick(12)) * time.Second
		q := w.open(fmt.Sprint("p", w.pick(3)), ttl)
		w.p.sessions[q.id] = &refSession{ttl: int64(ttl), deadline: int64(w.now + ttl)}
		w.peers = append(w.peers, q)
		w.compare()
		return
	}
	if w.peers = slices.DeleteFunc(w.peers, func(q *peer) bool { return w.p.sessions[q.id] == nil && w.pick(4) > 0 }); len(w.peers) == 0 {
		w.tick()
		w.compare()
		return
	}
	q := w.peers[w.pick(len(w.peers))]
	switch w.pick(16) {
	case 0, 1, 2:
		w.renew(q)
	case 3, 4, 5, 6:
		w.acquire(q)
	case 7:
		w.acquireAll(q)
	case 8, 9, 10:
		w.release(q)
	case 11:
		w.cancel(q)
	case 12:
		w.force()
	case 13:
		w.handOver(q)
	case 14:
		w.barrier(q)
	default:
		w.latch(q)
	}
	w.compare()
}

func (w *walk) renew(q *peer) {
	s, lives := w.p.sessions[q.id]
	if w.pick(20) == 0 {
		w.close(q)
		return
	}
	c := q.keepaliveCommand()
	if w.pick(6) == 0 {
		c = resumeCommand(q.id, q.owner, "")
	}
	w.kinds[c.Kind]++
	got := w.apply(c)
	if !lives {
		w.want(got, CodeSessionExpired)
		return
	}
	w.want(got, OK)
	s.deadline = w.p.now + s.ttl
	if c.Kind == KindSessionResume {
		q.generation++
		w.p.say(q.id, EventSessionExpired, "")
		for _, h := range w.p.of(q.id) {
			w.p.fence++
			h.fence = w.p.fence
		}
	}
	hs := w.p.of(q.id)
	if len(hs) != len(got.Session.Holds) {
		w.t.Fatalf("%+v, want %d holds", got.Session.Holds, len(hs))
	}
	for i, h := range got.Session.Holds {
		if x := hs[i]; h.Name != x.key || h.Fence != uint64(x.fence) || h.Until != x.until || h.Mode != x.mode || h.Ticket != x.ticket {
			w.t.Fatalf("%+v, want %+v", h, x)
		}
	}
}

func (w *walk) close(q *peer) {
	got, lives := w.do(q, Command{Kind: KindSessionClose})
	if !lives {
		return
	}
	w.p.say(q.id, EventSessionExpired, "")
	touched := w.p.leaveAll(q.id)
	hs := w.p.of(q.id)
	delete(w.p.sessions, q.id)
	for _, h := range hs {
		w.p.free(h)
	}
	w.p.settleAll(touched)
	if got.Closed != uint64(len(hs)) {
		w.t.Fatalf("%d released, want %d", got.Closed, len(hs))
	}
}

// wait draws how long to wait, and what comes of a hold afterwards.
func (w *walk) wait(x *refWait) (wait time.Duration) {
	wait = []time.Duration{0, noLimit, noLimit, 900 * time.Millisecond, 5 * time.Second}[w.pick(5)]
	if wait > 0 {
		x.until = int64(w.now + wait)
	}
	x.delay = []int64{0, 0, int64(2 * time.Second)}[w.pick(3)]
	x.maxHold = []int64{0, 0, int64(3 * time.Second)}[w.pick(3)]
	return wait
}

func (w *walk) acquire(q *peer) {
	key := walkKeys[w.pick(4)]
	x := &refWait{session: q.id, keys: []string{key}, mode: Mode(1 + w.pick(2)), permits: 1}
	wait := w.wait(x)
	c := want{wait: wait, delay: time.Duration(x.delay), maxHold: time.Duration(x.maxHold)}
	var mine *refHold
	if key == "s" {
		x.mode, x.permits = Semaphore, 1+w.pick(refLimit)
		c.limit, c.count = refLimit, uint64(x.permits)
	} else {
		c.reentrant = w.pick(2) == 0
		for _, h := range w.p.of(q.id) {
			if h.key == key && c.reentrant && mine == nil {
				mine = h
				c.holding = []uint64{uint64(h.fence)}
			}
		}
	}
	c.mode = x.mode
	x.ticket = q.seq + 1
	got, lives := w.do(q, c.of(key))
	switch {
	case !lives:
		return
	case mine != nil && mine.mode == Shared && x.mode == Exclusive:
		w.want(got, CodeBadRequest)
		return
	case mine != nil:
		mine.entries++
		if w.want(got, OK); got.Lock.State != StateGranted || got.Lock.Fence != uint64(mine.fence) {
			w.t.Fatalf("%+v, want fence %d again", got.Lock, mine.fence)
		}
		return
	}
	w.check(got, x, wait == 0)
}

// check compares the answer to an acquire with what the model does.
func (w *walk) check(got Reply, x *refWait, try bool) {
	w.t.Helper()
	granted, code := w.p.acquire(x, try)
	w.want(got, code)
	switch {
	case code != OK:
	case !granted && got.Lock.State != StateQueued, granted && (got.Lock.State != StateGranted || got.Lock.Fence != uint64(w.p.fence)-uint64(len(x.keys)-1)):
		w.t.Fatalf("%+v for %+v: granted is %t", got.Lock, x, granted)
	}
}

func (w *walk) acquireAll(q *peer) {
	from := w.pick(3)
	x := &refWait{session: q.id, errand: forAll, mode: Exclusive, permits: 1, ticket: q.seq + 1}
	for i := range 1 + w.pick(3) {
		x.keys = append(x.keys, walkKeys[(from+i)%3])
	}
	wait := w.wait(x)
	c := allCommand(wait, x.keys...)
	c.AcquireAll.Delay, c.AcquireAll.MaxHold = x.delay, x.maxHold
	if got, lives := w.do(q, c); lives {
		w.check(got, x, wait == 0)
	}
}

func (w *walk) release(q *peer) {
	key, fence := walkKeys[w.pick(4)], w.p.fence-int64(w.pick(3))
	if hs := w.p.of(q.id); len(hs) > 0 && w.pick(10) > 0 {
		h := hs[w.pick(len(hs))]
		key, fence = h.key, h.fence
	}
	got, lives := w.do(q, releaseCommand(key, uint64(max(fence, 0))))
	if !lives {
		return
	}
	h := w.p.find(key, fence)
	if h == nil || h.session != q.id {
		w.want(got, CodeNotHeld)
		return
	}
	w.want(got, OK)
	if h.entries > 1 && h.delayedUpTo == 0 {
		h.entries--
		if got.Lock.Entries != uint64(h.entries) {
			w.t.Fatalf("%d entries left, want %d", got.Lock.Entries, h.entries)
		}
		return
	}
	w.p.free(h)
}

func (w *walk) cancel(q *peer) {
	var mine []*refWait
	for _, x := range w.p.waits {
		if x.session == q.id {
			mine = append(mine, x)
		}
	}
	if len(mine) == 0 {
		w.tick()
		return
	}
	x := mine[w.pick(len(mine))]
	got, lives := w.do(q, cancelCommand(x.keys[w.pick(len(x.keys))], x.ticket))
	if !lives {
		return
	}
	if w.want(got, OK); got.Lock.State != StateCancelled {
		w.t.Fatalf("%+v", got.Lock)
	}
	w.p.leave(x)
	if x.errand == forLock || x.errand == forAll {
		w.p.settleAll(x.keys)
	}
}

func (w *walk) force() {
	if len(w.p.holds) == 0 {
		w.tick()
		return
	}
	h, now := w.p.holds[w.pick(len(w.p.holds))], w.pick(2) == 0
	w.kinds[KindLockForceRelease]++
	w.want(w.apply(forceCommand(h.key, uint64(h.fence), now)), OK)
	if h.delayedUpTo == 0 {
		w.p.say(h.session, EventLost, h.key)
		if h.delayedUpTo = w.p.sessions[h.session].deadline; h.delay > 0 {
			h.delayedUpTo = max(h.delayedUpTo, w.p.now+h.delay)
		}
	}
	if now {
		w.p.free(h)
	}
}

func (w *walk) handOver(q *peer) {
	key, to := walkKeys[w.pick(4)], uint64(w.pick(12))
	fence := w.p.fence
	for _, h := range w.p.holds {
		if h.key == key && w.pick(3) > 0 {
			fence = h.fence
			for _, other := range w.peers { // most often by its holder
				if other.id == h.session && w.pick(4) > 0 {
					q = other
				}
			}
		}
	}
	if x := w.p.first(key); x != nil && w.pick(3) > 0 {
		to = x.session
	}
	got, lives := w.do(q, handOverCommand(key, uint64(fence), to))
	if !lives {
		return
	}
	h := w.p.find(key, fence)
	if h == nil || h.delayedUpTo > 0 {
		w.want(got, CodeNotHeld)
		return
	}
	if h.session != q.id {
		asks := slices.ContainsFunc(w.p.waits, func(x *refWait) bool {
			return x.session == q.id && (x.errand == forLock || x.errand == forAll) && slices.Contains(x.keys, key)
		})
		switch {
		case !asks:
			w.want(got, CodeNotHeld)
		case to != 0 && to != q.id:
			w.want(got, CodeBadRequest)
		default:
			w.want(got, OK)
			w.p.say(h.session, EventHandOverAsked, key)
		}
		return
	}
	i := slices.IndexFunc(w.p.waits, func(x *refWait) bool {
		return x.session == to && x.mode == Exclusive && len(x.keys) == 1 && x.keys[0] == key && (x.errand == forLock || x.errand == forAll)
	})
	if h.mode != Exclusive || i < 0 {
		w.want(got, CodeNotFound)
		return
	}
	w.want(got, OK)
	w.p.holds = slices.DeleteFunc(w.p.holds, func(x *refHold) bool { return x == h })
	w.p.serve(w.p.waits[i])
}

func (w *walk) barrier(q *peer) {
	x := &refWait{session: q.id, errand: forBarrier, keys: []string{"a"}, ticket: q.seq + 1} // not the lock of that name
	wait := w.wait(x)
	got, lives := w.do(q, barrierCommand("a", refParties, wait))
	if !lives {
		return
	}
	switch n := w.p.waitingFor(forBarrier); {
	case n+1 == refParties:
		w.want(got, OK)
		w.p.pass(forBarrier)
	case wait == 0:
		w.want(got, CodeWaitTimeout)
	default:
		w.want(got, OK)
		w.p.waits = append(w.p.waits, x)
	}
}

func (w *walk) latch(q *peer) {
	l := &w.p.latch
	switch w.pick(4) {
	case 0:
		count := w.pick(5)
		if got, lives := w.do(q, latchSetCommand("a", uint64(count))); lives {
			w.want(got, OK)
			if l.set, l.count = count > 0, count; count == 0 {
				w.p.pass(forLatch)
			}
		}
	case 1:
		n := w.pick(3)
		got, lives := w.do(q, countDownCommand("a", uint64(n)))
		switch {
		case !lives:
		case !l.set:
			w.want(got, CodeNotFound)
		default:
			l.count = max(0, l.count-max(n, 1))
			if w.want(got, OK); got.Latch != uint64(l.count) {
				w.t.Fatalf("count %d, want %d", got.Latch, l.count)
			}
			if l.count == 0 {
				w.p.pass(forLatch)
			}
		}
	default:
		x := &refWait{session: q.id, errand: forLatch, keys: []string{"a"}, ticket: q.seq + 1}
		wait := w.wait(x)
		got, lives := w.do(q, latchWaitCommand("a", wait))
		switch {
		case !lives:
		case l.set && l.count == 0:
			if w.want(got, OK); got.Lock.State != StateGranted {
				w.t.Fatalf("%+v", got.Lock)
			}
		case wait == 0:
			w.want(got, CodeWaitTimeout)
		default:
			w.want(got, OK)
			w.p.waits = append(w.p.waits, x)
		}
	}
}

// compare compares all that is held and waited for, and what was told, with the model.
func (w *walk) compare() {
	w.t.Helper()
	var told []string
	for _, e := range w.last.Events {
		told = append(told, fmt.Sprintf("%d:%d:%s", e.Session, e.Kind, e.Name))
	}
	if !slices.Equal(told, w.p.events) {
		w.t.Fatalf("entry %d: events %v, want %v", w.index, told, w.p.events)
	}
	v := w.m.Live()
	if v.Fence() != uint64(w.p.fence) || v.Counts().Sessions != uint64(len(w.p.sessions)) {
		w.t.Fatalf("fence %d, want %d; %d sessions, want %d", v.Fence(), w.p.fence, v.Counts().Sessions, len(w.p.sessions))
	}
	for _, key := range walkKeys {
		l, _ := v.Lock("ns", key)
		var is, should []string
		for _, h := range l.Holders {
			delayed := int64(0)
			if h.Delayed {
				delayed = h.Deadline
			}
			is = append(is, fmt.Sprintf("%d by %d mode %d ×%d until %d delayed %d", h.Fence, h.Session, h.Mode, h.Count, h.Until, delayed))
		}
		held := slices.Clone(w.p.holds)
		slices.SortFunc(held, func(a, b *refHold) int { return cmp.Compare(a.fence, b.fence) })
		for _, h := range held {
			if h.key == key {
				count := h.entries
				if h.mode == Semaphore {
					count = h.permits
				}
				should = append(should, fmt.Sprintf("%d by %d mode %d ×%d until %d delayed %d", h.fence, h.session, h.mode, count, h.until, h.delayedUpTo))
			}
		}
		for _, x := range l.Queue {
			is = append(is, fmt.Sprintf("%d/%d waits", x.Session, x.Ticket))
		}
		for _, x := range w.p.waits {
			if (x.errand == forLock || x.errand == forAll) && slices.Contains(x.keys, key) {
				should = append(should, fmt.Sprintf("%d/%d waits", x.session, x.ticket))
			}
		}
		if !slices.Equal(is, should) {
			w.t.Fatalf("entry %d: %s is %v, want %v", w.index, key, is, should)
		}
	}
	if n := w.m.barriers.Waiting(); n != w.p.waitingFor(forBarrier) {
		w.t.Fatalf("%d wait at the barrier, want %d", n, w.p.waitingFor(forBarrier))
	}
	if n := w.m.latches.Waiting(); n != w.p.waitingFor(forLatch) {
		w.t.Fatalf("%d wait for the latch, want %d", n, w.p.waitingFor(forLatch))
	}
}

// The machine is the model, whatever is asked for in whatever order, and whether or not it goes through a snapshot on
// the way. The long form gives it a million commands: -machine.commands.
func TestMachineIsTheModelOfAllPrimitives(t *testing.T) {
	t.Parallel()
	const each = 1000
	all := uint64(0)
	kinds := map[Kind]uint64{}
	seed := uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for ; all < uint64(*flagCommands); seed++ {
		r := newRig(t)
		w := &walk{rig: r, p: &primitives{sessions: map[uint64]*refSession{}}, pick: randomPick(seed), kinds: kinds}
		begun := r.index
		for range each {
			w.step()
			if w.pick(200) == 0 {
				w.m = restore(t, save(t, w.m.Live()))
			}
		}
		all += r.index - begun
	}
	for _, k := range []Kind{KindSessionKeepalive, KindSessionResume, KindSessionClose, KindLockAcquire, KindLockAcquireAll, KindLockRelease, KindLockCancel,
		KindLockForceRelease, KindLockHandOver, KindBarrierWait, KindLatchSet, KindLatchCountDown, KindLatchWait} {
		if kinds[k] == 0 {
			t.Errorf("no command of kind %d", k)
		}
	}
	t.Logf("%d commands, by kind %v", all, kinds)
	if err := covered.Add("machine against its model", map[string]uint64{"commands": all}); err != nil {
		t.Error(err)
	}
}
