package machine

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"strings"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/locks"
)

// digest is the first half of a SHA-256 sum.
type digest [16]byte

// session is one live session. A record is changed in place only by edit's caller, and only until the next
// View; slices in it only ever grow behind what a view sees, or are replaced.
type session struct {
	stamp uint64 // Machine.stamp when this record was made

	id        uint64
	namespace string
	secret    SecretHash
	nonce     digest // of open; zero: none
	openHash  uint64 // of the open command, to compare a repeat
	owner     string
	metadata  map[string]string

	ttl        int64
	deadline   int64
	renewed    int64 // cluster time of the last open, keepalive or resume
	generation uint64
	resumes    []resumed // the last ones, oldest first; never changed in place

	floor      uint64 // lowest seq that the client may still repeat
	highest    uint64 // highest seq ever seen
	eventSeq   uint64 // last event told
	eventsSeen uint64 // last event that the client has seen
	replies    replyCache
	ended      []endedTicket // by seq
	holds      int           // live ones
	waits      int           // places in queues, and tickets at barriers and latches

	in *space // counters of its namespace; not to be read through views
}

// resumed remembers one resume by its nonce.
type resumed struct {
	nonce      digest
	generation uint64 // that it made
}

// edit returns the record of a session that may be changed in place until the next View.
func (m *Machine) edit(s *session) *session {
	if s.stamp == m.stamp {
		return s
	}
	c := *s
	c.stamp = m.stamp
	m.sessions.Set(c.id, &c)
	return &c
}

// setDeadline moves the end of a session, whose record is the caller's to change.
func (m *Machine) setDeadline(s *session, deadline int64) {
	m.due.Delete(due{at: s.deadline, kind: dueSession, a: s.id})
	s.deadline = deadline
	m.due.Set(due{at: deadline, kind: dueSession, a: s.id})
}

// emit tells a session's client something. The record must be the caller's to change.
func (m *Machine) emit(s *session, e Event) uint64 {
	s.eventSeq++
	e.Namespace, e.Session, e.Seq, e.At = s.namespace, s.id, s.eventSeq, m.now
	m.events = append(m.events, e)
	return s.eventSeq
}

// authorize finds the session that a command names and checks that the sender may speak for it. On
// failure the reply says why, and nothing was changed.
func (m *Machine) authorize(c *Command) (*session, Reply) {
	if c.Session == 0 {
		return nil, m.fail(CodeBadRequest, "the request names no session")
	}
	s, ok := m.sessions.Get(c.Session)
	if !ok {
		if c.Session <= m.lastSession {
			return nil, m.fail(CodeSessionExpired, "session %d has ended", c.Session)
		}
		return nil, m.fail(CodeSessionUnknown, "there never was a session %d", c.Session)
	}
	right := subtle.ConstantTimeCompare(s.secret[:], c.Secret[:]) == 1 || canary.Broken(canary.SecretCompared)
	if !right || s.namespace != c.Namespace {
		return nil, m.fail(CodeDenied, "the secret or the namespace is not that of session %d", c.Session)
	}
	// A resume comes from a process that doesn't know the generation: it makes the next one.
	if c.Kind != KindSessionResume && c.Generation != s.generation && !canary.Broken(canary.GenerationCompared) {
		return nil, m.fail(CodeSessionExpired, "session %d was resumed by another process", c.Session)
	}
	return s, Reply{}
}

// tooLate reports whether a command must not be executed any more.
func (m *Machine) tooLate(c *Command) bool {
	return c.NotAfter != 0 && m.now > c.NotAfter && !canary.Broken(canary.RequestDeadline)
}

func (m *Machine) deadlineExceeded() Reply {
	return m.fail(CodeDeadline, "the request's not_after was over when it was to be executed")
}

