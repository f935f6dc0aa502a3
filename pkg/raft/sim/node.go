package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// ref is what the checker keeps of an entry.
type ref struct {
	term   uint64
	digest uint64
}

// node is one member: a real core, when it is up, on a simulated disk and clock.
type node struct {
	w           *world
	id          raft.MemberID
	members     []raft.Member
	incarnation raft.Incarnation
	rate        float64 // of its clock against virtual time
	origin      time.Duration

	core     *raft.Core // nil: down
	life     int        // raised by each start and crash
	soft     raft.SoftState
	disk     disk
	log      []ref // what the core has in its log, durable or not; index i is at i − 1
	applied  uint64
	handed   uint64 // last entry handed out for applying
	applyAt  time.Duration
	frozen   bool
	deferred []func()
	tick     uint64 // number of the timer that counts

	pending   []pending
	reads     []pendingRead
	readID    uint64
	lastAckAt time.Duration
}

// pending is a proposal that this node accepted as the leader.
type pending struct {
	index, term uint64
	command     uint64
}

// pendingRead is a read that waits for its index; floor is the highest index acknowledged to anybody when
// it was asked.
type pendingRead struct {
	id    uint64
	floor uint64
}

// clock is the node's monotonic clock.
func (n *node) clock() time.Duration { return n.clockAt(n.w.now) }

