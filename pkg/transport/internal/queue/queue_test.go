package queue_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/transport/internal/queue"
)

// TestAgainstModel compares the queue with the plainest one that keeps its promises.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	type value struct{ number, bytes int }
	rapid.Check(t, func(t *rapid.T) {
		policy := queue.Policy(rapid.IntRange(0, 1).Draw(t, "policy"))
		maxItems, maxBytes := rapid.IntRange(0, 5).Draw(t, "items"), rapid.IntRange(0, 50).Draw(t, "bytes")
		q := queue.New[value](policy, maxItems, maxBytes)
		var model []value
		total := func(vs []value) (n int) {
			for _, v := range vs {
				n += v.bytes
			}
			return n
		}
		full := func(vs []value) bool {
			return len(vs) > 1 && ((maxItems > 0 && len(vs) > maxItems) || (maxBytes > 0 && total(vs) > maxBytes))
		}
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				number++
				v := value{number, rapid.IntRange(0, 30).Draw(t, "size")}
				want := 0
				model = append(model, v)
				for full(model) {
					want++
					if policy == queue.DropNewest {
						model = model[:len(model)-1]
						break
					}
					model = model[1:]
				}
				if got := q.Push(v, v.bytes); got != want {
					t.Fatalf("%d dropped, want %d", got, want)
				}
			},
			"drain": func(t *rapid.T) {
				limit := rapid.IntRange(0, 60).Draw(t, "limit")
				n := 0
				for n < len(model) && (n == 0 || total(model[:n+1]) <= limit) {
					n++
				}
				got := q.Drain(nil, limit)
				if diff := cmp.Diff(append([]value(nil), model[:n]...), got, cmp.AllowUnexported(value{})); diff != "" {
					t.Fatal(diff)
				}
				model = model[n:]
			},
			"limit": func(t *rapid.T) {
				maxItems, maxBytes = rapid.IntRange(0, 5).Draw(t, "items"), rapid.IntRange(0, 50).Draw(t, "bytes")
				want := 0
				for policy == queue.DropOldest && full(model) {
					model = model[1:]
					want++
				}
				if got := q.Limit(maxItems, maxBytes); got != want {
					t.Fatalf("%d dropped, want %d", got, want)
				}
			},
			"clear": func(t *rapid.T) {
				if got := q.Clear(); got != len(model) {
					t.Fatalf("%d cleared, want %d", got, len(model))
				}
				model = nil
			},
			"": func(t *rapid.T) {
				if q.Len() != len(model) {
					t.Fatalf("%d wait, want %d", q.Len(), len(model))
				}
			},
		})
	})
}

// TestWake has many push while one takes out what it is woken for: nothing may be left behind.
func TestWake(t *testing.T) {
	t.Parallel()
	q := queue.New[int](queue.DropOldest, 0, 0)
	const pushers, each = 8, 1000
	var group sync.WaitGroup
	for range pushers {
		group.Go(func() {
			for i := range each {
				q.Push(i, 1)
			}
		})
	}
	for got := 0; got < pushers*each; {
		<-q.Wake()
		got += len(q.Drain(nil, 10))
	}
	group.Wait()
	if q.Len() != 0 {
		t.Fatalf("%d left", q.Len())
	}
}
