// Package lease says for how long a client may rely on its session, from the answers to its own messages and two
// readings of its clocks. It is pure: the client and the simulator (pkg/raft/sim) use the same code.
package lease

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
)

const (
	// Guard is taken off every instant that the cluster names.
	Guard = 50 * time.Millisecond
	// JumpLimit is how far wall and monotonic time may move apart between two renewals. Beyond it the machine
	// slept, or its clock was set, and nobody knows how much time passed. Below it the larger of the two counts.
	JumpLimit = time.Second
)

// Instant is one reading of both clocks, counted from the reader's start.
type Instant struct{ Mono, Wall time.Duration }

// Term is what one answer of open, resume or keepalive gave.
type Term struct {
	Sent   Instant       // when the very message was sent that this is the answer to
	Budget time.Duration // how long from then on
}

// NewTerm takes the answer, received now, to a message that was sent at sent: cluster time at apply, and the session's
// deadline. The deadline counts from the sending, by a clock whose ratio to the cluster's is within drift of one
// (coordination.md, "Replicated time").
func NewTerm(sent, received Instant, now, deadline int64, drift float64) Term {
	if canary.Broken(canary.ClientCountsFromSend) {
		sent = received
	}
	if canary.Broken(canary.ClientAllowsForDrift) {
		return Term{sent, time.Duration(deadline - now)}
	}
	return Term{sent, time.Duration(float64(deadline-now)*(1-drift)) - Guard}
}

// Outlasts reports whether a term ends after another one.
func (t Term) Outlasts(other Term) bool { return t.Sent.Mono+t.Budget > other.Sent.Mono+other.Budget }

// Passed is what each clock says how much time passed since the sending, up to an instant.
func (t Term) Passed(at Instant) (mono, wall time.Duration) {
	return at.Mono - t.Sent.Mono, at.Wall - t.Sent.Wall
}

// Left is for how long after an instant the session surely lives, 0 if it may have ended. jumped says that the clocks
// moved apart, so that nothing is known.
func (t Term) Left(at Instant) (left time.Duration, jumped bool) {
	mono, wall := t.Passed(at)
	if apart := wall - mono; (apart > JumpLimit || apart < -JumpLimit) && !canary.Broken(canary.ClientSeesJumps) {
		return 0, true
	}
	return max(0, t.Budget-max(mono, wall)), false
}