func (n *node) clockAt(t time.Duration) time.Duration {
	return n.origin + time.Duration(float64(t)*n.rate)
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

func (n *node) start() {
	if n.core != nil {
		return
	}
	n.life++
	w := n.w
	tail := len(n.disk.log)
	if tail > 0 && w.chance(2) {
		tail = 1 + w.rnd.IntN(tail) // the rest has to be fetched
	}
	last, lastTerm := n.disk.last()
	r := raft.Restored{HardState: n.disk.hard, First: 1, Last: last, LastTerm: lastTerm, Runs: runs(n.disk.log),
		Tail: slices.Clone(n.disk.log[len(n.disk.log)-tail:])}
	for i := range n.disk.log {
		if e := n.disk.log[i]; e.Kind == raft.EntryConfig {
			r.ConfigPrev, r.Config = r.Config, &e
		}
	}
	var cluster raft.ClusterID
	binary.BigEndian.PutUint64(cluster[:], w.rnd.Uint64())
	core, err := raft.New(raft.Config{
		ID: n.id, Members: n.members, Incarnation: n.incarnation, NewClusterID: cluster,
		ElectionTimeoutMin: electionMin, ElectionTimeoutMax: electionMax, HeartbeatThreshold: 0.5,
		CheckQuorum: true, DriftBound: driftBound,
		MaxInflightBytes: 4 << 10, MaxMessageBytes: 1 << 10, MaxUncommittedBytes: 64 << 10, MaxApplyBytes: 8 << 10, MaxTailBytes: 4 << 10,
		Rand: w.rnd.Uint64N,
	}, r, n.clock())
	if err != nil {
		w.fail("node %d does not start: %v", n.id, err)
	}
	w.note("node %d starts: term %d last %d/%d", n.id, n.disk.hard.Term, last, lastTerm)
	n.core, n.frozen, n.deferred = core, false, nil
	n.soft = raft.SoftState{Term: n.disk.hard.Term, Commit: 0, Last: last}
	n.applied, n.handed, n.applyAt = 0, 0, w.now
	n.pending, n.reads = nil, nil
	n.log = n.log[:0]
	for _, e := range n.disk.log {
		n.log = append(n.log, ref{e.Term, digest(e)})
	}
	n.turn()
}

func runs(log []raft.Entry) (rs []raft.TermRun) {
	for _, e := range log {
		if len(rs) == 0 || rs[len(rs)-1].Term != e.Term {
			rs = append(rs, raft.TermRun{First: e.Index, Term: e.Term})
		}
	}
	return rs
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
	n.crash()
}

// turn carries out what the core wants done, in the order in which the daemon does it.
func (n *node) turn() {
	w := n.w
	out := n.core.Output()
	if out.Append != nil {
		n.append(out.Append)
	}
	n.checkState(out.State)
	for _, m := range out.Send {
		n.checkPromise(m)
		w.send(n, m)
	}
	if out.Append != nil {
		n.write(out.Append)
	}
	if len(out.Apply) > 0 {
		n.apply(out.Apply)
	}
	for _, r := range out.Reads {
		n.readDone(r)
	}
	for _, f := range out.Fetch {
		n.fetch(f)
	}
	n.checkLeases()
	n.arm()
}

// arm sets the timer to the core's next instant.
func (n *node) arm() {
	n.tick++
	tick, life := n.tick, n.life
	local := n.core.NextTick()
	at := time.Duration(float64(local-n.origin)/n.rate) + time.Microsecond
	n.w.after(max(at-n.w.now, time.Microsecond), func() {
		if life != n.life {
			return
		}
		n.whenAwake(func() {
			if tick != n.tick {
				return
			}
			n.core.Tick(n.clock())
			n.turn()
		})
	})
}

// append follows the core's log.
func (n *node) append(b *raft.AppendBatch) {
	if b.TruncateAfter > uint64(len(n.log)) {
		n.w.fail("node %d: batch %d leaves a hole: truncates after %d, last is %d", n.id, b.Seq, b.TruncateAfter, len(n.log))
	}
	if b.TruncateAfter < n.soft.Commit && b.TruncateAfter < uint64(len(n.log)) {
		n.w.fail("node %d cuts its log after %d, but %d is committed", n.id, b.TruncateAfter, n.soft.Commit)
	}
	n.log = n.log[:b.TruncateAfter]
	for i := range b.Entries {
		e := b.Entries[i]
		if e.Index != uint64(len(n.log))+1 {
			n.w.fail("node %d: batch %d has entry %d behind %d", n.id, b.Seq, e.Index, len(n.log))
		}
		prev := ref{}
		if len(n.log) > 0 {
			prev = n.log[len(n.log)-1]
		}
		n.log = append(n.log, ref{e.Term, digest(e)})
		n.w.truth.appended(n.w, n.id, e, prev)
	}
}

// apply applies entries after a while, in order.
func (n *node) apply(es []raft.Entry) {
	w, life := n.w, n.life
	for _, e := range es {
		if e.Index != n.handed+1 {
			w.fail("node %d is to apply %d behind %d", n.id, e.Index, n.handed)
		}
		n.handed = e.Index
		if e.Index > n.soft.Commit {
			w.fail("node %d is to apply %d, but has committed %d", n.id, e.Index, n.soft.Commit)
		}
	}
	n.applyAt = max(n.applyAt, w.now) + w.between(10*time.Microsecond, time.Millisecond)
	w.after(n.applyAt-w.now, func() {
		if life != n.life {
			return
		}
		n.whenAwake(func() {
			if life != n.life {
				return
			}
			for _, e := range es {
				w.truth.appliedOne(w, n.id, e)
				n.applied = e.Index
				n.acknowledge(e)
			}
			n.core.ApplyDone(n.applied)
			n.turn()
		})
	})
}

// acknowledge answers the client of an entry that this node proposed.
func (n *node) acknowledge(e raft.Entry) {
	for len(n.pending) > 0 && n.pending[0].index <= e.Index {
		p := n.pending[0]
		n.pending = n.pending[1:]
		if p.index == e.Index && p.term == e.Term {
			n.w.truth.acked = append(n.w.truth.acked, p)
			n.w.truth.highestAck = max(n.w.truth.highestAck, p.index)
			n.w.report.Acked++
			n.lastAckAt = n.w.now
		}
	}
}

func (n *node) propose(burst int) {
	var ps []raft.Proposal
	first := n.w.truth.nextCommand
	for i := range burst {
		data := make([]byte, 8+n.w.rnd.IntN(120))
		binary.BigEndian.PutUint64(data, first+uint64(i))
		ps = append(ps, raft.Proposal{Kind: raft.EntryCommand, Wall: int64(n.w.now), Data: data})
	}
	index, term, err := n.core.Propose(ps, n.clock())
	if err == nil {
		n.w.truth.nextCommand += uint64(burst)
		n.w.report.Proposals += burst
		// A proposal of a lost term can't stand behind one of this term with a lower index.
		n.pending = slices.DeleteFunc(n.pending, func(p pending) bool { return p.index >= index })
		for i := range burst {
			n.pending = append(n.pending, pending{index + uint64(i), term, first + uint64(i)})
		}
	}
	n.turn()
}

func (n *node) read() {
	n.readID++
	n.reads = append(n.reads, pendingRead{n.readID, n.w.truth.highestAck})
	n.core.ReadIndex(n.readID, n.clock())
	n.turn()
}

func (n *node) readDone(r raft.ReadState) {
	i := slices.IndexFunc(n.reads, func(p pendingRead) bool { return p.id == r.ID })
	if i < 0 {
		n.w.fail("node %d answers the read %d that nobody waits for", n.id, r.ID)
	}
	floor := n.reads[i].floor
	n.reads = slices.Delete(n.reads, i, i+1)
	if r.Err != nil {
		return
	}
	n.w.report.Reads++
	if r.Index < floor {
		n.w.fail("stale read on node %d: index %d, but %d was acknowledged before it was asked", n.id, r.Index, floor)
	}
}

// fetch reads entries that the core has no longer in memory; they must be durable.
func (n *node) fetch(f raft.FetchRequest) {
	life := n.life
	n.w.after(n.w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if life != n.life {
			return
		}
		n.whenAwake(func() {
			if life != n.life {
				return
			}
			var es []raft.Entry
			size := 0
			for i := f.Lo; i < f.Hi && i <= uint64(len(n.disk.log)); i++ {
				e := n.disk.log[i-1]
				size += e.Size()
				if len(es) > 0 && size > f.MaxBytes {
					break
				}
				es = append(es, e)
			}
			if len(es) == 0 && f.Hi <= uint64(len(n.log)) && n.soft.Role == raft.Leader {
				n.w.fail("node %d asks for %d to %d, of which nothing is durable", n.id, f.Lo, f.Hi)
			}
			n.core.Fetched(f.To, f.Lo, es, n.clock())
			n.turn()
		})
	})
}
