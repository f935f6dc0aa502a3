package raft

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// Core is one member's consensus state. It is driven by one goroutine; none of its methods blocks, reads a
// clock or touches anything outside.
type Core struct {
	// Stats may be read between inputs.
	Stats Stats

	cfg Config
	id  MemberID
	now time.Duration // of the latest input; never goes back

	// hard is what must be durable before anything that depends on it is said; its Commit is filled on
	// the way out. stored is what is durable of it.
	hard, stored HardState
	hardChanged  bool
	log          raftLog
	configs      configStack
	peers        []*peer // everybody else in the configuration, and who just left it; ordered by ID

	role   Role
	leader MemberID

	// snapshot is the newest one of this member that is durable; nil: none.
	snapshot *SnapshotMeta
	// installing waits for the next batch, restoring for the next Output: a leader's snapshot that takes the place
	// of this log and of the state machine's state.
	installing, restoring *SnapshotMeta
	// listed: a committed configuration has listed this directory. contacts counts the changes of Contacts.
	listed   bool
	contacts uint64

	election election
	blank    blankness
	// recovering is the mark that the log must reach first; nil: nothing is missing.
	recovering *Mark
	clock      clock
	writes     writes
	applies    applies
	batch      []Entry // memory of Propose
	reads      reads
	lead       leadership

	send    []Message // may leave at once
	after   []Message // wait for every write up to now
	answers []ReadState
	fetches []FetchRequest
	told    SoftState // as of the last Output
}

// peer is what a core knows about one other member.
type peer struct {
	id MemberID
	// voter and recorded repeat the configuration in effect; voter is false for who is leaving.
	voter    bool
	standby  bool
	recorded Incarnation
	member   Member // as last listed
	// heard is the incarnation that this member last showed, where none is recorded.
	heard Incarnation

	vote    voteAnswer // to the present (pre-)campaign
	isBlank bool       // it answered our hello: its log is empty

	pr       tracker.Progress // while leading
	warm     warmup           // while leading, of a learner that is to be promoted
	nudge    bool             // send an empty append: what is on its way seems lost
	request  readRequest      // its latest read request
	leaving  bool             // removed by the configuration at leftAt, and told so until leaveBy
	leftAt   uint64
	leaveBy  time.Duration
	tellSoon bool // let it know the commit index with the next Output
}

// New makes a core from its settings and from what storage found. now is monotonic time since any origin;
// all later instants count from the same.
func New(cfg Config, r Restored, now time.Duration) (*Core, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Core{cfg: cfg, id: cfg.ID, now: now, hard: r.HardState}
	if c.log, err = restoreLog(&r); err != nil {
		return nil, fmt.Errorf("raft: restoring the log: %w", err)
	}
	if c.log.lastTerm > r.HardState.Term {
		return nil, fmt.Errorf("raft: restoring the log: last term %d is beyond the term %d", c.log.lastTerm, r.HardState.Term)
	}
	if c.configs, err = restoreConfigs(&cfg, &r); err != nil {
		return nil, fmt.Errorf("raft: restoring the configuration: %w", err)
	}
	c.hard.Commit = 0
	c.writes.handed = c.log.last
	c.stored = c.hard
	c.recovering = r.Recovering
	c.applies.waitingBytes = c.log.bytesBetween(c.log.applied, c.log.commit)
	if r.Snapshot != nil {
		meta := *r.Snapshot
		c.snapshot = &meta
	}
	c.clock.restore(c.log.lastEntry(), c.snapshot, now)
	c.reads.nextRequest = cfg.Rand(1 << 62)
	// A restarted voter may be bound by a promise that it no longer remembers having made (rule 18).
	if !canary.Broken(canary.RestartedVoterWaits) {
		c.election.boundUntil = now + r.HardState.Promise
	}
	c.noteListed()
	c.syncPeers()
	c.restoreBlank(r.HardState.Vote)
	c.role = c.restingRole()
	c.resetElectionTimer()
	if c.alone() {
		c.election.at = c.election.boundUntil
	}
	c.leaveRecovery()
	c.Tick(now)
	return c, nil
}

// advance begins an input.
func (c *Core) advance(now time.Duration) { c.now = max(c.now, now) }

// settle ends an input: what follows from it by itself, and the invariants.
func (c *Core) settle() {
	if c.recovering != nil {
		c.leaveRecovery()
	}
	if c.role == Leader {
		c.tend()
	}
	c.valid()
}

// Tick lets the timers act. Call it at least at every NextTick; more often does no harm.
func (c *Core) Tick(now time.Duration) {
	c.advance(now)
	if c.role == Leader {
		c.tickLeader()
	} else {
		c.tickElection()
		c.tickBlank()
		c.tickForwarded()
	}
	c.settle()
}

// NextTick returns the instant at which Tick has something to do, or an earlier one.
func (c *Core) NextTick() time.Duration {
	if c.role == Leader {
		return c.nextLeaderTick()
	}
	next := c.election.at
	if c.role == PreCandidate || c.role == Candidate {
		next = min(next, c.election.resendAt)
	}
	if c.askingBlank() {
		next = min(next, c.blank.askAt)
	}
	if len(c.reads.forwarded) > 0 {
		next = min(next, c.reads.resendAt)
	}
	return next
}

// current is the configuration in effect.
func (c *Core) current() *configAt { return c.configs.current() }

// alone reports whether this member is the only voter.
func (c *Core) alone() bool {
	if !c.current().conf.isVoter(c.id) {
		return false
	}
	for _, p := range c.peers {
		if p.voter {
			return false
		}
	}
	return true
}

// peer returns what is known about a member, nil for unknown ones.
func (c *Core) peer(id MemberID) *peer {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// restingRole is the role of a member that neither leads nor campaigns. A member that the configuration
// does not list goes on as a standby (rule 7).
func (c *Core) restingRole() Role {
	conf := c.current().conf
	m, listed := conf.Member(c.id)
	switch {
	case len(conf.Members) == 0:
		return Follower
	case listed && m.Learner:
		return Learner
	case !listed || m.Standby || c.cfg.Standby:
		return Standby
	}
	return Follower
}

// becomeFollower ends whatever this member was doing in favour of a term and, where known, its leader.
func (c *Core) becomeFollower(term uint64, leader MemberID) {
	if term > c.hard.Term {
		c.hard.Term, c.hard.Vote = term, 0
		c.hardChanged = true
	}
	was := c.role
	c.role = c.restingRole()
	if was == Leader {
		c.endLeadership()
	}
	if was == Leader || was == PreCandidate || was == Candidate {
		c.clearVotes()
		c.resetElectionTimer()
	}
	c.setLeader(leader)
}

// setLeader notes who leads; reads that were sent to somebody else end.
func (c *Core) setLeader(id MemberID) {
	if c.leader == id {
		return
	}
	c.leader = id
	c.Stats.LeaderChanges++
	c.failForwarded(ErrLeadershipLost)
}

// StepDown makes a leader a follower of nobody, without a successor in sight. It is for a leader whose
// disk stalls (rule 13); otherwise TransferLeadership is kinder.
func (c *Core) StepDown(now time.Duration) {
	c.advance(now)
	if c.role == Leader {
		c.becomeFollower(c.hard.Term, 0)
	}
	c.settle()
}
