package coorddtest

import (
	"math"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/client/internal/clock"
	"github.com/coordd/coordd/pkg/client/lease"
)

// timeline is virtual time: one instant that moves only when it is told to, and the timers of all clients. It also
// remembers what those timers tell about the clients: whether they have come to rest since something happened to them.
type timeline struct {
	base time.Time // wall time at instant 0

	mu      sync.Mutex
	now     time.Duration
	changes uint64 // counts what is done to timers
	running int    // functions of AfterFunc that have not returned
	timers  map[*timer]struct{}
}

func newTimeline() *timeline {
	return &timeline{base: time.Now(), timers: make(map[*timer]struct{})}
}

func (t *timeline) read() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// next returns the instant of the first timer that goes off by itself, if that is not after limit.
func (t *timeline) next(limit time.Duration) (due time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	due = limit
	for x := range t.timers {
		if x.state == armed && !x.k.paused && x.due <= due {
			due, ok = x.due, true
		}
	}
	return due, ok
}

// moveTo moves time on and lets go off what is due by then.
func (t *timeline) moveTo(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = max(t.now, now)
	t.fireLocked()
}

func (t *timeline) fireLocked() {
	for x := range t.timers {
		if x.state == armed && !x.k.paused && x.due <= t.now {
			x.fireLocked()
		}
	}
}

// clientClock is the clock of one client. It shows the timeline's instant, or stands still while its client is paused.
type clientClock struct {
	t      *timeline
	paused bool
	at     time.Duration // where it stands while paused
	work   int           // that was begun and has not ended

	// What the client told of its messages.
	sent, received uint64
	untaken        int // answers
	closed         bool
}

func (t *timeline) clock() *clientClock { return &clientClock{t: t} }

func (k *clientClock) nowLocked() time.Duration {
	if k.paused {
		return k.at
	}
	return k.t.now
}

// Now implements clock.Clock.
func (k *clientClock) Now() lease.Instant {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	now := k.nowLocked()
	return lease.Instant{Mono: now, Wall: now}
}

func (k *clientClock) pause() {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.paused, k.at = true, k.t.now
}

// wake lets the clock catch up: its timers go off late.
func (k *clientClock) wake() {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.paused = false
	k.t.fireLocked()
}

// Work is called by the client, through clock.Work.
func (k *clientClock) Work(n int) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	if n != 0 {
		k.work += n
		k.t.changes++
	}
}

// Tell is called by the client, through clock.Tell.
func (k *clientClock) Tell(n clock.Note) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.t.changes++
	switch n {
	case clock.Sent:
		k.sent++
	case clock.Received:
		k.received++
	case clock.Waits:
		k.untaken++
	case clock.Taken:
		k.untaken--
	case clock.Closed:
		k.closed = true
	}
}

// connectedAgain says that messages of an earlier connection do not count any more.
func (k *clientClock) connectedAgain(m messages) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.sent, k.received = m.arrived, m.told
}

// NewTimer implements clock.Clock.
func (k *clientClock) NewTimer(d time.Duration) clock.Timer {
	x := &timer{k: k, ch: make(chan time.Time, 1), request: d == clock.Never}
	x.start(d)
	return x
}

// AfterFunc implements clock.Clock.
func (k *clientClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	x := &timer{k: k, f: f}
	x.start(d)
	return x
}

type timerState uint8

const (
	stopped timerState = iota
	armed
	fired // and neither set again nor stopped since
)

// timer implements clock.Timer.
type timer struct {
	k       *clientClock
	f       func()
	ch      chan time.Time
	request bool   // made by a goroutine that asks the service something; stopped when it has the answer
	made    uint64 // timeline.changes, when it was made

	state timerState
	due   time.Duration
	went  uint64    // timeline.changes, when it went off
	since time.Time // real time, when it did
}

func (x *timer) start(d time.Duration) {
	t := x.k.t
	t.mu.Lock()
	defer t.mu.Unlock()
	x.made = t.changes + 1
	x.setLocked(d)
}

