package sim

import "github.com/coordd/coordd/pkg/raft"

// ref is what the checker keeps of an entry.
type ref struct {
	term   uint64
	digest uint64
}

// machine is the smallest state machine whose state tells everything that was applied, and in which order: a digest
// of all of it.
type machine struct {
	applied uint64
	term    uint64
	time    int64
	state   fnv
	// configIndex and config are what a snapshot says about the membership; index 0: the static one.
	configIndex uint64
	config      raft.Configuration
}

func (m *machine) apply(e *raft.Entry, conf *configEntry) {
	m.applied, m.term, m.time = e.Index, e.Term, e.Time
	m.state = m.state.word(digest(e))
	if conf != nil {
		m.configIndex, m.config = e.Index, conf.conf
	}
}

// snapshot is a state machine's state with its description, as a durable file has it.
type snapshot struct {
	meta  raft.SnapshotMeta
	state machine
}

func (m *machine) snapshot() *snapshot {
	return &snapshot{state: *m, meta: raft.SnapshotMeta{Index: m.applied, Term: m.term, Time: m.time,
		ConfigIndex: m.configIndex, Config: m.config.Clone()}}
}

// segment is a part of a log, or all of it: what stands behind base.
type segment struct {
	base    uint64
	baseRef ref
	refs    []ref // index i is at i − base − 1
}

func (s *segment) last() uint64 { return s.base + uint64(len(s.refs)) }

// at returns what stands at an index; base itself is known, what is before it is not.
func (s *segment) at(index uint64) (ref, bool) {
	switch {
	case index == s.base && index > 0:
		return s.baseRef, true
	case index <= s.base || index > s.last():
		return ref{}, false
	}
	return s.refs[index-s.base-1], true
}

// cut removes what is above an index, which is not below base.
func (s *segment) cut(after uint64) { s.refs = s.refs[:after-s.base] }

// compact forgets what is at or below an index, which is in the segment.
func (s *segment) compact(to uint64) {
	if to <= s.base {
		return
	}
	at, _ := s.at(to)
	s.refs = append([]ref(nil), s.refs[to-s.base:]...)
	s.base, s.baseRef = to, at
}

// held is what a directory that lost something, or is gone, once had durably.
type held struct {
	incarnation raft.Incarnation
	log         segment
}

// has reports whether an entry was in it. What is below its base was committed, and so was in it.
func (h *held) has(index uint64, r ref) bool {
	at, known := h.log.at(index)
	return index < h.log.base || (known && at == r)
}
