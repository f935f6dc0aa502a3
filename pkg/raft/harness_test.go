package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// host runs one core with a disk and a state machine in memory.
type host struct {
	c       *Core
	id      MemberID
	cfg     Config
	inc     Incarnation
	rnd     *rand.Rand
	patient bool // always draws the longest election timeout
	eager   bool // always draws the shortest

	// The disk: what is durable, and the batches that wait while manual is set.
	hard    HardState
	base    Mark
	snap    *SnapshotMeta // the newest snapshot
	log     []Entry       // behind base
	manual  bool
	batches []*AppendBatch

	applied   []Entry // behind restored
	since     uint64
	holdApply bool
	reads     []ReadState
	state     SoftState
	down      bool
}

// network connects hosts in virtual time. Messages arrive in order and at once, unless a test says
// otherwise.
type network struct {
	t     *testing.T
	hosts []*host
	now   time.Duration
	queue []Message
	// drop decides on each message when it is sent.
	drop func(m Message) bool
	// holdSnapshotDone leaves it to the test to say what became of snapshots.
	holdSnapshotDone bool
	// seen is told of each message when it is delivered.
	seen func(m Message)
}

type option func(*Config)

func members(n int) []Member {
	var ms []Member
	for i := range n {
		ms = append(ms, Member{ID: MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1)})
	}
	return ms
}

// newNetwork makes n blank members of one static start.
func newNetwork(t *testing.T, n int, opts ...option) *network {
	nw := &network{t: t, now: time.Hour}
	for i := range n {
		h := &host{id: MemberID(i + 1), inc: Incarnation{byte(i + 1)}, rnd: rand.New(rand.NewPCG(uint64(i), uint64(n)))}
		h.cfg = Config{ID: h.id, Members: members(n), CheckQuorum: true, Incarnation: h.inc, NewClusterID: ClusterID{byte(i + 1), 7}, Rand: h.draw}
		for _, o := range opts {
			o(&h.cfg)
		}
		nw.hosts = append(nw.hosts, h)
		nw.start(h)
	}
	return nw
}

func (h *host) draw(n uint64) uint64 {
	switch {
	case h.patient:
		return n - 1
	case h.eager:
		return 0
	}
	return h.rnd.Uint64N(n)
}

func (nw *network) host(id MemberID) *host { return nw.hosts[id-1] }
func (nw *network) core(id MemberID) *Core { return nw.host(id).c }

