package service

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/raft"
)

// A leader that stalled and is deposed without knowing it would get every second request of a group.
func TestLeadersShareNoQueueGroup(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	r := b.s.reign.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.subs) < 10 || slices.ContainsFunc(r.subs, func(s *nats.Subscription) bool { return s.Queue != "" }) {
		t.Errorf("%d subscriptions, and one is in a group", len(r.subs))
	}
}

// Clients renew their sessions through the other members' servers: as long as no way leads through them, time ends
// nothing.
func TestTimeEndsNothingBeforeTheLeaderIsReachable(t *testing.T) {
	t.Parallel()
	b := startBench(t, Limits{}, Timing{ProbeInterval: time.Hour}, func(n *fakeNode, _ *Config) {
		n.config.Store(&raft.Configuration{Members: []raft.Member{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}}})
	})
	probes := func() uint64 {
		b.s.prober.mu.Lock()
		defer b.s.prober.mu.Unlock()
		return b.s.prober.round
	}
	b.await("several tries to reach n2", func() bool { return b.s.Serving() || probes() > 4 })
	if b.s.Serving() {
		t.Error("it serves, and nobody can reach it")
	}
}

func TestAReadThatIsNotProvedIsNotAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	b.node.doubts.Store(true)
	if msg, err := b.nc.Request(clientPrefix+"default.lock.get.x", []byte(`{}`), 300*time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("an answer of a leader in doubt: %+v, %v", msg, err)
	}
}

// three is a bench whose node lists two other members, neither of which is there.
func three(t *testing.T) *bench {
	t.Helper()
	return startBench(t, Limits{}, Timing{ProbeInterval: time.Hour}, func(n *fakeNode, _ *Config) {
		n.config.Store(&raft.Configuration{Members: []raft.Member{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}, {ID: 3, Name: "n3"}}})
	})
}

// A node's connection to its own server stays up when the routes are cut.
func TestProbesGoThroughTheOthers(t *testing.T) {
	t.Parallel()
	if names, need := three(t).s.prober.targets(); !slices.Equal(names, []string{"n2", "n3"}) || need != 1 {
		t.Errorf("%v are probed, and %d have to answer", names, need)
	}
}

func TestLeadershipGoesToWhoReportsHealth(t *testing.T) {
	t.Parallel()
	p := three(t).s.prober
	if to := p.healthyMember(t.Context()); to != 0 {
		t.Errorf("to member %d, of which nothing is known", to)
	}
	p.mu.Lock()
	p.answers["n2"] = answered{at: time.Now().Add(time.Hour)}
	p.answers["n3"] = answered{at: time.Now().Add(time.Hour), healthy: true}
	p.mu.Unlock()
	if to := p.healthyMember(t.Context()); to != 3 {
		t.Errorf("to member %d; 2 says that it can't serve, 3 that it can", to)
	}
}
