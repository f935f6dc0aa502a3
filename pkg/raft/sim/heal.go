package sim

import (
	"fmt"
	"strings"
	"time"
)

// heal ends every fault for good. Operators replace what is lost, and do nothing else any more.
func (w *world) heal() {
	w.note("everything heals")
	w.faulty = false
	w.net.calm()
	for _, n := range w.nodes {
		n.heal()
	}
	w.healClients()
	w.repair()
	w.openAgain()
}

// repair has members that have no directory any more, or another one than is recorded, replaced.
func (w *world) repair() {
	if w.calm {
		return
	}
	w.after(100*time.Millisecond, w.repair)
	l := w.leader()
	if l == nil {
		return
	}
	conf, _ := l.core.Config()
	for _, m := range conf.Members {
		n := w.byID[m.ID]
		if n == nil || n.gone || n.refused != nil || n.incarnation == m.Former {
			n = w.newNode(m.ID, nil)
		}
		n.start()
		if m.Incarnation.IsZero() || m.Incarnation == n.incarnation {
			continue
		}
		if next, err := conf.Replaced(m.ID, ""); err == nil {
			w.proposeConf(l, next, "replace what is lost")
		}
		return
	}
}

// calmDown begins the last part of a run: from now on nobody may stand for election, also none of those that were
// removed and go on running.
func (w *world) calmDown() {
	w.note("the calm begins")
	w.calm = true
	l := w.leader()
	if l == nil {
		w.fail("no leader %v after everything healed; %s", w.opt.Heal-quiet, w.describe())
	}
	w.calmTerm, w.calmFrom = l.soft.Term, w.now
}

// checkServing is the end of the liveness phase: there is one leader, since long; what operators began is finished;
// everything that the leader has is applied on every member; and what was acknowledged is in it.
func (w *world) checkServing() {
	l := w.leader()
	switch {
	case l == nil:
		w.fail("no leader %v after everything healed; %s", w.opt.Heal, w.describe())
	case l.soft.Term != w.calmTerm:
		w.fail("another leader was elected in the calm: of term %d after %d; %s", l.soft.Term, w.calmTerm, w.describe())
	case !l.ackedSince(w.calmFrom):
		w.fail("the leader %d has acknowledged nothing since everything is calm; %s", l.id, w.describe())
	case l.inEffect().index > l.soft.Commit:
		w.fail("the configuration at %d is never committed; %s", l.inEffect().index, w.describe())
	}
	for _, m := range l.conf().Members {
		n := w.byID[m.ID]
		switch {
		case n == nil || n.core == nil:
			w.fail("member %d does not run; %s", m.ID, w.describe())
		case m.Incarnation != n.incarnation:
			w.fail("member %d is recorded with another directory than it has; %s", m.ID, w.describe())
		case m.Promote:
			w.fail("the warm-up of %d never ends; %s", m.ID, w.describe())
		case n.machine.applied+200 < l.machine.applied:
			w.fail("node %d stays behind: applied %d, the leader %d; %s", n.id, n.machine.applied, l.machine.applied, w.describe())
		case n.soft.Recovering || n.soft.Blank || n.soft.Removed:
			w.fail("member %d never became an ordinary one; %s", m.ID, w.describe())
		}
	}
	w.truth.checkAcked(w)
	w.checkClients()
}

func (w *world) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "committed %s ", describe(&w.truth.active().conf))
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "\n[node %d up %v %s term %d leader %d base %d commit %d last %d applied %d recovering %v blank %v removed %v conf %d %s] ",
			n.id, n.core != nil, n.soft.Role, n.soft.Term, n.soft.Leader, n.log.base, n.soft.Commit, n.soft.Last, n.machine.applied,
			n.soft.Recovering, n.soft.Blank, n.soft.Removed, n.inEffect().index, describe(n.conf()))
	}
	return b.String()
}
