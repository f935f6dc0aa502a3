package tcp_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
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

// TestPeerOfVersionTwo calls a peer that knows neither the third class nor the hash of a name: the cores' messages go on,
// and a request waits until its context ends.
func TestPeerOfVersionTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		old := p.listen("two")
		go func() {
			for {
				conn, err := old.Accept()
				if err != nil {
					return
				}
				go answerAsVersionTwo(conn)
			}
		}()
		one, handler := p.start(t, 1, "one", both...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := one.Request(ctx, 2, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the request ended with %v", err)
		}
		if s := one.Stats()[2]; !s.Connected || !s.BulkConnected || s.MessagesConnected || handler.Told(2) != 0 {
			t.Errorf("%+v, told %d times", s, handler.Told(2))
		}
		if rs := handler.Refusals(2); len(rs) == 0 || rs[0].Kind != transport.RejectProtocol {
			t.Errorf("refused: %+v", rs)
		}
		old.Close()
	})
}

// answerAsVersionTwo is the listening side of a node that speaks version 2 alone.
func answerAsVersionTwo(conn net.Conn) {
	defer conn.Close()
	reader := wire.NewReader(conn, 1<<20)
	frame, err := reader.Next()
	if err != nil {
		return
	}
	hello, err := wire.DecodeHello(frame.Body)
	if err != nil || hello.MinVersion > 2 {
		conn.Write(wire.AppendRefuse(nil, &wire.Refuse{MinVersion: 2, MaxVersion: 2, Kind: transport.RejectProtocol, Text: "no common version"}))
		return
	}
	conn.Write(wire.AppendAccept(nil, &wire.Accept{Version: 2, Self: transport.Identity{Member: 2, Incarnation: raft.Incarnation{2}}}))
	for {
		if frame, err = reader.Next(); err != nil {
			return
		}
		if ping, err := wire.DecodePing(frame.Body); frame.Kind == wire.KindPing && err == nil {
			conn.Write(wire.AppendPong(nil, ping.Stamp))
		}
	}
}

// TestBreakOfMessagesIsNoOutcry has the connection for messages alone break: the core, which has sent nothing on it, is
// not told that the peer is unreachable.
func TestBreakOfMessagesIsNoOutcry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		var last net.Conn
		p.onDial = func(conn net.Conn) { last = conn }
		one, handler := p.start(t, 1, "one", both...)
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Second)
		two.OnRequest(func(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
			time.Sleep(time.Second)
			return body, nil
		})
		time.AfterFunc(500*time.Millisecond, func() { last.Close() })
		if answer, err := one.Request(context.Background(), 2, []byte("x")); err != nil || string(answer) != "x" {
			t.Errorf("%q, %v", answer, err)
		}
		if n := len(two.Requests()); n != 1 || handler.Told(2) != 0 {
			t.Errorf("ran %d times, told %d times", n, handler.Told(2))
		}
	})
}
