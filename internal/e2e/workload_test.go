//go:build e2e || disk || net

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/client"
)

// resource is what a lock guards: it lets one in at a time and refuses a fence below one that it saw.
type resource struct {
	mu     sync.Mutex
	last   uint64
	inside uint64 // fence of who is in; 0: nobody
}

func (r *resource) enter(fence uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.inside != 0:
		return fmt.Errorf("fence %d came in while fence %d was inside", fence, r.inside)
	case fence <= r.last:
		return fmt.Errorf("fence %d came in after fence %d", fence, r.last)
	}
	r.last, r.inside = fence, fence
	return nil
}

func (r *resource) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside = 0
}

// workload is what the clients do and what they saw.
type workload struct {
	t       *testing.T
	urls    string
	options []client.Option // besides the workload's own
	pace    time.Duration   // pause of a client between two rounds
	hist    *history

	names   sync.Mutex // guards the two below
	locks   []string
	guarded map[string]*resource
	payload string // metadata of each lock; makes the log grow

	ops, verifies, timeouts atomic.Int64
	ids                     *idSet
	mu                      sync.Mutex
	errs                    map[string]int
	fences                  map[uint64]string
	successes               []success // of lock calls
	latencies               []time.Duration
}

// success is one lock that was granted: to whom, when it was asked for and when it came.
type success struct {
	client    int
	call, ret time.Time
}

// idSet finds IDs that come twice.
type idSet struct {
	mu   sync.Mutex
	seen map[string]struct{}
	max  int64
}

func (s *idSet) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.seen[id]; twice {
		return false
	}
	s.seen[id] = struct{}{}
	return true
}

func newWorkload(t *testing.T, urls string, locks int) *workload {
	w := &workload{t: t, urls: urls, guarded: map[string]*resource{}, hist: newHistory(),
		ids: &idSet{seen: map[string]struct{}{}}, errs: map[string]int{}, fences: map[uint64]string{}}
	w.rename("e2e/lock", locks)
	return w
}

// rename has the clients go on with other locks, so that the history of each one stays short.
func (w *workload) rename(prefix string, locks int) {
	w.names.Lock()
	defer w.names.Unlock()
	w.locks = nil
	for i := range locks {
		name := fmt.Sprintf("%s-%d", prefix, i)
		w.locks = append(w.locks, name)
		w.guarded[name] = &resource{}
	}
}

// pick returns a lock and what it guards.
func (w *workload) pick() (string, *resource) {
	w.names.Lock()
	defer w.names.Unlock()
	name := w.locks[rand.IntN(len(w.locks))]
	return name, w.guarded[name]
}

// goOn makes a workload that starts a history of its own and knows what the clients before it were given.
func (w *workload) goOn() *workload {
	next := newWorkload(w.t, w.urls, len(w.locks))
	next.options, next.payload, next.ids, next.fences = w.options, w.payload, w.ids, w.fences
	return next
}

// connect opens a client with a session of its own; it may take a while when a node is down.
func (w *workload) connect(ctx context.Context, owner string) (*client.Client, error) {
	return client.Connect(ctx, w.urls, append([]client.Option{client.WithOwner(owner), client.WithTimeout(15 * time.Second)}, w.options...)...)
}

// run has n clients work until ctx ends.
func (w *workload) run(ctx context.Context, n int) {
	w.t.Helper()
	var wg sync.WaitGroup
	for id := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := w.client(ctx, id); err != nil && ctx.Err() == nil {
				w.t.Errorf("client %d: %v", id, err)
			}
		}()
	}
	wg.Wait()
	w.t.Logf("all clients were closed %v after the end of the run", time.Since(w.until(ctx)).Round(time.Millisecond))
}

// until is the instant at which the context ended or will end.
func (w *workload) until(ctx context.Context) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now()
}

func (w *workload) client(ctx context.Context, id int) error {
	cctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := w.connect(cctx, fmt.Sprintf("client-%d", id))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	seq, err := c.Sequence(cctx, "e2e-ids")
	if err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	for ctx.Err() == nil {
		name, guarded := w.pick()
		w.once(c, id, name, guarded)
		for range 5 {
			if err := w.drawIDs(c, seq); err != nil {
				w.fail("id: " + short(err))
			}
		}
		if w.pace > 0 {
			pause(ctx, w.pace)
		}
	}
	return nil
}

