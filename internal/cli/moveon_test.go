package cli

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// The first of two servers is that of a node that the others have not taken in: it has no routes to theirs.
func TestCommandsMoveOnFromANodeThatWasNotTakenIn(t *testing.T) {
	t.Parallel()
	alone := answering(t, &coorddv1.NodeStatus{Name: "n3", Role: "follower", Reachable: true})
	leader := nodeStatus("n1", "leader", 4, "n1", "n3")
	member := answering(t, leader)
	_, err := member.Subscribe("coord.cluster.v1.members", func(msg *nats.Msg) {
		b, err := proto.Marshal(&coorddv1.MemberListReply{})
		if err == nil {
			err = msg.Respond(b)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := member.Flush(); err != nil {
		t.Fatal(err)
	}
	connect := func() *nats.Conn {
		nc, err := nats.Connect(alone.ConnectedUrl()+","+member.ConnectedUrl(), nats.DontRandomize(), nats.MaxReconnects(-1),
			nats.ReconnectBufSize(-1), nats.ReconnectWait(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	c := &clientFlags{timeout: 10 * time.Second}
	if err := c.request(t.Context(), connect(), "coord.cluster.v1.members", &coorddv1.StatusRequest{}, &coorddv1.MemberListReply{}); err != nil {
		t.Errorf("members: %v", err)
	}
	st, err := c.clusterStatus(t.Context(), connect())
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(st.nodes); got != "n1 n3" || bestInformed(st.nodes).GetName() != "n1" {
		t.Errorf("nodes %q, best informed %s", got, bestInformed(st.nodes).GetName())
	}
	for _, n := range st.nodes {
		if !n.GetReachable() {
			t.Errorf("%s is shown as unreachable", n.GetName())
		}
	}
}
