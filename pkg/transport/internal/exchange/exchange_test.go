package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bodies takes everything that waits.
func bodies(o *Outbox) (out []string) {
	for _, p := range o.Take(nil, 1<<20) {
		out = append(out, string(p.Body))
	}
	return out
}

// TestOutboxOrder has parcels wait, be taken, and wait again after a break.
func TestOutboxOrder(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	calls := map[string]*call{}
	begin := func(name string) {
		calls[name] = o.begin(transport.RequestID{byte(len(calls))}, []byte(name))
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got := bodies(o); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	begin("a")
	begin("b")
	o.notify([]byte("note"))
	expect("first", "a", "b", "note")
	begin("c")
	o.finish(calls["a"]) // answered
	begin("d")
	o.finish(calls["d"]) // given up while it waits
	o.again(calls["c"])  // waits already
	o.Broken()
	o.Broken()
	expect("after a break", "b", "c")
	o.again(calls["b"])
	begin("e")
	o.notify([]byte("lost"))
	if n := o.DropNotices(); n != 1 || o.Len() != 2 {
		t.Errorf("%d notifications were dropped, %d parcels wait", n, o.Len())
	}
	if got := o.Take(nil, 0); len(got) != 1 || string(got[0].Body) != "b" {
		t.Errorf("with no room at all: %v", got)
	}
	<-o.Wake()
	expect("the rest", "e")
	o.Reply(wire.Reply{ID: calls["a"].ID}) // nobody waits
	for range 3 {
		o.Reply(wire.Reply{ID: calls["b"].ID})
	}
	if len(calls["b"].replies) != 1 || !o.Busy() {
		t.Error("the reply is lost")
	}
}

// TestOutboxWindow has more requests wait than may be with a peer.
func TestOutboxWindow(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 256 << 10, transport.MaxBodyBytes} {
		o, want := newOutbox(), min(window, windowBytes/size)
		var calls []*call
		for i := range 2 * want {
			calls = append(calls, o.begin(transport.RequestID{byte(i), byte(i >> 8)}, make([]byte, size)))
		}
		o.notify([]byte("passes"))
		takes := func(what string, n int) {
			t.Helper()
			if got := o.Take(nil, 1<<30); len(got) != n {
				t.Errorf("%d bytes each, %s: %d go, want %d", size, what, len(got), n)
			}
		}
		takes("first", want+1)
		takes("without room", 0)
		o.Reply(wire.Reply{ID: calls[0].ID, Status: wire.StatusBusy})
		o.finish(calls[1])
		takes("one was sent back, one given up", 2)
		o.again(calls[2]) // goes behind the others
		takes("one goes again", 1)
		o.Broken()
		takes("after a break", want)
		o.end(transport.ErrClosed)
		o.Broken()
		o.again(calls[3])
		o.finish(calls[4])
		o.begin(transport.RequestID{}, nil)
		if takes("ended", 0); o.Len() != 0 {
			t.Errorf("%d wait at the end", o.Len())
		}
	}
}

// TestOutboxBounds has notifications wait for one that does not take them.
func TestOutboxBounds(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100 << 10} {
		o, n := newOutbox(), 0
		for o.notify(make([]byte, size)) == nil {
			n++
		}
		if want := min(maxNotices, maxNoticeBytes/max(size, 1)); n != want {
			t.Errorf("%d notifications of %d bytes wait, want %d", n, size, want)
		}
		if bodies(o); o.notify(nil) != nil {
			t.Error("there is no room when all are taken")
		}
	}
}

// handler answers requests with a function.
type handler struct {
	transport.MessageHandler
	requested func(ctx context.Context, body []byte) ([]byte, error)
	announced func(ctx context.Context) ([]byte, error)
}

func (h *handler) Requested(ctx context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
	return h.requested(ctx, body)
}
func (h *handler) Notified(raft.MemberID, []byte) { h.requested(context.Background(), nil) }
func (h *handler) Announced(ctx context.Context, _ transport.Identity, _ []byte) ([]byte, error) {
	return h.announced(ctx)
}

