package tcp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// TestMessagesConnectOnDemand watches the third connection come with the first request and go when there are none.
func TestMessagesConnectOnDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, handler := p.start(t, 1, "one", both...)
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Minute)
		dials := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.dials["two"])
		}
		before := dials()
		if s := one.Stats()[2]; s.MessagesConnected || !s.Connected {
			t.Errorf("before the first request: %+v", s)
		}
		ask := func() {
			if answer, err := one.Request(context.Background(), 2, []byte("x")); err != nil || string(answer) != "x" {
				t.Errorf("%q, %v", answer, err)
			}
		}
		for range 10 {
			ask()
			time.Sleep(20 * time.Second) // less than MessagesIdle
		}
		if n := dials(); n != before+1 || !one.Stats()[2].MessagesConnected {
			t.Errorf("%d dials for 10 requests", n-before)
		}
		two.OnRequest(func(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
			time.Sleep(time.Hour)
			return body, nil
		})
		ask() // one that is waited for is not idle
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := one.Stats()[2]; s.MessagesConnected || !s.Connected || s.LastError != "" || handler.Told(2) != 0 || dials() != before+1 {
			t.Errorf("long after the last request: %+v, %d dials, told %d times", s, dials()-before, handler.Told(2))
		}
		two.OnRequest(nil)
		ask()
		if n := len(two.Requests()); n != 12 || dials() != before+2 {
			t.Errorf("12 requests ran %d times, after %d dials", n, dials()-before)
		}
	})
}

// TestRequestOfSilentPeerIsRepeated has a handler take longer than several repeats: they all wait for the one run.
func TestRequestOfSilentPeerIsRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, _ := p.start(t, 1, "one", both...)
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Second)
		two.OnRequest(func(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
			time.Sleep(time.Minute)
			return body, nil
		})
		begin := time.Now()
		if _, err := one.Request(context.Background(), 2, make([]byte, 256<<10)); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("answered after %s, %v", time.Since(begin), err)
		}
		if n := len(two.Requests()); n != 1 {
			t.Errorf("a request that took a minute ran %d times", n)
		}
	})
}

// TestNoticesAreNotKept notifies a peer that is away: it gets none of them when it is back.
func TestNoticesAreNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, _ := p.start(t, 1, "one", both...)
		for range 100 {
			one.Notify(2, []byte("old"))
		}
		time.Sleep(time.Second)
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Second)
		one.Notify(2, []byte("new"))
		time.Sleep(time.Second)
		if got := two.Notices(); len(got) != 1 || string(got[0]) != "new" || one.Stats()[2].Dropped != 100 {
			t.Errorf("%q came; %d are counted as dropped", got, one.Stats()[2].Dropped)
		}
	})
}
