package node

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// statusPeriod bounds how old the slow parts of a Status are: the peers' progress and the configurations.
const statusPeriod = 20 * time.Millisecond

// Status is a copy of what a node knows of itself and its cluster. Role, Term, Leader and the indexes are as of
// the loop's last turn; Peers and the configurations are at most 20 ms older.
type Status struct {
	ID          raft.MemberID
	Name        string
	Incarnation raft.Incarnation
	ClusterID   raft.ClusterID // zero: not known yet

	Role       raft.Role
	Term       uint64
	Leader     raft.MemberID // 0: none known
	LeaderName string
	// LeaderContact is the time since the leader's last message; 0 on the leader, and where none is known.
	LeaderContact time.Duration

	Commit  uint64
	Applied uint64
	Durable uint64 // last index that is durable here
	First   uint64 // the log begins here; what is before is in the snapshot
	Last    uint64
	// LogBytes is the size of the log's entries as raft.Entry.Size counts it, where the log knows it.
	LogBytes int64
	Snapshot *raft.SnapshotMeta // the newest one here; nil: none

	Leading    bool // LeadershipContext is live
	Ready      bool // Ready is closed
	Recovering bool // this log lacks something that it once acknowledged
	Blank      bool // empty, and may neither vote nor stand yet
	Stalled    bool // the disk has stalled, or is full: this member does not stand
	Full       bool // a write waits for room on the disk
	Removed    bool // the cluster has removed this member
	// Joining says how far a node is that wants to be taken in, or to have its record changed; empty: there is nothing.
	Joining string
	// RefusedBy lists the members that refused this node's connections in the last 10 s, with their reasons.
	RefusedBy []string
	// ClusterVersion is the version of commands that may be proposed.
	ClusterVersion uint32
	Lease          bool
	// Transferee is who leadership is being handed to; 0: nobody.
	Transferee raft.MemberID

	Active        raft.Configuration // the last committed configuration
	ActiveIndex   uint64
	Proposed      *raft.Configuration // the one in effect, where it is not committed yet; nil: none
	ProposedIndex uint64

	Peers []PeerStatus // on the leader, ordered by ID

	Core raft.Stats // what the core ignored and went through
}

// PeerStatus is the leader's view of one other member.
type PeerStatus struct {
	ID            raft.MemberID
	Name          string
	Match         uint64 // last index known to be durable there
	Next          uint64 // next index to be sent
	State         string // probe, replicate or snapshot
	InflightBytes int
	// LastContact is the time since its last answer in this term, or since this one began to lead; negative: it was
	// added or replaced since and has not answered yet.
	LastContact time.Duration
	Counted     bool // its acknowledgements count in the quorum
	Leaving     bool // removed, and told so for a while
	// Role is what it is by the configuration in effect: follower, standby or learner.
	Role raft.Role
	// WarmupRound is the round of catching up that a learner is in which is to be promoted, from 1 on; 0: none.
	WarmupRound int
	// SnapshotIndex is that of the snapshot on its way to it, SnapshotSent how many of its SnapshotSize bytes it has.
	SnapshotIndex              uint64
	SnapshotSent, SnapshotSize int64
	// Phi is what the failure detector suspects; 0 without one.
	Phi float64
}

// refreshStatus publishes the slow parts. Nothing in what it stores is changed afterwards.
func (l *loop) refreshStatus(now time.Duration) {
	l.refreshed, l.stale = now, false
	core, n := l.core.Status(), l.n
	s := &Status{
		ID: n.cfg.ID, Name: n.cfg.Name, Incarnation: n.found.Incarnation,
		Role: l.soft.Role, Term: l.soft.Term, Leader: l.soft.Leader,
		Durable: core.Durable, Removed: core.Removed,
		Recovering: l.soft.Recovering, Blank: l.soft.Blank, Stalled: l.disk.stalled, Full: l.disk.full, Transferee: core.Transferee,
		Active: core.Active, ActiveIndex: core.ActiveIndex, Proposed: core.Proposed, ProposedIndex: core.ProposedIndex,
		Core: l.core.Stats,
	}
	if m, ok := memberOf(l.config.Members, l.soft.Leader); ok {
		s.LeaderName = m.Name
	}
	for _, p := range core.Peers {
		m, listed := memberOf(l.config.Members, p.ID)
		if listed {
			l.reachable(m, p.LastContact > 0 && now-p.LastContact <= n.cfg.ElectionTimeoutMax)
		}
		if p.Unheard {
			p.LastContact = 0
		}
		s.Peers = append(s.Peers, PeerStatus{ID: p.ID, Name: m.Name, Match: p.Match, Next: p.Next, State: p.State,
			InflightBytes: p.InflightBytes, LastContact: p.LastContact, Counted: p.Counted, Leaving: p.Leaving,
			Role: roleOf(&m), WarmupRound: p.WarmupRound, SnapshotIndex: p.SnapshotIndex, Phi: l.phi(p.ID, now)})
	}
	n.status.Store(s)
}

// reachable tells when a member begins or ceases to answer this leader.
func (l *loop) reachable(m raft.Member, answers bool) {
	if l.away[m.ID] == !answers {
		return
	}
	if l.away == nil {
		l.away = make(map[raft.MemberID]bool)
	}
	l.away[m.ID] = !answers
	l.n.events.publish(EventStatus, func(e *Event) { e.Member, e.Reachable = m, answers })
}

// roleOf is what a member is by the configuration, whatever it does at the moment.
func roleOf(m *raft.Member) raft.Role {
	switch {
	case m.Learner:
		return raft.Learner
	case m.Standby:
		return raft.Standby
	}
	return raft.Follower
}

// Status returns what the node knows of itself, from any goroutine and without a lock. After the node has
// ended it is the last state. The caller may keep it, and must not change what its pointers and slices refer to.
func (n *Node) Status() Status {
	s := *n.status.Load()
	now := n.clock.now()
	s.ClusterID = n.clusterID()
	s.ClusterVersion = n.version.Load()
	s.RefusedBy = n.refused.list(now)
	if what := n.joining.Load(); what != nil {
		s.Joining = *what
	}
	if n.snaps != nil {
		if info := n.snaps.newest.Load(); info != nil {
			s.Snapshot = &info.Meta
		}
	}
	if sizer, ok := n.cfg.Log.(storage.Sizer); ok {
		s.LogBytes = sizer.Bytes()
	}
	s.First = n.base.Load() + 1
	s.Applied, s.Commit, s.Last = n.apply.applied.Load(), n.commit.Load(), n.last.Load()
	if s.Leader != 0 && s.Leader != s.ID {
		s.LeaderContact = max(now-time.Duration(n.leaderContact.Load()), 0)
	}
	peers := make([]PeerStatus, len(s.Peers))
	for i, p := range s.Peers {
		if p.LastContact > 0 {
			p.LastContact = max(now-p.LastContact, 0)
		} else {
			p.LastContact = -1
		}
		p.SnapshotSent, p.SnapshotSize = n.out.sent(p.ID)
		peers[i] = p
	}
	s.Peers = peers
	s.Leading = n.leadership.context().Err() == nil
	s.Lease = n.clock.leased()
	select {
	case <-n.ready:
		s.Ready = true
	default:
	}
	return s
}
