//go:build e2e || net

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coordd/coordd/internal/e2e/models"
	"github.com/coordd/coordd/pkg/client"
)

const (
	permits = 3
	parties = 2
	counts  = 4 // of a latch
	// meets is how long a worker waits for others, who may have gone on to another instance.
	meets = 2 * time.Second
)

// readOrWrite holds a read/write lock, mostly with others.
func (k *worker) readOrWrite(name string) {
	ctx, cancel := bounded()
	defer cancel()
	take, shared := k.s.Lock, false
	if rand.IntN(3) > 0 {
		take, shared = k.s.RLock, true
	}
	call := k.hist.Now()
	l, err := take(ctx, name)
	if err != nil {
		k.asked("lock", err)
		return
	}
	h := models.Hold{Name: name, Fence: l.Fence(), Shared: shared, Count: 1}
	k.took(name, call, h)
	k.hold(ctx, name, l, h)
}

// takePermits takes one or two of three permits, or tries to.
func (k *worker) takePermits(name string) {
	ctx, cancel := bounded()
	defer cancel()
	sem, n := k.s.Semaphore(name, permits), 1+rand.IntN(2)
	take := sem.Acquire
	if rand.IntN(4) == 0 {
		take = sem.TryAcquire
	}
	call := k.hist.Now()
	l, err := take(ctx, n)
	if locked := new(client.LockedError); errors.As(err, &locked) {
		return
	}
	if err != nil {
		k.asked("acquire", err)
		return
	}
	h := models.Hold{Name: name, Fence: l.Fence(), Count: n}
	k.took(name, call, h)
	k.hold(ctx, name, l, h)
}

// enterTwice takes a lock, enters it once more, and leaves it as often.
func (k *worker) enterTwice(name string) {
	ctx, cancel := bounded()
	defer cancel()
	call := k.hist.Now()
	outer, err := k.s.Lock(ctx, name, client.Reentrant())
	if err != nil {
		k.asked("lock", err)
		return
	}
	h := models.Hold{Name: name, Fence: outer.Fence(), Count: 1}
	k.took(name, call, h)
	if rand.IntN(3) > 0 {
		k.enter(name, outer, h)
	}
	k.holdUntil(ctx, name, outer, models.Exit, h)
}

// enter is the inner part of enterTwice. What becomes of the hold itself is the outer's part to tell.
func (k *worker) enter(name string, outer *client.Lock, h models.Hold) {
	ctx, cancel := context.WithTimeout(outer.Context(), 20*time.Second)
	defer cancel()
	in, out := models.Op{Kind: models.Enter, Holds: []models.Hold{h}}, models.Op{Kind: models.Exit, Holds: []models.Hold{h}}
	call := k.hist.Now()
	inner, err := k.s.Lock(ctx, name, client.Reentrant())
	if err != nil {
		// It may have entered, and then gives that entry back by itself.
		k.asked("enter", err)
		in.Maybe, out.Maybe = true, true
		k.hist.Add(name, k.id, in, call, models.Never)
		k.hist.Add(name, k.id, out, call, models.Never)
		return
	}
	if inner.Fence() != h.Fence {
		k.t.Errorf("%s: entered again under fence %d, held under %d", name, inner.Fence(), h.Fence)
	}
	k.hist.Add(name, k.id, in, call, k.hist.Now())
	pause(ctx, time.Duration(rand.Int64N(int64(10*time.Millisecond)))) // for readers to see both entries
	call = k.hist.Now()
	if err := inner.Unlock(context.WithoutCancel(ctx)); err != nil {
		k.asked("leave", err)
		out.Maybe = true
		k.hist.Add(name, k.id, out, call, models.Never)
		return
	}
	k.hist.Add(name, k.id, out, call, k.hist.Now())
}

// parts are the locks of one instance that are taken together.
func parts(instance string) []string {
	return []string{instance + "/a", instance + "/b", instance + "/c"}
}

// takeSeveral takes two or three locks at once, in any order, or one of them alone.
func (k *worker) takeSeveral(instance string) {
	ctx, cancel := bounded()
	defer cancel()
	names := parts(instance)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:1+rand.IntN(len(names))]
	call := k.hist.Now()
	if len(names) == 1 {
		l, err := k.s.Lock(ctx, names[0])
		if err != nil {
			k.asked("lock", err)
			return
		}
		h := models.Hold{Name: names[0], Fence: l.Fence(), Count: 1}
		k.took(instance, call, h)
		k.hold(ctx, instance, l, h)
		return
	}
	set, err := k.s.LockAll(ctx, names...)
	if err != nil {
		k.asked("lock all", err)
		return
	}
	var holds []models.Hold
	for _, name := range names {
		holds = append(holds, models.Hold{Name: name, Fence: set.Fence(name), Count: 1})
	}
	k.took(instance, call, holds...)
	k.hold(ctx, instance, set, holds...)
}

