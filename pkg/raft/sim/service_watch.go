package sim

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/internal/service/decide"
	"github.com/coordd/coordd/pkg/raft"
)

const (
	probeEvery = 500 * time.Millisecond
	natsLost   = 2 * time.Second // without an answered probe for so long NATS counts as lost
)

// carried reports whether a probe through the servers of the other members would come back to a node, from as many as
// make a majority with it.
func (w *world) carried(n *node) bool {
	if !w.bus.reaches(n) {
		return canary.Broken(canary.ProbeThroughOthers)
	}
	need, voters, self := 0, 0, false
	for i := range n.conf().Members {
		m := &n.conf().Members[i]
		if m.Learner {
			continue
		}
		voters++
		if m.ID == n.id {
			self = true
		} else if o := w.byID[m.ID]; o != nil && o.awake() && w.bus.reaches(o) {
			need--
		}
	}
	if need += voters/2 + 1; self {
		need--
	}
	return need <= 0
}

// look is a leader's regular look at NATS.
func (r *reign) look() {
	n := r.n
	r.later(n.virtual(probeEvery), r.look)
	if n.w.carried(n) {
		r.proven = n.clock()
	}
	if r.changing {
		return
	}
	switch r.watch.Look(n.clock(), n.clock()-r.proven < natsLost, r.serving) {
	case decide.Serve:
		if n.w.carried(n) {
			n.w.operated("served again")
			r.setServing(true)
		}
	case decide.Stop:
		r.setServing(false)
	case decide.HandOver:
		r.handOver()
	}
}

// handOver gives the leadership to a member that says of itself that it can serve; the peers' network carries the
// question.
func (r *reign) handOver() {
	n, w := r.n, r.n.w
	conf := n.conf()
	for i := range conf.Members {
		m := &conf.Members[i]
		to := w.byID[m.ID]
		if m.ID == n.id || m.Learner || m.Standby || to == nil || !to.awake() || w.net.blocked(n.id, m.ID) || !w.carried(to) && !canary.Broken(canary.HandOverToHealthy) {
			continue
		}
		err := n.core.TransferLeadership(m.ID, n.clock())
		w.note("node %d hands over to %d, which NATS reaches: %v", n.id, m.ID, err)
		if err == nil {
			w.operated("hand-over without NATS")
		}
		n.turn()
		return
	}
}

// query asks for a lock, or for a sequence.
type query struct {
	lock, sequence string
	stale          bool
	floor          uint64 // the highest index that was acknowledged to anybody when it was asked
}

// sight is what a read saw.
type sight struct {
	held   string // see HeldIn
	digest fnv    // of the lock
	found  bool   // the sequence
	id     uint64
	next   int64 // of the sequence
}

// looker is a read that waits for its index.
type looker struct {
	index uint64
	m     *message
}

// readThen proves a read's index and looks once that is applied. A proven read is final, whoever leads by then.
func (n *node) readThen(m *message) {
	if canary.Broken(canary.ServiceReadProved) {
		n.look(m)
		return
	}
	n.readID++
	n.reads = append(n.reads, pendingRead{id: n.readID, floor: m.read.floor, done: func(r raft.ReadState) {
		n.lookers = append(n.lookers, looker{r.Index, m})
		n.lookAll()
	}})
	n.core.ReadIndex(n.readID, n.clock())
	n.turn()
}

// lookAll answers the reads whose index is applied.
func (n *node) lookAll() {
	kept := n.lookers[:0]
	for _, l := range n.lookers {
		if l.index <= n.machine.applied {
			n.look(l.m)
		} else {
			kept = append(kept, l)
		}
	}
	n.lookers = kept
}

// look answers a read from what is applied.
func (n *node) look(m *message) {
	w, v, q := n.w, n.machine.service.Live(), m.read
	s := &sight{}
	if q.lock != "" {
		info, _ := v.Lock(namespace, q.lock)
		s.held, s.digest = seenHeld(&info), sightOf(&info)
	} else {
		info, found := v.Sequence(namespace, q.sequence)
		s.found, s.id, s.next = found, info.SequenceID, info.Next
	}
	w.seen.looked(n, q, s)
	w.bus.respond(w, n, m, &answer{index: n.machine.applied, seen: s})
}
