package machine

import (
	"errors"
	"fmt"
	"math"

	"github.com/tidwall/btree"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/idgen"
	"github.com/coordd/coordd/pkg/locks"
)

// ErrDiverged is wrapped by Result.Err: the entry is not the one that must come now, or can't be
// understood by this version. The node must stop.
var ErrDiverged = errors.New("machine: entry can't be applied")

// Entry is one committed entry of the log.
type Entry struct {
	Index, Term uint64
	Time        int64 // cluster time at append, nanoseconds
	Wall        int64 // the leader's wall clock at append, Unix nanoseconds; 0: unknown
	Command     bool  // false: no-op or configuration
	Data        []byte
}

// state is all that is replicated. A copy of it whose tables are copies too is a View.
type state struct {
	index, term uint64
	now         int64 // cluster time
	endedUpTo   int64 // what has a deadline up to here has ended
	wall        int64 // wall clock of the last entry that had one; for display
	serving     bool
	domain      uint16
	lastSession uint64
	version     byte // the highest one of the entries so far: what it knows has happened on all members

	sessions *btree.Map[uint64, *session]
	tickets  *btree.BTreeG[*ticket] // by (session, seq)
	locks    *locks.Table
	barriers locks.Barriers
	latches  locks.Latches
	seqs     *idgen.Table

	timelines timelines // of locks

	totals totals
}

// totals count what happened since the cluster's birth.
type totals struct {
	grants, releases, expiredHolds, expiredSessions, timeouts, forced uint64
	idsAllocated, idRanges                                            uint64
	duplicates, quotaRefusals, sessionsOpened                         uint64
}

// Machine is the replicated state machine. Call New or Restore.
type Machine struct {
	state

	// stamp is raised by View. A session record with an older stamp may be read by somebody else and is
	// copied before it is changed.
	stamp uint64

	// What follows is made from the state and never saved.
	due    *btree.BTreeG[due] // everything that has a deadline
	nonces map[digest]uint64  // open's (namespace, secret, nonce) → session
	spaces map[string]*space  // counters of each namespace that has something
	unheld freeList           // free locks that have a timeline
	live   View

	// The effects of the entry that is being applied. The arrays of all but the events are used for the next one again.
	events       []Event
	changes      []Change
	waited, held []int64
	noted        *timeline // that of the last transition, and the key of its lock
	notedKey     string

	// Scratch, empty between uses.
	commands  []Command
	hashes    []uint64
	grants    []locks.Grant
	mine      []*ticket
	ending    []due
	touched   []string // keys of locks whose queues were left
	bodies    bodies
	spareSlot *freeSlot // nil: none
	asked     [1]string
	pivot     ticket
}

// New returns the machine of an empty log.
func New() *Machine {
	m := &Machine{
		state: state{
			sessions: btree.NewMap[uint64, *session](0),
			tickets:  btree.NewBTreeGOptions(ticketOrder, btree.Options{NoLocks: true}),
			locks:    locks.New(),
			barriers: *locks.NewBarriers(),
			latches:  *locks.NewLatches(),
			seqs:     idgen.NewTable(),

			timelines: newTimelines(),
			version:   1,
		},
		stamp:  1,
		due:    btree.NewBTreeGOptions(dueOrder, btree.Options{NoLocks: true}),
		nonces: map[digest]uint64{},
		spaces: map[string]*space{},
	}
	m.live.s = &m.state
	return m
}

// Apply executes one committed entry. If Result.Err is set, nothing was changed.
func (m *Machine) Apply(e Entry) Result {
	if e.Index != m.index+1 {
		return Result{Err: fmt.Errorf("%w: index %d comes after %d", ErrDiverged, e.Index, m.index)}
	}
	if e.Term < m.term {
		return Result{Err: fmt.Errorf("%w: term %d comes after %d", ErrDiverged, e.Term, m.term)}
	}
	var cs []Command
	var hashes []uint64
	var version byte
	if e.Command {
		var err error
		version, cs, hashes, err = decodeCommands(e.Data, m.commands, m.hashes, &m.bodies)
		defer m.forgetCommands(cs, hashes)
		if err != nil && !canary.Broken(canary.UnknownCommandStops) {
			return Result{Err: fmt.Errorf("%w: index %d: %w", ErrDiverged, e.Index, err)}
		}
	}

	m.events, m.changes, m.waited, m.held = nil, emptied(m.changes), emptied(m.waited), emptied(m.held)
	m.noted, m.notedKey = nil, ""
	m.index = e.Index
	m.version = max(m.version, version)
	m.now = max(m.now, e.Time)
	if e.Wall != 0 {
		m.wall = e.Wall
	}
	if canary.Broken(canary.FenceIsCounted) {
		m.locks.SetCounters(m.index, m.locks.Arrivals())
	}
	if e.Term != m.term {
		m.term, m.serving = e.Term, m.serving && canary.Broken(canary.NewTermStopsExpiry)
	}
	if m.serving && !canary.Broken(canary.EndBeforeExecute) {
		m.endDue()
	}
	var replies []Reply
	if len(cs) > 0 {
		replies = make([]Reply, len(cs))
		for i := range cs {
			replies[i] = m.execute(&cs[i], hashes[i])
		}
	}
	if m.serving && canary.Broken(canary.EndBeforeExecute) {
		m.endDue()
	}
	return Result{Replies: replies, Events: m.events, Changes: orNil(m.changes), Waited: orNil(m.waited), Held: orNil(m.held)}
}

