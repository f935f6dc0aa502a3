package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	firstTry, longestTry     = 250 * time.Millisecond, time.Second // a try's time-out grows from the one to the other
	firstPause, longestPause = 10 * time.Millisecond, 50 * time.Millisecond
	suspectAfter             = 2 // tries in a row that nobody answered, until the NATS server is checked
)

// request is a question that is repeated until it is answered.
type request struct {
	subject string
	body    func() ([]byte, error) // built anew for each try, so that ack and events_seen are fresh
	patient time.Duration          // time-out of the first try if longer than usual

	// begin is called before each try; false gives up with errUnwanted. nil: always true.
	begin func() bool
	// failed is called after each try that came to nothing; nobody says that surely nobody executed it. nil: nothing.
	failed func(trouble error, nobody bool)
}

// outcome is what came of a request.
type outcome struct {
	data      []byte
	try       int     // that the answer belongs to
	sent      instant // when that was sent
	delivered int     // tries that somebody may have executed, the answered one included
	trouble   error   // why no try was answered so far: ErrNoLeader, ErrTimeout or what a retryable answer says
}

// fail notes why a try came to nothing.
func (out *outcome) fail(r *request, trouble error, nobody bool) {
	if nobody {
		out.delivered--
	}
	out.trouble = trouble
	if r.failed != nil {
		r.failed(trouble, nobody)
	}
}

var errUnwanted = errors.New("nobody waits for the answer any more")

// do sends the request until there is a final answer or ctx ends. An error is an *Error from the service (or
// DENIED by NATS), errUnwanted, ErrClosed, or ctx's cause; the outcome is filled in as far as it is known.
func (w *wire) do(ctx context.Context, r *request) (out outcome, err error) {
	x := w.open(r.subject)
	defer w.forget(x)
	owed := false // a test's clock waits to hear that an answer was taken
	taken := func() {
		if owed {
			owed = false
			clock.Tell(w.clock, clock.Taken)
		}
	}
	defer taken()
	wait, pause, silent := max(firstTry, r.patient), firstPause, 0
	timer := w.clock.NewTimer(clock.Never)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		select {
		case <-w.done:
			return out, fmt.Errorf("client: %w", ErrClosed)
		default:
		}
		if r.begin != nil && !r.begin() {
			return out, errUnwanted
		}
		out.delivered++
		body, err := r.body()
		if err != nil {
			return out, err
		}
		again := w.reconnected()
		err = w.publish(x, body)
		sleeping := false // nothing is under way, only a pause until the next try
		switch {
		case err == nil:
			timer.Reset(wait)
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrInvalidConnection):
			return out, fmt.Errorf("NATS connection: %w", ErrClosed)
		case errors.Is(err, nats.ErrMaxPayload):
			return out, localError(coorddv1.CodeTooLarge, "request of %d bytes is more than the NATS server takes", len(body))
		case errors.Is(err, nats.ErrBadSubject):
			return out, localError(coorddv1.CodeBadName, "subject %q is not allowed", r.subject)
		default: // not connected at the moment
			out.fail(r, fmt.Errorf("not connected to NATS (%w): %w", err, ErrNoLeader), true)
			sleeping = true
			timer.Reset(jitter(pause))
			pause = min(2*pause, longestPause)
		}
		for next := false; !next; {
			taken()
			select {
			case <-ctx.Done():
				return out, context.Cause(ctx)
			case <-w.done:
				return out, fmt.Errorf("client: %w", ErrClosed)
			case <-again:
				next = true
			case <-timer.C():
				next = true
				if sleeping {
					break
				}
				out.fail(r, ErrTimeout, false)
				w.fruitless(x.sent[len(x.sent)-1])
				wait = min(wait*3/2, max(longestTry, r.patient))
				if silent++; silent >= suspectAfter {
					w.suspect()
				}
				if w.denied(r.subject) {
					return out, deniedError(r.subject)
				}
			case a := <-x.answers:
				silent, owed = 0, true
				if a.denied {
					return out, deniedError(r.subject)
				}
				latest := a.try == len(x.sent)-1
				if noResponders(a.msg) {
					out.fail(r, ErrNoLeader, true)
					w.fruitless(x.sent[a.try])
				} else if e := replyError(a.msg); e == nil {
					w.answeredHere()
					out.data, out.try, out.sent = a.msg.Data, a.try, x.sent[a.try]
					return out, nil
				} else if w.answeredHere(); !e.GetRetryable() {
					return out, errorOf(e, "")
				} else {
					out.fail(r, errorOf(e, ""), false)
				}
				if !latest || sleeping {
					continue
				}
				sleeping = true
				timer.Reset(jitter(pause))
				pause = min(2*pause, longestPause)
			}
		}
	}
}

// jitter returns d ± a half, so that those who failed together do not come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

func deniedError(subject string) error {
	return localError(coorddv1.CodeDenied, "NATS does not let this user publish to %s", subject)
}

// explain says why a call ended without an answer: ended is the end of its context, nil for the client's own
// time-out. changes says that the call was to change something.
func (w *wire) explain(out outcome, ended error, changes bool) error {
	var parts []error
	switch {
	case out.trouble == nil && ended == nil:
		parts = append(parts, ErrTimeout)
	case out.trouble == nil:
	case errors.Is(out.trouble, ErrNoLeader):
		parts = append(parts, w.foreign(out.trouble))
	default:
		parts = append(parts, out.trouble)
	}
	if changes && out.delivered > 0 {
		parts = append(parts, ErrOutcomeUnknown)
	}
	if ended != nil {
		parts = append(parts, ended)
	}
	return chain(parts...)
}

// foreign finds out whether the NATS server knows any coordd node at all, and says so if it doesn't.
func (w *wire) foreign(trouble error) error {
	if w.answered.Load() || !w.nc.IsConnected() {
		return trouble
	}
	if _, err := w.nc.Request(statusSubject, nil, firstTry); !errors.Is(err, nats.ErrNoResponders) {
		return trouble
	}
	return fmt.Errorf("the NATS server %q at %s is there, but no coordd node is connected to it: %w",
		w.nc.ConnectedServerName(), w.nc.ConnectedUrlRedacted(), trouble)
}

// sentence is several errors said one after the other; errors.Is and errors.As find each of them.
type sentence struct{ parts []error }

func (e *sentence) Error() string {
	s := e.parts[0].Error()
	for _, err := range e.parts[1:] {
		s += ": " + err.Error()
	}
	return s
}

func (e *sentence) Unwrap() []error { return e.parts }

// chain makes a sentence of at least one error.
func chain(parts ...error) error {
	if len(parts) == 1 {
		return parts[0]
	}
	return &sentence{parts}
}