// meet waits at a barrier for one other.
func (k *worker) meet(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), meets)
	defer cancel()
	me := k.ids.Add(1)
	call := k.hist.Now()
	err := k.s.Barrier(name, parties).Wait(ctx)
	ret := k.hist.Now()
	arrive, end := models.Op{Kind: models.Arrive, To: me}, models.Op{Kind: models.Pass, To: me}
	if err != nil {
		// It may have been let through at the last moment.
		end.Kind, end.Maybe, ret = models.Leave, true, models.Never
		k.asked("wait", err)
	}
	k.hist.Add(name, k.id, arrive, call, ret)
	k.hist.Add(name, k.id, end, call, ret)
}

// countOrWait is one of those who count a latch down, or one of those who wait for it. Whoever comes first to an instance sets it.
func (k *worker) countOrWait(name string) {
	ctx, cancel := bounded()
	defer cancel()
	latch := k.s.Latch(name)
	call := k.hist.Now()
	switch {
	case k.first(name):
		if err := latch.Set(ctx, counts); err != nil {
			k.asked("set", err)
			k.hist.Add(name, k.id, models.Op{Kind: models.Set, Count: counts, Maybe: true}, call, models.Never)
			return
		}
		k.hist.Add(name, k.id, models.Op{Kind: models.Set, Count: counts}, call, k.hist.Now())
	case k.id == 0 || rand.IntN(3) == 0:
		op := models.Op{Kind: models.Down, Count: 1, Left: -1}
		err := latch.CountDown(ctx, 1)
		switch {
		case err == nil:
			k.hist.Add(name, k.id, op, call, k.hist.Now())
		case !isNotSet(err):
			k.asked("count down", err)
			op.Maybe = true
			k.hist.Add(name, k.id, op, call, models.Never)
		}
	default:
		ctx, cancel := context.WithTimeout(ctx, meets)
		defer cancel()
		if err := latch.Wait(ctx); err != nil {
			k.asked("wait", err)
			return
		}
		k.hist.Add(name, k.id, models.Op{Kind: models.Open}, call, k.hist.Now())
	}
}

// first reports, once for each instance, that nobody has set the latch yet.
func (k *worker) first(name string) bool {
	_, was := k.begun.LoadOrStore(name, true)
	return !was
}

// isNotSet says that a latch was counted down that there is not.
func isNotSet(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Code == "NOT_FOUND"
}

// readLocks reads the instance that is in use.
func readLocks(ctx context.Context, p *primitive) {
	p.readAll(ctx, func() (instance, name string) { i := p.latest(); return i, i })
}

// readParts reads one lock of the instance that is in use.
func readParts(ctx context.Context, p *primitive) {
	p.readAll(ctx, func() (instance, name string) {
		i := p.latest()
		return i, parts(i)[rand.IntN(3)]
	})
}

// readAll asks for locks, linearizably, and notes who held them.
func (p *primitive) readAll(ctx context.Context, which func() (instance, name string)) {
	nc, err := p.connection()
	if err != nil {
		p.t.Error(err)
		return
	}
	defer nc.Close()
	for ; ctx.Err() == nil; pause(ctx, p.pace+5*time.Millisecond) {
		instance, name := which()
		call := p.hist.Now()
		msg, err := nc.Request("coord.v1.default.lock.get."+name, []byte("{}"), time.Second)
		ret := p.hist.Now()
		if err != nil || msg.Header.Get("Nats-Service-Error-Code") != "" {
			continue
		}
		var reply struct {
			Lock struct {
				Holders []struct {
					Fence uint64 `json:"fence,string"`
					Mode  string `json:"mode"`
					Count int    `json:"count,string"`
				} `json:"holders"`
			} `json:"lock"`
		}
		if err := json.Unmarshal(msg.Data, &reply); err != nil {
			p.t.Errorf("a read answered %s: %v", msg.Data, err)
			continue
		}
		op := models.Op{Kind: models.Read, Name: name}
		for _, h := range reply.Lock.Holders {
			op.Holds = append(op.Holds, models.Hold{Name: name, Fence: h.Fence, Shared: h.Mode == "SHARED", Count: h.Count})
		}
		slices.SortFunc(op.Holds, func(a, b models.Hold) int { return cmp.Compare(a.Fence, b.Fence) })
		p.hist.Add(instance, p.workers, op, call, ret)
	}
}

// value is one that no leader had before.
func (k *worker) value() string { return fmt.Sprintf("%s-%d-%d", k.name, k.id, k.ids.Add(1)) }
