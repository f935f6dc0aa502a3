package service_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/internal/service/natsserver"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// An outside NATS that goes away stops expiry; when it is back, the leader is found again by itself.
func TestOutsideNATSRestarts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	start := func() *natsserver.Server {
		s, err := natsserver.Start(natsserver.Config{Name: "outside", ClusterName: "outside", Listen: addr})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	outside := start()
	conn, err := natsserver.Dial(ctx, "nats://"+addr, natsserver.ConnOptions{Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	sm := service.NewStateMachine(machine.New())
	n, err := node.Start(node.Config{ID: 1, Name: "n1", Members: []raft.Member{{ID: 1, Name: "n1", Address: "n1"}}, Log: storage.NewMemory(), StateMachine: sm})
	if err != nil {
		t.Fatal(err)
	}
	s, err := service.New(service.Config{Node: n, StateMachine: sm, Conn: conn, Name: "n1", ClusterName: "test", ExternalNATS: true,
		Timing: service.Timing{ProbeInterval: 20 * time.Millisecond, NATSLost: 300 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t}
	m := &member{name: "n1", server: outside, conn: conn, machine: sm.Machine(), node: n, service: s}
	t.Cleanup(func() { m.stop(t) })

	waitFor(t, "service", s.Serving)
	_, fields := c.user(m).session()
	if err := outside.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "expiry to stop", func() bool { return !s.Serving() && !s.NATSHealthy() })
	m.server = start()
	waitFor(t, "service again", s.Serving)
	c.user(m).ok(base+"session.keepalive", `{`+fields+`}`)
}
