package node

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node/failure"
)

// FailureDetectorFactory makes the detector of one member; heartbeat is the interval at which the leader expects its
// answers.
type FailureDetectorFactory func(member raft.MemberID, heartbeat time.Duration) failure.Detector

// PhiDetector makes φ accrual failure detectors with a threshold, 0 for that of package failure.
func PhiDetector(threshold float64) FailureDetectorFactory {
	return func(_ raft.MemberID, heartbeat time.Duration) failure.Detector {
		return failure.NewPhi(failure.PhiConfig{Threshold: threshold, Expected: heartbeat})
	}
}

const (
	// judgingWindow is the number of heartbeats for which nobody is judged after this member became leader, or after its
	// loop stood still: as many as a detector remembers.
	judgingWindow = failure.DefaultSamples
	// leastVoters is how many voters a failure detector leaves in any case.
	leastVoters = 3
)

// watchdog has the leader remove members that a failure detector finds to have failed, one at a time. A detector may be
// wrong, so it never goes below three voters, nor below a majority of the voters that an operator last set, and only on
// while a majority of those that would remain answers. A member that this leader never heard is not judged.
type watchdog struct {
	term      uint64 // of the leadership that the detectors are of
	detectors map[raft.MemberID]failure.Detector
	looked    time.Duration // when the last turn was
	judgeAt   time.Duration // no verdict before
	nextAt    time.Duration
	removing  *change // under way; nil: none
	removed   raft.MemberID
}

// heard notes the answer to a heartbeat, if it is of the directory that is recorded.
func (l *loop) heard(m *raft.Message, now time.Duration) {
	if l.n.cfg.FailureDetector == nil || l.soft.Role != raft.Leader || m.Term != l.soft.Term || m.Reject {
		return
	}
	w := &l.watchdog
	w.renew(l, now)
	member, ok := memberOf(l.config.Members, m.From)
	if !ok || member.Incarnation != m.Incarnation {
		return
	}
	d := w.detectors[m.From]
	if d == nil {
		d = l.n.cfg.FailureDetector(m.From, l.n.heartbeatPeriod())
		w.detectors[m.From] = d
	}
	d.Heard(now)
}

// renew begins anew with each leadership.
func (w *watchdog) renew(l *loop, now time.Duration) {
	if w.term != l.soft.Term {
		w.term, w.detectors = l.soft.Term, make(map[raft.MemberID]failure.Detector)
		w.judgeAt = now + judgingWindow*l.n.heartbeatPeriod()
	}
}

// watchMembers judges the members, once a heartbeat.
func (l *loop) watchMembers(now time.Duration) {
	if l.n.cfg.FailureDetector == nil {
		return
	}
	w, period := &l.watchdog, l.n.heartbeatPeriod()
	// A leader takes a turn at least at every heartbeat. One that comes a heartbeat too late has stood still, and may have
	// missed what it would now hold against others.
	if now-w.looked > 2*period {
		w.judgeAt = max(w.judgeAt, now+judgingWindow*period)
	}
	w.looked = now
	if w.removing != nil {
		select {
		case r := <-w.removing.result:
			l.toldOfRemoval(r.err)
		default:
			return
		}
	}
	if l.soft.Role != raft.Leader || !l.soft.Ready || l.activeIndex != l.configIndex || now < w.nextAt {
		return
	}
	w.nextAt = now + period
	if w.renew(l, now); now < w.judgeAt && !canary.Broken(canary.DetectorWaitsAWindow) {
		return
	}
	if id, ok := l.suspect(now); ok {
		w.removed, w.removing = id, &change{edit: removingFailed(id), result: make(chan changed, 1)}
		l.n.cfg.Logger.Warn("a member has failed and is removed", "member", id, "phi", w.detectors[id].Level(now))
		l.change(w.removing, now)
	}
}

func (l *loop) toldOfRemoval(err error) {
	w := &l.watchdog
	w.removing = nil
	if err != nil {
		l.n.cfg.Logger.Warn("a failed member was not removed", "member", w.removed, "error", err)
		return
	}
	delete(w.detectors, w.removed)
	l.n.cfg.Observer.MemberRemoved(w.removed)
}

// suspect returns the member that is the most likely to have failed, if it has and may go.
func (l *loop) suspect(now time.Duration) (worst raft.MemberID, found bool) {
	level := 0.0
	for i := range l.config.Members {
		m := &l.config.Members[i]
		d := l.watchdog.detectors[m.ID]
		if m.ID == l.n.cfg.ID || d == nil || !d.Failed(now) || d.Level(now) < level || !mayGo(&l.config, m.ID) {
			continue
		}
		if l.othersAnswer(m.ID, now) {
			worst, level, found = m.ID, d.Level(now), true
		}
	}
	return worst, found
}

// mayGo reports whether enough voters are left without a member.
func mayGo(c *raft.Configuration, id raft.MemberID) bool {
	voters, set := 0, int(c.SetVoters)
	isVoter := false
	for i := range c.Members {
		if m := &c.Members[i]; !m.Learner {
			voters++
			isVoter = isVoter || m.ID == id
		}
	}
	if set == 0 {
		set = voters // nobody has changed what the cluster began with
	}
	return !isVoter || canary.Broken(canary.DetectorKeepsVoters) || (voters-1 >= leastVoters && voters-1 >= set/2+1)
}

// othersAnswer reports whether a majority of the voters other than one answered within an election timeout.
func (l *loop) othersAnswer(than raft.MemberID, now time.Duration) bool {
	voters, answer := 0, 0
	contact := make(map[raft.MemberID]time.Duration)
	for _, p := range l.core.Status().Peers {
		contact[p.ID] = p.LastContact
	}
	for i := range l.config.Members {
		m := &l.config.Members[i]
		if m.Learner || m.ID == than {
			continue
		}
		voters++
		if at := contact[m.ID]; m.ID == l.n.cfg.ID || (at > 0 && now-at <= l.n.cfg.ElectionTimeoutMax) {
			answer++
		}
	}
	return answer >= voters/2+1
}

// removingFailed is the edit that removes a member which no operator removed.
func removingFailed(id raft.MemberID) edit {
	return func(c raft.Configuration) (raft.Configuration, error) {
		if !mayGo(&c, id) {
			return c, raft.ErrLastVoter
		}
		next, err := c.Without(id)
		if next.SetVoters = c.SetVoters; c.SetVoters == 0 {
			next.SetVoters = uint32(len(c.Voters()))
		}
		return next, err
	}
}

// phi is what is suspected of a member.
func (l *loop) phi(id raft.MemberID, now time.Duration) float64 {
	if d := l.watchdog.detectors[id]; d != nil && l.soft.Role == raft.Leader && l.watchdog.term == l.soft.Term {
		return d.Level(now)
	}
	return 0
}
