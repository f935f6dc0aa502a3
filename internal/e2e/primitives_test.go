//go:build e2e || net

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/e2e/models"
	"github.com/coordd/coordd/pkg/client"
)

const (
	// roundsAnInstance is how often the workers of a primitive use one instance before they go on to another one, so that each
	// history is short enough to be decided.
	roundsAnInstance = 24
	// shortTTL is what the sessions of half of the workers live for without renewal: some end in a fault.
	shortTTL = 3 * time.Second
	// walksAway is how many rounds one in which a worker is cut off in the middle and never seen again.
	walksAway = 80
)

// primitives is the work on every primitive besides the exclusive lock, each with a history of its own.
type primitives struct {
	t       *testing.T
	urls    string
	options []client.Option
	pace    time.Duration // pause of a worker between two rounds
	all     []*primitive

	mu     sync.Mutex
	errs   map[string]int
	fences map[uint64]string
	away   atomic.Int64 // workers that were cut off
	stamp  atomic.Int64 // the part of names that changes with each fault
	gone   sync.WaitGroup
	ids    atomic.Uint64
	begun  sync.Map // latches that somebody sets

	elections *elections
}

// primitive is one of them.
type primitive struct {
	*primitives
	name    string
	hist    *models.History
	workers int
	round   func(k *worker, instance string)
	rounds  atomic.Int64
	extra   func(ctx context.Context, p *primitive) // besides the workers
}

// worker is one client at work.
type worker struct {
	*primitive
	id   int
	c    *client.Client
	s    *client.Session
	wire *wire
}

func newPrimitives(t *testing.T, urls string, pace time.Duration) *primitives {
	ps := &primitives{t: t, urls: urls, pace: pace, errs: map[string]int{}, fences: map[uint64]string{}, elections: newElections()}
	add := func(name string, m models.Model, workers int, round func(*worker, string), extra func(context.Context, *primitive)) {
		ps.all = append(ps.all, &primitive{primitives: ps, name: name, hist: models.NewHistory(m), workers: workers, round: round, extra: extra})
	}
	add("rw", models.RWLock(), 4, (*worker).readOrWrite, readLocks)
	add("sem", models.Semaphore(permits), 4, (*worker).takePermits, readLocks)
	add("re", models.Reentrant(), 3, (*worker).enterTwice, readLocks)
	add("all", models.AcquireAll(), 3, (*worker).takeSeveral, readParts)
	add("elect", models.Election(), 3, (*worker).reign, observe)
	add("barrier", models.Barrier(parties), 3, (*worker).meet, nil)
	add("latch", models.Latch(), 3, (*worker).countOrWait, nil)
	return ps
}

// run has all workers work until ctx ends.
func (ps *primitives) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range ps.all {
		for id := range p.workers {
			wg.Go(func() {
				if err := p.work(ctx, id); err != nil && ctx.Err() == nil {
					ps.t.Errorf("%s, worker %d: %v", p.name, id, err)
				}
			})
		}
		if p.extra != nil {
			wg.Go(func() { p.extra(ctx, p) })
		}
	}
	wg.Wait()
	ps.gone.Wait()
}

// rename has the workers go on with other instances.
func (ps *primitives) rename() { ps.stamp.Add(1) }

// instance is the name of the one that a round belongs to.
func (p *primitive) instance(round int64) string {
	return fmt.Sprintf("prim/%s/%d-%d", p.name, p.stamp.Load(), round/roundsAnInstance)
}

// latest is the instance that the workers use now.
func (p *primitive) latest() string { return p.instance(p.rounds.Load()) }

func (p *primitive) work(ctx context.Context, id int) error {
	k := &worker{primitive: p, id: id}
	if err := k.connect(ctx); err != nil {
		return err
	}
	defer func() { k.leave() }()
	for ctx.Err() == nil {
		p.round(k, p.instance(p.rounds.Add(1)))
		if k.s.Err() != nil { // lost, or walked away
			k.leave()
			if err := k.connect(ctx); err != nil {
				return err
			}
		}
		pause(ctx, p.pace)
	}
	return nil
}

