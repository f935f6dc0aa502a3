//go:build e2e || net

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coordd/coordd/internal/e2e/models"
	"github.com/coordd/coordd/pkg/client"
)

// watchesFor is how long an observer looks at one instance of an election.
const watchesFor = 500 * time.Millisecond

// elections is what the candidates and the observers of one run know of each other.
type elections struct {
	mu          sync.Mutex
	campaigning map[string]map[uint64]bool // sessions, by instance
	values      map[uint64][]string        // by fence, in the order in which they were proclaimed
	seen        map[string][][]models.Hold // by instance, one list for each time that somebody observed it
	handedOver  int
}

func newElections() *elections {
	return &elections{campaigning: map[string]map[uint64]bool{}, values: map[uint64][]string{}, seen: map[string][][]models.Hold{}}
}

// enter and leave keep the list of those who may be handed a lock.
func (e *elections) enter(instance string, session uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.campaigning[instance] == nil {
		e.campaigning[instance] = map[uint64]bool{}
	}
	e.campaigning[instance][session] = true
}

func (e *elections) leave(instance string, session uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.campaigning[instance], session)
}

// candidate is any session that campaigns, 0 if none does.
func (e *elections) candidate(instance string) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for session := range e.campaigning[instance] {
		return session
	}
	return 0
}

// has notes a value that a leader may have had from now on.
func (e *elections) has(fence uint64, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.values[fence] = append(e.values[fence], value)
}

// reign campaigns, leads for a moment, perhaps with other values, and resigns or hands over to somebody who waits.
func (k *worker) reign(name string) {
	ctx, cancel := bounded()
	defer cancel()
	election, value := k.s.Election(name), k.value()
	k.elections.enter(name, k.s.ID())
	call := k.hist.Now()
	l, err := election.Campaign(ctx, []byte(value))
	k.elections.leave(name, k.s.ID())
	if err != nil {
		k.asked("campaign", err)
		k.hist.Add(name, k.id, models.Op{Kind: models.Lost, To: k.s.ID()}, call, models.Never)
		return
	}
	k.elections.has(l.Fence(), value)
	h := models.Hold{Name: name, Fence: l.Fence(), Count: 1, Value: value}
	k.took(name, call, h)
	sure := k.hist.Now()
	for range rand.IntN(3) {
		if l.Valid() != nil {
			break
		}
		sure = k.hist.Now()
		h.Value = k.proclaim(ctx, name, l, h)
	}
	if to := k.elections.candidate(name); to != 0 && rand.IntN(2) == 0 && l.Valid() == nil {
		if k.handOver(ctx, name, l, to, h) {
			return
		}
	}
	if l.Valid() != nil {
		k.ended(name, sure, []models.Hold{h})
		return
	}
	k.hold(ctx, name, l, h)
}

// proclaim changes the leader's value and returns the one that it has to the leader's knowledge.
func (k *worker) proclaim(ctx context.Context, name string, l *client.Leadership, h models.Hold) string {
	old := h.Value
	h.Value = k.value()
	k.elections.has(h.Fence, h.Value)
	op := models.Op{Kind: models.Proclaim, Holds: []models.Hold{h}}
	call := k.hist.Now()
	if err := l.Proclaim(ctx, []byte(h.Value)); err != nil {
		k.asked("proclaim", err)
		op.Maybe = true
		k.hist.Add(name, k.id, op, call, models.Never)
		return old
	}
	k.hist.Add(name, k.id, op, call, k.hist.Now())
	return h.Value
}

// handOver gives the leadership to a session and reports whether it is over for this one.
func (k *worker) handOver(ctx context.Context, name string, l *client.Leadership, to uint64, h models.Hold) bool {
	op := models.Op{Kind: models.HandOver, Holds: []models.Hold{h}, To: to}
	call := k.hist.Now()
	err := l.HandOver(ctx, fmt.Sprint(to))
	ret := k.hist.Now()
	switch {
	case err != nil && l.Valid() == nil:
		return false // that one does not campaign any more
	case err == nil && k.s.Err() == nil:
		k.elections.mu.Lock()
		k.elections.handedOver++
		k.elections.mu.Unlock()
		k.hist.Add(name, k.id, op, call, ret)
	default: // handed over, or released, or lost with its session
		if err != nil {
			k.asked("hand over", err)
		}
		op.Maybe = true
		k.hist.Add(name, k.id, op, call, models.Never)
		k.ended(name, call, []models.Hold{h})
	}
	return true
}

// observe reads who leads, linearizably, and follows the changes.
func observe(ctx context.Context, p *primitive) {
	opts := append([]client.Option{client.WithOwner("observer"), client.WithTimeout(15 * time.Second)}, p.options...)
	c, err := client.Connect(ctx, p.urls, opts...)
	if err != nil {
		if ctx.Err() == nil {
			p.t.Error(err)
		}
		return
	}
	defer c.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.follow(ctx, c) })
	for ; ctx.Err() == nil; pause(ctx, p.pace+5*time.Millisecond) {
		name := p.latest()
		call := p.hist.Now()
		l, err := c.Election(name).Leader(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.failed("leader", err)
			}
			continue
		}
		op := models.Op{Kind: models.Read, Name: name}
		if l.Fence != 0 {
			op.Holds = []models.Hold{{Name: name, Fence: l.Fence, Count: 1, Value: string(l.Value)}}
		}
		p.hist.Add(name, p.workers, op, call, p.hist.Now())
	}
}

// follow observes one instance after the other.
func (p *primitive) follow(ctx context.Context, c *client.Client) {
	for ctx.Err() == nil {
		name := p.latest()
		octx, cancel := context.WithTimeout(ctx, watchesFor)
		var seen []models.Hold
		for l, err := range c.Election(name).Observe(octx) {
			if err != nil {
				if octx.Err() == nil {
					p.failed("observe", err)
				}
				break
			}
			if l.Fence != 0 {
				seen = append(seen, models.Hold{Name: name, Fence: l.Fence, Value: string(l.Value)})
			}
		}
		cancel()
		p.elections.mu.Lock()
		p.elections.seen[name] = append(p.elections.seen[name], seen)
		p.elections.mu.Unlock()
	}
}

// check shows that every observer saw the leaders and their values in order.
func (e *elections) check(ps *primitives) {
	ps.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	items, lists := 0, 0
	for name, all := range e.seen {
		for _, seen := range all {
			items, lists = items+len(seen), lists+1
			if err := models.InOrder(seen, e.values); err != nil {
				ps.t.Errorf("an observer of %s: %v; it saw %v, and known is %v", name, err, seen, e.values)
			}
		}
	}
	ps.t.Logf("election: %d hand-overs to a session out of turn; observers saw %d leaders and values in %d watches, all in order", e.handedOver, items, lists)
	if items == 0 || e.handedOver == 0 {
		ps.t.Errorf("%d items and %d hand-overs prove nothing", items, e.handedOver)
	}
}
