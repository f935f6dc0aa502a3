//go:build e2e || disk || net

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/client"
)

// checkNothingLost compares what the clients were given with what the cluster says at the end.
func checkNothingLost(t *testing.T, c *cluster, w *workload) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	nc, err := nats.Connect(c.urls())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var reply struct {
		Sequence struct {
			Next int64 `json:"next,string"`
		} `json:"sequence"`
	}
	ask(t, nc, "coord.v1.default.id.get.e2e-ids", "{}", &reply)
	if reply.Sequence.Next <= w.ids.max {
		t.Errorf("the sequence goes on at %d, but %d was given", reply.Sequence.Next, w.ids.max)
	}
	var top uint64
	for f := range w.fences {
		top = max(top, f)
	}
	last, err := w.connect(ctx, "last")
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	err = last.Do(ctx, "e2e/last", func(_ context.Context, l *client.Lock) error {
		if l.Fence() <= top {
			return fmt.Errorf("a new fence is %d, but %d was given", l.Fence(), top)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	checkNodesAgree(t, c)
}

// checkNodesAgree waits until all nodes applied the same and shows that each lists the same locks.
func checkNodesAgree(t *testing.T, c *cluster) {
	t.Helper()
	var lists []string
	deadline := time.Now().Add(20 * time.Second)
	for {
		lists = lists[:0]
		for _, nd := range c.nodes {
			nc, err := nats.Connect(nd.natsURL)
			if err != nil {
				t.Fatal(err)
			}
			var st nodeStatus
			ask(t, nc, "coord.node.v1."+nd.name+".status", "{}", &st)
			nc.Close()
			lists = append(lists, st.AppliedIndex)
		}
		if len(slices.Compact(slices.Clone(lists))) == 1 {
			t.Logf("all nodes applied up to index %s", lists[0])
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the nodes applied up to %s: not the same", strings.Join(lists, ", "))
			return
		}
		pause(t.Context(), 50*time.Millisecond)
	}
}

func ask(t *testing.T, nc *nats.Conn, subject, body string, into any) {
	t.Helper()
	var last error
	for range 50 {
		msg, err := nc.Request(subject, []byte(body), time.Second)
		if err == nil && msg.Header.Get("Nats-Service-Error-Code") == "" {
			if err := json.Unmarshal(msg.Data, into); err != nil {
				t.Fatalf("%s: %v in %s", subject, err, msg.Data)
			}
			return
		}
		last = err
		if err == nil {
			last = fmt.Errorf("%s", msg.Data)
		}
		pause(t.Context(), 50*time.Millisecond)
	}
	t.Fatalf("%s: %v", subject, last)
}

// pause is the length of a fault, not a wait for something.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// longestGap is the longest time without a success that overlaps [from, to].
func longestGap(ends []time.Time, from, to time.Time) (longest time.Duration) {
	last := from
	for _, e := range ends {
		if e.Before(from) {
			last = e
			continue
		}
		longest = max(longest, e.Sub(last))
		if last = e; e.After(to) {
			break
		}
	}
	return longest
}
