package sim

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// majorityTime is how long a majority is whole while one member stays bad: time to elect, and to commit.
const majorityTime = 5 * time.Second

// ills are what the one bad member suffers from while the others are whole.
var ills = []struct {
	name  string
	begin func(w *world, n *node)
}{
	{"one stays crashed", func(w *world, n *node) { n.stop() }},
	{"one stays frozen", func(w *world, n *node) { n.freeze() }},
	{"one stays cut", func(w *world, n *node) {
		for i := range w.net.ways {
			w.net.ways[i][n.id].cuts++
			w.net.ways[n.id][i].cuts++
		}
	}},
	{"one stays deaf", func(w *world, n *node) {
		for i := range w.net.ways {
			w.net.ways[i][n.id].cuts++
		}
	}},
	{"one stays slow", func(w *world, n *node) { w.slowPeer(n, 400*time.Millisecond) }},
	{"one disk stays stalled", func(w *world, n *node) {
		n.disk.stalled = true
		n.standAside(0) // as the daemon does
	}},
}

// liveWithout heals everybody but one member, which stays as bad as it is made, and sees whether the others elect and
// commit. Where the cluster can do without none it is left out.
func (w *world) liveWithout(until time.Duration) {
	rnd := newStream(w.opt.Seed, "majority", 0)
	var bad *node
	for i, first := 0, rnd.intn(len(w.nodes)); i < len(w.nodes) && bad == nil; i++ {
		if n := w.nodes[(first+i)%len(w.nodes)]; memberOf(&w.truth.active().conf, n.id).ID != 0 && w.mayLose(n) {
			bad = n
		}
	}
	if bad == nil {
		return
	}
	ill := ills[rnd.intn(len(ills))]
	if ill.name == "one stays deaf" && !w.checkQuorum {
		ill = ills[0] // a leader that hears nobody would stay one: that is what check-quorum is for
	}
	w.note("everything heals but node %d: %s", bad.id, ill.name)
	w.faulty = false
	w.net.calm()
	for _, n := range w.nodes {
		n.heal()
	}
	w.healClients()
	ill.begin(w, bad)
	bad.held = true
	w.keepProposing(until)
	w.runUntil(until)
	for _, n := range w.nodes {
		if n.awake() && n.soft.Role == raft.Leader && n.ackedSince(until-majorityTime/2) {
			w.operated(ill.name)
			bad.held = false
			return
		}
	}
	w.fail("nobody leads and commits %v after everything healed but node %d (%s); %s", majorityTime, bad.id, ill.name, w.describe())
}

// keepProposing has leaders propose up to an instant, whatever clients do: at the long pace they may want nothing just then.
func (w *world) keepProposing(until time.Duration) {
	if w.now >= until {
		return
	}
	w.after(200*time.Millisecond, func() { w.keepProposing(until) })
	for _, n := range w.nodes {
		if n.awake() && n.soft.Role == raft.Leader {
			n.propose(1)
		}
	}
}

// heal ends what is wrong with a node.
func (n *node) heal() {
	n.held = false
	n.standAgain()
	n.disk.slow, n.disk.failing = 0, false
	n.thaw()
	n.lag = 0
	n.setRate(n.drawRate(&n.rnd))
	if n.core != nil && n.timeout != n.w.timeout {
		n.stop() // the rolling change of the timeouts comes to its end
	}
	n.start()
}
