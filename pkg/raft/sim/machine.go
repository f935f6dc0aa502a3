package sim

import (
	"bytes"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
)

// ref is what the checker keeps of an entry.
type ref struct {
	term   uint64
	digest uint64
}

// machine is what a node applies entries to: the cluster's own state machine, and beside it the smallest one whose state
// tells everything that was applied, and in which order: a digest of all of it.
type machine struct {
	applied uint64
	term    uint64
	time    int64
	state   fnv
	// configIndex and config are what a snapshot says about the membership; index 0: the static one.
	configIndex uint64
	config      raft.Configuration
	service     *replicated.Machine
}

func newMachine(static []raft.Member) machine {
	return machine{config: raft.Configuration{Members: static}, service: replicated.New()}
}

// plain is the first byte of an entry's data that is none of the service's: it only fills the log.
const plain = 0

func (m *machine) apply(e *raft.Entry, conf *configEntry) replicated.Result {
	m.applied, m.term, m.time = e.Index, e.Term, e.Time
	m.state = m.state.word(digest(e))
	if conf != nil {
		m.configIndex, m.config = e.Index, conf.conf
	}
	return m.service.Apply(replicated.Entry{Index: e.Index, Term: e.Term, Time: e.Time, Wall: e.Wall,
		Command: e.Kind == raft.EntryCommand && e.Data[0] != plain, Data: e.Data})
}

// applyOne applies an entry on a node, and looks at what it did.
func (n *node) applyOne(e *raft.Entry) {
	var conf *configEntry
	if e.Kind == raft.EntryConfig {
		conf = n.w.truth.configs[position{e.Index, e.Term}]
	}
	res := n.machine.apply(e, conf)
	if res.Err != nil {
		n.w.fail("node %d can't apply %d/%d: %v", n.id, e.Index, e.Term, res.Err)
	}
	if v := n.machine.config.Version + 1; n.w.rolling && e.Kind == raft.EntryCommand && uint32(e.Data[0]) > v {
		n.w.fail("entry %d/%d is of version %d; node %d is in a cluster whose members read up to %d", e.Index, e.Term, e.Data[0], n.id, v)
	}
	n.checkMachine()
	n.checkService(e, &res)
	n.w.seen.observe(n, e, &res)
	n.remember(res.Events)
	n.acknowledge(e, &res)
	if n.reign != nil {
		n.reign.after(&res)
	}
	n.lookAll()
}

// hashEvery is how many entries lie between two whole comparisons of the service's state; in between its figures are
// compared.
const hashEvery = 64

// checkService checks that an entry does to the service's state on this node what it did on the first one that applied
// it.
func (n *node) checkService(e *raft.Entry, res *replicated.Result) {
	c := &n.w.truth.committed[e.Index-1]
	figures := n.machine.figures(res)
	if c.figures == 0 {
		c.figures = figures
	} else if c.figures != figures {
		n.w.fail("node %d applies %d/%d: the service answers otherwise than on the first node that did", n.id, e.Index, e.Term)
	}
	if e.Index%hashEvery == 0 {
		n.checkHash()
	}
}

// figures is a cheap digest of the service's state and of what the last entry did.
func (m *machine) figures(res *replicated.Result) fnv {
	v := m.service.Live()
	h := fnvBegin.word(v.Index()).word(uint64(v.Now())).word(uint64(v.EndedUpTo())).word(v.Fence()).word(uint64(v.Domain()))
	if v.Serving() {
		h = h.word(1)
	}
	for i := range res.Replies {
		h = h.word(replyDigest(&res.Replies[i]))
	}
	for i := range res.Events {
		ev := &res.Events[i]
		h = h.word(ev.Session).word(ev.Seq).word(uint64(ev.Kind)).word(ev.Fence).word(uint64(ev.Until))
	}
	for i := range res.Changes {
		c := &res.Changes[i]
		h = h.word(c.Number).word(uint64(c.Kind)).word(c.Session).word(c.Ticket).word(c.Fence).word(uint64(c.Until))
	}
	return h | 1
}

// replyDigest is what a reply is compared by, of all that a client can act on.
func replyDigest(r *replicated.Reply) uint64 {
	h := fnvBegin.word(uint64(r.Code)).word(r.Index).word(r.Closed).word(r.Latch)
	if s := r.Session; s != nil {
		h = h.word(s.ID).word(uint64(s.Now)).word(uint64(s.Deadline)).word(s.Generation).word(s.HighestSeq).word(s.EventSeq)
		for i := range s.Holds {
			h = h.word(s.Holds[i].Fence).word(s.Holds[i].Ticket).word(s.Holds[i].Count).word(uint64(s.Holds[i].Until))
		}
		for i := range s.Waits {
			h = h.word(s.Waits[i].Seq).word(uint64(s.Waits[i].State))
		}
	}
	if l := r.Lock; l != nil {
		h = h.word(uint64(l.State)).word(l.Fence).word(uint64(l.Until)).word(l.Entries)
		for i := range l.Fences {
			h = h.word(l.Fences[i].Fence).word(uint64(l.Fences[i].Until))
		}
	}
	if g := r.Range; g != nil {
		h = h.word(uint64(g.Lo)).word(uint64(g.Count)).word(uint64(g.Step)).word(g.SequenceID).word(g.Generation)
	}
	if q := r.Seq; q != nil {
		h = h.word(q.SequenceID).word(uint64(q.Next))
	}
	return uint64(h)
}

// checkHash compares the whole state of the service at an index, wherever it comes from.
func (n *node) checkHash() {
	m, t := &n.machine, n.w.truth
	sum := m.service.Live().Hash()
	if first, known := t.hashes[m.applied]; !known {
		t.hashes[m.applied] = sum
	} else if first != sum {
		n.w.fail("node %d: the service's state at %d is another one than on the first node that hashed it", n.id, m.applied)
	}
}

// snapshot is a state machine's state with its description, as a durable file has it.
type snapshot struct {
	meta  raft.SnapshotMeta
	state machine          // without the service's
	view  *replicated.View // of the service
	file  []byte           // what the service writes of it; nil: nobody has read it yet
}

func (m *machine) snapshot() *snapshot {
	s := &snapshot{state: *m, view: m.service.View(), meta: raft.SnapshotMeta{Index: m.applied, Term: m.term, Time: m.time,
		ConfigIndex: m.configIndex, Config: m.config.Clone()}}
	s.state.service = nil
	return s
}

// load reads the snapshot, as a daemon reads a file: the service's state goes through its codec.
func (s *snapshot) load(w *world) machine {
	if s.file == nil {
		var b bytes.Buffer
		if err := s.view.Save(&b); err != nil {
			w.fail("the snapshot at %d can't be written: %v", s.meta.Index, err)
		}
		s.file, s.view = b.Bytes(), nil
	}
	m := s.state
	var err error
	if m.service, err = replicated.Restore(bytes.NewReader(s.file)); err != nil {
		w.fail("the snapshot at %d can't be read: %v", s.meta.Index, err)
	}
	return m
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
