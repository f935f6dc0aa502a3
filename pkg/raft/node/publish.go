package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// leading follows one leadership of this member from the commit of its first entry on.
type leading struct {
	live  bool
	term  uint64 // of the leadership that is live or will be
	after uint64 // index that must be applied before it is
}

// readiness follows the read that proves this member ready.
type readiness struct {
	done  bool
	asked bool
	retry time.Duration
}

func (r *readiness) wanted() bool { return !r.done }

// publishState makes the soft state after this turn visible, and tells who wants to be told.
func (l *loop) publishState(out *raft.Output, now time.Duration) {
	old := l.soft
	l.soft = out.State
	cluster, ok := l.core.ClusterTime(now)
	l.n.clock.setClusterTime(cluster, now, ok)
	l.n.clock.setLease(l.core.Lease(now))
	if l.leading.live && (l.soft.Role != raft.Leader || l.soft.Term != l.leading.term) {
		l.endLeading(fmt.Errorf("term %d is over: %w", l.leading.term, l.stepDownCause()))
	}
	if l.soft.ConfigIndex != old.ConfigIndex {
		l.reconfigure()
		l.strangers.forget(l.soft.ConfigIndex)
	}
	if l.soft.Contacts != old.Contacts || l.soft.ConfigIndex != old.ConfigIndex {
		l.setPeers()
	}
	if l.activeIndex != l.configIndex && l.soft.Commit >= l.configIndex {
		l.activate()
	}
	if old.Role == raft.Leader && (l.soft.Role != raft.Leader || l.soft.Term != old.Term) {
		l.n.out.cancelAll()
	}
	if l.soft.Role == raft.Leader {
		l.n.leaderContact.Store(int64(now)) // it hears itself
	}
	l.n.commit.Store(l.soft.Commit)
	l.n.last.Store(l.soft.Last)
	old.Commit, old.Last = l.soft.Commit, l.soft.Last // they change with every turn and are published alone
	if l.soft != old {
		l.publish(now)
		l.tellChanges(old)
	} else if now-l.refreshed >= statusPeriod {
		l.refreshStatus(now)
	} else {
		l.stale = true
	}
}

func (l *loop) stepDownCause() error {
	switch {
	case l.disk.stalled && l.disk.forRoom:
		return errors.Join(raft.ErrLeadershipLost, ErrDiskFull)
	case l.disk.stalled:
		return errors.Join(raft.ErrLeadershipLost, ErrDiskStalled)
	}
	return raft.ErrLeadershipLost
}

// publish stores the view and the status.
func (l *loop) publish(now time.Duration) {
	l.n.view.Store(&view{soft: l.soft, config: l.config, active: l.active})
	l.refreshStatus(now)
	wake(l.n.says.ready)
}

// tellChanges turns the difference of two soft states into events.
func (l *loop) tellChanges(old raft.SoftState) {
	s, v := l.soft, l.n.view.Load()
	if (s.Leader != 0) != (old.Leader != 0) {
		if s.Leader != 0 {
			l.n.consensus.begin()
		} else {
			l.n.consensus.end(&NotLeaderError{})
		}
	}
	if s.Role != old.Role || s.Term != old.Term {
		l.n.cfg.Logger.Info("role", "role", s.Role.String(), "term", s.Term)
		l.n.cfg.Observer.RoleChanged(s.Role, s.Term)
		l.n.events.publish(EventRole, func(e *Event) { e.Role, e.Term = s.Role, s.Term })
	}
	if s.Leader != old.Leader {
		l.n.cfg.Logger.Info("leader", "leader", s.Leader.String(), "name", v.leaderName(), "term", s.Term)
		l.n.events.publish(EventLeader, func(e *Event) {
			e.Leader, e.LeaderName, e.Role, e.Term = s.Leader, v.leaderName(), s.Role, s.Term
		})
	}
}

// reconfigure takes the configuration in effect to the transport and tells who came and who went.
func (l *loop) reconfigure() {
	old, recorded := l.config, l.configIndex > 0
	l.config, l.configIndex = l.core.Config()
	l.followStandby(old, recorded)
	for _, m := range l.config.Members {
		if _, was := memberOf(old.Members, m.ID); !was {
			l.n.events.publish(EventMemberAdded, func(e *Event) { e.Member = m })
		}
	}
	for _, m := range old.Members {
		if _, is := memberOf(l.config.Members, m.ID); !is {
			l.n.events.publish(EventMemberRemoved, func(e *Event) { e.Member = m })
		}
	}
}

// activate takes over the last committed configuration.
func (l *loop) activate() {
	core := l.core.Status()
	was := l.active.Version
	l.active, l.activeIndex = core.Active, core.ActiveIndex
	l.n.version.Store(l.active.Version)
	l.n.events.publish(EventConfiguration, func(e *Event) { e.ConfigIndex, e.ClusterVersion = l.activeIndex, l.active.Version })
	if l.active.Version != was && l.n.cfg.OnVersion != nil {
		l.n.cfg.OnVersion(l.active.Version)
	}
}