// scratchKept is the largest array, in elements, that is kept for the next entry: what one large entry needed must not
// stay for good.
const scratchKept = 1024

// emptied returns the array of a list for another one. Nothing of the old list is kept alive by it.
func emptied[T any](list []T) []T {
	if cap(list) > scratchKept {
		return nil
	}
	clear(list)
	return list[:0]
}

// orNil returns nil for an empty list: equal results look alike, whatever scratch there is.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// forgetCommands takes the arrays of an entry's commands back.
func (m *Machine) forgetCommands(cs []Command, hashes []uint64) {
	m.commands, m.hashes = emptied(cs), emptied(hashes)
	m.bodies.acquires, m.bodies.releases = emptied(m.bodies.acquires), emptied(m.bodies.releases)
}

// execute carries out one command. Every kind that decodes is handled here.
func (m *Machine) execute(c *Command, hash uint64) Reply {
	switch c.Kind {
	case KindInit:
		return m.init(c.Init)
	case KindTick:
		return m.ok() // time has passed already
	case KindServing:
		return m.serve(c.Serving)
	case KindNotServing:
		m.serving = canary.Broken(canary.NotServingStopsExpiry)
		return m.ok()
	case KindLockForceRelease:
		return m.forceRelease(c)
	case KindSessionOpen:
		return m.open(c, hash)
	case KindSessionKeepalive:
		return m.keepalive(c)
	case KindSessionResume:
		return m.resume(c)
	case KindSeqAlloc:
		if c.Session == 0 {
			return m.allocWithoutSession(c)
		}
		return m.request(c, hash)
	case KindSessionClose, KindLockAcquire, KindLockAcquireAll, KindLockCancel, KindLockRelease, KindLockHandOver, KindElectionProclaim,
		KindBarrierWait, KindLatchSet, KindLatchCountDown, KindLatchWait, KindSeqCreate, KindSeqAdvance, KindSeqDelete:
		return m.request(c, hash)
	}
	return m.fail(CodeInternal, "command kind %d is decoded and not handled", c.Kind)
}

// init sets the cluster's ID domain, once.
func (m *Machine) init(in *Init) Reply {
	if in.Domain == 0 || in.Domain > math.MaxInt16 {
		return m.fail(CodeBadRequest, "domain %d is not in 1 to %d", in.Domain, math.MaxInt16)
	}
	if m.domain == 0 {
		m.domain = in.Domain
	}
	return m.ok()
}

// serve lets expiry go on, after each session that hasn't ended got time to find the leader: its grace
// from now on, but no more than two TTLs from its last renewal.
func (m *Machine) serve(in *Serving) Reply {
	if in.ElectionTimeout < 0 {
		return m.fail(CodeBadRequest, "election timeout %d is negative", in.ElectionTimeout)
	}
	var late []*session
	m.sessions.Scan(func(_ uint64, s *session) bool {
		if m.graceDeadline(s, in.ElectionTimeout) > s.deadline && !canary.Broken(canary.ServingGivesGrace) {
			late = append(late, s)
		}
		return true
	})
	for _, s := range late {
		s = m.edit(s)
		m.setDeadline(s, m.graceDeadline(s, in.ElectionTimeout))
	}
	m.serving = true
	m.endDue()
	return m.ok()
}

func (m *Machine) graceDeadline(s *session, electionTimeout int64) int64 {
	grace := min(s.ttl, after(after(electionTimeout, electionTimeout), s.ttl/keepalivesPerTTL))
	return min(after(m.now, grace), after(s.renewed, 2*s.ttl))
}

// NextDue returns the earliest instant of cluster time at which something ends; false while nothing
// does, or expiry stands still.
func (m *Machine) NextDue() (int64, bool) {
	if !m.serving {
		return 0, false
	}
	d, ok := m.due.Min()
	return d.at, ok
}

// ok is the reply of a command that has nothing to tell.
func (m *Machine) ok() Reply { return Reply{Index: m.index} }

// fail is the reply of a command that was refused.
func (m *Machine) fail(code Code, format string, args ...any) Reply {
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if code == CodeQuota {
		m.totals.quotaRefusals++
	}
	return Reply{Code: code, Index: m.index, Detail: &Detail{Text: text}}
}

// after returns t + d for d ≥ 0, and the end of time instead of an overflow.
func after(t, d int64) int64 {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}
