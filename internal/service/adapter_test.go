package service

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
)

// feed applies one entry with commands.
func feed(t *testing.T, sm *StateMachine, index uint64, cs ...machine.Command) *applied {
	t.Helper()
	e := raft.Entry{Index: index, Term: 1, Time: int64(index) * int64(time.Second), Kind: raft.EntryNoOp}
	if len(cs) > 0 {
		data, err := machine.EncodeCommands(cs)
		if err != nil {
			t.Fatal(err)
		}
		e.Kind, e.Data = raft.EntryCommand, data
	}
	r, err := sm.Apply(e)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*applied)
}

// filled returns a state machine that serves, with a session that holds a lock that another one waits for.
func filled(t *testing.T) *StateMachine {
	sm := NewStateMachine(machine.New())
	open := func(who string) machine.Command {
		return machine.Command{Kind: machine.KindSessionOpen, Namespace: "ns", Secret: hashSecret([]byte(who)), Open: &machine.Open{TTL: int64(15 * time.Second)}}
	}
	acquire := func(session uint64, who string) machine.Command {
		return machine.Command{Kind: machine.KindLockAcquire, Namespace: "ns", Name: "l", Session: session, Secret: hashSecret([]byte(who)), Seq: 1, Ack: 1,
			Acquire: &machine.Acquire{Mode: machine.Exclusive, Wait: machine.NoWaitLimit}}
	}
	feed(t, sm, 1)
	feed(t, sm, 2, machine.Command{Kind: machine.KindServing, Serving: &machine.Serving{}}, open("a"), open("b"))
	feed(t, sm, 3, acquire(1, "a"), acquire(2, "b"))
	return sm
}

// A snapshot takes the place of the machine under everything that points at it; a view that was taken before, and one
// that is saved while entries go on, stay as they were.
func TestASnapshotTakesThePlaceOfTheMachine(t *testing.T) {
	t.Parallel()
	first := filled(t)
	v, err := first.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	hash := first.Machine().View().Hash()
	free := machine.Command{Kind: machine.KindLockForceRelease, Namespace: "ns", Name: "l", Force: &machine.Force{Fence: 1, Now: true}}
	if r := feed(t, first, 4, free); len(r.Events) == 0 {
		t.Fatal("nothing happened")
	}
	var b bytes.Buffer
	if err := v.Save(&b); err != nil {
		t.Fatal(err)
	}
	v.Release()

	second := NewStateMachine(machine.New())
	feed(t, second, 1)
	before := second.Machine().View()
	w := &dueWatch{wake: make(chan struct{}, 1)}
	w.armed.Store(noDue)
	second.watch.Store(w)
	second.remember([]machine.Event{{Session: 9, Seq: 1, At: 5}})
	if err := second.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	if got := second.Machine().View().Hash(); got != hash {
		t.Error("the restored state is another one")
	}
	if before.Index() != 1 {
		t.Errorf("a view from before shows index %d", before.Index())
	}
	if es := append(second.takeEvents(), second.lastEvents(0)...); len(es) > 0 {
		t.Errorf("events of the old state: %v", es)
	}
	if due := second.due.Load(); due != int64(17*time.Second) { // opened at 2 s
		t.Errorf("due at %d", due)
	}
	select {
	case <-w.wake:
	default:
		t.Error("who waits for the next due was not woken")
	}
	if r := feed(t, second, 4, free); len(r.Events) == 0 || second.Machine().View().Hash() != first.Machine().View().Hash() {
		t.Error("the next entry leads elsewhere")
	}

	cut := b.Bytes()[:b.Len()-3]
	if err := second.Restore(bytes.NewReader(cut)); !errors.Is(err, machine.ErrSnapshot) {
		t.Errorf("a cut snapshot: %v", err)
	}
	if second.Machine().Live().Index() != 4 {
		t.Error("a snapshot that was refused changed the state")
	}
}