// ClusterVersion is the version of commands that may be proposed: every member had announced it (raft.md, rule 17). 0:
// no member has announced any. It never goes down.
func (n *Node) ClusterVersion() uint32 { return n.version.Load() }

// followStandby lets the record decide from the moment on at which it says that this member is a standby: what it was
// started with is in it then, and an operator may take it back. A static list is this node's own word, not a record.
func (l *loop) followStandby(old raft.Configuration, recorded bool) {
	was, _ := memberOf(old.Members, l.n.cfg.ID)
	was.Standby = was.Standby && recorded
	is, listed := memberOf(l.config.Members, l.n.cfg.ID)
	if listed && (was.Standby || is.Standby) {
		l.n.saysStandby.Store(false)
	}
	if listed && was.Standby && !is.Standby {
		l.setStandby(false, l.n.clock.now())
	}
}

// setPeers tells the transport whom to reach: the members that the core may have to talk to or, while it knows none,
// those that took this node in; and who knows more of the membership than this member does.
func (l *loop) setPeers() {
	if l.n.cfg.Transport == nil {
		return
	}
	members := l.core.Contacts()
	if len(members) == 0 {
		members = l.hosts
	}
	l.n.cfg.Transport.SetPeers(l.strangers.among(peersOf(members, l.n.cfg.ID)))
}

// introduce takes over whom a node that joins has to answer, until its own log tells.
func (l *loop) introduce(members []raft.Member) {
	l.hosts = members
	l.setPeers()
}

func memberOf(members []raft.Member, id raft.MemberID) (raft.Member, bool) {
	for _, m := range members {
		if m.ID == id {
			return m, true
		}
	}
	return raft.Member{}, false
}

// watchApplied does what waits for the applier: leadership comes to life, readiness is asked for, and whoever
// watches is given a look.
func (l *loop) watchApplied(now time.Duration) {
	if l.soft.Role == raft.Leader && l.soft.Ready && l.leading.term != l.soft.Term {
		l.leading = leading{term: l.soft.Term, after: l.soft.Commit}
	}
	waits := l.leading.after > 0 && !l.leading.live && l.soft.Role == raft.Leader && l.leading.term == l.soft.Term
	l.n.apply.watching.Store(waits || len(l.watches) > 0)
	// The applier may have advanced before it saw the flag: look after setting it.
	if waits && l.n.apply.applied.Load() >= l.leading.after {
		l.leading.live = true
		l.n.leadership.begin()
		l.n.events.publish(EventLeading, func(e *Event) { e.Leading = true })
	}
	l.watchReadiness(now)
	watches := l.watches
	l.watches = nil // what is watched may lead to more that is
	for _, over := range watches {
		if !over(now) {
			l.watches = append(l.watches, over)
		}
	}
}

func (l *loop) endLeading(cause error) {
	l.leading.live = false
	l.n.leadership.end(cause)
	l.n.events.publish(EventLeading, func(e *Event) { e.Leading = false })
}

// watchReadiness asks for a read barrier of the node's own once there is a leader and this member is in the committed
// configuration, as what it is to be: when that is applied, the member has what was committed when it joined.
func (l *loop) watchReadiness(now time.Duration) {
	r := &l.readiness
	select {
	case <-l.n.ready:
		r.done = true
	default:
	}
	if r.done || r.asked || l.soft.Leader == 0 || now < r.retry {
		return
	}
	self, ok := memberOf(l.active.Members, l.n.cfg.ID)
	if !ok || !recordedAs(&self, l.n.found.Incarnation) || (self.Learner && self.Promote) {
		return
	}
	r.asked = true
	l.n.SubmitRead(func(_ uint64, err error) {
		if err == nil {
			l.n.becomeReady()
			return
		}
		l.n.in.call(func(now time.Duration) { r.asked, r.retry = false, now+l.n.cfg.ElectionTimeoutMin })
	})
}

func (n *Node) becomeReady() {
	n.readyOnce.Do(func() {
		close(n.ready)
		n.events.publish(EventReady, func(e *Event) { e.Ready = true })
	})
}

// publishEnd leaves behind what is true of a node that has ended: it leads nothing and knows nobody.
func (l *loop) publishEnd() {
	cause := l.n.Err()
	l.n.clock.setLease(0, false)
	l.n.clock.setClusterTime(0, 0, false)
	if l.leading.live {
		l.endLeading(cause)
	}
	l.n.consensus.end(cause)
	if l.soft.Role == raft.Leader {
		l.soft.Role = raft.Follower
	}
	l.soft.Leader, l.soft.Ready = 0, false
	l.publish(l.n.clock.now())
}
