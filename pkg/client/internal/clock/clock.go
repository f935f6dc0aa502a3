// Package clock is what pkg/client knows of time: two clocks to read and timers to wait with. Nothing else in that
// package asks package time what time it is, or waits by it, so that a test decides how time passes.
//
// pkg/client/coorddtest makes clients with a virtual clock, by the option that pkg/client leaves here:
//
//	opt := clock.Option(virtual).(client.Option)
//	c, err := client.Connect(ctx, url, opt)
//
// One clock may serve many clients; a client that is to be paused alone has one of its own. A clock that stands still for a
// while and then goes on is a paused process: its timers fire late, and Now has moved on by more than they waited. A clock
// whose Wall alone moves on is a suspended machine. What a clock does not rule: the deadlines of the contexts that callers
// bring, nats.go's own time-outs, and the pauses of pkg/idgen/alloc between refills that failed.
package clock

import (
	"context"
	"math"
	"time"

	"github.com/coordd/coordd/pkg/client/lease"
)

// Clock tells the time and wakes who waits for it. Its methods may be called by many goroutines at once.
type Clock interface {
	// Now reads both clocks, counted from a moment that the Clock chose once. Mono never goes back.
	Now() lease.Instant
	// NewTimer returns a timer that sends on its channel after d of monotonic time; at once if d is not positive.
	NewTimer(d time.Duration) Timer
	// AfterFunc calls f in a goroutine of its own after d. The timer's channel is nil.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a time.Timer of a Clock, with the same rules: since Go 1.23 nothing stale is received after Stop or Reset.
type Timer interface {
	C() <-chan time.Time
	Reset(d time.Duration) bool
	Stop() bool
}

// Never is the time of a timer that is made now and set later. The client has such a timer for each request that it is waiting
// for, from before its sending until after its answer was taken; a test's clock can tell by it.
const Never time.Duration = math.MaxInt64

// Option makes a client.Option of a Clock. It is set by pkg/client, which this package can't import.
var Option func(Clock) any

// System returns this machine's clocks, counted from the call.
func System() Clock {
	base := time.Now()
	return system{base: base, wall: base.UnixNano()}
}

type system struct {
	base time.Time
	wall int64
}

func (c system) Now() lease.Instant {
	t := time.Now()
	return lease.Instant{Mono: t.Sub(c.base), Wall: time.Duration(t.UnixNano() - c.wall)}
}

func (c system) NewTimer(d time.Duration) Timer { return timer{time.NewTimer(d)} }

func (c system) AfterFunc(d time.Duration, f func()) Timer { return timer{time.AfterFunc(d, f)} }

type timer struct{ *time.Timer }

func (t timer) C() <-chan time.Time { return t.Timer.C }

// Work tells a test's clock, which has such a method, that something began (1) or ended (-1) that has to happen before time
// moves on; while it waits for the service, a timer made with Never tells. What sets off a goroutine counts for it beforehand, so that no moment is left in which nobody counts.
func Work(c Clock, n int) {
	if w, ok := c.(interface{ Work(n int) }); ok {
		w.Work(n)
	}
}

// Note is something that a client tells a test's clock about its messages, so that the other end knows what is still between
// them.
type Note uint8

// The notes.
const (
	Sent     Note = iota // a request, to its connection
	Received             // a message in the inbox
	Waits                // an answer, for the goroutine that asked
	Taken                // by it, with all that follows at once; or not wanted any more
	Closed               // the client is, and tells nothing any more
)

// Tell tells a test's clock, which has such a method.
func Tell(c Clock, n Note) {
	if w, ok := c.(interface{ Tell(Note) }); ok {
		w.Tell(n)
	}
}

// Sleep waits for d by c, or until done is closed.
func Sleep(c Clock, d time.Duration, done <-chan struct{}) {
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
	case <-done:
	}
}

// WithTimeout is context.WithTimeoutCause by c. By another clock than the machine's the context's error is Canceled, as
// a context has no deadline that is not of the machine's clock; its cause is the same.
func WithTimeout(ctx context.Context, c Clock, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if _, ok := c.(system); ok {
		return context.WithTimeoutCause(ctx, d, cause)
	}
	inner, cancel := context.WithCancelCause(ctx)
	t := c.AfterFunc(d, func() { cancel(cause) })
	return inner, func() {
		t.Stop()
		cancel(context.Canceled)
	}
}
