package client

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/idgen"
)

func TestSequencesNeverRepeat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	clients := []*Client{r.connect(t), r.connect(t), r.connect(t)}
	r.Script(only("id.alloc", Fate{}, Fate{DropReply: true}, Fate{Twice: true}, Fate{DropRequest: true}, Fate{NoResponders: true}, Fate{Delay: 300 * time.Millisecond}))
	var mu sync.Mutex
	numbers, uuids := map[int64]bool{}, map[idgen.UUID]bool{}
	var wg sync.WaitGroup
	for i := range 9 {
		c := clients[i%3]
		wg.Go(func() {
			q, err := c.Sequence(t.Context(), "orders")
			if err != nil {
				t.Error(err)
				return
			}
			b := q.Block(16)
			for k := range 300 {
				var ns []int64
				var err error
				switch k % 3 {
				case 0:
					ns = make([]int64, 1)
					ns[0], err = q.Next(t.Context())
				case 1:
					ns, err = q.NextN(t.Context(), 7)
				case 2:
					ns = make([]int64, 1)
					ns[0], err = b.Next(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				u, err := c.NewUUID(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, n := range ns {
					if numbers[n] || n < 1 {
						t.Errorf("%d came twice or never was", n)
					}
					numbers[n] = true
				}
				if uuids[u] {
					t.Errorf("%v came twice", u)
				}
				uuids[u] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for u := range uuids {
		info, err := idgen.Inspect(u)
		if err != nil || info.Version != 8 || info.Domain == 0 {
			t.Fatalf("%v: %+v, %v", u, info, err)
		}
	}
}

// A strict sequence gives its numbers in the order of the calls over all clients, without gaps while nobody
// gives up, and calls at the same time share a request.
func TestAStrictSequence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	qa, err := a.Sequence(t.Context(), "invoices", Strict(), Start(100), Step(2), Max(1000))
	if err != nil {
		t.Fatal(err)
	}
	qb, err := b.Sequence(t.Context(), "invoices")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		q := []*Sequence{qa, qb}[i%2]
		if n, err := q.Next(t.Context()); err != nil || n != 100+2*int64(i) {
			t.Fatalf("call %d: %d, %v", i, n, err)
		}
	}
	if _, ok := qa.TryNext(); ok {
		t.Error("a strict sequence had a number at hand")
	}
	r.Script(func(Message) Fate { return Fate{Delay: 10 * time.Millisecond} })
	before := len(r.Seen("id.alloc"))
	var mu sync.Mutex
	var got []int64
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			ns, err := qa.NextN(t.Context(), 1+i%3)
			if err != nil {
				t.Error(err)
			}
			if !slices.IsSorted(ns) {
				t.Errorf("%v", ns)
			}
			mu.Lock()
			got = append(got, ns...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(got)
	if len(got) != 120 || got[0] != 120 || got[119] != 120+2*119 {
		t.Errorf("%d numbers from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if n := len(r.Seen("id.alloc")) - before; n > 20 {
		t.Errorf("%d requests for 60 calls at the same time", n)
	}
	r.Script(nil)
	// 120 to 358 are gone; 360 to 1000 are 321 more.
	if ns, err := qb.NextN(t.Context(), 321); err != nil || ns[320] != 1000 {
		t.Errorf("the last ones: %v", err)
	}
	if _, err := qa.Next(t.Context()); codeOf(err) != "SEQ_EXHAUSTED" {
		t.Errorf("an exhausted sequence: %v", err)
	}
	if _, err := qb.Block(4).Next(t.Context()); codeOf(err) != "SEQ_EXHAUSTED" {
		t.Errorf("an exhausted sequence: %v", err)
	}
}

func TestSequenceOptionsAndErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t), r.connect(t)
	q, err := a.Sequence(t.Context(), "s", Min(-5), Start(-2), Max(3), MaxRange(4))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Sequence(t.Context(), "s"); err != nil || again != q {
		t.Errorf("the same name gave another sequence (%v)", err)
	}
	if _, err := b.Sequence(t.Context(), "s", Min(-5), Start(-2), Max(3), MaxRange(4)); err != nil {
		t.Errorf("the same values: %v", err)
	}
	if _, err := b.Sequence(t.Context(), "s", Max(4)); codeOf(err) != "SEQ_CONFLICT" {
		t.Errorf("other values: %v", err)
	}
	var got []int64
	for range 6 {
		n, err := q.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if !slices.Equal(got, []int64{-2, -1, 0, 1, 2, 3}) {
		t.Errorf("got %v", got)
	}
	if _, err := q.Next(t.Context()); codeOf(err) != "SEQ_EXHAUSTED" {
		t.Errorf("an exhausted sequence: %v", err)
	}
	if _, err := q.NextN(t.Context(), -1); !errors.Is(err, ErrBadRequest) {
		t.Errorf("-1 numbers: %v", err)
	}

	last, err := a.Sequence(t.Context(), "last", Start(math.MaxInt64-1))
	if err != nil {
		t.Fatal(err)
	}
	if ns, err := last.NextN(t.Context(), 2); err != nil || ns[1] != math.MaxInt64 {
		t.Errorf("the last numbers: %v, %v", ns, err)
	}
	exact, err := a.Sequence(t.Context(), "exact")
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3) {
		if g, err := exact.Reserve(t.Context(), 3); err != nil || g.Lo != 1+3*i || g.Count != 3 || g.Step != 1 || g.Domain == 0 || g.SequenceID == 0 {
			t.Errorf("reserved %+v, %v", g, err)
		}
	}
	if _, err := a.Sequence(t.Context(), uuidSequence, Cycle(), Max(100)); err != nil {
		t.Fatal(err)
	}
	if u, err := a.NewUUID(t.Context()); err == nil {
		t.Errorf("a UUID from a sequence that starts over: %v", u)
	}
}

// The numbers at hand are given out through an outage; then the caller's context bounds the wait.
func TestASequenceDuringAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t, WithTimeout(2*time.Second))
	q, err := c.Sequence(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Script(func(Message) Fate { return Fate{DropRequest: true} })
	for range 63 {
		if _, ok := q.TryNext(); !ok {
			t.Fatal("a number that was leased is not there")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := q.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := q.Next(t.Context()); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	r.Script(nil)
	if _, err := q.Next(t.Context()); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	_ = c.Close()
	if _, err := c.NewUUID(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed client: %v", err)
	}
}
