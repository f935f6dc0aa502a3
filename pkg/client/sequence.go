package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/idgen/alloc"
)

// Sequence gives out the numbers of a named sequence: each at most once, in the whole cluster. Unless it is
// strict it leases ranges and gives the numbers out of them without a request, so that several clients' numbers
// interleave and what a client had leased when it ended is a gap.
type Sequence struct {
	name   string
	cycle  bool
	set    *sequenceSet
	ranges *alloc.Allocator // nil for a strict one
	strict *strictQueue     // nil for a leased one
}

// Range is a run of numbers: Lo, Lo+Step, …, Count of them.
type Range = alloc.Range

// SequenceOption is a value that a sequence is made with.
type SequenceOption func(*coorddv1.SequenceCreateRequest)

// Strict makes the sequence give its numbers in the order of the calls, over all clients, at the price of a
// request each (calls at the same time share one).
func Strict() SequenceOption {
	return func(r *coorddv1.SequenceCreateRequest) { r.Order = coorddv1.Order_STRICT }
}

// MaxRange bounds how many numbers a client may lease at once. Default: 1,000,000.
func MaxRange(n int64) SequenceOption {
	return func(r *coorddv1.SequenceCreateRequest) { r.MaxRange = &n }
}

// Min sets the least number. Default: 1.
func Min(n int64) SequenceOption { return func(r *coorddv1.SequenceCreateRequest) { r.Min = &n } }

// Max sets the greatest number. Default: 2^63 - 1.
func Max(n int64) SequenceOption { return func(r *coorddv1.SequenceCreateRequest) { r.Max = &n } }

// Step sets the distance between numbers. Default: 1.
func Step(n int64) SequenceOption { return func(r *coorddv1.SequenceCreateRequest) { r.Step = &n } }

// Start sets the first number. Default: the least one.
func Start(n int64) SequenceOption { return func(r *coorddv1.SequenceCreateRequest) { r.Start = &n } }

// Cycle makes the sequence start over at its end: its numbers come again.
func Cycle() SequenceOption { return func(r *coorddv1.SequenceCreateRequest) { r.Cycle = true } }

// sequenceSet is the sequences of one client, or of one session.
type sequenceSet struct {
	c       *Client
	cfg     config
	session func(context.Context) (*Session, error)

	uuids atomic.Pointer[Sequence] // what NewUUID draws from; nil until its first use

	mu     sync.Mutex
	byName map[string]*Sequence
}

func newSequenceSet(c *Client, cfg config, session func(context.Context) (*Session, error)) *sequenceSet {
	return &sequenceSet{c: c, cfg: cfg, session: session, byName: make(map[string]*Sequence)}
}

// Sequence returns the sequence of that name. If there is none it is made, with the options or the defaults.
// If options are given they must be those that it was made with: else the error's code is SEQ_CONFLICT. Calls
// with the same name share what they lease.
func (c *Client) Sequence(ctx context.Context, name string, opts ...SequenceOption) (*Sequence, error) {
	return c.sequences.get(ctx, name, opts)
}

// Sequence is like [Client.Sequence], with the requests made in this session. What was leased outlives it.
func (s *Session) Sequence(ctx context.Context, name string, opts ...SequenceOption) (*Sequence, error) {
	return s.sequences.get(ctx, name, opts)
}

