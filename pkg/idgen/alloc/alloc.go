package alloc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is what callers get from an allocator that was closed and has nothing left.
var ErrClosed = errors.New("allocator is closed")

// DefaultMaxRange bounds a range if Config.MaxRange is not set: the default of the service.
const DefaultMaxRange = 1_000_000

// Fetch leases a new range of want numbers, or of at least least. It is called by one goroutine at a time,
// with a context that ends when the allocator is closed.
type Fetch func(ctx context.Context, want, least int64) (Range, error)

// Config describes an allocator.
type Config struct {
	Fetch    Fetch
	MaxRange int64 // most numbers in one range, the service's limit; 0: DefaultMaxRange
	Cycle    bool  // the sequence starts over at its end, so that a range below an earlier one is no repeat
}

// Allocator gives out the numbers of a sequence. Its methods may be called by any number of goroutines.
type Allocator struct {
	cur atomic.Pointer[segment] // never nil

	fetch  Fetch
	cycle  bool
	ctx    context.Context // of refills
	cancel context.CancelFunc
	wg     sync.WaitGroup

	refilling atomic.Bool // a refill is under way; set by compare-and-swap, cleared under mu

	mu       sync.Mutex
	spare    *segment      // what follows cur
	changed  chan struct{} // closed when a refill ends, well or not
	err      error         // of the last refill, nil after a good one
	fails    int           // refills in a row that went wrong
	notUntil time.Time     // no refill ahead of need before this instant
	retired  int64         // numbers given out from segments that are no longer cur
	last     Range         // the range installed last
	need     int64         // what the hungriest parked caller still wants
	size     sizer
	closed   bool
}

// New returns an allocator that has no range yet; the first call fetches one.
func New(cfg Config) *Allocator {
	if cfg.MaxRange <= 0 {
		cfg.MaxRange = DefaultMaxRange
	}
	a := &Allocator{fetch: cfg.Fetch, cycle: cfg.Cycle, changed: make(chan struct{}), size: sizer{maxSize: cfg.MaxRange}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.cur.Store(newSegment(Range{Step: 1}, 0))
	return a
}

// Close ends a refill that is under way and waits for it. Numbers at hand are still given out afterwards;
// callers that would have to wait get ErrClosed.
func (a *Allocator) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.wg.Wait()
}

// Next returns the next number. It waits only if none is at hand, and ctx bounds that wait alone: with a
// number at hand it succeeds although ctx has ended.
func (a *Allocator) Next(ctx context.Context) (int64, error) {
	s := a.cur.Load()
	i := s.used.Add(1)
	if i <= s.soft {
		return s.lo + (i-1)*s.step, nil
	}
	return a.past(ctx, s, i)
}

// past is Next's way with claim i of s, which is past the soft limit and perhaps past the end.
func (a *Allocator) past(ctx context.Context, s *segment, i int64) (int64, error) {
	a.ahead(s)
	if i <= s.count {
		return s.at(i), nil
	}
	if err := a.advance(ctx, s, 1); err != nil {
		return 0, err
	}
	n, err := a.Take(ctx)
	return n.Value, err
}

// Number is a number with the range that it comes from.
type Number struct {
	Value      int64
	SequenceID uint64
	Domain     uint16
}

// Take is Next with the number's origin, of which IDs are composed.
func (a *Allocator) Take(ctx context.Context) (Number, error) {
	for {
		s := a.cur.Load()
		i, got := s.claim(1)
		if i > s.soft {
			a.ahead(s)
		}
		if got > 0 {
			return Number{s.at(i), s.origin.SequenceID, s.origin.Domain}, nil
		}
		if err := a.advance(ctx, s, 1); err != nil {
			return Number{}, err
		}
	}
}

// TryNext returns a number if one is at hand, and starts a refill if one is due.
func (a *Allocator) TryNext() (int64, bool) {
	for {
		s := a.cur.Load()
		i, got := s.claim(1)
		if got > 0 {
			if i > s.soft {
				a.ahead(s)
			}
			return s.at(i), true
		}
		if !a.swap(s) {
			a.start(1)
			return 0, false
		}
	}
}

// NextN returns n numbers, in the order of the sequence. On an error those taken so far are lost.
func (a *Allocator) NextN(ctx context.Context, n int) ([]int64, error) {
	if n <= 0 {
		return nil, nil
	}
	out := make([]int64, 0, n)
	for {
		s := a.cur.Load()
		i, got := s.claim(int64(n - len(out)))
		for k := range max(got, 0) {
			out = append(out, s.at(i+k))
		}
		if i+max(got, 1)-1 > s.soft {
			a.ahead(s)
		}
		if len(out) == n {
			return out, nil
		}
		if err := a.advance(ctx, s, int64(n-len(out))); err != nil {
			return nil, err
		}
	}
}

