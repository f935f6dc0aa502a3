package tcp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

// appendOf is an append that counts as about a MiB.
func appendOf(round uint64) []raft.Message {
	return []raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Round: round, Entries: []raft.Entry{{Data: make([]byte, 1<<20)}}}}
}

// TestEachOverflowIsTold fills the queue of a stuck peer, lets it go on, and fills it again.
func TestEachOverflowIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, handler := p.start(t, 1, "one", both...)
		_, two := p.start(t, 2, "two", both...)
		synctest.Wait()
		for overflow := 1; overflow <= 3; overflow++ {
			gate := make(chan struct{})
			two.Hook(func(raft.Message) { <-gate })
			for i := range uint64(20) {
				one.Send(appendOf(i))
			}
			synctest.Wait() // no time passes, so no deadline does
			if n := handler.Told(2); n != overflow {
				t.Errorf("overflow %d: told %d times", overflow, n)
			}
			close(gate)
			synctest.Wait()
		}
		if s := one.Stats()[2]; !s.BulkConnected {
			t.Errorf("%+v", s)
		}
	})
}

// TestAppendsBehindABreakAreDropped breaks a connection while appends wait for it: a later one gets none of them.
func TestAppendsBehindABreakAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		one, handler := p.start(t, 1, "one", both...)
		old, two := p.start(t, 2, "two", both...)
		synctest.Wait()
		gate := make(chan struct{})
		two.Hook(func(raft.Message) { <-gate })
		for i := range uint64(6) {
			one.Send(appendOf(i))
		}
		synctest.Wait()
		ended, end := context.WithCancel(context.Background())
		end()
		old.Close(ended) // cuts at once; its handler is stuck
		close(gate)
		time.Sleep(time.Second)
		if handler.Told(2) == 0 {
			t.Error("nothing was told")
		}
		_, again := p.start(t, 2, "two", both...)
		one.Send([]raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Round: 99}})
		time.Sleep(time.Second)
		synctest.Wait()
		if ms := again.Messages(); len(ms) != 1 || ms[0].Round != 99 {
			t.Errorf("%d messages came", len(ms))
		}
	})
}

// TestCloseEmptiesTheQueue closes while the peer is slow to take what came first.
func TestCloseEmptiesTheQueue(t *testing.T) {
	t.Parallel()
	for range 8 { // whether a wake or the close is looked at first is up to chance
		synctest.Test(t, func(t *testing.T) {
			p := newPipes()
			one, _ := p.start(t, 1, "one", both...)
			_, two := p.start(t, 2, "two", both...)
			synctest.Wait()
			two.Hook(func(raft.Message) { time.Sleep(10 * time.Millisecond) })
			for i := range uint64(5) {
				one.Send(appendOf(i))
			}
			synctest.Wait()
			if err := one.Close(context.Background()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
			if n := two.Received(); n != 5 {
				t.Errorf("%d of 5 messages came", n)
			}
		})
	}
}

// TestCloseDoesNotWaitForDials closes while a dial hangs, and while a handshake does.
func TestCloseDoesNotWaitForDials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		p.listen("hangs") // nobody accepts
		silent := p.listen("silent")
		go func() {
			for {
				c, err := silent.Accept()
				if err != nil {
					return
				}
				defer c.Close()
			}
		}()
		for _, address := range []string{"hangs", "silent"} {
			tr, err := tcp.New(tcp.Config{Listener: p.listen("one"), Dial: p.dial, ConnectTimeout: time.Minute, IdleTimeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			tr.SetPeers([]transport.Peer{{ID: 2, Address: address}})
			if err := tr.Start(transporttest.NewRecorder(transport.Identity{Member: 1})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			begin := time.Now()
			if err := tr.Close(context.Background()); err != nil || time.Since(begin) > 0 {
				t.Errorf("%s: closed after %s, %v", address, time.Since(begin), err)
			}
		}
		silent.Close()
	})
}
