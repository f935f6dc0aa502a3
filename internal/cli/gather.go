package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

const (
	// statusGather is how long answers of further members are waited for after the first one: a node that is
	// stopped never answers, and one that is busy should not be called unreachable.
	statusGather = time.Second
	// statusStrangers is how long nodes are waited for that are no members, after all members have answered. Nobody
	// says how many there are: removed ones that still run, and such as want to join.
	statusStrangers = 50 * time.Millisecond
)

// collectStatus asks every node for its status. It returns a moment after all members and at least want nodes have
// answered, or some time after the first answer.
func collectStatus(ctx context.Context, nc *nats.Conn, want int) ([]*coorddv1.NodeStatus, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask for the nodes' status: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is closed next
	if err := nc.PublishRequest(clusterStatusSubject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask for the nodes' status: %w", err)
	}
	var nodes []*coorddv1.NodeStatus
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for complete := false; ; {
		st, err := nextStatus(ctx, sub)
		switch {
		case err != nil && len(nodes) > 0 && !errors.Is(err, nats.ErrNoResponders):
			return nodes, nil
		case err != nil:
			return nil, err
		case named(nodes, st.GetName()):
			continue
		}
		nodes = append(nodes, st)
		if len(nodes) == 1 {
			defer time.AfterFunc(statusGather, cancel).Stop()
		}
		if !complete && len(nodes) >= want && allAnswered(nodes) {
			complete = true
			defer time.AfterFunc(statusStrangers, cancel).Stop()
		}
	}
}

// nextStatus waits for the next answer that is a node's status; nats.ErrNoResponders: no node is there.
func nextStatus(ctx context.Context, sub *nats.Subscription) (*coorddv1.NodeStatus, error) {
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
			return nil, nats.ErrNoResponders
		}
		st := &coorddv1.NodeStatus{}
		if serviceFailure(msg) == nil && proto.Unmarshal(msg.Data, st) == nil && st.GetName() != "" {
			return st, nil
		}
	}
}

// allAnswered reports whether every member has answered, by what the best informed node says of who is one. The
// answers of others, such as removed nodes that still run, don't count.
func allAnswered(nodes []*coorddv1.NodeStatus) bool {
	best := bestInformed(nodes)
	for _, name := range union(best.GetActive(), best.GetProposed()) {
		if !named(nodes, name) {
			return false
		}
	}
	return true
}

// bestInformed is the node that is believed where the answers disagree: of the highest term, of those the leader,
// else the one that applied most.
func bestInformed(nodes []*coorddv1.NodeStatus) *coorddv1.NodeStatus {
	return slices.MaxFunc(nodes, func(a, b *coorddv1.NodeStatus) int {
		return cmp.Or(cmp.Compare(a.GetTerm(), b.GetTerm()), cmp.Compare(leads(a), leads(b)), cmp.Compare(a.GetAppliedIndex(), b.GetAppliedIndex()))
	})
}

func leads(n *coorddv1.NodeStatus) int {
	if n.GetRole() == "leader" {
		return 1
	}
	return 0
}

func named(nodes []*coorddv1.NodeStatus, name string) bool {
	return slices.ContainsFunc(nodes, func(n *coorddv1.NodeStatus) bool { return n.GetName() == name })
}
