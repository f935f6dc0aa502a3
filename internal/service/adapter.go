package service

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/decide"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// noDue stands for "nothing ends".
const noDue = decide.NoDue

var (
	_ node.StateMachine = (*StateMachine)(nil)
	_ node.Snapshotter  = (*StateMachine)(nil)
)

// StateMachine feeds committed entries to the replicated machine. It is the node's state machine; everything
// but the watch methods runs on the applier goroutine.
type StateMachine struct {
	machine *machine.Machine

	events []machine.Event // on the leader: of entries whose callers were not answered yet

	// What happened last, on every member: a new leader tells once more what the old one may not have told.
	recentEvents  ring[machine.Event]
	recentChanges ring[machine.Change]

	observer ApplyObserver // nil: none

	due   atomic.Int64             // cluster time at which something ends next; noDue: nothing
	watch atomic.Pointer[dueWatch] // nil while this node does not lead
	told  atomic.Pointer[watcher]  // hears of transitions; nil while this node does not lead
}

// dueWatch wants to hear of dues earlier than armed.
type dueWatch struct {
	armed atomic.Int64
	wake  chan struct{}
}

// applied is what Apply gives to the node for the proposal's callback.
type applied struct {
	Replies []machine.Reply
	Events  []machine.Event
}

// NewStateMachine wraps a machine, which nobody else may feed.
func NewStateMachine(m *machine.Machine) *StateMachine {
	sm := &StateMachine{machine: m}
	sm.due.Store(noDue)
	return sm
}

// ApplyObserver is told what each applied entry did, on every member alike. Its methods run on the applier
// goroutine and must be quick. Both times are cluster time.
type ApplyObserver interface {
	LockWaited(d time.Duration) // a grant, and how long it had waited; 0 for one at once
	LockHeld(d time.Duration)   // the end of a hold, and how long it had lasted
}

// SetObserver says who is told; before the node starts.
func (sm *StateMachine) SetObserver(o ApplyObserver) { sm.observer = o }

// Machine returns the machine, to be looked at on the applier goroutine (node.Inspect), and asked for anew each time: a
// snapshot from the leader puts another one in its place.
func (sm *StateMachine) Machine() *machine.Machine { return sm.machine }

// Apply implements node.StateMachine. An entry that the machine can't understand is an error: to go on would
// be to differ from the other members.
func (sm *StateMachine) Apply(e raft.Entry) (any, error) {
	r := sm.machine.Apply(machine.Entry{Index: e.Index, Term: e.Term, Time: e.Time, Wall: e.Wall,
		Command: e.Kind == raft.EntryCommand, Data: e.Data})
	if r.Err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Index, r.Err)
	}
	if len(r.Events) > 0 {
		sm.remember(r.Events)
	}
	if len(r.Changes) > 0 {
		sm.recentChanges.add(r.Changes)
		if w := sm.told.Load(); w != nil {
			w.put(r.Changes)
		}
	}
	if sm.observer != nil {
		for _, ns := range r.Waited {
			sm.observer.LockWaited(time.Duration(ns))
		}
		for _, ns := range r.Held {
			sm.observer.LockHeld(time.Duration(ns))
		}
	}
	sm.noteDue()
	return &applied{Replies: r.Replies, Events: r.Events}, nil
}

// noteDue publishes when something ends next, and wakes who waits for a later time.
func (sm *StateMachine) noteDue() {
	due, ok := sm.machine.NextDue()
	if !ok {
		due = noDue
	}
	sm.due.Store(due)
	if w := sm.watch.Load(); w != nil && due < w.armed.Load() {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// view is a snapshot that is being saved. The machine's tables are copied as they change, so that it costs nothing to
// take and nothing to give back.
type view struct{ *machine.View }

// Release implements node.SnapshotView.
func (view) Release() {}

// Snapshot implements node.Snapshotter.
func (sm *StateMachine) Snapshot() (node.SnapshotView, error) { return view{sm.machine.View()}, nil }

// Restore implements node.Snapshotter: another machine takes the place of the one that is there. Whoever looks at the
// machine does so on this goroutine and asks for it each time; views that were taken before stay what they are. What
// the old state still had to say is dropped: a leader, which alone says anything, is never given a snapshot.
func (sm *StateMachine) Restore(r io.Reader) error {
	m, err := machine.Restore(r)
	if err != nil {
		return fmt.Errorf("restoring the state: %w", err)
	}
	sm.machine, sm.events = m, nil
	sm.recentEvents, sm.recentChanges = ring[machine.Event]{}, ring[machine.Change]{}
	sm.noteDue()
	return nil
}

// remember keeps events for the one who answers this entry's callers, and for the next leader.
func (sm *StateMachine) remember(es []machine.Event) {
	if sm.watch.Load() != nil {
		sm.events = append(sm.events, es...)
	}
	sm.recentEvents.add(es)
}

// takeEvents returns the events of the entries since it was last called.
func (sm *StateMachine) takeEvents() []machine.Event {
	es := sm.events
	sm.events = nil
	return es
}

// lastEvents returns the events that are remembered and not older than since, oldest first, and forgets that
// anybody waits for them.
func (sm *StateMachine) lastEvents(since int64) []machine.Event {
	sm.events = nil
	return sm.recentEvents.since(func(e *machine.Event) bool { return e.At >= since })
}

// lastChanges returns the transitions that are remembered and not older than since, oldest first.
func (sm *StateMachine) lastChanges(since int64) []machine.Change {
	return sm.recentChanges.since(func(c *machine.Change) bool { return c.At >= since })
}
