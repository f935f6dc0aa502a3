package cli

import (
	"testing"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func TestANodeThatEndedIsLeftOutOfTheMeasurement(t *testing.T) {
	t.Parallel()
	const never = 1 << 30 // above every process ID of Linux
	n := &coorddv1.NodeStatus{Name: "n1", Peer: "127.0.0.1:8410", Pid: never, Reachable: true}
	before := map[string]time.Duration{"n1": time.Second}
	if after := processorTimes([]*coorddv1.NodeStatus{n}); !endedBetween(n, before, after) {
		t.Errorf("%v after %v counts", after, before)
	}
	if endedBetween(n, before, map[string]time.Duration{"n1": time.Second}) {
		t.Error("a node that runs on is left out")
	}
	n.Peer = "192.0.2.1:8410" // on another machine nothing is known of it
	if endedBetween(n, nil, nil) {
		t.Error("a node of another machine is left out")
	}
}
