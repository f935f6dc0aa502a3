package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// opKinds are what operators and clients do, and what comes of it. Each has to happen in a run of many seeds.
var opKinds = []string{
	"add", "add without promotion", "remove", "remove the leader", "replace", "replace a live directory", "replace what is lost",
	"promote", "demote", "standby", "back from standby", "announce a version",
	"refused: one is pending", "refused: two voters at once", "refused: the last voter", "refused: not the leader", "refused: before the first commit of the term",
	"member added", "member removed", "member replaced", "learner promoted", "warm-up given up", "leader removed itself", "version raised",
	"one voter", "two voters", "six voters",
	"transfer to anybody", "transfer to a voter", "transfer to a dead member", "transfer to a learner", "transfer to a standby",
	"storm of transfers", "change during a partition",
	"one stays crashed", "one stays frozen", "one stays cut", "one stays deaf", "one stays slow", "one disk stays stalled",
	"transfer to no member", "transfer to a lagging member", "transfer refused",
	"snapshot taken", "snapshot sent", "snapshot installed", "log cut", "restart from the machine's own state",
	"stand aside", "step down", "told what it lost", "lease read", "read through a follower", "removed node stops", "removed ID comes back",
}

// operate has an operator do one thing, mostly with the node that leads.
func (w *world) operate() {
	if !w.faulty {
		return
	}
	if !w.decide(operatorChain, w.opt.Pace.Operate, w.operate) {
		return
	}
	n := w.anyNode()
	if l := w.leader(); l != nil && !w.chance(8) {
		n = l
	}
	w.operateOn(n)
}

// operateOn does one thing with a node that may lead, or believe that it does.
func (w *world) operateOn(n *node) {
	if !n.awake() {
		return
	}
	conf, _ := n.core.Config()
	if len(conf.Members) == 0 {
		return
	}
	// What is lost has to be replaced before anything else can go wrong.
	for i := range conf.Members {
		if m := &conf.Members[i]; w.lost(m) && w.chance(3) {
			w.replace(n, &conf, *m)
			return
		}
	}
	m := conf.Members[w.act.intn(len(conf.Members))]
	if w.chance(6) {
		m, _ = conf.Member(n.id)
	}
	if m.ID == 0 {
		m = conf.Members[0]
	}
	switch w.act.intn(16) {
	case 0, 1, 2, 3:
		w.add(n, &conf)
	case 4, 5:
		w.remove(n, &conf, m)
	case 6, 7:
		w.replace(n, &conf, m)
	case 8:
		w.alter(n, &conf, m, func(m *raft.Member) string {
			m.Promote = m.Learner
			return "promote"
		})
	case 9:
		w.alter(n, &conf, m, func(m *raft.Member) string {
			m.Learner, m.Standby = true, false
			return "demote"
		})
	case 10, 11:
		w.alter(n, &conf, m, func(m *raft.Member) string {
			m.Standby = !m.Standby && !m.Learner
			if m.Standby {
				return "standby"
			}
			return "back from standby"
		})
	case 12:
		for i := range conf.Members {
			conf.Members[i].Version += uint32(w.act.intn(2))
		}
		w.proposeConf(n, conf, "announce a version")
	default:
		w.transfer(n)
		if w.chance(8) {
			w.operated("storm of transfers")
			at := time.Duration(0)
			for range 3 + w.act.intn(8) {
				at += w.between(5*time.Millisecond, 150*time.Millisecond)
				act := *w.act
				w.after(at, func() {
					w.act = &act
					if l := w.leader(); l != nil && w.faulty {
						w.transfer(l)
					}
				})
			}
		}
	}
}

// proposeConf proposes a configuration, if the cluster can live with it, and then another one, which has to be refused
// until the first is committed.
func (w *world) proposeConf(n *node, next raft.Configuration, what string) bool {
	if !w.survives(&next, nil) || !n.awake() {
		return false
	}
	before := *n.inEffect()
	ready := n.soft.Ready
	_, err := n.core.ProposeConfChange(next, n.clock())
	w.note("node %d is asked to %s: %v", n.id, what, err)
	switch {
	case err == nil:
		w.operated(what)
		if w.net.cut > 0 {
			w.operated("change during a partition")
		}
	case errors.Is(err, raft.ErrNotLeader):
		w.operated("refused: not the leader")
	case errors.Is(err, raft.ErrChangePending) && !ready:
		w.operated("refused: before the first commit of the term")
	case errors.Is(err, raft.ErrChangePending):
		w.operated("refused: one is pending")
	}
	if err == nil && w.chance(3) {
		if _, err := n.core.ProposeConfChange(before.conf, n.clock()); n.core.Status().Proposed != nil && err == nil {
			w.fail("node %d takes a second change while one is pending", n.id)
		} else if err != nil {
			w.operated("refused: one is pending")
		}
	}
	n.turn()
	return err == nil
}

