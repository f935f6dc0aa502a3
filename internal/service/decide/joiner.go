package decide

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// Bounds say how much goes into one log entry, and how many of them are under way.
type Bounds struct {
	Commands int           // in an entry
	Bytes    int           // in an entry, estimated
	Entries  int           // under way at once, those of keepalives aside
	Join     time.Duration // keepalives that come within it share an entry
}

// Call is a request that is to become a part of an entry.
type Call interface {
	Commands() int
	Bytes() int // estimated
}

// Joiner turns queued calls into log entries. While some entries are under way, whatever arrives waits and becomes the
// next one: the batch grows with the load and no timer is needed. Keepalives alone wait on purpose, so that those of
// many sessions share an entry, and then go first. The zero value is ready.
type Joiner[C Call] struct {
	queue    []C
	beats    []C           // keepalives
	beaten   bool          // keepalives have left before
	lastBeat time.Duration // when they last did
	entries  int           // under way
	closed   bool
}

// idle is how long to wait when nothing waits.
const idle = time.Hour

// Put takes a call in; false after Close.
func (j *Joiner[C]) Put(c C, keepalive bool) bool {
	switch {
	case j.closed:
		return false
	case keepalive:
		j.beats = append(j.beats, c)
	default:
		j.queue = append(j.queue, c)
	}
	return true
}

// Next takes the calls of the next entry, keepalives first. With nothing to do now it returns nil and the time after
// which to look for keepalives again. Each entry that it returned has to be followed by a Left.
func (j *Joiner[C]) Next(now time.Duration, b Bounds) (calls []C, again time.Duration) {
	if j.closed {
		return nil, idle
	}
	again = idle
	if len(j.beats) > 0 && (len(j.queue) == 0 || !canary.Broken(canary.KeepalivesFirst)) {
		// One that comes after a quiet while leaves at once. They don't count against the entries under way.
		if again = b.Join - (now - j.lastBeat); !j.beaten || again <= 0 {
			calls, j.beats = take(j.beats, b)
			if len(j.beats) == 0 {
				j.lastBeat, j.beaten, j.beats = now, true, nil
			}
			j.entries++
			return calls, 0
		}
	}
	if len(j.queue) == 0 || j.entries >= b.Entries {
		return nil, again
	}
	if calls, j.queue = take(j.queue, b); len(j.queue) == 0 {
		j.queue = nil
	}
	j.entries++
	return calls, 0
}

// Split notes that an entry of n calls is proposed as n entries.
func (j *Joiner[C]) Split(n int) { j.entries += n - 1 }

// Left notes that an entry is no longer under way.
func (j *Joiner[C]) Left() { j.entries-- }

// Close ends the joiner and returns the calls that never left.
func (j *Joiner[C]) Close() []C {
	j.closed = true
	left := append(j.beats, j.queue...)
	j.beats, j.queue = nil, nil
	return left
}

// take removes the calls at the front of q that fit into one entry: at least one, and then as many as both bounds
// allow.
func take[C Call](q []C, b Bounds) (taken, rest []C) {
	n, commands, bytes := 0, 0, 0
	for n < len(q) {
		commands += q[n].Commands()
		bytes += q[n].Bytes()
		if n > 0 && (commands > b.Commands || bytes > b.Bytes) {
			break
		}
		n++
	}
	return q[:n:n], q[n:]
}
