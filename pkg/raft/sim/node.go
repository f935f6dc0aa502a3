package sim

import (
	"encoding/binary"
	"slices"
	"time"

	replicated "github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// node is one directory and the process on it: a real core, when it is up, on a simulated disk and clock. A member
// that is replaced gets another node.
type node struct {
	w              *world
	id             raft.MemberID
	flags          []raft.Member // the members that it is started with; nil: it joins
	incarnation    raft.Incarnation
	rnd            stream        // of the process: its core, its clock, what it does by itself
	rate           float64       // of its clock against virtual time
	shown, shownAt time.Duration // what its clock showed at a moment
	wallOff        time.Duration // by how much its wall clock is wrong
	lag            time.Duration // by which its timers are late
	patience       uint64        // entries after which it takes a snapshot
	rounds         int           // of warm-up, that it gives as a leader
	keepsState     bool          // its state machine is a durable one
	gone           bool          // this directory never comes back
	refused        error         // why the directory is not opened; it stays down until an operator does something
	held           bool          // it stays as bad as it is, whatever was planned
	aside          bool          // it does not stand because its disk stalls

	core     *raft.Core    // nil: down
	timeout  time.Duration // the lowest election timeout that it was started with
	life     int           // raised by each start and crash
	soft     raft.SoftState
	contacts uint32 // bit by ID: whom the core wants to be in touch with
	disk     disk
	writer   pipeline.Writer
	log      segment // what the core has in its log, durable or not
	configs  []*configEntry
	// unchecked are those that this node, as the leader, appended in this turn.
	unchecked []*configEntry
	machine   machine
	handed    uint64 // last entry handed out for applying
	applyAt   time.Duration
	saving    bool // a snapshot is being taken
	frozen    bool
	deferred  []func()
	tick      uint64 // number of the timer that counts

	asked     [maxID + 1]ask
	sessions  [maxID + 1]session
	pending   pipeline.Proposals[proposal]
	deciding  []pipeline.Proposal[proposal] // those that the entries decide which are being applied
	marks     [maxID + 1]seen               // what it saw of its peers
	met       [maxID + 1]int                // life of a peer at the last handshake
	reads     []pendingRead
	lookers   []looker
	reign     *reign             // nil: it does not lead, as far as its service knows
	recent    []replicated.Event // the last ones
	readID    uint64
	lastAckAt time.Duration
}

// newNode makes an empty directory for a member, in the place of the one that there is. It is not started.
func (w *world) newNode(id raft.MemberID, flags []raft.Member) *node {
	if old := w.byID[id]; old != nil {
		old.stop()
		old.gone = true
		old.disk.keepForTheRecord(raft.Incarnation{})
		for _, h := range old.disk.lost {
			w.ghosts[id] = append(w.ghosts[id], held{old.incarnation, h.log})
		}
	}
	w.born[id]++
	which := uint64(id)<<32 | w.born[id]
	n := &node{w: w, id: id, flags: flags, rnd: newStream(w.opt.Seed, "node", which)}
	n.disk.rnd = newStream(w.opt.Seed, "disk", which)
	n.disk.part = 2 + n.disk.rnd.intn(20)
	n.rate = n.drawRate(&n.rnd)
	n.shown, n.shownAt = n.rnd.between(0, time.Hour), w.now
	n.patience = 20 + n.rnd.below(300)
	n.rounds, n.keepsState = 1+n.rnd.intn(10), n.rnd.chance(3)
	binary.BigEndian.PutUint64(n.incarnation[:], uint64(id))
	binary.BigEndian.PutUint64(n.incarnation[8:], n.rnd.next()|1)
	n.restoreConfigs()
	w.byID[id] = n
	w.nodes = w.nodes[:0]
	for _, o := range w.byID {
		if o != nil {
			w.nodes = append(w.nodes, o)
		}
	}
	return n
}

func (n *node) awake() bool { return n.core != nil && !n.frozen }

// whenAwake runs f now, or when the node thaws; a crash in between forgets it.
func (n *node) whenAwake(f func()) {
	switch {
	case n.core == nil:
	case n.frozen:
		n.deferred = append(n.deferred, f)
	default:
		f()
	}
}

// later runs f after a while, if this life of the process lasts until then, and as soon as it is awake.
func (n *node) later(d time.Duration, f func()) {
	life := n.life
	n.w.after(d, func() {
		if life == n.life {
			n.whenAwake(func() {
				if life == n.life {
					f()
				}
			})
		}
	})
}

func (n *node) start() {
	if n.core != nil || n.gone || n.held || n.refused != nil {
		return
	}
	n.life++
	w, d := n.w, &n.disk
	st, ok := n.open()
	if !ok {
		if n.rnd.chance(4) {
			w.after(n.rnd.between(time.Second, 5*time.Second), n.putBack)
		}
		return
	}
	r := n.restored(&st)
	var cluster raft.ClusterID
	binary.BigEndian.PutUint64(cluster[:], n.rnd.next())
	core, err := raft.New(raft.Config{
		ID: n.id, Members: n.flags, Incarnation: n.incarnation, NewClusterID: cluster,
		ElectionTimeoutMin: w.timeout, ElectionTimeoutMax: 2 * w.timeout, HeartbeatThreshold: 0.5,
		CheckQuorum: w.checkQuorum, DriftBound: w.driftBound, WarmupRounds: n.rounds,
		MaxInflightBytes: 4 << 10, MaxMessageBytes: 1 << 10, MaxUncommittedBytes: 64 << 10, MaxApplyBytes: 8 << 10, MaxTailBytes: 4 << 10,
		Rand: n.rnd.below,
	}, r, n.clock())
	if err != nil {
		w.fail("node %d does not start: %v", n.id, err)
	}
	w.note("node %d starts: term %d base %d last %d/%d, applied %d, mark %v", n.id, d.hard.Term, d.base, r.Last, r.LastTerm, r.Applied, d.mark)
	n.core, n.frozen, n.deferred, n.timeout = core, false, nil, w.timeout
	n.writer = pipeline.NewWriter(d.hard, r.Last, 256<<n.rnd.intn(9))
	n.soft = raft.SoftState{Term: d.hard.Term, Commit: 0, Last: r.Last}
	n.applyAt, n.saving, n.aside = w.now, false, false
	n.pending, n.deciding, n.reads, n.lookers = pipeline.Proposals[proposal]{}, nil, nil, nil
	n.marks, n.met = [maxID + 1]seen{}, [maxID + 1]int{}
	n.log = segment{d.base, d.baseRef, slices.Clone(d.refs)}
	n.restoreConfigs()
	n.noteContacts()
	n.turn()
}

// restored is what the daemon's storage finds, and sets the state machine to what it has.
func (n *node) restored(st *storage.State) raft.Restored {
	d, w := &n.disk, n.w
	r := raft.Restored{HardState: st.HardState, Base: st.Base, First: st.First, Last: st.Last, LastTerm: st.LastTerm, Runs: st.Runs,
		Config: st.Config, ConfigPrev: st.ConfigPrev, Recovering: st.Recovering}
	if tail := len(d.refs); tail > 0 {
		if n.rnd.chance(2) {
			tail = 1 + n.rnd.intn(tail) // the rest has to be fetched
		}
		for i := st.Last - uint64(tail) + 1; i <= st.Last; i++ {
			r.Tail = append(r.Tail, *d.entry(i))
		}
	}
	// What was received and is not installed is not what this log goes on from.
	n.machine = newMachine(n.flags)
	if s := d.snap; s != nil {
		r.Snapshot, n.machine = &s.meta, s.load(w)
		n.checkHash()
	}
	if m := d.machine; m != nil && m.applied > n.machine.applied && m.applied <= d.segment.last() {
		if at, _ := d.segment.at(m.applied); at.term == m.term {
			n.machine = *m // and goes on from there: nobody else has it
			d.machine = nil
			w.operated("restart from the machine's own state")
		}
	}
	r.Applied, n.handed = n.machine.applied, n.machine.applied
	return r
}

// stop is a crash of the process together with its machine: unsynced writes are lost.
func (n *node) stop() {
	if n.core == nil {
		return
	}
	n.w.note("node %d crashes", n.id)
	n.core, n.frozen, n.deferred = nil, false, nil
	n.life++
	n.soft = raft.SoftState{}
	n.reign, n.recent = nil, nil
	n.crash()
	n.disk.machine = nil
	if n.keepsState {
		m := n.machine
		n.disk.machine = &m
	}
}

// turn carries out what the core wants done, in the order in which the daemon does it.
func (n *node) turn() {
	w := n.w
	out := n.core.Output()
	if out.Append != nil {
		n.append(out.Append)
	}
	n.checkState(out.State)
	for i := range out.Send {
		n.emit(&out.Send[i])
	}
	if out.Append != nil {
		n.write(pipeline.Item{Batch: *out.Append})
	}
	if out.Restore != nil {
		n.restore(out.Restore)
	}
	if len(out.Apply) > 0 {
		n.apply(out.Apply)
	}
	n.pending.Lose(&out.State, lost)
	if k := n.pending.Len(); k > 0 && out.State.Role != raft.Leader {
		w.fail("node %d does not lead any more, and %d wait for it to tell what became of their proposals", n.id, k)
	}
	for _, r := range out.Reads {
		n.readDone(r)
	}
	for _, f := range out.Fetch {
		n.fetch(f)
	}
	w.checkLeases(n)
	n.arm()
	n.followLeadership()
}

// emit lets a message leave.
func (n *node) emit(m *raft.Message) {
	n.checkPromise(m)
	if m.Type == raft.MsgSnapshot {
		n.carry(*m)
		return
	}
	n.w.send(n, *m)
}

// arm sets the timer to the core's next instant.
func (n *node) arm() {
	n.tick++
	tick := n.tick
	local := n.core.NextTick()
	wait := time.Duration(float64(local-n.clock())/n.rate) + n.lag
	n.later(max(wait, 0)+time.Microsecond, func() {
		if tick == n.tick {
			n.core.Tick(n.clock())
			n.turn()
		}
	})
}

// append follows the core's log.
func (n *node) append(b *raft.AppendBatch) {
	w := n.w
	if b.Snapshot != nil {
		n.checkInstall(b)
		n.log = segment{base: b.Snapshot.Index, baseRef: w.truth.committed[b.Snapshot.Index-1].ref}
		n.configs = []*configEntry{w.truth.configAt(b.Snapshot.ConfigIndex)}
	}
	switch last := n.log.last(); {
	case !b.MustWrite && (len(b.Entries) > 0 || b.TruncateAfter != last || b.Snapshot != nil):
		w.fail("node %d: batch %d changes the log and need not be written", n.id, b.Seq)
	case b.TruncateAfter > last:
		w.fail("node %d: batch %d leaves a hole: truncates after %d, last is %d", n.id, b.Seq, b.TruncateAfter, last)
	case b.TruncateAfter < n.soft.Commit && b.TruncateAfter < last:
		w.fail("node %d cuts its log after %d, but %d is committed", n.id, b.TruncateAfter, n.soft.Commit)
	}
	n.log.cut(b.TruncateAfter)
	for k := len(n.configs); k > 1 && n.configs[k-1].index > b.TruncateAfter; k-- {
		n.configs = n.configs[:k-1]
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Index != n.log.last()+1 {
			w.fail("node %d: batch %d has entry %d behind %d", n.id, b.Seq, e.Index, n.log.last())
		}
		prev, _ := n.log.at(n.log.last())
		self := ref{e.Term, digest(e)}
		w.truth.appended(w, n, e, self, prev)
		n.log.refs = append(n.log.refs, self)
		if e.Kind == raft.EntryConfig {
			n.configs = append(n.configs, w.truth.configs[position{e.Index, e.Term}])
		}
	}
	if at := b.TruncateAfter + uint64(len(b.Entries)); b.Last != at {
		w.fail("node %d: batch %d says that the log ends at %d; it is %d", n.id, b.Seq, b.Last, at)
	}
}

// apply applies entries after a while, in order.
func (n *node) apply(es []raft.Entry) {
	w := n.w
	for i := range es {
		e := &es[i]
		if e.Index != n.handed+1 {
			w.fail("node %d is to apply %d behind %d", n.id, e.Index, n.handed)
		}
		n.handed = e.Index
		if e.Index > n.soft.Commit {
			w.fail("node %d is to apply %d, but has committed %d", n.id, e.Index, n.soft.Commit)
		}
	}
	n.applyAt = max(n.applyAt, w.now) + n.rnd.between(10*time.Microsecond, time.Millisecond)
	deciding := n.pending.Match(es, lost)
	n.later(n.applyAt-w.now, func() {
		n.deciding = deciding
		for i := range es {
			n.applyOne(&es[i])
		}
		n.core.ApplyDone(n.machine.applied)
		n.considerSnapshot()
		n.turn()
	})
}

// fetch reads entries that the core has no longer in memory; they must be durable, or cut meanwhile.
func (n *node) fetch(f raft.FetchRequest) {
	n.later(n.rnd.between(100*time.Microsecond, 5*time.Millisecond), func() {
		d := &n.disk
		var es []raft.Entry
		size := 0
		for i := f.Lo; i > d.base && i < f.Hi && i <= d.segment.last(); i++ {
			e := *d.entry(i)
			size += e.Size()
			if len(es) > 0 && size > f.MaxBytes {
				break
			}
			es = append(es, e)
		}
		if len(es) == 0 && f.Lo > n.log.base && f.Hi <= n.log.last() && n.soft.Role == raft.Leader {
			n.w.fail("node %d asks for %d to %d, of which nothing is durable", n.id, f.Lo, f.Hi)
		}
		n.core.Fetched(f.To, f.Lo, es, n.clock())
		n.turn()
	})
}
