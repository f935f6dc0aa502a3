//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/client"
)

const (
	queueLength = 64
	// fairLimit is how long any one step may take; what it takes is printed.
	fairLimit = 60 * time.Second
)

// queued is one client that waits in the lock's queue.
type queued struct {
	c    *client.Client
	wire *wire
	then time.Time      // when it was queued
	had  map[string]int // what it had sent until then
	sent map[string]int // and from then until its grant
	goOn chan struct{}  // the lock may be given on
}

// testFairness has 64 clients wait for one lock. They get it in the order in which they asked, through three changes of the
// leader, none is left out, and meanwhile none of them sends anything but the renewals of its session.
func testFairness(t *testing.T, c *cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	control, err := nats.Connect(c.urls(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	owner, err := client.Connect(ctx, c.urls(), client.WithTimeout(fairLimit))
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	const name = "fair/lock"
	first, err := owner.Lock(ctx, name)
	if err != nil {
		t.Fatal(err)
	}

	var all []*queued
	var wg sync.WaitGroup
	served := make(chan int, queueLength)
	begin := time.Now()
	for i := range queueLength {
		q := &queued{wire: newWire(), goOn: make(chan struct{})}
		q.c, err = client.Connect(ctx, c.urls(), client.WithOwner(fmt.Sprintf("waiter-%d", i)), client.WithTimeout(fairLimit), client.WithNATSOptions(q.wire.option()))
		if err != nil {
			t.Fatal(err)
		}
		defer q.c.Close()
		all = append(all, q)
		wg.Go(func() { q.wait(ctx, t, name, i, served) })
		waitQueue(t, control, name, i+1)
		q.had, q.then = q.wire.counts(), time.Now()
	}
	t.Logf("%d clients stand in the queue after %v", queueLength, time.Since(begin).Round(time.Millisecond))

	if err := first.Unlock(ctx); err != nil {
		t.Error(err)
	}
	order := []int{<-served}
	for i, change := range []string{"killed", "transfer", "killed", ""} {
		// One stands in the lock while the leader changes; a quarter of the queue is served under each leader.
		if i > 0 {
			serve(all, &order, served, queueLength/4*i+1)
		}
		if change != "" {
			t.Logf("the leader is changed (%s): %v", change, c.changeLeader(ctx, change))
		}
	}
	serve(all, &order, served, queueLength)
	close(all[order[len(order)-1]].goOn)
	wg.Wait()

	if !slices.IsSorted(order) || len(order) != queueLength {
		t.Errorf("they were served in the order %v", order)
	}
	checkSilence(t, all)
}

// wait stands in the queue, and holds the lock until it may be given on.
func (q *queued) wait(ctx context.Context, t *testing.T, name string, i int, served chan<- int) {
	l, err := q.c.Lock(ctx, name)
	q.sent = q.wire.counts()
	served <- i // in any case: the test goes on
	if err != nil {
		t.Errorf("waiter %d: %v", i, err)
		return
	}
	select {
	case <-q.goOn:
	case <-ctx.Done():
	}
	if err := l.Unlock(ctx); err != nil {
		t.Errorf("waiter %d: %v", i, err)
	}
}

// serve gives the lock on until so many have had it.
func serve(all []*queued, order *[]int, served <-chan int, until int) {
	for len(*order) < until {
		close(all[(*order)[len(*order)-1]].goOn)
		*order = append(*order, <-served)
	}
}

// waitQueue waits until so many stand in a lock's queue.
func waitQueue(t *testing.T, nc *nats.Conn, name string, n int) {
	t.Helper()
	for begin := time.Now(); ; pause(t.Context(), 2*time.Millisecond) {
		var reply struct {
			Lock struct {
				Waiting int `json:"waiting,string"`
			} `json:"lock"`
		}
		ask(t, nc, "coord.v1.default.lock.get."+name, "{}", &reply)
		if reply.Lock.Waiting == n {
			return
		}
		if time.Since(begin) > fairLimit {
			t.Fatalf("after %v %d wait for %s, want %d", fairLimit, reply.Lock.Waiting, name, n)
		}
	}
}

// changeLeader has another node lead and returns how long that took.
func (c *cluster) changeLeader(ctx context.Context, how string) time.Duration {
	c.t.Helper()
	old := c.mustLead(ctx, nil)
	begin := time.Now()
	if how == "killed" {
		old.kill()
	} else {
		m := &mover{t: c.t, c: c}
		to := c.nodes[(slices.Index(c.nodes, old)+1)%len(c.nodes)]
		m.transfer(to.name)
	}
	c.mustLead(ctx, old)
	took := time.Since(begin)
	if how == "killed" {
		if err := old.start(c.bin); err != nil {
			c.t.Fatal(err)
		}
		c.waitReady(fairLimit, old)
	}
	return took.Round(time.Millisecond)
}

// mustLead returns the node that leads and is not another one.
func (c *cluster) mustLead(ctx context.Context, not *node) *node {
	c.t.Helper()
	for begin := time.Now(); time.Since(begin) < fairLimit; pause(ctx, 10*time.Millisecond) {
		if nd := c.leader(ctx); nd != nil && nd != not {
			return nd
		}
	}
	c.dumpLogs()
	c.t.Fatalf("no leader after %v", fairLimit)
	return nil
}

// checkSilence shows what the waiting clients sent: renewals, and not more of them than their time in the queue needs.
func checkSilence(t *testing.T, all []*queued) {
	t.Helper()
	total := map[string]int{}
	for i, q := range all {
		for verb, n := range q.sent {
			if n -= q.had[verb]; n > 0 {
				total[verb] += n
				if verb != "session.keepalive" {
					t.Errorf("waiter %d sent %d × %s while it waited", i, n, verb)
				}
			}
		}
	}
	t.Logf("while they waited, until %v after the last one came, the %d clients sent: %s", time.Since(all[len(all)-1].then).Round(time.Millisecond), len(all), list(total))
	if total["session.keepalive"] == 0 {
		t.Error("no renewal was seen: the count proves nothing")
	}
}
