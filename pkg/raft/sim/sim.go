package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// Options say what is simulated. The zero value of a field that has a default stands for it.
type Options struct {
	Seed  uint64
	Nodes int           // 3
	For   time.Duration // virtual time under faults; 20 s
	Heal  time.Duration // virtual time without faults, in which the cluster must serve again; 10 s
	// Trace is told every event, for people.
	Trace func(string)
}

// Report says what a run covered.
type Report struct {
	Seed      uint64
	Events    int
	Virtual   time.Duration
	Proposals int
	Acked     int
	Reads     int
	Leaders   int // terms that had a leader
	Faults    map[string]int
	Hash      uint64 // of the whole run, event by event
}

// Violation is a broken invariant.
type Violation struct {
	Seed uint64
	At   time.Duration
	What string
}

// Error says what broke and how to see it again.
func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d at %v: %s\nreplay: go test ./pkg/raft/sim -run '^TestSeeds$' -v -args -sim.seed=%d -sim.seeds=1 -sim.trace", v.Seed, v.At, v.What, v.Seed)
}

// The shape of time in a run.
const (
	electionMin  = 150 * time.Millisecond
	electionMax  = 300 * time.Millisecond
	maxDrift     = 0.045 // of each clock; the ratio of two is below driftBound
	driftBound   = 1.1
	disturbEvery = 400 * time.Millisecond
	proposeEvery = 12 * time.Millisecond
)

type event struct {
	at  time.Duration
	seq uint64
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].seq < q[j].seq)
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// world is one run.
type world struct {
	opt    Options
	rnd    *rand.Rand
	now    time.Duration
	queue  eventQueue
	seq    uint64
	nodes  []*node
	net    network
	truth  *truth
	report Report
	hash   hash64
	faulty bool // faults and the chaos of the network are on
}

// Run simulates one seed. The error is a *Violation.
func Run(opt Options) (rep Report, err error) {
	if opt.Nodes == 0 {
		opt.Nodes = 3
	}
	if opt.For == 0 {
		opt.For = 20 * time.Second
	}
	if opt.Heal == 0 {
		opt.Heal = 10 * time.Second
	}
	w := &world{opt: opt, rnd: rand.New(rand.NewPCG(opt.Seed, 0xc00d)), report: Report{Seed: opt.Seed, Faults: map[string]int{}}, faulty: true}
	w.hash.Hash64 = fnv.New64a()
	w.truth = newTruth(opt.Nodes)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *Violation:
			err = p
		default:
			// An assertion of the core is a violation like any other.
			err = &Violation{opt.Seed, w.now, fmt.Sprintf("panic: %v\n%s", p, stack())}
		}
		w.report.Virtual, w.report.Hash, w.report.Leaders = w.now, w.hash.Sum64(), len(w.truth.leaders)
		rep = w.report
	}()
	w.build()
	w.after(proposeEvery, w.propose)
	w.after(disturbEvery, w.disturb)
	w.runUntil(opt.For)
	w.heal()
	w.runUntil(opt.For + opt.Heal)
	w.checkServing()
	return w.report, nil
}

// runUntil carries out every event up to the instant.
func (w *world) runUntil(end time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.report.Events++
		e.run()
	}
	w.now = end
}

// after runs f once the virtual time d has passed.
func (w *world) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + d, w.seq, f})
}

// between draws a duration.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rnd.Int64N(int64(hi-lo)+1))
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.rnd.IntN(n) == 0 }

// note puts what happens into the hash of the run, and shows it to whoever watches.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.hash.add(uint64(w.now), line)
	if w.opt.Trace != nil {
		w.opt.Trace(fmt.Sprintf("%12v %s", w.now, line))
	}
}

func (w *world) fail(format string, args ...any) {
	panic(&Violation{w.opt.Seed, w.now, fmt.Sprintf(format, args...)})
}

// build makes the nodes, all blank, and starts them at slightly different moments.
func (w *world) build() {
	var members []raft.Member
	for i := range w.opt.Nodes {
		members = append(members, raft.Member{ID: raft.MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("sim:%d", i+1)})
	}
	w.net.init(w.opt.Nodes)
	for i := range w.opt.Nodes {
		n := &node{w: w, id: members[i].ID, members: members,
			rate:   1 + maxDrift*(2*w.rnd.Float64()-1),
			origin: w.between(0, time.Hour)}
		n.incarnation[0], n.incarnation[15] = byte(i+1), byte(w.rnd.Uint32())
		w.nodes = append(w.nodes, n)
		w.after(w.between(0, 200*time.Millisecond), n.start)
	}
}

// propose hands a command to some node now and then; most of them are not the leader and refuse.
func (w *world) propose() {
	w.after(w.between(proposeEvery/2, 2*proposeEvery), w.propose)
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if l := w.leader(); l != nil && !w.chance(8) {
		n = l
	}
	if !n.awake() {
		return
	}
	if w.chance(4) {
		n.read()
	}
	burst := 1
	if w.chance(10) {
		burst = 1 + w.rnd.IntN(40)
	}
	n.propose(burst)
}

// leader returns the node that leads in the highest term, nil for none.
func (w *world) leader() (best *node) {
	for _, n := range w.nodes {
		if n.awake() && n.soft.Role == raft.Leader && (best == nil || n.soft.Term > best.soft.Term) {
			best = n
		}
	}
	return best
}

// checkServing is the end of the liveness phase: there is one leader, everything that it has is applied
// everywhere, and what was acknowledged is in it.
func (w *world) checkServing() {
	l := w.leader()
	if l == nil {
		w.fail("no leader %v after everything healed; %s", w.opt.Heal, w.describe())
	}
	if l.lastAckAt < w.opt.For {
		w.fail("the leader %d has acknowledged nothing since everything healed; %s", l.id, w.describe())
	}
	for _, n := range w.nodes {
		if n.applied+200 < l.applied {
			w.fail("node %d stays behind: applied %d, the leader %d; %s", n.id, n.applied, l.applied, w.describe())
		}
	}
	w.truth.checkAcked(w)
}

func (w *world) describe() string {
	var b strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "[node %d up %v %s term %d leader %d commit %d last %d applied %d recovering %v blank %v] ", n.id, n.core != nil,
			n.soft.Role, n.soft.Term, n.soft.Leader, n.soft.Commit, n.soft.Last, n.applied, n.soft.Recovering, n.soft.Blank)
	}
	return b.String()
}
