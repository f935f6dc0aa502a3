package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// answering connects to a NATS server of the test's own on which the nodes answer to a request for their status, in
// the given order.
func answering(t *testing.T, nodes ...*coorddv1.NodeStatus) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(waitLimit) {
		t.Fatal("the NATS server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe(clusterStatusSubject, func(msg *nats.Msg) {
		for _, st := range nodes {
			b, err := proto.Marshal(st)
			if err == nil {
				err = msg.Respond(b)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc
}

func nodeStatus(name, role string, term uint64, active ...string) *coorddv1.NodeStatus {
	return &coorddv1.NodeStatus{Name: name, Role: role, Term: term, Reachable: true, Active: active,
		Cluster: &coorddv1.ClusterInfo{Name: "demo", Term: term}}
}

// A cluster of three that was shrunk to n1, where the removed nodes still run and answer first.
func TestStatusWaitsForTheMembersAndNotForRemovedNodes(t *testing.T) {
	t.Parallel()
	leader := nodeStatus("n1", "leader", 4, "n1")
	leader.Cluster.Leader = "n1"
	told := nodeStatus("n2", "follower", 4, "n1")
	told.Removed = true
	told2 := nodeStatus("n3", "follower", 4, "n1")
	told2.Removed = true
	old := nodeStatus("n3", "follower", 3, "n1", "n2", "n3") // does not know that it was removed
	ahead := nodeStatus("n3", "follower", 4, "n1", "n2", "n3")
	for _, tt := range []struct {
		name  string
		nodes []*coorddv1.NodeStatus
	}{
		{"removed first", []*coorddv1.NodeStatus{told, told2, leader}},
		{"removed last", []*coorddv1.NodeStatus{leader, told, told2}},
		{"one has an old term", []*coorddv1.NodeStatus{old, told, leader}},
		{"one has an old configuration", []*coorddv1.NodeStatus{told, ahead, leader}},
		{"it is of the leader's term", []*coorddv1.NodeStatus{ahead, leader, told}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nc := answering(t, tt.nodes...)
			ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
			defer cancel()
			nodes, err := collectStatus(ctx, nc, 1)
			if err != nil {
				t.Fatal(err)
			}
			st, err := assembleStatus(nodes)
			if err != nil {
				t.Fatal(err)
			}
			if st.info.GetLeader() != "n1" || !slices.Equal(st.Active, []string{"n1"}) {
				t.Errorf("leader %q, active %v, want n1 and n1", st.info.GetLeader(), st.Active)
			}
			if got := namesOf(st.nodes); got != "n1 n2 n3" {
				t.Errorf("nodes %q, want all three", got)
			}
			for _, n := range st.nodes {
				if !n.GetReachable() {
					t.Errorf("%s is shown as unreachable", n.GetName())
				}
				if n.GetName() == "n2" && !n.GetRemoved() {
					t.Error("n2 is not shown as removed")
				}
			}
		})
	}
}

// Members that are only proposed are waited for like the others; one that does not answer is listed all the same.
func TestStatusWaitsForProposedMembers(t *testing.T) {
	t.Parallel()
	leader := nodeStatus("n1", "leader", 2, "n1")
	leader.Proposed = []string{"n1", "n2", "n3"}
	nc := answering(t, nodeStatus("gone", "follower", 1, "gone"), leader, nodeStatus("n2", "follower", 2, "n1"))
	nodes, err := collectStatus(t.Context(), nc, 1)
	if err != nil {
		t.Fatal(err)
	}
	st, err := assembleStatus(nodes)
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(st.nodes); got != "gone n1 n2 n3" {
		t.Fatalf("nodes %q", got)
	}
	for i, want := range []bool{true, true, true, false} {
		if st.nodes[i].GetReachable() != want {
			t.Errorf("%s reachable %t, want %t", st.nodes[i].GetName(), !want, want)
		}
	}
}

func namesOf(nodes []*coorddv1.NodeStatus) string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.GetName())
	}
	return strings.Join(names, " ")
}