// open makes a session, or answers for the one that the same nonce and secret made before.
func (m *Machine) open(c *Command, hash uint64) Reply {
	if bad := checkNamespace(c.Namespace); bad != "" {
		return m.fail(CodeBadName, "%s", bad)
	}
	if bad := checkOpen(c); bad != "" {
		return m.fail(CodeBadRequest, "%s", bad)
	}
	var nonce digest
	if len(c.Open.Nonce) > 0 {
		nonce = openDigest(c)
		if id, ok := m.nonces[nonce]; ok {
			return m.openedBefore(id, hash)
		}
	}
	switch {
	case m.tooLate(c):
		return m.deadlineExceeded()
	case m.sessionsIn(c.Namespace) >= MaxSessionsPerNamespace:
		return m.fail(CodeQuota, "namespace %s has %d sessions", c.Namespace, MaxSessionsPerNamespace)
	case m.sessions.Len() >= MaxSessions:
		return m.fail(CodeQuota, "the cluster has %d sessions", MaxSessions)
	case m.lastSession == math.MaxUint64:
		return m.fail(CodeInternal, "session IDs are used up")
	}
	m.lastSession++
	m.totals.sessionsOpened++
	s := &session{
		stamp: m.stamp, id: m.lastSession, namespace: strings.Clone(c.Namespace), secret: c.Secret, nonce: nonce, openHash: hash,
		owner: strings.Clone(c.Open.Owner), metadata: c.Open.Metadata, ttl: c.Open.TTL, deadline: after(m.now, c.Open.TTL),
		renewed: m.now, floor: 1,
	}
	m.addSession(s)
	return m.sessionReply(s)
}

// openedBefore answers a repeated open. It renews nothing: the sender may be long gone.
func (m *Machine) openedBefore(id, hash uint64) Reply {
	m.totals.duplicates++
	s, _ := m.sessions.Get(id)
	switch {
	case s.openHash != hash:
		return m.fail(CodeRequestReused, "this nonce opened a session with other values")
	case s.generation != 0:
		// Whoever opened it is the process that lost it; telling it the generation would make two of one.
		return m.fail(CodeSessionExpired, "session %d was resumed by another process", id)
	}
	r := m.sessionReply(s)
	if canary.Broken(canary.OpenNotFromCache) {
		r.Session.Now = s.renewed
	}
	return r
}

// openDigest names an open: the same nonce under another secret is another one.
func openDigest(c *Command) digest {
	return digestOf(appendBytes(append(appendString(nil, c.Namespace), c.Secret[:]...), c.Open.Nonce))
}

func digestOf(b []byte) (d digest) {
	sum := sha256.Sum256(b)
	copy(d[:], sum[:])
	return d
}

// addSession puts a new or restored record into all tables.
func (m *Machine) addSession(s *session) {
	m.sessions.Set(s.id, s)
	s.in = m.space(s.namespace)
	s.in.sessions++
	m.due.Set(due{at: s.deadline, kind: dueSession, a: s.id})
	if s.nonce != (digest{}) {
		m.nonces[s.nonce] = s.id
	}
}

// keepalive renews a session.
func (m *Machine) keepalive(c *Command) Reply {
	s, refused := m.authorize(c)
	if s == nil {
		return refused
	}
	s = m.edit(s)
	m.acknowledge(s, c)
	if m.tooLate(c) {
		return m.deadlineExceeded()
	}
	m.renew(s)
	return m.sessionReply(s)
}

// renew gives a session its full TTL from now on; a grace that ends later stays.
func (m *Machine) renew(s *session) {
	s.renewed = m.now
	if d := after(m.now, s.ttl); d > s.deadline {
		m.setDeadline(s, d)
	}
}

// resume hands a session to another process: the generation goes up, and each hold gets a new fence, so
// that the process that had it before is refused everywhere.
func (m *Machine) resume(c *Command) Reply {
	s, refused := m.authorize(c)
	if s == nil {
		return refused
	}
	if len(c.Resume.Nonce) > MaxNonceBytes {
		return m.fail(CodeBadRequest, "a nonce has at most %d bytes, not %d", MaxNonceBytes, len(c.Resume.Nonce))
	}
	var nonce digest
	if len(c.Resume.Nonce) > 0 {
		nonce = digestOf(c.Resume.Nonce)
		for _, r := range s.resumes {
			if r.nonce != nonce {
				continue
			}
			m.totals.duplicates++
			if r.generation != s.generation {
				return m.fail(CodeSessionExpired, "session %d was resumed by another process since", s.id)
			}
			return m.sessionReply(s)
		}
	}
	if m.tooLate(c) {
		return m.deadlineExceeded()
	}
	m.mine = m.ticketsOf(s.id, m.mine[:0])
	defer m.forgetMine()
	if m.locks.Fence()+uint64(s.holds) > locks.FenceLimit {
		return m.fail(CodeInternal, "the fence counter is at its end")
	}
	s = m.edit(s)
	m.acknowledge(s, c)
	m.emit(s, Event{Kind: EventSessionExpired, Generation: s.generation, Reason: "resumed by another process"})
	if !canary.Broken(canary.ResumeRaisesGeneration) {
		s.generation++
	}
	if nonce != (digest{}) && !canary.Broken(canary.ResumeOnceANonce) {
		// A new slice each time: older records share the one before.
		kept := s.resumes[max(0, len(s.resumes)-maxResumes+1):]
		s.resumes = append(append(make([]resumed, 0, len(kept)+1), kept...), resumed{nonce, s.generation})
	}
	for _, t := range m.mine {
		if t.holds() && !canary.Broken(canary.ResumeRenewsFences) {
			m.refence(s, t)
		}
	}
	m.renew(s)
	return m.sessionReply(s)
}