// run takes up to n numbers that are at hand as one run; used by Block.
func (a *Allocator) run(ctx context.Context, n int64) (lo, step, got int64, err error) {
	for {
		s := a.cur.Load()
		i, got := s.claim(n)
		if i+max(got, 1)-1 > s.soft {
			a.ahead(s)
		}
		if got > 0 {
			return s.at(i), s.step, got, nil
		}
		if err := a.advance(ctx, s, n); err != nil {
			return 0, 0, 0, err
		}
	}
}

// swap makes the spare segment the current one if cur is still s, which must be used up. It reports whether
// there is another current segment now.
func (a *Allocator) swap(s *segment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.swapLocked(s)
}

func (a *Allocator) swapLocked(s *segment) bool {
	if a.cur.Load() != s {
		return true
	}
	if a.spare == nil {
		return false
	}
	a.retired += s.count
	a.cur.Store(a.spare)
	a.spare = nil
	return true
}

// advance returns nil when there is a segment after s, which must be used up. It parks until then, and makes
// sure that a refill is under way.
func (a *Allocator) advance(ctx context.Context, s *segment, want int64) error {
	for waited := false; ; waited = true {
		a.mu.Lock()
		if a.swapLocked(s) {
			a.mu.Unlock()
			return nil
		}
		if waited && a.err != nil {
			err := a.err
			a.mu.Unlock()
			return err
		}
		if a.closed {
			a.mu.Unlock()
			return ErrClosed
		}
		a.need = max(a.need, want)
		changed := a.changed
		a.mu.Unlock()
		a.start(want)
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for numbers: %w", context.Cause(ctx))
		}
	}
}

// ahead starts a refill ahead of need, unless there is a spare segment or the last refills went wrong just now.
func (a *Allocator) ahead(s *segment) {
	if a.refilling.Load() {
		return
	}
	a.mu.Lock()
	ok := a.spare == nil && a.cur.Load() == s && (a.fails == 0 || !time.Now().Before(a.notUntil))
	a.mu.Unlock()
	if ok {
		a.start(1)
	}
}

// start starts a refill if none is under way. want is what the caller lacks.
func (a *Allocator) start(want int64) {
	if !a.refilling.CompareAndSwap(false, true) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.spare != nil {
		a.refilling.Store(false)
		return
	}
	size := a.size.next(time.Now(), a.retired+min(a.cur.Load().used.Load(), a.cur.Load().count))
	size = min(max(size, want, a.need), a.size.maxSize)
	a.need = 0
	a.wg.Add(1)
	go a.refill(size)
}

func (a *Allocator) refill(size int64) {
	defer a.wg.Done()
	began := time.Now()
	r, err := a.fetch(a.ctx, size, 1)
	if err == nil && !r.valid() {
		err = fmt.Errorf("range of %d from %d by %d: %w", r.Count, r.Lo, r.Step, errBadRange)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && a.repeated(r) {
		err = fmt.Errorf("range from %d: %w", r.Lo, errRepeated)
	}
	a.err = err
	if err == nil {
		a.fails = 0
		a.last = r
		a.size.fetched(time.Since(began))
		a.install(newSegment(r, a.size.soft(r.Count)))
	} else {
		if a.closed {
			a.err = ErrClosed
		}
		a.fails++
		a.notUntil = time.Now().Add(min(time.Second, 10*time.Millisecond<<min(a.fails, 10)))
	}
	close(a.changed)
	a.changed = make(chan struct{})
	a.refilling.Store(false)
}

var (
	errBadRange = errors.New("the service answered an impossible range")
	errRepeated = errors.New("the service answered numbers that were leased before")
)

// repeated says whether r is, or overlaps, a range that was installed already. Refills follow one another,
// and a sequence only grows, so a range that does not lie after the last one is a late or repeated answer.
func (a *Allocator) repeated(r Range) bool {
	if a.cycle || a.last.Count == 0 || r.SequenceID != a.last.SequenceID || r.Generation != a.last.Generation {
		return false
	}
	if r.Step > 0 {
		return r.Lo <= a.last.last()
	}
	return r.Lo >= a.last.last()
}

// install makes s the spare segment; the callers that find cur used up swap it in.
func (a *Allocator) install(s *segment) {
	a.spare = s
	if cur := a.cur.Load(); cur.left() == 0 {
		a.swapLocked(cur)
	}
}
