package transport_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

func key(n int) transport.RequestKey {
	return transport.RequestKey{Member: raft.MemberID(n%3 + 1), Incarnation: raft.Incarnation{byte(n % 2)}, ID: transport.RequestID{byte(n), byte(n >> 8)}}
}

// entered begins a request that must get this verdict.
func entered(t *testing.T, j *transport.Journal, k transport.RequestKey, now time.Duration, want transport.Verdict, waiter func(transport.Answer)) transport.Answer {
	t.Helper()
	got, answer := j.Begin(k, now, waiter)
	if got != want {
		t.Fatalf("at %s: verdict %d, want %d", now, got, want)
	}
	return answer
}

// TestJournal goes through the life of a request.
func TestJournal(t *testing.T) {
	t.Parallel()
	j := transport.NewJournal(0, 0)
	told := map[string]string{}
	waiter := func(who string) func(transport.Answer) {
		return func(a transport.Answer) { told[who] = fmt.Sprint(string(a.Body), a.Failed) }
	}
	entered(t, j, key(1), 0, transport.Run, waiter("first"))
	entered(t, j, key(1), time.Hour, transport.Waiting, waiter("repeat")) // what runs has no age
	other := key(1)
	other.Incarnation = raft.Incarnation{9}
	entered(t, j, other, time.Hour, transport.Run, waiter("another directory"))
	other.Member, other.Incarnation = 9, key(1).Incarnation
	entered(t, j, other, time.Hour, transport.Run, waiter("another member"))
	answer := transport.Answer{Body: []byte("no"), Failed: true}
	for _, w := range j.Finish(key(1), time.Hour, answer) {
		w(answer)
	}
	if len(told) != 2 || told["first"] != "notrue" || told["repeat"] != "notrue" {
		t.Errorf("told: %v", told)
	}
	if got := entered(t, j, key(1), time.Hour+9*time.Second, transport.Known, nil); string(got.Body) != "no" || !got.Failed {
		t.Errorf("a repeat got %+v", got)
	}
	if n := len(j.Finish(key(1), time.Hour, answer)) + len(j.Abandon(key(1))) + len(j.Finish(key(7), 0, answer)); n != 0 {
		t.Errorf("%d wait for what does not run", n)
	}
	entered(t, j, key(1), time.Hour+10*time.Second, transport.Run, waiter("after the expiry"))
	if n := len(j.Abandon(key(1))); n != 1 {
		t.Errorf("%d waited for what was abandoned", n)
	}
	entered(t, j, key(1), time.Hour+10*time.Second, transport.Run, waiter("again"))
}

// TestJournalEvicts fills the memory: the oldest answers go, and no more than needed.
func TestJournalEvicts(t *testing.T) {
	t.Parallel()
	const size = 1000
	j := transport.NewJournal(5*size, time.Hour)
	fill := func(n int, bytes int) {
		entered(t, j, key(n), time.Duration(n), transport.Run, nil)
		j.Finish(key(n), time.Duration(n), transport.Answer{Body: make([]byte, bytes)})
	}
	entered(t, j, key(100), 0, transport.Run, nil) // runs on
	for n := range 6 {
		fill(n, size-200) // an answer costs some more than its body
	}
	for n, want := range map[int]transport.Verdict{5: transport.Known, 4: transport.Known, 1: transport.Known, 100: transport.Waiting} {
		entered(t, j, key(n), 10, want, nil)
	}
	entered(t, j, key(0), 10, transport.Run, nil)
	fill(7, 6*size) // alone beyond the bound: it is not kept, and drives nobody out
	entered(t, j, key(7), 10, transport.Run, nil)
	entered(t, j, key(1), 10, transport.Known, nil)
	fill(8, 4*size-200) // nearly all of it
	entered(t, j, key(5), 10, transport.Known, nil)
	entered(t, j, key(4), 10, transport.Run, nil)
	if _, bytes := j.Len(); bytes > 5*size {
		t.Errorf("the answers take %d bytes, %d are allowed", bytes, 5*size)
	}
}

// TestJournalWaiters repeats a request that runs more often than anybody should.
func TestJournalWaiters(t *testing.T) {
	t.Parallel()
	j := transport.NewJournal(0, 0)
	latest := 0
	entered(t, j, key(1), 0, transport.Run, func(transport.Answer) { t.Error("the first of 100 is still told") })
	for i := range 99 {
		entered(t, j, key(1), 0, transport.Waiting, func(transport.Answer) { latest = i })
	}
	waiters := j.Finish(key(1), 0, transport.Answer{})
	for _, w := range waiters {
		w(transport.Answer{})
	}
	if len(waiters) != 8 || latest != 98 {
		t.Errorf("%d wait, the latest told is %d", len(waiters), latest)
	}
}

// TestJournalModel compares a journal with a plain list of what was answered when.
func TestJournalModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const limit, expiry = 2000, 100
		type item struct {
			n    int
			at   time.Duration
			size int
		}
		j := transport.NewJournal(limit, expiry)
		var answered []item
		runs := map[int]bool{}
		now := time.Duration(0)
		overhead := 0
		evict := func() {
			total := 0
			for _, it := range answered {
				total += it.size
			}
			for len(answered) > 0 && (now-answered[0].at >= expiry || total > limit) {
				total -= answered[0].size
				answered = answered[1:]
			}
		}
		{ // learn what an answer costs beyond its body
			probe := transport.NewJournal(0, 0)
			probe.Begin(key(0), 0, nil)
			probe.Finish(key(0), 0, transport.Answer{})
			_, overhead = probe.Len()
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "request")
				evict()
				want := transport.Run
				for _, it := range answered {
					if it.n == n {
						want = transport.Known
					}
				}
				if runs[n] {
					want = transport.Waiting
				}
				if got, a := j.Begin(key(n), now, nil); got != want || (got == transport.Known && int(a.Body[0]) != n) {
					t.Fatalf("verdict %d, want %d; answer %v", got, want, a)
				}
				if want == transport.Run {
					runs[n] = true
				}
			},
			"finish": func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "request")
				body := make([]byte, rapid.IntRange(1, 2500).Draw(t, "size"))
				body[0] = byte(n)
				j.Finish(key(n), now, transport.Answer{Body: body})
				if runs[n] && len(body)+overhead <= limit {
					answered = append(answered, item{n, now, len(body) + overhead})
				}
				delete(runs, n)
				evict()
			},
			"abandon": func(t *rapid.T) {
				n := rapid.IntRange(0, 9).Draw(t, "request")
				j.Abandon(key(n))
				delete(runs, n)
			},
			"wait": func(t *rapid.T) { now += time.Duration(rapid.IntRange(0, 60).Draw(t, "for")) },
			"": func(t *rapid.T) {
				if _, bytes := j.Len(); bytes > limit {
					t.Fatalf("the answers take %d bytes, %d are allowed", bytes, limit)
				}
			},
		})
	})
}