// refence gives each hold of a ticket a new fence.
func (m *Machine) refence(s *session, t *ticket) {
	next := *t
	if t.several != nil {
		next.several = &several{keys: t.several.keys, fences: make([]uint64, len(t.several.keys))}
	}
	for i := range t.places() {
		key, fence := t.place(i)
		if i > 0 && canary.Broken(canary.ResumeRenewsAll) {
			next.several.fences[i] = fence
			continue
		}
		h, _ := m.locks.Refence(key, fence)
		if h.Until != 0 {
			m.due.Delete(due{at: h.Until, kind: dueHold, a: fence})
			m.hasEnd(key, &h)
		}
		m.note(key, ofHold(TransitionRefenced, s.owner, &h, "session resumed"), nil)
		if t.several != nil {
			next.several.fences[i] = h.Fence
		}
		if i == 0 {
			next.fence = h.Fence
		}
	}
	m.tickets.Set(&next)
}

// sessionReply tells a session's clock, holds and tickets as they are now.
func (m *Machine) sessionReply(s *session) Reply {
	r := &SessionReply{ID: s.id, TTL: s.ttl, Now: m.now, Deadline: s.deadline, Generation: s.generation, Domain: m.domain,
		HighestSeq: s.highest, EventSeq: s.eventSeq}
	m.mine = m.ticketsOf(s.id, m.mine[:0])
	for _, t := range m.mine {
		if t.holds() {
			for i := range t.places() {
				key, fence := t.place(i)
				count := uint64(t.count)
				if h, ok := m.locks.Hold(key, fence); ok && t.mode != Semaphore {
					count = h.Entries
				}
				r.Holds = append(r.Holds, Hold{Name: keyName(key), Fence: fence, Mode: t.mode, Count: count, Ticket: t.seq, Until: t.until})
			}
			continue
		}
		w := Wait{Name: t.name(), Seq: t.seq, State: t.state, Names: t.names()}
		if t.state == TicketQueued && !t.isGate() {
			w.Position = m.locks.Position(t.key, t.arrival)
		}
		r.Waits = append(r.Waits, w)
	}
	m.forgetMine()
	return Reply{Index: m.index, Session: r}
}

// close ends a session at its own wish.
func (m *Machine) close(s *session) Reply {
	s = m.edit(s)
	// Whoever closes it knows; another process that has it too, or an operator's victim, does not.
	if m.version >= 2 {
		m.emit(s, Event{Kind: EventSessionExpired, Generation: s.generation, Reason: "closed"})
	}
	m.mine = m.ticketsOf(s.id, m.mine[:0])
	m.leaveQueues(s, m.mine, "session closed")
	released := m.releaseAll(s, m.mine, 0)
	m.totals.releases += released
	m.forgetMine()
	m.settleTouched()
	m.removeSession(s)
	r := m.ok()
	r.Closed = released
	return r
}

// removeSession takes a session, whose tickets hold nothing and wait for nothing any more, out of all
// tables. The nonce goes too: opening again makes a new session.
func (m *Machine) removeSession(s *session) {
	m.mine = m.ticketsOf(s.id, m.mine[:0])
	for _, t := range m.mine {
		m.tickets.Delete(t)
	}
	m.forgetMine()
	m.due.Delete(due{at: s.deadline, kind: dueSession, a: s.id})
	m.sessions.Delete(s.id)
	if s.nonce != (digest{}) {
		delete(m.nonces, s.nonce)
	}
	s.in.sessions--
	m.tidy(s.in)
}