// once locks, stands in the guarded resource, perhaps asks the leader, and unlocks. Its context is not the
// run's, so that the last operations come to their end.
func (w *workload) once(c *client.Client, id int, name string, guarded *resource) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	began, call := time.Now(), w.hist.now()
	opts := []client.LockOption{client.Wait(10 * time.Second)}
	if w.payload != "" {
		opts = append(opts, client.Meta(map[string]string{"payload": w.payload}))
	}
	l, err := c.Lock(ctx, name, opts...)
	granted := w.hist.now()
	if errors.Is(err, client.ErrWaitTimeout) {
		w.timeouts.Add(1)
		return
	}
	if err != nil {
		w.fail("lock: " + short(err))
		return
	}
	w.granted(id, name, l.Fence(), began)
	w.hist.add(id, lockInput{lock: name, kind: opAcquire, fence: l.Fence()}, call, granted)
	if err := guarded.enter(l.Fence()); err != nil {
		w.t.Errorf("%s: %v", name, err)
	}
	if rand.IntN(8) == 0 {
		call := w.hist.now()
		if err := l.Verify(ctx); err != nil {
			w.fail("verify: " + short(err))
		} else {
			w.verifies.Add(1)
			w.hist.add(id, lockInput{lock: name, kind: opVerify, fence: l.Fence()}, call, w.hist.now())
		}
	}
	guarded.leave()
	lost := l.Valid() != nil
	call = w.hist.now()
	err = l.Unlock(ctx)
	switch {
	case lost:
		w.fail("a hold was lost")
		w.hist.add(id, lockInput{lock: name, kind: opRelease, fence: l.Fence(), maybe: true}, granted, never)
	case err != nil:
		w.fail("unlock: " + short(err))
		w.hist.add(id, lockInput{lock: name, kind: opRelease, fence: l.Fence(), maybe: true}, call, never)
	default:
		w.hist.add(id, lockInput{lock: name, kind: opRelease, fence: l.Fence()}, call, w.hist.now())
	}
	w.ops.Add(1)
}

func (w *workload) drawIDs(c *client.Client, seq *client.Sequence) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n, err := seq.Next(ctx)
	if err != nil {
		return err
	}
	if !w.ids.add(fmt.Sprint(n)) {
		w.t.Errorf("the ID %d came twice", n)
	}
	w.ids.mu.Lock()
	w.ids.max = max(w.ids.max, n)
	w.ids.mu.Unlock()
	u, err := c.NewUUID(ctx)
	if err != nil {
		return err
	}
	if !w.ids.add(u.String()) {
		w.t.Errorf("the UUID %s came twice", u)
	}
	return nil
}

func (w *workload) granted(id int, name string, fence uint64, began time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if other, twice := w.fences[fence]; twice {
		w.t.Errorf("fence %d was given for %s and for %s", fence, other, name)
	}
	w.fences[fence] = name
	w.successes = append(w.successes, success{id, began, now})
	w.latencies = append(w.latencies, now.Sub(began))
}

func (w *workload) fail(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs[kind]++
}

// short cuts an error to what can be counted.
func short(err error) string {
	s := err.Error()
	return s[:min(len(s), 100)]
}

// firstSuccessAfter returns how long after t the first lock came that was asked for after t.
func (w *workload) firstSuccessAfter(t time.Time) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	best := time.Duration(-1)
	for _, s := range w.successes {
		if !s.call.Before(t) && (best < 0 || s.ret.Sub(t) < best) {
			best = s.ret.Sub(t)
		}
	}
	return best, best >= 0
}

// holdAnchor takes a lock that is held through the whole run; the function that it returns shows that the
// hold outlived every fault.
func holdAnchor(t *testing.T, w *workload) func(*testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := w.connect(ctx, "anchor")
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(ctx, "e2e/anchor")
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := l.Valid(); err != nil {
			t.Errorf("the lock held through the run is not valid: %v", err)
		}
		if err := l.Verify(ctx); err != nil {
			t.Errorf("the lock held through the run is not there: %v", err)
		}
		if err := l.Unlock(ctx); err != nil {
			t.Errorf("unlock of the lock held through the run: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// report prints what was done.
func (w *workload) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Logf("operations: %d lock+unlock pairs, %d linearizable reads, %d IDs, %d waits timed out", w.ops.Load(), w.verifies.Load(), len(w.ids.seen), w.timeouts.Load())
	w.t.Logf("lock latency: %s", distribution(w.latencies))
	for _, k := range slices.Sorted(maps.Keys(w.errs)) {
		w.t.Logf("seen by clients: %5d × %s", w.errs[k], k)
	}
}

// distribution prints count, median, p90, p99 and maximum.
func distribution(ds []time.Duration) string {
	if len(ds) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(ds))
	q := func(p float64) time.Duration {
		return s[min(len(s)-1, int(p*float64(len(s))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("n %d, min %v, median %v, p90 %v, p99 %v, max %v", len(s), s[0].Round(10*time.Microsecond), q(.5), q(.9), q(.99), s[len(s)-1].Round(10*time.Microsecond))
}