// TestServerBounds asks more than may run at the same time: by one peer, by all, and by bytes.
func TestServerBounds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ peers, size, want int }{
		"one peer":                  {1, 0, maxRunningPeer},
		"many peers":                {20, 0, maxRunning},
		"many peers, large bodies":  {20, transport.MaxBodyBytes, maxRunningBytes / transport.MaxBodyBytes},
		"one peer, a few at a time": {1, 1 << 10, maxRunningPeer},
	} {
		synctest.Test(t, func(t *testing.T) {
			var running sync.WaitGroup
			release := make(chan struct{})
			h := &handler{requested: func(context.Context, []byte) ([]byte, error) { <-release; return nil, nil }}
			s := NewServer(h, transport.NewJournal(0, 0), running.Go)
			var mu sync.Mutex
			replies := map[wire.Status]int{}
			ask := func(i int) {
				body := make([]byte, test.size)
				from := transport.Identity{Member: raft.MemberID(i%test.peers + 1)}
				s.Request(from, wire.Request{ID: transport.RequestID{byte(i), byte(i >> 8)}, Body: body}, func(r wire.Reply) {
					mu.Lock()
					defer mu.Unlock()
					replies[r.Status]++
				})
			}
			for i := range 1000 {
				ask(i)
			}
			synctest.Wait()
			if busy := replies[wire.StatusBusy]; busy != 1000-test.want {
				t.Errorf("%s: %d run, want %d", name, 1000-busy, test.want)
			}
			if s.Notify(1, nil) && test.size <= 1<<10 {
				t.Errorf("%s: a notification runs beyond the bound", name)
			}
			close(release)
			running.Wait()
			for i := 999; i >= 1000-test.want; i-- { // what was busy can come again, and what has run is known
				ask(i)
			}
			running.Wait()
			if done := replies[wire.StatusDone]; done != 2*test.want || s.total != 0 || s.bytes != 0 || len(s.running) != 0 {
				t.Errorf("%s: %d were answered, want %d; room taken: %d, %d bytes, %v", name, done, 2*test.want, s.total, s.bytes, s.running)
			}
		})
	}
}

// TestServerStop ends handlers: what they return then is no answer, and nothing begins any more.
func TestServerStop(t *testing.T) {
	t.Parallel()
	var running sync.WaitGroup
	began := make(chan struct{})
	h := &handler{requested: func(ctx context.Context, _ []byte) ([]byte, error) { close(began); <-ctx.Done(); return nil, ctx.Err() }}
	s := NewServer(h, transport.NewJournal(0, 0), running.Go)
	answer := func(wire.Reply) { t.Error("answered") }
	s.Request(transport.Identity{Member: 1}, wire.Request{}, answer)
	<-began
	s.Stop()
	running.Wait()
	s.Request(transport.Identity{Member: 1}, wire.Request{}, answer)
	if s.Notify(1, nil) {
		t.Error("a notification was taken after the stop")
	}
	if _, _, ok := s.Announce(context.Background(), "a", transport.Identity{}, nil); ok {
		t.Error("an announcement was answered after the stop")
	}
}

// TestStrangers fills the room for announcements and goes through the rate of one address.
func TestStrangers(t *testing.T) {
	t.Parallel()
	var s strangers
	taken := 0
	for taken < 100 && s.admit("a", 0) {
		taken++
	}
	if taken != maxStrangers || s.admit("b", 0) {
		t.Errorf("%d run at the same time", taken)
	}
	for range taken {
		s.leave()
	}
	burst := func(address string, now time.Duration) (n int) {
		for n < 100 && s.admit(address, now) {
			s.leave()
			n++
		}
		return n
	}
	for i, test := range []struct {
		address string
		at      time.Duration
		want    int
	}{
		{"a", 0, strangersAtOnce - maxStrangers}, {"b", 0, strangersAtOnce}, {"b", time.Second, strangersASecond},
		{"a", time.Hour, strangersAtOnce}, {"a", time.Hour + 50*time.Millisecond, 0},
	} {
		if n := burst(test.address, test.at); n != test.want {
			t.Errorf("step %d: %d of %s were admitted, want %d", i, n, test.address, test.want)
		}
	}
	for i := range 10 * maxAddresses {
		s.admit(fmt.Sprint("address ", i), time.Hour)
		s.running = 0
	}
	if n := len(s.buckets); n > maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}

// TestAnnounceLimit has a handler that waits for its context, and a caller that went without a word.
func TestAnnounceLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &handler{announced: func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }}
		s := NewServer(h, transport.NewJournal(0, 0), nil)
		begin := time.Now()
		if _, _, ok := s.Announce(context.Background(), "a", transport.Identity{}, nil); ok || time.Since(begin) != announceLimit {
			t.Errorf("answered: %v, after %s", ok, time.Since(begin))
		}
	})
}

// TestRequestPauses watches when a request goes again that gets no answer, and one that is sent back as one too many.
func TestRequestPauses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		busy  bool
		limit time.Duration
		unit  time.Duration
		want  []time.Duration
	}{
		{false, time.Minute, time.Second, []time.Duration{0, 1, 3, 7, 15, 31, 47}},
		{true, time.Second, time.Millisecond, []time.Duration{0, 5, 15, 35, 75, 155, 315, 565, 815}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := NewClient(time.Second)
			o := c.Open(2)
			ctx, cancel := context.WithTimeout(context.Background(), test.limit)
			defer cancel()
			begin, done := time.Now(), make(chan []time.Duration)
			go func() {
				var at []time.Duration
				for ctx.Err() == nil {
					select {
					case <-o.Wake():
					case <-ctx.Done():
					}
					for _, p := range o.Take(nil, 1<<20) {
						at = append(at, time.Since(begin)/test.unit)
						if test.busy {
							o.Reply(wire.Reply{ID: p.ID, Status: wire.StatusBusy})
						}
					}
				}
				done <- at
			}()
			if _, err := c.Request(ctx, 2, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if at := <-done; fmt.Sprint(at) != fmt.Sprint(test.want) {
				t.Errorf("sent at %v, want %v", at, test.want)
			}
		})
	}
}