// add asks for a new member: one that was never there, or one that was removed and comes back with a new directory.
func (w *world) add(n *node, conf *raft.Configuration) {
	if w.chance(12) {
		w.addTwo(n, conf)
		return
	}
	id := raft.MemberID(1 + w.act.intn(maxID))
	if _, is := conf.Member(id); is || len(conf.Members) >= maxMembers {
		return
	}
	old := w.byID[id]
	if old != nil && !w.mayLose(old) {
		return
	}
	m := raft.Member{ID: id, Name: fmt.Sprintf("n%d", id), Address: fmt.Sprintf("sim:%d", id), Learner: true, Promote: !w.chance(4),
		Version: conf.Version + uint32(w.act.intn(2))}
	what := "add"
	if !m.Promote {
		what = "add without promotion"
	}
	var flags []raft.Member
	if old != nil {
		flags = w.oldFlags()
	}
	fresh := w.newNode(id, flags)
	if old != nil {
		w.operated("removed ID comes back")
	}
	if w.chance(2) {
		m.Incarnation = fresh.incarnation // it was announced
	}
	w.after(w.between(0, 800*time.Millisecond), fresh.start)
	w.proposeConf(n, with(conf, m), what)
}

// addTwo asks for two voters more at once, which nobody may get.
func (w *world) addTwo(n *node, conf *raft.Configuration) {
	next := conf.Clone()
	for id := raft.MemberID(maxID + 1); id <= maxID+2; id++ {
		next = with(&next, raft.Member{ID: id, Version: conf.Version})
	}
	if _, err := n.core.ProposeConfChange(next, n.clock()); err == nil {
		w.fail("node %d takes two new voters at once", n.id)
	}
	w.operated("refused: two voters at once")
	n.turn()
}

// remove asks for a member less, be it the leader. What is removed goes on running, for a while at least.
func (w *world) remove(n *node, conf *raft.Configuration, m raft.Member) {
	next := conf.Clone()
	next.Members = slices.DeleteFunc(next.Members, func(o raft.Member) bool { return o.ID == m.ID })
	voters := len(next.Voters())
	if voters == 0 {
		if _, err := n.core.ProposeConfChange(next, n.clock()); err == nil {
			w.fail("node %d removes the last voter", n.id)
		}
		w.operated("refused: the last voter")
		n.turn()
		return
	}
	if voters < 3 && !m.Learner && !w.chance(3) {
		return
	}
	what := "remove"
	if m.ID == n.id {
		what = "remove the leader"
	}
	w.proposeConf(n, next, what)
}

// replace gives a member's ID to a new directory. The old one is gone before, as after a loss; or it goes on running
// for a while, and nobody may hear it.
func (w *world) replace(n *node, conf *raft.Configuration, m raft.Member) {
	old := w.byID[m.ID]
	lost := w.lost(&m)
	next, err := conf.Replaced(m.ID, "")
	if m.ID == n.id || err != nil || n.soft.Role != raft.Leader || !w.survives(&next, nil) || (!lost && !w.mayLose(old)) {
		return
	}
	act := w.act
	fresh := func() {
		if w.faulty && w.byID[m.ID] == old && (lost || w.mayLose(old)) {
			w.after(act.between(0, 800*time.Millisecond), w.newNode(m.ID, nil).start)
		}
	}
	what := "replace"
	switch {
	case lost:
		if what = "replace what is lost"; old == nil || old.gone || old.refused != nil || old.incarnation == m.Former || w.chance(3) {
			fresh()
		}
	case w.chance(3):
		what = "replace a live directory"
		w.after(w.between(0, time.Second), fresh)
	default:
		fresh()
	}
	if n := w.byID[m.ID]; n != nil && n != old && w.chance(3) {
		next = with(&next, withIncarnation(memberOf(&next, m.ID), n.incarnation))
	}
	w.proposeConf(n, next, what)
}

func withIncarnation(m raft.Member, in raft.Incarnation) raft.Member {
	m.Incarnation = in
	return m
}