// restored is what the host's storage finds.
func (h *host) restored(tail int) Restored {
	r := Restored{HardState: h.hard, Snapshot: h.snap, Base: h.base, First: h.base.Last + 1, Last: h.last(), LastTerm: h.base.LastTerm}
	for i := range h.log {
		e := h.log[i]
		if n := len(r.Runs); n == 0 || r.Runs[n-1].Term != e.Term {
			r.Runs = append(r.Runs, TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == EntryConfig {
			r.ConfigPrev, r.Config = r.Config, &e
		}
		r.LastTerm = e.Term
	}
	r.Tail = h.log[max(0, len(h.log)-tail):]
	return r
}

// start begins a life of a host with what its disk holds.
func (nw *network) start(h *host) {
	nw.t.Helper()
	c, err := New(h.cfg, h.restored(1<<30), nw.now)
	if err != nil {
		nw.t.Fatal(err)
	}
	h.c, h.down, h.applied, h.since, h.batches, h.reads = c, false, nil, 0, nil, nil
	if h.snap != nil {
		h.since = h.snap.Index
	}
}

// last is the index of the last durable entry.
func (h *host) last() uint64 { return h.base.Last + uint64(len(h.log)) }

// at is the durable entry at an index.
func (h *host) at(index uint64) Entry { return h.log[index-h.base.Last-1] }

// lastApplied is the index of the last applied entry.
func (h *host) lastApplied() uint64 { return h.since + uint64(len(h.applied)) }

// snapshot takes one of everything applied, and cuts the log behind keep entries before it.
func (nw *network) snapshot(id MemberID, keep uint64) {
	nw.t.Helper()
	h := nw.host(id)
	index := h.lastApplied()
	conf, at := h.c.configs.active(index).conf, h.c.configs.active(index).index
	e := h.at(index)
	h.snap = &SnapshotMeta{Index: index, Term: e.Term, Time: e.Time, ConfigIndex: at, Config: conf.Clone()}
	h.c.SetSnapshot(*h.snap, nw.now)
	if index <= keep || index-keep <= h.base.Last {
		return
	}
	cut := min(index-keep, h.last()-1)
	mark := Mark{LastTerm: h.at(cut).Term, Last: cut}
	h.log = slices.Clone(h.log[cut-h.base.Last:])
	h.base = mark
	h.c.Compacted(cut, nw.now)
}

// crash ends a life: what is not durable is lost.
func (nw *network) crash(id MemberID) {
	h := nw.host(id)
	h.down, h.batches = true, nil
	nw.queue = slices.DeleteFunc(nw.queue, func(m Message) bool { return m.To == id })
}

// write makes a host's oldest batch durable.
func (nw *network) write(h *host) {
	b := h.batches[0]
	h.batches = h.batches[1:]
	if s := b.Snapshot; s != nil {
		if b.TruncateAfter != s.Index || !b.MustWrite {
			nw.t.Fatalf("host %d: batch %+v puts a snapshot at %d in place of the log", h.id, b, s.Index)
		}
		h.base, h.snap, h.log = s.Mark(), s, nil
	}
	if h.last() < b.TruncateAfter || b.TruncateAfter < h.base.Last || (!b.MustWrite && (len(b.Entries) > 0 || h.last() != b.TruncateAfter)) {
		nw.t.Fatalf("host %d: batch %+v does not fit a log of %d entries", h.id, b, h.last())
	}
	if b.MustWrite {
		keep := b.TruncateAfter - h.base.Last
		h.hard = b.HardState
		h.log = append(h.log[:keep:keep], b.Entries...)
	}
	if h.last() != b.Last || h.hard.Commit > b.Last {
		nw.t.Fatalf("host %d: batch ends at %d, log at %d, commit is %d", h.id, b.Last, h.last(), h.hard.Commit)
	}
	nw.post(h, b.ThenSend)
	h.c.AppendDone(b.Seq, b.LastTerm, b.Last, nw.now)
}

func (nw *network) post(h *host, ms []Message) {
	for _, m := range ms {
		if m.From != h.id || m.To == h.id {
			nw.t.Fatalf("host %d sends %+v", h.id, m)
		}
		m.Incarnation = h.inc
		if m.Type == MsgSnapshot {
			// The network brings it or loses it, and the sender learns which.
			lost := nw.drop != nil && nw.drop(m)
			if !lost {
				nw.queue = append(nw.queue, m)
			}
			if !nw.holdSnapshotDone {
				h.c.SnapshotDone(m.To, m.Snapshot.Index, !lost, nw.now)
			}
			continue
		}
		if nw.drop == nil || !nw.drop(m) {
			nw.queue = append(nw.queue, m)
		}
	}
}

// turn carries out one output of a host and reports whether there was anything in it.
func (nw *network) turn(h *host) bool {
	out := h.c.Output()
	h.state = out.State
	nw.post(h, out.Send)
	if out.Append != nil {
		h.batches = append(h.batches, out.Append)
	}
	for !h.manual && len(h.batches) > 0 {
		nw.write(h)
	}
	if s := out.Restore; s != nil {
		if s.Index <= h.lastApplied() {
			nw.t.Fatalf("host %d goes back from %d to a snapshot at %d", h.id, h.lastApplied(), s.Index)
		}
		h.applied, h.since = nil, s.Index
	}
	for _, e := range out.Apply {
		if e.Index != h.lastApplied()+1 {
			nw.t.Fatalf("host %d applies index %d after %d", h.id, e.Index, h.lastApplied())
		}
		h.applied = append(h.applied, e)
	}
	if (len(out.Apply) > 0 || out.Restore != nil) && !h.holdApply {
		h.c.ApplyDone(h.lastApplied())
	}
	h.reads = append(h.reads, out.Reads...)
	for _, f := range out.Fetch {
		var es []Entry
		bytes := 0
		for i := f.Lo; i > h.base.Last && i < f.Hi && i <= h.last(); i++ {
			e := h.at(i)
			if bytes += e.Size(); len(es) > 0 && bytes > f.MaxBytes {
				break
			}
			es = append(es, e)
		}
		h.c.Fetched(f.To, f.Lo, es, nw.now)
	}
	return len(out.Send) > 0 || out.Append != nil || len(out.Apply) > 0 || len(out.Reads) > 0 || len(out.Fetch) > 0
}

// settle lets everything happen that happens without time.
func (nw *network) settle() {
	nw.t.Helper()
	for range 100_000 {
		busy := false
		for _, h := range nw.hosts {
			if !h.down && nw.turn(h) {
				busy = true
			}
		}
		queue := nw.queue
		nw.queue = nil
		for _, m := range queue {
			busy = true
			if nw.seen != nil {
				nw.seen(m)
			}
			if h := nw.host(m.To); !h.down {
				h.c.Step(m, nw.now)
			}
		}
		if !busy {
			return
		}
	}
	nw.t.Fatal("the cluster never comes to rest")
}

// pass lets time pass, with every timer on time.
func (nw *network) pass(d time.Duration) {
	nw.t.Helper()
	nw.passUntil(d, func() bool { return false })
}

// passUntil lets time pass until something holds, at most d; it reports whether it does.
func (nw *network) passUntil(d time.Duration, done func() bool) bool {
	nw.t.Helper()
	end := nw.now + d
	nw.settle()
	for !done() {
		next := end
		for _, h := range nw.hosts {
			if !h.down {
				next = min(next, h.c.NextTick())
			}
		}
		nw.now = max(nw.now, next)
		for _, h := range nw.hosts {
			if !h.down {
				h.c.Tick(nw.now)
			}
		}
		nw.settle()
		if nw.now >= end {
			return done()
		}
		if next == nw.now && next < end {
			nw.now += time.Microsecond // a timer that fires again at the same instant must not stop time
		}
	}
	return true
}

// leader returns the leader of the highest term, nil without one.
func (nw *network) leader() *host {
	var best *host
	for _, h := range nw.hosts {
		if !h.down && h.c.role == Leader && (best == nil || h.c.hard.Term > best.c.hard.Term) {
			best = h
		}
	}
	return best
}

// elect makes a member the leader, ready to serve.
func (nw *network) elect(id MemberID) *host {
	nw.t.Helper()
	for _, h := range nw.hosts {
		h.eager, h.patient = h.id == id, h.id != id
		if h.c != nil {
			h.c.resetElectionTimer()
		}
	}
	if !nw.passUntil(10*time.Second, func() bool { return nw.core(id).ready() }) {
		nw.t.Fatalf("member %d is not elected: %+v", id, nw.core(id).Status())
	}
	for _, h := range nw.hosts {
		h.eager, h.patient = false, false
	}
	return nw.host(id)
}

// propose appends one command at a leader, without letting anything else happen.
func (nw *network) propose(h *host, data string) uint64 {
	nw.t.Helper()
	index, _, err := h.c.Propose([]Proposal{{Kind: EntryCommand, Data: []byte(data)}}, nw.now)
	if err != nil {
		nw.t.Fatal(err)
	}
	return index
}

// isolate cuts members off from everybody else.
func (nw *network) isolate(ids ...MemberID) {
	nw.drop = func(m Message) bool { return slices.Contains(ids, m.From) != slices.Contains(ids, m.To) }
}

func (nw *network) heal() { nw.drop = nil }

// same fails unless all logs on disk are equal.
func (nw *network) same() {
	nw.t.Helper()
	for _, h := range nw.hosts[1:] {
		if !slices.EqualFunc(h.log, nw.hosts[0].log, sameEntry) {
			nw.t.Fatalf("log of %d has terms %v, that of 1 %v", h.id, terms(h.log), terms(nw.hosts[0].log))
		}
	}
}

func sameEntry(a, b Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Time == b.Time && a.Kind == b.Kind && string(a.Data) == string(b.Data)
}

func terms(es []Entry) (ts []uint64) {
	for i := range es {
		ts = append(ts, es[i].Term)
	}
	return ts
}

// entries makes a log from terms; its times are its indexes.
func entries(from uint64, ts ...uint64) (es []Entry) {
	for i, t := range ts {
		index := from + uint64(i)
		es = append(es, Entry{Index: index, Term: t, Time: int64(index), Kind: EntryCommand, Data: fmt.Appendf(nil, "%d/%d", index, t)})
	}
	return es
}

// withLogs makes members whose disks hold hand-made logs, without a configuration in them.
func withLogs(t *testing.T, logs [][]uint64, opts ...option) *network {
	nw := newNetwork(t, len(logs), opts...)
	for i, ts := range logs {
		h := nw.hosts[i]
		h.log = entries(1, ts...)
		h.cfg.Incarnation, h.inc = Incarnation{}, Incarnation{}
		if len(ts) > 0 {
			h.hard.Term = ts[len(ts)-1]
		}
		h.hard.Vote = 1 // it took part before: an empty log is no blank member's
		nw.start(h)
	}
	return nw
}
