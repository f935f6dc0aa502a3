package sim

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// Options say what is simulated. The zero value of a field that has a default stands for it.
type Options struct {
	Seed  uint64
	Pace  Pace          // how dense what happens is; Storm
	Nodes int           // static members of the first start; 3
	For   time.Duration // virtual time under faults; 20 s, 1 h of the long pace
	Heal  time.Duration // virtual time without faults, in which the cluster must serve again; 10 s
	// Keep tells whether a decision is carried out; nil: all are.
	Keep func(Decision) bool
	// History judges the histories of the locks, window by window; its error is a violation. nil: nobody does.
	History func(Window) error
	// Trace is told every event, for people.
	Trace func(string)

	// planted is told every fault: a test of the shrinker makes a run fail by it.
	planted func(w *world, kind string)
	// unproven has any node answer any read from what it has applied, and the observer say nothing of it: a test of the
	// histories.
	unproven bool
}

// Report says what a run covered.
type Report struct {
	Seed      uint64
	Events    int
	Virtual   time.Duration
	Proposals int
	Acked     int
	Reads     int
	Leaders   int            // terms that had a leader
	Entries   int            // committed
	Faults    map[string]int // by kind
	Ops       map[string]int // by kind: what operators asked for, and what it led to
	ClientOps int            // of clients: what was answered
	Windows   int            // of the locks' histories
	WindowOps int            // operations in them
	Counting  time.Duration  // of Virtual: the minutes in which enough happened, see leastOps
	Decided   [chains]uint64 // decisions, by chain
	Hash      uint64         // of the whole run, event by event
}

// Violation is a broken invariant.
type Violation struct {
	Seed uint64
	At   time.Duration
	What string
	args string // of the test, to see it again
}

// Error says what broke and how to see it again.
func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d at %v: %s\nreplay: %s", v.Seed, v.At, v.What, command(v.args))
}

// command is how people run it again.
func command(args string) string {
	return "go test ./pkg/raft/sim -run '^TestSeeds$' -v -args " + args + " -sim.trace"
}

// args are the arguments of the test that give this run, with all of its decisions.
func (opt *Options) args() string {
	return fmt.Sprintf("-sim.seed=%d -sim.seeds=1 -sim.pace=%s -sim.nodes=%d -sim.for=%v", opt.Seed, opt.Pace.Name, opt.Nodes, opt.For)
}

// The shape of time in a run.
const (
	electionMin = 150 * time.Millisecond // the lowest election timeout, or twice as much; the highest is twice the lowest
	electionMax = 2 * electionMin
	// quiet is the end of a run: every repair is over, and nobody may stand for election any more.
	quiet = 2 * time.Second
)

// Pace says how dense a run is.
type Pace struct {
	Name                     string
	Disturb, Operate, Client time.Duration // about so much time lies between two acts
}

var (
	// Storm lets one thing happen upon the other, for seconds.
	Storm = Pace{"storm", 400 * time.Millisecond, 250 * time.Millisecond, 12 * time.Millisecond}
	// Long is an hour like that of a real cluster that has bad luck: some faults and some tens of client operations a minute.
	Long = Pace{"long", 10 * time.Second, 40 * time.Second, 1500 * time.Millisecond}
)

// The size of a cluster.
const (
	maxID      = 9 // the IDs that operators give
	maxMembers = 7
)

// world is one run.
type world struct {
	opt     Options
	act     *stream           // of the decision that is being carried out
	decided [chains]uint64    // decisions so far, by chain
	born    [maxID + 1]uint64 // directories so far, by ID
	kinds   swarm
	// What the cores are configured with.
	drift       float64       // of each clock from true time, at most
	driftBound  float64       // that of two from each other
	timeout     time.Duration // the lowest election timeout of whoever starts now
	checkQuorum bool
	// wildClocks: clocks may break the bound, and a lease promises nothing.
	wildClocks bool
	now        time.Duration
	queue      eventQueue
	seq        uint64
	static     []raft.Member      // the flags of the first start
	nodes      []*node            // all that run or may run again, members or not, by ID
	byID       [maxID + 1]*node   // nil: there is none
	items      map[position]*item // entries as they are stored
	link       []byte             // memory for one of them
	ghosts     [maxID + 1][]held  // what directories that are gone had
	net        network
	truth      *truth
	bus        bus
	clients    []*client
	seen       *observer
	// clientDrift is the drift that clients allow for; timely says that no clock drifts more.
	clientDrift float64
	timely      bool
	lateWrites  int
	parties     uint64 // of barriers
	rolling     bool   // members begin with the first version of commands, and are upgraded one after the other
	report      Report
	minute      minute
	hash        fnv
	faulty      bool // faults and the chaos of the network are on
	// calm is the end of a run: nobody may stand any more. It has the leader of calmTerm from calmFrom on.
	calm     bool
	calmTerm uint64
	calmFrom time.Duration
	idle     bool // clients ask for nothing new any more
	silent   bool // there are no clients any more
}

