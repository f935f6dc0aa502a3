package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/coordd/coordd/pkg/idgen/alloc"
)

// strictQueue gives out the numbers of a strict sequence: nothing is kept in advance, and all who ask while a
// request is under way share the next one. A call's numbers are therefore larger than those of every call that
// had returned before it began.
type strictQueue struct {
	lease alloc.Fetch
	most  int64 // numbers in one request

	mu      sync.Mutex
	waiting []*strictCall
	ctx     context.Context // of the requests; nil until the first
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	running bool
	closed  bool
}

type strictCall struct {
	n    int
	got  []int64
	err  error
	gone bool // guarded by the queue's mutex
	done chan struct{}
}

// take returns n numbers.
func (q *strictQueue) take(ctx context.Context, n int) ([]int64, error) {
	if n == 0 {
		return nil, nil
	}
	c := &strictCall{n: n, done: make(chan struct{})}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, ErrClosed
	}
	q.waiting = append(q.waiting, c)
	if !q.running {
		q.running = true
		if q.ctx == nil {
			q.ctx, q.cancel = context.WithCancel(context.Background())
		}
		q.wg.Go(q.run)
	}
	q.mu.Unlock()
	select {
	case <-c.done:
		return c.got, c.err
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		c.gone = true
		return nil, fmt.Errorf("wait for numbers: %w", ended(ctx))
	}
}

// run serves the queue until it is empty.
func (q *strictQueue) run() {
	for {
		calls, total := q.next()
		if len(calls) == 0 {
			return
		}
		r, err := q.lease(q.ctx, total, 1)
		q.serve(calls, r, err)
	}
}

// next takes from the queue the calls that the next request is for.
func (q *strictQueue) next() (calls []*strictCall, total int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := 0
	for ; i < len(q.waiting) && (total < q.most || q.most <= 0); i++ {
		if c := q.waiting[i]; !c.gone {
			calls = append(calls, c)
			total += int64(c.n - len(c.got))
		}
	}
	q.waiting = q.waiting[i:]
	if len(calls) == 0 {
		q.running = false
		q.waiting = nil
	}
	if q.most > 0 {
		total = min(total, q.most)
	}
	return calls, total
}

// serve gives the numbers to the calls in the order of their arrival. Who did not get all goes on waiting.
func (q *strictQueue) serve(calls []*strictCall, r Range, err error) {
	var short []*strictCall
	i := int64(0)
	for _, c := range calls {
		if err != nil {
			c.got, c.err = nil, err
			close(c.done)
			continue
		}
		for ; len(c.got) < c.n && i < r.Count; i++ {
			c.got = append(c.got, r.Lo+i*r.Step)
		}
		if len(c.got) == c.n {
			close(c.done)
		} else {
			short = append(short, c)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(short, q.waiting...)
}

func (q *strictQueue) close() {
	q.mu.Lock()
	q.closed = true
	if q.cancel != nil {
		q.cancel()
	}
	q.mu.Unlock()
	q.wg.Wait()
}
