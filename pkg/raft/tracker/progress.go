package tracker

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/internal/canary"
)

// State is how a leader sends to a peer.
type State uint8

// The states.
const (
	Probe State = iota
	Replicate
	Snapshot
)

// String returns the lower-case name of the state.
func (s State) String() string {
	switch s {
	case Replicate:
		return "replicate"
	case Snapshot:
		return "snapshot"
	}
	return "probe"
}

// Progress is a leader's view of one peer.
type Progress struct {
	// Match is the last index that the peer acknowledged as durable and equal to the leader's.
	Match uint64
	// Next is the index of the first entry to be sent next.
	Next  uint64
	State State
	// Waiting is true in Probe while the one append is on its way.
	Waiting bool
	// Inflight holds what is on its way in Replicate.
	Inflight Inflight
	// Pending is the index of the snapshot that is on its way in Snapshot.
	Pending uint64
	// Session is echoed by the peer's answers: a member that left and came back has a new one.
	Session uint64
	// Known is what Match was when the session began: whoever answers in this session had that before it did.
	Known uint64

	// Contact is the instant of the last answer of this term; before the first one, when the leader began to wait.
	Contact time.Duration
	// Unheard is true for a peer that is new to this leader, until its first answer.
	Unheard bool
	// Round is the last heartbeat round that the peer acknowledged.
	Round uint64
	// PromisedUntil is when the peer's stickiest promise to this leader ends, by the leader's clock.
	PromisedUntil time.Duration
	// Commit is the highest commit index that the peer said it knows.
	Commit uint64

	// Fetching is true while entries from FetchLo on are being read for this peer.
	Fetching bool
	FetchLo  uint64

	// stalls counts the heartbeats answered since Match last moved while something was on its way.
	stalls int
}

// Reset begins a leader's term: nothing is known but the end of its own log.
func (p *Progress) Reset(last, session uint64, now time.Duration) {
	ring := p.Inflight
	ring.Reset()
	*p = Progress{Next: last + 1, Session: session, Contact: now, Inflight: ring}
}

// Answered notes that an answer came.
func (p *Progress) Answered(now time.Duration) { p.Contact, p.Unheard = now, false }

// CanSend reports whether another message of entries may leave.
func (p *Progress) CanSend(maxInflightBytes int) bool {
	switch p.State {
	case Probe:
		return !p.Waiting
	case Snapshot:
		return false
	}
	return p.Inflight.Bytes() < maxInflightBytes || canary.Broken(canary.InflightBound)
}

// Room is how many bytes the next message may have; at least one entry always may.
func (p *Progress) Room(maxInflightBytes int) int {
	return max(maxInflightBytes-p.Inflight.Bytes(), 0)
}

// Sent notes that an append with the entries Next to last (none: last is Next − 1) left.
func (p *Progress) Sent(last uint64, bytes int) {
	if p.State == Probe {
		p.Waiting = true
		return
	}
	if last >= p.Next {
		p.Next = last + 1
		p.Inflight.Add(last, bytes)
	}
}

// Acked notes that the peer's log is durable and equal up to index. It reports whether that is news.
func (p *Progress) Acked(index uint64) bool {
	news := index > p.Match
	if news {
		p.Match = index
		p.stalls = 0
	}
	p.Next = max(p.Next, index+1)
	p.Inflight.FreeTo(index)
	if (p.State == Probe && index >= p.Match) || (p.State == Snapshot && index >= p.Pending) {
		// Only an answer at or above what matched shows where the logs agree now; and what a snapshot under way
		// holds may have come by other means.
		p.State, p.Waiting, p.Pending = Replicate, false, 0
		p.Next = p.Match + 1
		p.Inflight.Reset()
	}
	return news
}

// ToProbe goes back to probing: what is on its way is taken as lost, and next is sent again.
func (p *Progress) ToProbe(next uint64) {
	p.State, p.Waiting, p.stalls, p.Pending = Probe, false, 0, 0
	p.Next = max(next, p.Match+1)
	p.Inflight.Reset()
}

// ToSnapshot notes that a snapshot up to index leaves; nothing else is sent until it is done.
func (p *Progress) ToSnapshot(index uint64) {
	p.State, p.Waiting, p.stalls, p.Pending = Snapshot, false, 0, index
	p.Inflight.Reset()
}

// SnapshotDone notes that the snapshot under way arrived, or did not. The next append, or the next snapshot, waits
// for a sign of life.
func (p *Progress) SnapshotDone(ok bool) {
	next := p.Match + 1
	if ok {
		next = max(next, p.Pending+1)
	}
	p.ToProbe(next)
	p.Waiting = true
}

// Doubted begins another session, because the peer rejected what it had acknowledged in this one. The rejection
// may have been sent before the acknowledgement, and overtaken; what it says in the new session was said after.
func (p *Progress) Doubted(session uint64) {
	p.Session, p.Known = session, p.Match
	p.ToProbe(p.Match + 1)
}

// Lowered notes that the peer lost what it had acknowledged: its log now agrees up to index at most. Older
// acknowledgements must not count again, so another session begins.
func (p *Progress) Lowered(index, session uint64) {
	p.Match = min(p.Match, index)
	p.Session, p.Known = session, p.Match
	p.ToProbe(index + 1)
}

// stallLimit is how many heartbeats may be answered without an acknowledgement before a peer is asked
// where it stands. One is normal: heartbeats overtake appends and do not wait for the disk.
const stallLimit = 2

// HeartbeatAnswered is called for each answer to a heartbeat. It lets a probe be repeated, and reports
// whether appends seem lost, in which case the caller sends an empty one: the peer either acknowledges
// all or rejects it.
func (p *Progress) HeartbeatAnswered() (seemsLost bool) {
	switch p.State {
	case Probe:
		p.Waiting = false
		return false
	case Snapshot:
		return false
	}
	if p.Match+1 == p.Next {
		p.stalls = 0
		return false
	}
	p.stalls++
	if p.stalls < stallLimit {
		return false
	}
	p.stalls = 0
	return true
}

// Valid returns what is broken, or nil.
func (p *Progress) Valid() error {
	switch {
	case p.Known > p.Match:
		return fmt.Errorf("match was %d when the session began, and is %d", p.Known, p.Match)
	case p.Match >= p.Next:
		return fmt.Errorf("match %d is not below next %d", p.Match, p.Next)
	case p.State != Replicate && p.Inflight.Len() != 0:
		return fmt.Errorf("%d messages in flight in state %v", p.Inflight.Len(), p.State)
	case p.State != Probe && p.Waiting:
		return fmt.Errorf("waiting for a probe in state %v", p.State)
	case (p.State == Snapshot) != (p.Pending != 0):
		return fmt.Errorf("snapshot %d under way in state %v", p.Pending, p.State)
	}
	return nil
}
