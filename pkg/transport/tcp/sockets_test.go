package tcp_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

// sockets starts members 1 and 2 on real sockets, by a name that has to be resolved, and waits until 1 can send.
func sockets(t *testing.T, cfg tcp.Config) (one, two *tcp.Transport, first, second *transporttest.Recorder) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	// A busy machine makes silence of any length; here it ends no connection.
	cfg.ConnectTimeout, cfg.HandshakeTimeout, cfg.IdleTimeout = time.Hour, time.Hour, time.Hour
	start := func(id raft.MemberID) (*tcp.Transport, *transporttest.Recorder, transport.Peer) {
		tr, err := tcp.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		h := transporttest.NewRecorder(transport.Identity{Member: id})
		if err := tr.Start(h); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tr.Close(context.Background()) })
		_, port, _ := net.SplitHostPort(tr.Addr())
		return tr, h, transport.Peer{ID: id, Address: "localhost:" + port}
	}
	one, first, p1 := start(1)
	two, second, p2 := start(2)
	one.SetPeers([]transport.Peer{p1, p2})
	two.SetPeers([]transport.Peer{p1, p2})
	await(t, "connected", func() bool { s := one.Stats()[2]; return s.Connected && s.BulkConnected && s.RoundTrip > 0 })
	return one, two, first, second
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(2 * time.Minute); !condition(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestCloseSendsWhatWaits closes right behind Send.
func TestCloseSendsWhatWaits(t *testing.T) {
	t.Parallel()
	one, _, _, second := sockets(t, tcp.Config{IPTTL: 64, Linger: time.Second})
	var ms []raft.Message
	for i := range uint64(1000) {
		ms = append(ms, raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Index: i, Data: make([]byte, 1000)}}},
			raft.Message{Type: raft.MsgTimeoutNow, From: 1, To: 2})
	}
	one.Send(ms)
	if err := one.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	await(t, "all has come", func() bool { return second.Received() == len(ms) })
}

// TestTooLargeToSend drops a message that the peer would refuse, and keeps the connection.
func TestTooLargeToSend(t *testing.T) {
	t.Parallel()
	one, _, first, second := sockets(t, tcp.Config{MaxFrameBytes: 10 << 10, BlockSize: 1 << 10, Linger: -1})
	ok := raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Data: make([]byte, 10<<10-100)}}}
	large := raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Data: make([]byte, 10<<10)}}}
	one.Send([]raft.Message{ok, large, ok})
	await(t, "the others have come", func() bool { return second.Received() == 2 })
	await(t, "the sender was told", func() bool { return first.Told(2) == 1 })
	if s := one.Stats()[2]; !s.BulkConnected || s.Dropped != 1 {
		t.Errorf("%+v", s)
	}
}

// TestPortInUse names the port.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	one, _, _, _ := sockets(t, tcp.Config{})
	tr, err := tcp.New(tcp.Config{Listen: one.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Start(transporttest.NewRecorder(transport.Identity{Member: 3})); err == nil || !strings.Contains(err.Error(), one.Addr()) {
		t.Errorf("second listener at %s: %v", one.Addr(), err)
	}
	tr.Close(context.Background())
}