// alter changes one member's flags.
func (w *world) alter(n *node, conf *raft.Configuration, m raft.Member, f func(*raft.Member) string) {
	next := m
	what := f(&next)
	if next.Learner == m.Learner && next.Promote == m.Promote && next.Standby == m.Standby {
		return
	}
	w.proposeConf(n, with(conf, next), what)
}

// with is a configuration with a member added, or changed.
func with(conf *raft.Configuration, m raft.Member) raft.Configuration {
	next := conf.Clone()
	i, found := slices.BinarySearchFunc(next.Members, m.ID, func(o raft.Member, id raft.MemberID) int { return int(o.ID) - int(id) })
	if found {
		next.Members[i] = m
	} else {
		next.Members = slices.Insert(next.Members, i, m)
	}
	return next
}

// transfer asks a leader to hand over, to whoever it may be.
func (w *world) transfer(n *node) {
	if n.soft.Role != raft.Leader {
		return
	}
	id := raft.MemberID(w.act.intn(maxID + 1))
	if w.chance(2) {
		id = w.anyNode().id
	}
	if id == n.id {
		return
	}
	what, allowed := n.transferKind(id)
	err := n.core.TransferLeadership(id, n.clock())
	w.operated(what)
	w.note("node %d is asked for a %s, %d: %v", n.id, what, id, err)
	if err == nil && !allowed {
		w.fail("node %d begins a %s, %d", n.id, what, id)
	}
	if err != nil {
		w.operated("transfer refused")
	}
	n.turn()
}

func (n *node) transferKind(id raft.MemberID) (what string, allowed bool) {
	m, listed := n.conf().Member(id)
	to := n.w.byID[id]
	switch {
	case id == 0:
		return "transfer to anybody", true
	case !listed:
		return "transfer to no member", false
	case m.Learner:
		return "transfer to a learner", false
	case m.Standby:
		return "transfer to a standby", false
	case to == nil || !to.awake():
		return "transfer to a dead member", true
	case to.log.last()+20 < n.log.last():
		return "transfer to a lagging member", true
	}
	return "transfer to a voter", true
}

// changed counts what a configuration changed that a leader committed, and lets some of those that were removed stop.
func (w *world) changed(from, to *raft.Configuration, by raft.MemberID) {
	switch len(to.Voters()) {
	case 1:
		w.operated("one voter")
	case 2:
		w.operated("two voters")
	case 6:
		w.operated("six voters")
	}
	for id := raft.MemberID(1); id <= maxID; id++ {
		was, is := memberOf(from, id), memberOf(to, id)
		switch {
		case was.ID == 0 && is.ID != 0 && len(from.Members) > 0:
			w.operated("member added")
		case was.ID != 0 && is.ID == 0:
			w.operated("member removed")
			if by == id {
				w.operated("leader removed itself")
			}
			w.retire(w.byID[id])
		case !was.Incarnation.IsZero() && is.Incarnation != was.Incarnation:
			w.operated("member replaced")
		case was.Promote && !is.Promote && is.Learner:
			w.operated("warm-up given up")
		}
	}
}

func memberOf(c *raft.Configuration, id raft.MemberID) raft.Member {
	m, _ := c.Member(id)
	return m
}

// retire stops a removed node for good, now and then, after a while in which it goes on running.
func (w *world) retire(n *node) {
	if n == nil || !n.rnd.chance(3) {
		return
	}
	w.after(n.rnd.between(500*time.Millisecond, 4*time.Second), func() {
		if m := memberOf(&w.truth.active().conf, n.id); m.ID != 0 || n.gone || !w.mayLose(n) {
			return
		}
		w.operated("removed node stops")
		n.stop()
		n.gone = true
	})
}

// describe prints a configuration in short.
func describe(c *raft.Configuration) string {
	var b strings.Builder
	for i := range c.Members {
		m := &c.Members[i]
		fmt.Fprintf(&b, "%d", m.ID)
		for _, f := range []struct {
			is   bool
			mark string
		}{{m.Learner, "l"}, {m.Promote, "p"}, {m.Standby, "s"}, {m.Incarnation.IsZero(), "?"}} {
			if f.is {
				b.WriteString(f.mark)
			}
		}
		fmt.Fprintf(&b, ".%d ", m.Version)
	}
	return fmt.Sprintf("[%sversion %d]", b.String(), c.Version)
}
