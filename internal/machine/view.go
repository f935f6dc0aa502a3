package machine

import (
	"math"
	"strings"

	"github.com/coordd/coordd/pkg/idgen"
	"github.com/coordd/coordd/pkg/locks"
)

// MaxShownWaiters is how many tickets of a queue a LockInfo shows, MaxShownHolders how many holds: a shared lock may
// have as many as there are sessions, and what is asked at each acquire must not cost more for that.
const (
	MaxShownWaiters = 1000
	MaxShownHolders = 100
)

// View is a read-only window on a machine's state.
type View struct{ s *state }

// Counts are a machine's figures. The first seven are what there is now; the others count from the
// cluster's birth on, and are equal on all nodes at equal index.
type Counts struct {
	LocksHeld   uint64 // locks that are not free, or that somebody waits for; delayed ones included
	LockWaiters uint64 // places in queues: an acquire-all has one in each
	Holds       uint64 // of all locks, delayed ones included
	Barriers    uint64 // that are waited at
	Latches     uint64
	Sessions    uint64
	Sequences   uint64

	Grants          uint64
	Releases        uint64 // by their holder, by closing included
	Expirations     uint64 // holds that ended with their expired session
	SessionsExpired uint64
	SessionsOpened  uint64
	Timeouts        uint64 // waits that ended
	Forced          uint64 // holds taken away by force
	IDsAllocated    uint64
	IDRanges        uint64
	Duplicates      uint64 // requests that were executed before, or were stale
	QuotaRefusals   uint64
}

// Live returns a window on the live tables. It is good only on the goroutine that applies, and only until
// the next Apply.
func (m *Machine) Live() *View { return &m.live }

// View returns an immutable copy of the state in O(1). It may be read on any goroutine while applies go on.
func (m *Machine) View() *View {
	p := &struct {
		view View
		s    state
	}{s: m.state}
	s := &p.s
	s.sessions = m.sessions.Copy()
	s.tickets = m.tickets.Copy()
	s.locks = m.locks.Copy()
	s.barriers = m.barriers.Copy()
	s.latches = m.latches.Copy()
	s.timelines = m.timelines.copied()
	s.seqs = m.seqs.Copy()
	m.stamp++ // from now on session records are copied before they are changed
	p.view.s = s
	return &p.view
}

// Now returns cluster time: nanoseconds since the cluster's birth.
func (v *View) Now() int64 { return v.s.now }

// Wall returns the wall clock of the last entry that carried one, Unix nanoseconds; for display only.
func (v *View) Wall() int64 { return v.s.wall }

// Index returns the index of the last applied entry.
func (v *View) Index() uint64 { return v.s.index }

// Term returns the term of the last applied entry.
func (v *View) Term() uint64 { return v.s.term }

// Serving reports whether expiry goes on.
func (v *View) Serving() bool { return v.s.serving }

// EndedUpTo returns the cluster time up to which everything with a deadline has ended.
func (v *View) EndedUpTo() int64 { return v.s.endedUpTo }

// Fence returns the last fence that was given.
func (v *View) Fence() uint64 { return v.s.locks.Fence() }

// Domain returns the cluster's ID domain, 0 before it is set.
func (v *View) Domain() uint16 { return v.s.domain }

// Counts returns the figures.
func (v *View) Counts() Counts {
	s, t := v.s, &v.s.totals
	return Counts{
		LocksHeld: uint64(s.locks.Len()), LockWaiters: uint64(s.locks.Waiting()), Holds: uint64(s.locks.Holds()),
		Barriers: uint64(s.barriers.Len()), Latches: uint64(s.latches.Len()), Sessions: uint64(s.sessions.Len()),
		Sequences: uint64(s.seqs.Len()), Grants: t.grants, Releases: t.releases, Expirations: t.expiredHolds,
		SessionsExpired: t.expiredSessions, SessionsOpened: t.sessionsOpened, Timeouts: t.timeouts, Forced: t.forced,
		IDsAllocated: t.idsAllocated, IDRanges: t.idRanges, Duplicates: t.duplicates, QuotaRefusals: t.quotaRefusals,
	}
}

// Lock returns a lock, and false if it is free and nobody waits for it. That of an election has its leader as its holder.
func (v *View) Lock(ns, name string) (LockInfo, bool) {
	l, ok := v.s.locks.Get(keyOf(ns, name))
	if !ok {
		return LockInfo{Namespace: ns, Name: name}, false
	}
	return v.s.lockInfo(l), true
}

// Locks returns the locks of a namespace that are not free, or waited for, whose name has the prefix and comes after the
// given one ("": from the first), in the order of names; at most limit of them, or all if limit ≤ 0.
func (v *View) Locks(ns, prefix, after string, limit int) []LockInfo {
	var found []LockInfo
	first, last := keyOf(ns, max(prefix, after)), keyOf(ns, prefix)
	skip := keyOf(ns, after)
	v.s.locks.Locks(first, func(l *locks.Lock) bool {
		if !strings.HasPrefix(l.Key, last) {
			return false
		}
		if after == "" || l.Key != skip {
			found = append(found, v.s.lockInfo(l))
		}
		return limit <= 0 || len(found) < limit
	})
	return found
}

// Timeline returns the last transitions of a lock, oldest first, at most Transitions; none of a lock that has been free
// for so long that they are forgotten.
func (v *View) Timeline(ns, name string) []Transition {
	t, ok := v.s.timelines.all.Get(keyOf(ns, name))
	if !ok {
		return nil
	}
	return t.transitions()
}

