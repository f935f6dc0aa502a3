package natsserver

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestRoutesOfOneCluster makes no routes before the cluster's ID is known, then those to servers of the same one, and
// none to a server of another cluster of that name, whoever calls.
func TestRoutesOfOneCluster(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all []*Server
	var addrs []string
	for _, name := range []string{"n1", "n2", "other", "unknown"} {
		s := start(t, Config{Name: name, RouteListen: "127.0.0.1:0", Routes: slices.Clone(addrs), Identified: true})
		all, addrs = append(all, s), append(addrs, s.RouteAddr())
	}
	one, two, other, unknown := all[0], all[1], all[2], all[3]
	if err := one.SetRoutes(addrs); err != nil {
		t.Fatal(err)
	}
	for s, id := range map[*Server]string{one: "aa", two: "aa", other: "bb"} {
		if err := s.SetCluster(id); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Server{one, two} {
		if err := s.Ready(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	// The others have been turned away by now, or will be: one and two call them, and other calls one and two.
	for name, s := range map[string]*Server{"other": other, "unknown": unknown} {
		if got := s.Remotes(); len(got) != 0 {
			t.Errorf("%s has routes to %v", name, got)
		}
	}
	if got := one.Remotes(); !slices.Equal(got, []string{"n2"}) {
		t.Errorf("n1 has routes to %v", got)
	}
	if err := unknown.SetCluster("aa"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Server{one, two, unknown} {
		if err := s.Ready(ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := unknown.Remotes(); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("the one that learned of its cluster late has routes to %v", got)
	}
}
