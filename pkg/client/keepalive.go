package client

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	// waitingInterval is how often a session with waiting tickets is renewed at least: its answers are the
	// backup for a grant whose event was lost with a leader or a NATS server.
	waitingInterval = time.Second
	// keepalivePatience is how long a renewal has for its answer before it is repeated: the leader joins the
	// renewals of 100 to 250 ms.
	keepalivePatience = 500 * time.Millisecond
)

// interval returns the time until the next renewal is due.
func (s *Session) interval() time.Duration {
	every := s.ttl / 3
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tickets {
		if t.state == ticketQueued {
			return min(every, waitingInterval)
		}
	}
	return every
}

// patience is how long a renewal of a session with that TTL has for its first answer.
func patience(ttl time.Duration) time.Duration { return min(keepalivePatience, ttl/4) }

// keepalive encodes a renewal, as of now.
func (s *Session) keepalive() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.Marshal(&coorddv1.SessionKeepaliveRequest{Session: s.id, Secret: s.secret, Generation: s.generation,
		Ack: s.window.floor, EventsSeen: s.eventsSeen, Cluster: s.c.clusterID()})
}

// renew sends keepalives until one is answered or the session ends.
func (s *Session) renew() {
	if s.Err() != nil {
		return
	}
	out, err := s.c.wire.do(s.ctx, &request{
		subject: subjectOf(s.cfg.namespace, "session.keepalive", ""),
		patient: patience(s.ttl),
		begin:   func() bool { return s.Err() == nil }, // what the clock says is lost is never renewed
		body:    s.keepalive,
	})
	switch {
	case err == nil:
		s.takeRenewal(out.sent, out.data)
	case codeOf(err) != "":
		s.notRenewed(err)
	default: // the session or the connection ended
	}
}

// notRenewed takes a refusal that repeating would not mend.
func (s *Session) notRenewed(err error) {
	if sessionGone(err) {
		s.end(fmt.Errorf("%w: %w", ErrSessionExpired, err), true)
		return
	}
	// The lease runs out by itself if it stays so.
	s.cfg.log.Warn("renew the session", "session", s.id, "error", err)
}

// takeRenewal takes the answer to a keepalive that was sent at sent.
func (s *Session) takeRenewal(sent instant, data []byte) {
	var rep coorddv1.SessionReply
	if err := unmarshal(data, &rep); err != nil {
		s.cfg.log.Warn("renew the session: the answer can't be read", "session", s.id, "error", err)
		return
	}
	s.cut.Store(rep.GetIncomplete())
	s.renewed(sent, &rep)
}

// renewed takes the answer to a keepalive that was sent at sent.
func (s *Session) renewed(sent instant, rep *coorddv1.SessionReply) {
	if rep.GetGeneration() != s.generation {
		s.end(fmt.Errorf("resumed elsewhere: %w", ErrSessionExpired), true)
		return
	}
	if !s.lease.renew(sent, rep.GetNow(), rep.GetDeadline()) {
		_ = s.Err() // ends it
		return
	}
	s.mu.Lock()
	if s.err == nil {
		s.expiry.Reset(s.lease.remaining())
	}
	s.mu.Unlock()
	s.reconcile(sent, rep)
}

// reconcile brings tickets and holds up to date with the service's picture of them.
func (s *Session) reconcile(sent instant, rep *coorddv1.SessionReply) {
	s.mu.Lock()
	listed := make(map[uint64]bool, len(rep.GetHolds())) // fences
	known := make(map[uint64]bool, len(rep.GetHolds()))  // tickets
	for _, h := range rep.GetHolds() {
		listed[h.GetFence()] = true
		known[h.GetTicket()] = true
		if t := s.tickets[h.GetTicket()]; t != nil {
			t.grantLocked(grant{h.GetName(), h.GetFence(), h.GetUntil()}, rep.GetIndex())
		}
		for _, l := range s.holds[h.GetFence()] {
			l.renewedLocked(h.GetUntil(), sent, rep.GetNow())
		}
	}
	var broken []*ticket
	for _, w := range rep.GetWaits() {
		known[w.GetSeq()] = true
		t := s.tickets[w.GetSeq()]
		if t == nil {
			continue
		}
		switch w.GetState() {
		case coorddv1.Wait_QUEUED:
			t.queueLocked(rep.GetIndex())
		case coorddv1.Wait_GRANTED:
			if t.passage { // of others the holds tell
				t.grantLocked(grant{}, rep.GetIndex())
			}
		case coorddv1.Wait_TIMED_OUT:
			t.endLocked(localError(coorddv1.CodeWaitTimeout, ""))
		case coorddv1.Wait_CANCELLED:
			t.endLocked(errCancelled)
		case coorddv1.Wait_ENDED:
			if t.names != nil { // one of several; the others may be held
				broken = append(broken, t)
			}
			t.endLocked(ErrLockLost)
		}
	}
	// What is missing is lost only if this answer is later than what is known: by its index, or because its
	// question was sent after that was learned.
	later := func(index uint64, learned time.Duration) bool {
		return canary.Broken(canary.MissingNeedsLaterAnswer) || !rep.GetIncomplete() && (index != 0 && rep.GetIndex() > index || sent.Mono > learned)
	}
	var lost []uint64
	for fence, all := range s.holds {
		if !listed[fence] && later(all[0].index, all[0].learned) {
			lost = append(lost, fence)
		}
	}
	var missing []*ticket
	for seq, t := range s.tickets {
		if t.state == ticketQueued && !known[seq] && later(t.index, t.learned) {
			missing = append(missing, t)
		}
	}
	var doubtful []*Lock
	switch {
	case !rep.GetIncomplete():
		s.eventsSeen, s.untold = max(s.eventsSeen, rep.GetEventSeq()), 0
	case s.untold > s.eventsSeen:
		// An event that an earlier answer counted has not come since, and this answer does not tell what it was: everything
		// that is not listed is asked for by itself.
		for fence, all := range s.holds {
			if !listed[fence] {
				doubtful = append(doubtful, all[0])
			}
		}
		for seq, t := range s.tickets {
			if t.state == ticketQueued && !known[seq] {
				missing = append(missing, t)
			}
		}
		s.eventsSeen, s.untold = max(s.eventsSeen, rep.GetEventSeq()), 0
	default:
		s.untold = rep.GetEventSeq() // its events may be under way
	}
	s.mu.Unlock()

	if len(doubtful) > 0 {
		s.background(func() { s.verify(doubtful) })
	}
	for _, fence := range lost {
		s.drop(fence, ErrLockLost, "the service does not list it any more")
	}
	for _, t := range missing {
		s.askAgain(t)
	}
	for _, t := range broken {
		s.returnSet(t, func() {})
	}
	s.returnStrays(sent, rep)
}

// verify asks for each of the locks whether it is held. One that is not ends by that.
func (s *Session) verify(locks []*Lock) {
	s.cfg.log.Info("events were lost, and renewals can't list all that the session holds; asking for each", "session", s.id, "locks", len(locks))
	for _, l := range locks {
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			if err := l.Verify(s.ctx); err == nil || l.Valid() != nil || !transient(err) {
				break
			}
			clock.Sleep(s.c.clock, jitter(pause), s.ctx.Done())
		}
	}
}
