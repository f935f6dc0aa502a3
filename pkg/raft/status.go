package raft

import (
	"time"
)

// Status is a copy of what a core knows, for operators.
type Status struct {
	ID      MemberID
	Role    Role
	Term    uint64
	Vote    MemberID
	Leader  MemberID
	Commit  uint64
	Applied uint64
	Durable uint64 // last index that is durable here
	Base    uint64 // the log begins behind it
	Last    uint64
	// Snapshot is the index of the newest snapshot of this member; 0: none.
	Snapshot uint64

	Ready      bool // leader with its first entry of the term committed
	Recovering bool
	Blank      bool
	Removed    bool // see SoftState
	// Transferee is who leadership is being handed to; 0: nobody.
	Transferee MemberID

	// Active is the last committed configuration, Proposed the one in effect where it is not committed yet.
	Active        Configuration
	ActiveIndex   uint64
	Proposed      *Configuration
	ProposedIndex uint64

	Peers []PeerStatus // leader only, ordered by ID
}

// PeerStatus is a leader's view of one other member.
type PeerStatus struct {
	ID            MemberID
	Match         uint64
	Next          uint64
	State         string // probe, replicate or snapshot
	InflightBytes int
	// LastContact is the instant at which its last answer of this term arrived; before the first one, when the leader
	// began to wait for it.
	LastContact time.Duration
	// Unheard is true for a member that was added or replaced in this term and has not answered since.
	Unheard bool
	// Counted is false for a member whose acknowledgements do not count: a learner, one that is leaving,
	// or one whose incarnation is not recorded yet.
	Counted bool
	// Leaving is true for a member that the configuration in effect does not list any more.
	Leaving bool
	// WarmupRound is the round of catching up that a learner which is to be promoted is in, from 1 on; 0: none.
	WarmupRound int
	// SnapshotIndex is the index of the snapshot that is on its way to it; 0: none.
	SnapshotIndex uint64
}

// Stats counts what a core ignored and what it went through. It only grows.
type Stats struct {
	BadMessages      uint64 // malformed, or not to this member
	UnknownMember    uint64
	WrongIncarnation uint64
	StaleTerm        uint64 // of a lower term and not to be answered
	Unexpected       uint64 // no meaning in this role, a stale session, an old round
	CommitConflicts  uint64 // an append that contradicts a committed entry
	StaleCompletions uint64 // AppendDone that matches no batch under way
	StaleFetches     uint64
	MatchLowered     uint64 // a peer had lost what it once acknowledged
	Elections        uint64 // campaigns begun by this member
	StickyRefusals   uint64
	LeaderChanges    uint64
}

// Status returns a copy of what the core knows.
func (c *Core) Status() Status {
	s := Status{
		ID: c.id, Role: c.role, Term: c.hard.Term, Vote: c.hard.Vote, Leader: c.leader,
		Commit: c.log.commit, Applied: c.log.applied, Durable: c.log.durable, Base: c.log.base, Last: c.log.last,
		Ready: c.ready(), Recovering: c.recovering != nil, Blank: c.log.last == 0 && !c.trusted(), Removed: c.removed(),
	}
	if c.snapshot != nil {
		s.Snapshot = c.snapshot.Index
	}
	active := c.configs.active(c.log.commit)
	s.Active, s.ActiveIndex = active.conf.Clone(), active.index
	if at := c.current(); at.index != active.index {
		conf := at.conf.Clone()
		s.Proposed, s.ProposedIndex = &conf, at.index
	}
	if c.role != Leader {
		return s
	}
	s.Transferee = c.lead.transfer.to
	for _, p := range c.peers {
		s.Peers = append(s.Peers, PeerStatus{
			ID: p.id, Match: p.pr.Match, Next: p.pr.Next, State: p.pr.State.String(),
			InflightBytes: p.pr.Inflight.Bytes(), LastContact: p.pr.Contact, Unheard: p.pr.Unheard,
			Counted: p.voter && (!p.recorded.IsZero() || p.heard.IsZero()),
			Leaving: p.leaving, WarmupRound: p.warm.round, SnapshotIndex: p.pr.Pending,
		})
	}
	return s
}
