//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/fence"
)

const (
	pausedTTL = 2 * time.Second
	// pausedHolders are stopped at the same time. The next holder's delay is a matter of the product; that of a starved
	// machine comes on top of it, and hits some of them. If it hits all it is done once more.
	pausedHolders, pausedRounds = 4, 3
	// pausedSlack is what may come on top of the lease until the next one holds the lock.
	pausedSlack = time.Second
)

// testPausedHolder stops processes that hold a lock for longer than their lease (SIGSTOP), as a machine does that
// swaps or sleeps. The next one gets the lock at the end of the lease; when the first one wakes, its context has ended at the first
// look, and what it writes all the same is refused by the resource's gate, whatever it was about to do.
func testPausedHolder(t *testing.T, c *cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	next, err := client.Connect(ctx, c.urls(), client.WithTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for round := range pausedRounds {
		delays := stopHolders(ctx, t, c, next, round)
		t.Logf("from SIGSTOP of the holder to the next one's grant, with a lease of %v: %v", pausedTTL, delays)
		if slices.Min(delays) <= pausedTTL+pausedSlack {
			return
		}
	}
	t.Errorf("the next holders were all delayed beyond the lease + %v, %d times", pausedSlack, pausedRounds)
}

// stopHolders does it to several holders at once, and returns how long the next ones had to wait.
func stopHolders(ctx context.Context, t *testing.T, c *cluster, next *client.Client, round int) []time.Duration {
	t.Helper()
	var wg sync.WaitGroup
	delays := make([]time.Duration, pausedHolders)
	for i := range pausedHolders {
		h := &pausedHolder{t: t, name: fmt.Sprintf("paused/%d-%d", round, i)}
		h.child = startChild(t, task{Role: "holder", URLs: c.urls(), Name: h.name})
		wg.Go(func() { delays[i] = h.run(ctx, next) })
	}
	wg.Wait()
	return delays
}

// pausedHolder is the process that is stopped, and the resource that its lock protects.
type pausedHolder struct {
	t     *testing.T
	name  string
	child *child
	gate  fence.Gate

	mu      sync.Mutex
	stopped bool      // the next holder has been at the gate
	woken   time.Time // SIGCONT
	letIn   int       // writes before that
	refused int       // writes after it
	late    int       // looks after the wake-up
	first   string    // what the first one saw
	over    chan struct{}
}

// run stops the process, takes its lock, wakes it, and returns how long the lock took to come.
func (h *pausedHolder) run(ctx context.Context, next *client.Client) time.Duration {
	h.over = make(chan struct{})
	go h.attend()
	if !h.until(func() bool { return h.letIn > 10 }) {
		h.t.Errorf("%s: the holder does not write: %s", h.name, h.child.err)
		return 0
	}
	begin := time.Now()
	if err := h.child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		h.t.Error(err)
	}
	l, err := next.Lock(ctx, h.name)
	took := time.Since(begin)
	if err != nil {
		h.t.Errorf("%s: the next holder: %v", h.name, err)
		return took
	}
	h.mu.Lock()
	err = h.gate.Check(fence.Exclusive(l.Fence()))
	h.stopped, h.woken = true, time.Now()
	h.mu.Unlock()
	if err != nil {
		h.t.Errorf("%s: the next holder at the gate: %v", h.name, err)
	}
	if err := h.child.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		h.t.Error(err)
	}
	if !h.until(func() bool { return h.late >= 3 && h.refused >= 3 }) {
		h.t.Errorf("%s: the holder did not go on", h.name)
	}
	h.mu.Lock()
	if h.first != client.ErrSessionExpired.Error() {
		h.t.Errorf("%s: the first look after the pause sees %q", h.name, h.first)
	}
	h.t.Logf("%s: %d writes let in before the pause; after it the first of %d looks saw %q, and all %d writes were refused", h.name, h.letIn, h.late, h.first, h.refused)
	h.mu.Unlock()
	if err := l.Unlock(ctx); err != nil {
		h.t.Errorf("%s: %v", h.name, err)
	}
	_ = h.child.in.Close() // that ends it
	<-h.over
	return took
}

// until waits for something about the holder.
func (h *pausedHolder) until(ok func() bool) bool {
	for begin := time.Now(); time.Since(begin) < time.Minute; pause(h.t.Context(), 5*time.Millisecond) {
		h.mu.Lock()
		done := ok()
		h.mu.Unlock()
		if done {
			return true
		}
	}
	return false
}

// attend is the resource: it takes what the process writes, and what it saw of its lock.
func (h *pausedHolder) attend() {
	defer close(h.over)
	for h.child.out.Scan() {
		verb, rest, _ := strings.Cut(h.child.out.Text(), " ")
		h.mu.Lock()
		switch verb {
		case "look":
			h.look(rest)
		case "write":
			h.write(rest)
		}
		h.mu.Unlock()
		if verb == "write" {
			if _, err := fmt.Fprintln(h.child.in, "done"); err != nil {
				return // it was told to end
			}
		}
	}
}

// look notes what the process saw of its context at a moment of the clock that both processes have.
func (h *pausedHolder) look(text string) {
	at, saw, _ := strings.Cut(text, " ")
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		h.t.Errorf("%s: a look at %q", h.name, text)
	}
	if h.woken.IsZero() || time.Unix(0, ns).Before(h.woken) {
		return
	}
	if h.late == 0 {
		h.first = saw
	}
	if h.late++; saw == "nil" {
		h.t.Errorf("%s: it still believes in its lock after the pause", h.name)
	}
}

func (h *pausedHolder) write(text string) {
	f, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		h.t.Errorf("%s: a write with the fence %q", h.name, text)
	}
	err = h.gate.Check(fence.Exclusive(f))
	var stale *fence.StaleError
	switch {
	case !h.stopped && err == nil:
		h.letIn++
	case h.stopped && errors.As(err, &stale):
		h.refused++
	default:
		h.t.Errorf("%s: a write with fence %d, after the next holder's: %v, got %v", h.name, f, h.stopped, err)
	}
}

// holdForever is the process: it looks at its lock and writes, over and over, and does not care for what it saw.
func (k task) holdForever(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, k.URLs, client.WithTTL(pausedTTL), client.WithTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(ctx, k.Name)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(os.Stdin)
	for {
		at, saw := time.Now().UnixNano(), "nil"
		if l.Context().Err() != nil {
			saw = context.Cause(l.Context()).Error()
		}
		fmt.Printf("look %d %s\nwrite %d\n", at, saw, l.Fence())
		if !answers.Scan() {
			return
		}
	}
}