func (x *sequenceSet) get(ctx context.Context, name string, opts []SequenceOption) (*Sequence, error) {
	if err := checkName("sequence", name); err != nil {
		return nil, err
	}
	x.mu.Lock()
	known := x.byName[name]
	x.mu.Unlock()
	if known != nil && len(opts) == 0 {
		return known, nil
	}
	info, err := x.describe(ctx, name, opts)
	if err != nil {
		return nil, fmt.Errorf("sequence %q: %w", name, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if known = x.byName[name]; known != nil {
		return known, nil
	}
	q := &Sequence{name: name, cycle: info.GetCycle(), set: x}
	if info.GetOrder() == coorddv1.Order_STRICT {
		q.strict = &strictQueue{lease: q.lease, most: info.GetMaxRange()}
	} else {
		q.ranges = alloc.New(alloc.Config{Fetch: q.lease, MaxRange: info.GetMaxRange(), Cycle: info.GetCycle()})
	}
	x.byName[name] = q
	return q, nil
}

// describe returns the sequence as it is at the service, made if need be.
func (x *sequenceSet) describe(ctx context.Context, name string, opts []SequenceOption) (*coorddv1.Sequence, error) {
	for first := true; ; first = false {
		var rep coorddv1.SequenceReply
		if len(opts) == 0 {
			_, err := x.c.ask(ctx, x.cfg, "id.get", name, &coorddv1.SequenceRequest{}, &rep)
			if err == nil || codeOf(err) != coorddv1.CodeSeqNotFound {
				return rep.GetSequence(), err
			}
		}
		req := &coorddv1.SequenceCreateRequest{}
		for _, o := range opts {
			o(req)
		}
		err := x.execute(ctx, name, "id.create", req, &rep)
		if codeOf(err) == coorddv1.CodeSeqConflict && len(opts) == 0 && first {
			continue // made with other values by somebody else in this very moment
		}
		return rep.GetSequence(), err
	}
}

// execute has a command on a sequence executed in the set's session, and once more in the next one if that
// had ended before.
func (x *sequenceSet) execute(ctx context.Context, name, verb string, req, rep proto.Message) error {
	for again := false; ; again = true {
		s, err := x.session(ctx)
		if err != nil {
			return err
		}
		err = s.execute(ctx, verb, name, req, rep)
		if errors.Is(err, ErrSessionExpired) && !errors.Is(err, ErrOutcomeUnknown) && !again {
			continue
		}
		return err
	}
}

// close ends the refills that are under way.
func (x *sequenceSet) close() {
	x.mu.Lock()
	all := slices.Collect(maps.Values(x.byName))
	x.mu.Unlock()
	for _, q := range all { // without the mutex: a refill that ends may want it
		if q.ranges != nil {
			q.ranges.Close()
		} else {
			q.strict.close()
		}
	}
}

// forget makes the next call for this name ask the service what the sequence is now.
func (x *sequenceSet) forget(q *Sequence) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.uuids.CompareAndSwap(q, nil)
	if x.byName[q.name] == q {
		delete(x.byName, q.name)
	}
}

// lease takes a range of want numbers, or of at least least, from the service.
func (q *Sequence) lease(ctx context.Context, want, least int64) (Range, error) {
	var rep coorddv1.SequenceAllocReply
	err := q.set.execute(ctx, q.name, "id.alloc", &coorddv1.SequenceAllocRequest{Count: want, MinCount: least}, &rep)
	if code := codeOf(err); code == coorddv1.CodeSeqNotFound || code == coorddv1.CodeCountTooLarge && least < want {
		q.set.forget(q) // it was deleted, or made anew with other values
	}
	if err != nil {
		return Range{}, err
	}
	return Range{Lo: rep.GetLo(), Count: rep.GetCount(), Step: rep.GetStep(), SequenceID: rep.GetSequenceId(),
		Generation: rep.GetGeneration(), Domain: uint16(rep.GetDomain())}, nil
}

// Name returns the sequence's name.
func (q *Sequence) Name() string { return q.name }

// Next returns the next number. If one is at hand it costs about one atomic addition and does not look at ctx;
// otherwise ctx bounds the wait for the service.
func (q *Sequence) Next(ctx context.Context) (int64, error) {
	if q.ranges == nil {
		return q.strictOne(ctx)
	}
	n, err := q.ranges.Next(ctx)
	if err != nil {
		return 0, q.wrap(err)
	}
	return n, nil
}

// TryNext returns a number if one is at hand. A strict sequence never has one.
func (q *Sequence) TryNext() (int64, bool) {
	if q.ranges == nil {
		return 0, false
	}
	return q.ranges.TryNext()
}

// NextN returns n numbers in ascending order (of a descending sequence: descending). On an error none are
// returned, and those that were taken are gaps.
func (q *Sequence) NextN(ctx context.Context, n int) ([]int64, error) {
	if n < 0 {
		return nil, localError(coorddv1.CodeBadRequest, "%d numbers", n)
	}
	var ns []int64
	var err error
	if q.ranges == nil {
		ns, err = q.strict.take(ctx, n)
	} else {
		ns, err = q.ranges.NextN(ctx, n)
	}
	if err != nil {
		return nil, q.wrap(err)
	}
	return ns, nil
}

// Reserve takes exactly n numbers from the service, as one run, past anything that is at hand. n may be at most
// the sequence's maximal range.
func (q *Sequence) Reserve(ctx context.Context, n int64) (Range, error) {
	if n < 1 {
		return Range{}, q.wrap(localError(coorddv1.CodeBadRequest, "reserve %d numbers", n))
	}
	r, err := q.lease(ctx, n, n)
	if err != nil {
		return Range{}, q.wrap(err)
	}
	return r, nil
}

func (q *Sequence) strictOne(ctx context.Context) (int64, error) {
	ns, err := q.strict.take(ctx, 1)
	if err != nil {
		return 0, q.wrap(err)
	}
	return ns[0], nil
}

func (q *Sequence) wrap(err error) error {
	if errors.Is(err, alloc.ErrClosed) {
		err = ErrClosed
	}
	return fmt.Errorf("sequence %q: %w", q.name, err)
}

// Block gives out a sequence's numbers to one goroutine, from runs of up to n: cheaper than [Sequence.Next]
// under contention. It must not be shared.
type Block struct {
	q     *Sequence
	block *alloc.Block // nil for a strict sequence
}

// Block returns a block that takes runs of up to n numbers.
func (q *Sequence) Block(n int) *Block {
	if q.ranges == nil {
		return &Block{q: q}
	}
	return &Block{q: q, block: q.ranges.Block(n)}
}

// Next returns the block's next number. ctx bounds the wait if none is at hand.
func (b *Block) Next(ctx context.Context) (int64, error) {
	if b.block == nil {
		return b.q.strictOne(ctx)
	}
	n, err := b.block.Next(ctx)
	if err != nil {
		return 0, b.q.wrap(err)
	}
	return n, nil
}
