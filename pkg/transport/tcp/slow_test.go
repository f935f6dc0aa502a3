package tcp_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// slowConn takes a KiB at a time, with a pause before each.
type slowConn struct{ net.Conn }

func (c slowConn) Read(b []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return c.Conn.Read(b[:min(len(b), 1<<10)])
}

// TestASlowPeerGetsAnAppend sends an append to a peer that needs far longer for a block than it may be silent: it takes
// something all the time.
func TestASlowPeerGetsAnAppend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		p.taken = func(c net.Conn) net.Conn { return slowConn{c} }
		one, handler := p.start(t, 1, "one", both...)
		_, two := p.start(t, 2, "two", both...)
		time.Sleep(time.Second) // virtual: they are connected
		one.Send([]raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Data: make([]byte, 100<<10)}}}})
		time.Sleep(time.Minute)
		if n := two.Received(); n != 1 || handler.Told(2) != 0 {
			t.Errorf("%d of 1 messages came, told %d times that the peer is unreachable", n, handler.Told(2))
		}
	})
}
