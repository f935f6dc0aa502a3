package natsserver

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestRoutesOfOneCluster makes no routes before the cluster's ID is known, then those to servers of the same one, and
// none to a server of another cluster of that name, whoever calls.
func TestRoutesOfOneCluster(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all []*Server
	var addrs []string
	for _, name := range []string{"n1", "n2", "other", "founder", "blank"} {
		s := start(t, Config{Name: name, RouteListen: "127.0.0.1:0", Routes: slices.Clone(addrs), Identified: true, Founder: name == "founder"})
		all, addrs = append(all, s), append(addrs, s.RouteAddr())
	}
	one, two, other, founder, blank := all[0], all[1], all[2], all[3], all[4]
	for _, s := range []*Server{one, two} { // members that list all of the others
		if err := s.SetRoutes(addrs); err != nil {
			t.Fatal(err)
		}
	}
	for s, id := range map[*Server]string{one: "aa", two: "aa", other: "bb"} {
		if err := s.SetCluster(id); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Server{one, two, blank} {
		if err := s.Ready(ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := one.Remotes(); !slices.Contains(got, "blank") || slices.Contains(got, "founder") {
		t.Errorf("n1 has routes to %v", got)
	}
	if err := founder.SetCluster("aa"); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[*Server]int{one: 3, two: 3, founder: 2} {
		if err := s.Ready(ctx, want); err != nil {
			t.Fatal(err)
		}
	}
	// The caller's side shows a route for the moment until it is turned away, and again when it tries again; nothing passes.
	for _, s := range []*Server{one, two, founder} {
		for slices.Contains(s.Remotes(), "other") {
			if ctx.Err() != nil {
				t.Fatalf("routes to %v", s.Remotes())
			}
			time.Sleep(time.Millisecond)
		}
	}
	nc, err := one.Connect(ConnOptions{Name: "asker"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	foreign, err := other.Connect(ConnOptions{Name: "foreign"})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := foreign.Subscribe("here", func(m *nats.Msg) { _ = m.Respond([]byte("from another cluster")) }); err != nil {
		t.Fatal(err)
	}
	if err := foreign.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := nc.Request("here", nil, 300*time.Millisecond); err == nil {
		t.Errorf("a request was answered %s", m.Data)
	}
}

// TestASilentRouteEnds connects and says nothing, as a flood does: no descriptor is held for long.
func TestASilentRouteEnds(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Name: "n1", RouteListen: "127.0.0.1:0", Identified: true})
	c, err := net.Dial("tcp", s.RouteAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	// Its own pings would end it too, after fifteen seconds.
	if said, err := io.ReadAll(c); err != nil || !strings.Contains(string(said), "Authentication Timeout") {
		t.Errorf("the connection ended with %v; what was said: %q", err, said)
	}
}