// Sessions returns the sessions of a namespace whose owner has the prefix and whose ID is above the given one, in the
// order of IDs; at most limit of them, or all if limit ≤ 0. It goes through the sessions of all namespaces.
func (v *View) Sessions(ns, ownerPrefix string, afterID uint64, limit int) []SessionInfo {
	var found []SessionInfo
	if afterID == math.MaxUint64 {
		return nil
	}
	v.s.sessions.Ascend(afterID+1, func(id uint64, s *session) bool {
		if s.namespace == ns && strings.HasPrefix(s.owner, ownerPrefix) {
			found = append(found, SessionInfo{ID: id, Owner: s.owner, TTL: s.ttl, Deadline: s.deadline, Generation: s.generation,
				Holds: uint64(s.holds), Waits: uint64(s.waits), Metadata: s.metadata})
		}
		return limit <= 0 || len(found) < limit
	})
	return found
}

// Sequence returns a sequence.
func (v *View) Sequence(ns, name string) (SeqInfo, bool) {
	key := keyOf(ns, name)
	s, ok := v.s.seqs.Get(key)
	if !ok {
		return SeqInfo{}, false
	}
	return sequenceInfo(key, s), true
}

// Sequences returns the sequences of a namespace, selected as Locks does it.
func (v *View) Sequences(ns, prefix, after string, limit int) []SeqInfo {
	var found []SeqInfo
	first, last := keyOf(ns, max(prefix, after)), keyOf(ns, prefix)
	skip := keyOf(ns, after)
	v.s.seqs.Ascend(first, func(key string, s idgen.Sequence) bool {
		if !strings.HasPrefix(key, last) {
			return false
		}
		if after == "" || key != skip {
			found = append(found, sequenceInfo(key, s))
		}
		return limit <= 0 || len(found) < limit
	})
	return found
}

// LowestRemainingRatio returns the smallest share, 0 to 1, that a sequence which doesn't cycle has left of
// all its numbers; 1 if there is none. It looks at every sequence.
func (v *View) LowestRemainingRatio() float64 {
	lowest := 1.0
	v.s.seqs.Ascend("", func(_ string, s idgen.Sequence) bool {
		if whole, err := idgen.NewSequence(s.Params, s.ID); err == nil && !s.Cycle {
			lowest = min(lowest, float64(s.Remaining())/float64(whole.Remaining()))
		}
		return true
	})
	return lowest
}

func (s *state) lockInfo(l *locks.Lock) LockInfo {
	info := LockInfo{Namespace: keyNamespace(l.Key), Name: keyName(l.Key), Holders: s.holderInfos(l), Waiting: uint64(l.Waiters),
		Delayed: len(l.Holds) > 0, Limit: l.Limit, InUse: l.InUse, Holds: uint64(len(l.Holds))}
	for _, h := range l.Holds {
		info.Delayed = info.Delayed && !h.Live()
		info.Until = max(info.Until, h.DelayedUntil)
	}
	if l.Waiters > 0 {
		s.locks.Queue(l.Key, func(w *locks.Waiter) bool {
			info.Queue = append(info.Queue, WaiterInfo{Session: w.Session, Owner: s.owner(w.Session), Ticket: w.Ticket, Mode: Mode(w.Mode),
				Since: w.Since, Count: w.Permits, Names: namesOf(w.Keys)})
			return len(info.Queue) < MaxShownWaiters
		})
	}
	return info
}

// Holder returns one hold of a lock, delayed or not.
func (v *View) Holder(ns, name string, fence uint64) (HolderInfo, bool) {
	h, ok := v.s.locks.Hold(keyOf(ns, name), fence)
	if !ok {
		return HolderInfo{}, false
	}
	return v.s.holderInfo(&h), true
}

func (s *state) holders(key string) []HolderInfo {
	l, ok := s.locks.Get(key)
	if !ok {
		return nil
	}
	return s.holderInfos(l)
}

func (s *state) holderInfos(l *locks.Lock) []HolderInfo {
	infos := make([]HolderInfo, min(len(l.Holds), MaxShownHolders))
	for i, h := range l.Holds[:len(infos)] {
		infos[i] = s.holderInfo(h)
	}
	return infos
}

// holderInfo shows a hold. A delayed one may outlive its session; then its owner's name is gone with it.
func (s *state) holderInfo(h *locks.Hold) HolderInfo {
	info := HolderInfo{Session: h.Session, Fence: h.Fence, Mode: Mode(h.Mode), Count: h.Permits, Since: h.Since, Deadline: h.DelayedUntil,
		Delayed: !h.Live(), Until: h.Until, Metadata: h.Metadata, Value: h.Value}
	if h.Mode != locks.Semaphore {
		info.Count = h.Entries
	}
	if owner, ok := s.sessions.Get(h.Session); ok {
		info.Owner = owner.owner
		if h.Live() {
			info.Deadline = owner.deadline
		}
	}
	return info
}

func (s *state) owner(session uint64) string {
	if o, ok := s.sessions.Get(session); ok {
		return o.owner
	}
	return ""
}

// HasSession reports whether a session has neither ended nor been closed.
func (v *View) HasSession(id uint64) bool {
	_, ok := v.s.sessions.Get(id)
	return ok
}