func (x *timer) setLocked(d time.Duration) {
	t := x.k.t
	t.changes++
	now := x.k.nowLocked()
	x.due = now + min(max(d, 0), math.MaxInt64-now)
	x.state = armed
	t.timers[x] = struct{}{}
	if x.due <= now && !x.k.paused {
		x.fireLocked()
	}
}

func (x *timer) fireLocked() {
	t := x.k.t
	t.changes++
	x.went = t.changes
	if x.f == nil {
		x.state = fired
		x.since = time.Now()
		x.ch <- t.base.Add(t.now) // there is room: stopLocked makes some
		return
	}
	x.state = stopped
	delete(t.timers, x)
	t.running++
	go func() {
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.running--
			t.changes++
		}()
		x.f()
	}()
}

// stopLocked reports whether the timer had yet to be noticed.
func (x *timer) stopLocked() bool {
	t := x.k.t
	t.changes++
	active := x.state == armed
	select {
	case <-x.ch:
		active = true
	default:
	}
	x.state = stopped
	delete(t.timers, x)
	return active
}

// unheard is for how long, in real time, a timer that went off is taken for one that somebody is about to look at. Beyond it
// nobody is: the caller of an iterator, say, does something else.
const unheard = 200 * time.Millisecond

// wakes says whether the timer went off and its goroutine has yet to set it again or to stop it.
func (x *timer) wakes() bool {
	return x.state == fired && (len(x.ch) == 0 || time.Since(x.since) < unheard)
}

// C implements clock.Timer.
func (x *timer) C() <-chan time.Time { return x.ch }

// Stop implements clock.Timer.
func (x *timer) Stop() bool {
	x.k.t.mu.Lock()
	defer x.k.t.mu.Unlock()
	return x.stopLocked()
}

// Reset implements clock.Timer.
func (x *timer) Reset(d time.Duration) bool {
	x.k.t.mu.Lock()
	defer x.k.t.mu.Unlock()
	active := x.stopLocked()
	x.setLocked(d)
	return active
}

// messages is what the other end of a client's connection knows.
type messages struct {
	arrived, told uint64 // requests of the client's; answers to it, of whatever kind
	open          int    // requests that have no final answer yet
}

// rest says what a client still has to do before time may move on, "" for nothing.
//
// Messages that were sent have to arrive, and answers to be taken.
//
// Work that the client declares is done, or waits for an answer: with a timer.
//
// Whoever was woken by a timer sets it again or stops it, after it did what there was to do; if that is to ask the service
// and wait, it waits with a timer that it made since. So a timer that went off, and is neither set nor covered by a younger
// one, shows a goroutine that has yet to run. Likewise each request that waits has its timer: more of these than there
// are open requests show answers that have yet to be taken.
func (t *timeline) rest(k *clientClock, m messages) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running > 0 {
		return "a function of a timer runs"
	}
	switch {
	case k.paused || k.closed:
		return ""
	case k.sent > m.arrived:
		return "a request has yet to arrive"
	case m.told > k.received || k.untaken > 0:
		return "an answer has yet to arrive"
	}
	requests, waiting := 0, 0
	for x := range t.timers {
		if x.k != k {
			continue
		}
		if x.request {
			requests++
			if x.state == armed && x.due < clock.Never {
				waiting++
			}
		}
		if x.wakes() && t.coverLocked(x) < 0 {
			return "whom a timer woke has yet to act"
		}
	}
	if k.work > waiting {
		return "work has yet to be done"
	}
	if requests > m.open {
		return "an answer has yet to be taken"
	}
	return ""
}

// coverLocked counts the client's armed timers that were made since x went off, less the timers that went off since and
// have to be covered as well, x included.
func (t *timeline) coverLocked(x *timer) (n int) {
	for y := range t.timers {
		switch {
		case y.k != x.k:
		case y.state == armed && y.made > x.went:
			n++
		case y.wakes() && y.went >= x.went:
			n--
		}
	}
	return n
}