// connect begins a client with a session of its own, whatever time that takes.
func (k *worker) connect(ctx context.Context) error {
	ttl := client.WithTTL(15 * time.Second)
	if k.id%2 == 1 {
		ttl = client.WithTTL(shortTTL)
	}
	for {
		k.wire = newWire()
		opts := append([]client.Option{client.WithOwner(fmt.Sprintf("%s-%d", k.name, k.id)), client.WithTimeout(15 * time.Second), ttl,
			client.WithNATSOptions(k.wire.option())}, k.options...)
		c, err := client.Connect(ctx, k.urls, opts...)
		if err == nil {
			if k.s, err = c.NewSession(ctx); err == nil {
				k.c = c
				return nil
			}
			c.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.failed("connect", err)
	}
}

// leave closes the client; if it can't reach anybody that takes a while, during which the worker is somebody else.
func (k *worker) leave() {
	if c := k.c; c != nil {
		k.c = nil
		k.gone.Go(func() { _ = c.Close() }) // what is not confirmed ends with the session
	}
}

// walkAway cuts the worker off, now and then; it keeps what it holds until its session ends.
func (k *worker) walkAway() bool {
	if k.id%2 == 0 || rand.IntN(walksAway) != 0 {
		return false
	}
	k.away.Add(1)
	k.wire.cut()
	return true
}

func (ps *primitives) failed(what string, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.errs[what+": "+short(err)]++
}

// granted notes a fence, which nobody else may ever have been given.
func (ps *primitives) granted(fence uint64, what string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if other, twice := ps.fences[fence]; twice {
		ps.t.Errorf("fence %d was given for %s and for %s", fence, other, what)
	}
	ps.fences[fence] = what
}

// holding is what a client's hold is to these runs: a *client.Lock, a *client.LockSet.
type holding interface {
	Valid() error
	Unlock(context.Context) error
}

// hold keeps a hold for a moment and lets it go. It notes the end of the hold as it is known: by the answer to the release;
// or some time after the last moment at which the hold was surely there.
func (k *worker) hold(ctx context.Context, instance string, l holding, holds ...models.Hold) {
	k.holdUntil(ctx, instance, l, models.Release, holds...)
}

// holdUntil does it for a hold that ends by another kind of operation.
func (k *worker) holdUntil(ctx context.Context, instance string, l holding, end models.Kind, holds ...models.Hold) {
	sure := k.hist.Now() // it was granted to a session that is alive
	if l.Valid() != nil {
		k.ended(instance, sure, holds)
		return
	}
	pause(ctx, time.Duration(rand.Int64N(int64(2*time.Millisecond))))
	if k.walkAway() {
		for l.Valid() == nil { // by its own clock, as nothing reaches it
			sure = k.hist.Now()
			if l.Valid() != nil {
				break
			}
			pause(context.Background(), 20*time.Millisecond)
		}
		k.ended(instance, sure, holds)
		return
	}
	k.letGo(ctx, instance, l, sure, end, holds...)
}

// letGo releases a hold that was sure at a moment.
func (k *worker) letGo(ctx context.Context, instance string, l holding, sure int64, end models.Kind, holds ...models.Hold) {
	call := k.hist.Now()
	if l.Valid() != nil {
		k.ended(instance, sure, holds)
		return
	}
	err := l.Unlock(ctx)
	if err != nil {
		k.failed("release", err)
		k.ended(instance, call, holds)
		return
	}
	ret := k.hist.Now()
	for _, h := range holds {
		k.hist.Add(instance, k.id, models.Op{Kind: end, Holds: []models.Hold{h}}, call, ret)
	}
}

// ended notes holds that were lost, or of whose release nothing is known.
func (k *worker) ended(instance string, sure int64, holds []models.Hold) {
	for _, h := range holds {
		k.hist.Add(instance, k.id, models.Op{Kind: models.Release, Holds: []models.Hold{h}, Maybe: true}, sure, models.Never)
	}
}

// took notes a grant.
func (k *worker) took(instance string, call int64, holds ...models.Hold) {
	ret := k.hist.Now()
	for _, h := range holds {
		k.granted(h.Fence, instance)
	}
	k.hist.Add(instance, k.id, models.Op{Kind: models.Acquire, Holds: holds, By: k.s.ID()}, call, ret)
}

// asked counts what did not come about. Waits that ended are no errors.
func (k *worker) asked(what string, err error) {
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOutcomeUnknown) {
		k.failed(k.name+" "+what, err)
	}
}

// bounded bounds one operation.
func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// check gives every history to porcupine, prints what came of it by primitive, and fails unless all is decided and right.
func (ps *primitives) check() (operations int) {
	ps.t.Helper()
	for _, p := range ps.all {
		v := p.hist.Check(time.Minute, ".")
		ps.t.Logf("%s", v)
		if !v.OK() {
			ps.t.Errorf("%s: not shown to be linearizable", v.Primitive)
		}
		operations += v.Operations
	}
	ps.elections.check(ps)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.t.Logf("primitives: %d operations, %d fences, each given once; %d workers were cut off for good", operations, len(ps.fences), ps.away.Load())
	ps.t.Logf("seen by the workers: %s", list(ps.errs))
	return operations
}

// connection is one that observers use, which goes wherever somebody answers.
func (ps *primitives) connection() (*nats.Conn, error) {
	return nats.Connect(ps.urls, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(time.Second),
		nats.RetryOnFailedConnect(true))
}