// withDefaults fills what is zero.
func (opt Options) withDefaults() Options {
	if opt.Nodes == 0 {
		opt.Nodes = 3
	}
	if opt.Pace == (Pace{}) {
		opt.Pace = Storm
	}
	if opt.For == 0 {
		if opt.For = 20 * time.Second; opt.Pace == Long {
			opt.For = time.Hour
		}
	}
	if opt.Heal == 0 {
		opt.Heal = 10 * time.Second
	}
	return opt
}

// Run simulates one seed. The error is a *Violation.
func Run(opt Options) (rep Report, err error) {
	opt = opt.withDefaults()
	begin := newStream(opt.Seed, "begin", 0)
	w := &world{opt: opt, items: map[position]*item{}, act: &begin, hash: fnvBegin, faulty: true,
		report: Report{Seed: opt.Seed, Faults: map[string]int{}, Ops: map[string]int{}}}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *Violation:
			err = p
		default:
			// An assertion of the core is a violation like any other.
			err = &Violation{opt.Seed, w.now, fmt.Sprintf("panic: %v\n%s", p, stack()), opt.args()}
		}
		w.report.Virtual, w.report.Hash, w.report.Leaders = w.now, uint64(w.hash), len(w.truth.leaders)
		w.report.Entries = len(w.truth.committed)
		w.report.Decided = w.decided
		rep = w.report
	}()
	w.build()
	w.after(opt.Pace.Client, w.propose)
	w.after(opt.Pace.Disturb, w.disturb)
	w.after(opt.Pace.Operate, w.operate)
	w.runUntil(opt.For)
	w.liveWithout(opt.For + majorityTime)
	healed := w.now
	w.heal()
	w.runUntil(healed + opt.Heal - quiet)
	w.calmDown()
	w.keepProposing(healed + opt.Heal - electionMax)
	w.runUntil(healed + opt.Heal)
	w.checkServing()
	w.tally(w.now)
	w.fallSilent()
	return w.report, nil
}

// runUntil carries out every event up to the instant.
func (w *world) runUntil(end time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.queue.pop()
		for e.at >= w.minute.began+time.Minute {
			w.tally(w.minute.began + time.Minute)
		}
		w.now = e.at
		w.report.Events++
		e.run()
	}
	w.now = end
}

// after runs f once the virtual time d has passed.
func (w *world) after(d time.Duration, f func()) {
	w.seq++
	w.queue.push(event{w.now + d, w.seq, f})
}

// note puts what happens into the hash of the run, and shows it to whoever watches.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.hash = w.hash.line(w.now, line)
	w.show("%s", line)
}

// show is for whoever watches alone.
func (w *world) show(format string, args ...any) {
	if w.opt.Trace != nil {
		w.opt.Trace(fmt.Sprintf("%12v %s", w.now, fmt.Sprintf(format, args...)))
	}
}

func (w *world) fail(format string, args ...any) {
	panic(&Violation{w.opt.Seed, w.now, fmt.Sprintf(format, args...), w.opt.args()})
}

// build makes the first nodes, all blank, and starts them at slightly different moments.
func (w *world) build() {
	for i := range w.opt.Nodes {
		w.static = append(w.static, raft.Member{ID: raft.MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("sim:%d", i+1)})
	}
	w.truth = newTruth(w.static)
	w.net.begin(w.opt.Seed)
	w.net.calm()
	w.kinds = w.chooseFaults()
	w.configure()
	w.serve()
	for i := range w.static {
		n := w.newNode(w.static[i].ID, w.static)
		w.after(w.between(0, 200*time.Millisecond), n.start)
	}
}

// configure draws what the cores are told. The drift bound follows from the drift that is simulated.
func (w *world) configure() {
	rnd := newStream(w.opt.Seed, "configuration", 0)
	w.drift = []float64{0, 0.02, 0.045, 0.1, 0.2}[rnd.intn(5)]
	w.driftBound = (1+w.drift)/(1-w.drift) + 0.001
	w.timeout = electionMin
	w.checkQuorum = !rnd.chance(8)
	w.wildClocks = rnd.chance(5)
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

// anyNode draws one that exists.
func (w *world) anyNode() *node { return w.nodes[w.act.intn(len(w.nodes))] }
