package node

import (
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/inmem"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

func TestSlowSubscriberGetsTheNewestState(t *testing.T) {
	t.Parallel()
	var h eventHub
	events, cancel := h.subscribe()
	const published = 10 * eventBuffer
	for i := range uint64(published) {
		h.publish(EventRole, func(e *Event) { e.Term = i + 1 })
	}
	cancel()
	cancel() // twice is harmless
	got, missed, last := 0, 0, Event{}
	for e := range events {
		got, missed, last = got+1, missed+e.Missed, e
	}
	if last.Term != published {
		t.Errorf("the last event is of term %d, want %d", last.Term, published)
	}
	if got+missed != published+1 { // with the first, the state at the subscription
		t.Errorf("%d events came and %d were missed, want %d together", got, missed, published+1)
	}
}

func TestFirstEventIsTheState(t *testing.T) {
	t.Parallel()
	var h eventHub
	h.publish(EventLeader, func(e *Event) { e.Term, e.Leader = 7, 3 })
	events, cancel := h.subscribe()
	defer cancel()
	if e := <-events; e.Kind != EventState || e.Term != 7 || e.Leader != 3 {
		t.Errorf("first event %+v", e)
	}
	h.close()
	if _, open := <-events; open {
		t.Error("the channel stays open when the node has ended")
	}
	after, _ := h.subscribe()
	if e, open := <-after; !open || e.Term != 7 {
		t.Errorf("a subscription after the end gave %+v, %v", e, open)
	}
	if _, open := <-after; open {
		t.Error("a subscription after the end stays open")
	}
}

// A node that does not start leaves nobody waiting who subscribed in OnStart.
func TestAFailedStartClosesSubscriptions(t *testing.T) {
	t.Parallel()
	net := inmem.NewNetwork()
	taken := net.New(inmem.Config{Address: "host"})
	if err := taken.Start(transporttest.NewRecorder(transport.Identity{Member: 2})); err != nil {
		t.Fatal(err)
	}
	defer taken.Close(t.Context())
	var events <-chan Event
	log := storage.NewMemory()
	defer log.Close()
	_, err := Start(Config{ID: 1, Members: []raft.Member{{ID: 1}}, Log: log, StateMachine: ConsensusOnly{},
		Transport: net.New(inmem.Config{Address: "host"}), OnStart: func(n *Node, _ map[string]string) { events, _ = n.Events() }})
	if err == nil {
		t.Fatal("two nodes at one address")
	}
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-timeout:
			t.Fatal("the subscription is still open")
		}
	}
}
