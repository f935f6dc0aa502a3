package node

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// pending is a proposal that the core took, with the function that is told its outcome.
type pending = pipeline.Proposal[func(Result, error)]

// job is one thing for the applier to do; the parts that are set are done in the order of the fields.
type job struct {
	restore  *raft.SnapshotMeta // takes the place of the state
	entries  []raft.Entry
	waiting  []pending // in order of index, each for one of the entries
	read     *readGroup
	abandon  *readGroup // it is answered no more
	inspect  func(applied uint64)
	snapshot func(error) // take one now, and say what became of it
}

// readGroup is the reads that share one read index.
type readGroup struct {
	index uint64 // they may be answered once this is applied
	proof bool   // the proof of the index is all that was asked for
	done  []func(index uint64, err error)
}

func (g *readGroup) answer(index uint64, err error) {
	for _, done := range g.done {
		done(index, err)
	}
}

// applier is the one owner of the state machine.
type applier struct {
	machine  StateMachine
	queue    *queue[job]
	fail     func(error)
	halted   <-chan struct{} // closed: apply no more
	observer Observer
	taker    taker

	at       pipeline.Position // of the last applied entry
	applied  atomic.Uint64     // its index
	watching atomic.Bool       // the loop wants to hear of every advance
	advanced func()            // tells the loop to look at applied
	tellAt   int               // bytes applied since the loop was told, at which it is told again

	untold  int
	reads   []*readGroup // wait for their index
	inspect atomic.Int64 // functions of Inspect that have not run yet
	open    atomic.Int64 // reads that are not answered yet, wherever they are
	broken  bool         // Apply failed: the machine must not be looked at any more
}

// run works until the queue is closed and empty, then gives up what still waits.
func (a *applier) run() {
	var spare []job
	for range a.queue.ready {
		jobs, closed := a.queue.take(spare)
		for i := range jobs {
			a.do(&jobs[i])
		}
		spare = jobs
		if closed {
			break
		}
	}
	for _, g := range a.reads {
		a.answer(g, 0, ErrStopped)
	}
	a.reads = nil
}

func (a *applier) do(j *job) {
	if j.restore != nil {
		a.restore(j.restore)
		a.answerReads()
	}
	if len(j.entries) > 0 {
		a.apply(j.entries, j.waiting)
		a.answerReads()
		a.takeIfDue()
	}
	if j.read != nil {
		if (j.read.index <= a.applied.Load() || canary.Broken(canary.ReadWaitsForApply)) && !a.broken {
			a.answer(j.read, j.read.index, nil)
		} else {
			a.reads = append(a.reads, j.read)
		}
	}
	if j.abandon != nil {
		if i := slices.Index(a.reads, j.abandon); i >= 0 {
			a.reads = slices.Delete(a.reads, i, i+1)
			a.open.Add(-int64(len(j.abandon.done)))
		}
	}
	if j.inspect != nil {
		a.inspect.Add(-1)
		if !a.broken {
			j.inspect(a.applied.Load())
		}
	}
	if j.snapshot != nil {
		a.take(j.snapshot)
	}
}

// apply executes entries and answers the proposals among them. When the node has failed or stops, it leaves
// the rest of the entries alone; the outcome of their proposals is then unknown to those who wait.
func (a *applier) apply(entries []raft.Entry, waiting []pending) {
	count, answered, bytes := 0, 0, 0
	a.awaitBefore(&entries[len(entries)-1])
	for i := range entries {
		if a.broken || a.isHalted() {
			break
		}
		e := &entries[i]
		value, err := a.machine.Apply(*e)
		if err == nil {
			err = a.at.Follow(e)
		}
		if err != nil {
			a.broken = true
			a.fail(fmt.Errorf("applying entry %d of term %d: %w", e.Index, e.Term, err))
			break
		}
		a.applied.Store(e.Index)
		count++
		bytes += e.Size()
		if rest, is := pipeline.Decided(e, waiting); is {
			waiting[0].Value(Result{Index: e.Index, Term: e.Term, Value: value}, nil)
			waiting = rest
			answered++
		}
	}
	for _, p := range waiting {
		p.Value(Result{}, errAbandoned)
	}
	if answered > 0 {
		a.observer.Proposals(OutcomeApplied, answered)
	}
	if len(waiting) > 0 {
		a.observer.Proposals(OutcomeLost, len(waiting))
	}
	if count > 0 {
		a.taker.note(a.at.Index, bytes)
		a.observer.Applied(a.applied.Load(), count)
	}
	a.untold += bytes
	if a.untold >= a.tellAt || a.watching.Load() {
		a.untold = 0
		a.advanced()
	}
}

func (a *applier) isHalted() bool {
	select {
	case <-a.halted:
		return true
	default:
		return false
	}
}

// answerReads answers the reads whose index is applied.
func (a *applier) answerReads() {
	if len(a.reads) == 0 || a.broken {
		return
	}
	applied := a.applied.Load()
	kept := a.reads[:0]
	for _, g := range a.reads {
		if g.index <= applied {
			a.answer(g, g.index, nil)
		} else {
			kept = append(kept, g)
		}
	}
	clear(a.reads[len(kept):])
	a.reads = kept
}

func (a *applier) answer(g *readGroup, index uint64, err error) {
	a.open.Add(-int64(len(g.done)))
	g.answer(index, err)
}
