package raft_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// host drives one core: the least that a caller has to do. Its disk and its state machine are in memory.
type host struct {
	core    *raft.Core
	hard    raft.HardState // the disk: term and vote, and
	log     []raft.Entry   // the entries, from index 1 on
	applied []string       // the state machine
}

// wires join the hosts. now is virtual: it moves when nothing is left to do.
type wires struct {
	now   time.Duration
	hosts map[raft.MemberID]*host
	queue []raft.Message
}

// carryOut does what a core asks for, in the order that its contract demands.
func (w *wires) carryOut(h *host) {
	out := h.core.Output()
	w.queue = append(w.queue, out.Send...) // may leave before anything is written
	if b := out.Append; b != nil {
		h.hard = b.HardState // one transaction: hard state, cut, entries
		h.log = append(h.log[:b.TruncateAfter:b.TruncateAfter], b.Entries...)
		w.queue = append(w.queue, b.ThenSend...) // only now: these vouch for what was written
		h.core.AppendDone(b.Seq, b.LastTerm, b.Last, w.now)
	}
	for _, e := range out.Apply { // committed, in order
		if e.Kind == raft.EntryCommand {
			h.applied = append(h.applied, string(e.Data))
		}
		h.core.ApplyDone(e.Index)
	}
	for _, f := range out.Fetch { // what the core no longer has in memory
		h.core.Fetched(f.To, f.Lo, h.log[f.Lo-1:f.Hi-1], w.now)
	}
}

// run goes on until a condition holds.
func (w *wires) run(until func() bool) {
	for !until() {
		for _, id := range []raft.MemberID{1, 2, 3} { // always in the same order: the same run each time
			w.carryOut(w.hosts[id])
		}
		if len(w.queue) > 0 {
			m := w.queue[0]
			w.queue = w.queue[1:]
			w.hosts[m.To].core.Step(m, w.now)
			continue
		}
		next := slices.Min([]time.Duration{w.hosts[1].core.NextTick(), w.hosts[2].core.NextTick(), w.hosts[3].core.NextTick()})
		w.now = max(w.now, next)
		for _, id := range []raft.MemberID{1, 2, 3} {
			w.hosts[id].core.Tick(w.now)
		}
	}
}

// Three cores, wired by hand in virtual time: one is elected, and what it is given is applied by all.
func ExampleCore() {
	w := &wires{hosts: map[raft.MemberID]*host{}}
	members := []raft.Member{{ID: 1}, {ID: 2}, {ID: 3}}
	for _, m := range members {
		random := rand.New(rand.NewPCG(uint64(m.ID), 0))
		core, err := raft.New(raft.Config{ID: m.ID, Members: members, CheckQuorum: true, Rand: random.Uint64N,
			NewClusterID: raft.ClusterID{1}, Incarnation: raft.Incarnation{byte(m.ID)}}, raft.Restored{First: 1}, w.now)
		if err != nil {
			panic(err)
		}
		w.hosts[m.ID] = &host{core: core}
	}
	leader := func() *raft.Core {
		for _, h := range w.hosts {
			if s := h.core.Status(); s.Role == raft.Leader && s.Ready {
				return h.core
			}
		}
		return nil
	}
	w.run(func() bool { return leader() != nil })
	fmt.Printf("a leader of term %d after less than 300 ms: %v\n", leader().Status().Term, w.now < 300*time.Millisecond)

	_, _, err := leader().Propose([]raft.Proposal{{Kind: raft.EntryCommand, Data: []byte("city=Vienna")}}, w.now)
	if err != nil {
		panic(err)
	}
	w.run(func() bool {
		return len(w.hosts[1].applied) > 0 && len(w.hosts[2].applied) > 0 && len(w.hosts[3].applied) > 0
	})
	for _, m := range members {
		fmt.Println(m.ID, w.hosts[m.ID].applied)
	}
	// Output:
	// a leader of term 1 after less than 300 ms: true
	// 0000000000000001 [city=Vienna]
	// 0000000000000002 [city=Vienna]
	// 0000000000000003 [city=Vienna]
}
