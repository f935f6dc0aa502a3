package transporttest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// runHostile tests callers that do not keep to the protocol. In each test two members talk before,
// during and after it.
func runHostile(t *testing.T, harness func(t testing.TB) Harness) {
	tests := []struct {
		name string
		kind transport.Rejection // that must be counted; empty: none in particular
		call func(t *testing.T, dial func() net.Conn)
		// silence as in Run
		silence time.Duration
	}{
		{"garbage", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			source := rand.New(rand.NewPCG(1, 2))
			for range 50 {
				b := make([]byte, 1+source.IntN(4096))
				for i := range b {
					b[i] = byte(source.Uint32())
				}
				b[3] |= 0x80 // a length beyond any limit
				conn := dial()
				conn.Write(b)
				ended(t, conn)
			}
		}, 0},
		{"another protocol", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello", "INFO {}\r\n"} {
				conn := dial()
				io.WriteString(conn, text)
				ended(t, conn)
			}
		}, 0},
		{"oversized first frame", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			conn := dial()
			conn.Write(binary.LittleEndian.AppendUint32(nil, wire.HandshakeLimit+1))
			conn.Write([]byte{0, 0, 0, 0})
			ended(t, conn)
		}, 0},
		{"oversized frame of a member", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			conn := shaken(t, dial)
			conn.Write(binary.LittleEndian.AppendUint32(nil, 1<<31))
			conn.Write([]byte{0, 0, 0, 0})
			ended(t, conn)
		}, 0},
		{"damaged frame of a member", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			frame := wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgHeartbeat, From: 7, To: 1})
			for _, at := range []int{4, 8, 9, len(frame) - 1} {
				conn := shaken(t, dial)
				damaged := append([]byte(nil), frame...)
				damaged[at] ^= 0x40
				conn.Write(damaged)
				ended(t, conn)
			}
		}, 0},
		{"frame that belongs elsewhere", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			conn := shaken(t, dial)
			conn.Write(wire.AppendPong(nil, 1))
			ended(t, conn)
			conn = dial()
			conn.Write(wire.AppendPing(nil, wire.Ping{}))
			ended(t, conn)
		}, 0},
		{"honest member of protocol version 2", "", func(t *testing.T, dial func() net.Conn) {
			conn := dial()
			conn.Write(wire.AppendHello(nil, &wire.Hello{MinVersion: 2, MaxVersion: 2, Class: transport.Control, Expected: 1,
				Self: transport.Identity{Cluster: raft.ClusterID{1}, Member: 7, Incarnation: raft.Incarnation{7}}}))
			if a, err := wire.DecodeAccept(frame(t, conn).Body); err != nil || a.Version != 2 || a.Self.Member != 1 {
				t.Errorf("the hello was answered with %+v, %v", a, err)
			}
			conn.Write(wire.AppendPing(nil, wire.Ping{Stamp: 5}))
			if f := frame(t, conn); f.Kind != wire.KindPong {
				t.Errorf("a ping was answered with %+v", f)
			}
		}, 0},
		{"message's frame on another class's connection", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			request := wire.AppendRequest(nil, &wire.Request{ID: transport.RequestID{1}, Body: []byte("run me")})
			for _, class := range []transport.Class{transport.Control, transport.Bulk} {
				for _, frame := range [][]byte{request, wire.AppendNotify(nil, []byte("hear me"))} {
					conn := shakenAs(t, dial, class)
					conn.Write(frame)
					ended(t, conn)
				}
			}
			for _, frame := range [][]byte{
				wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgHeartbeat, From: 7, To: 1}),
				wire.AppendReply(nil, &wire.Reply{ID: transport.RequestID{1}}),
				wire.AppendAnnounce(nil, &wire.Announce{MinVersion: wire.MaxVersion, MaxVersion: wire.MaxVersion}),
			} {
				conn := shakenAs(t, dial, transport.Messages)
				conn.Write(frame)
				ended(t, conn)
			}
			conn := dial() // and none before the handshake
			conn.Write(request)
			ended(t, conn)
		}, 0},
		{"oversized request of a member", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			conn := shakenAs(t, dial, transport.Messages)
			conn.Write(binary.LittleEndian.AppendUint32(nil, wire.BodyLimit+1))
			conn.Write([]byte{0, 0, 0, 0})
			ended(t, conn)
		}, 0},
		{"oversized notification of a member", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			conn := shakenAs(t, dial, transport.Messages)
			conn.Write(wire.AppendNotify(nil, make([]byte, transport.MaxBodyBytes+1)))
			ended(t, conn)
		}, 0},
		{"member that repeats a request and takes no answers", "", func(t *testing.T, dial func() net.Conn) {
			conn := shakenAs(t, dial, transport.Messages)
			request := wire.AppendRequest(nil, &wire.Request{ID: transport.RequestID{1}, Body: make([]byte, 256<<10)})
			conn.SetWriteDeadline(time.Now().Add(waitLimit))
			for i := 0; ; i++ {
				if _, err := conn.Write(request); err != nil {
					break
				}
				if i > 4000 {
					t.Fatal("a gigabyte of answers was not worth a connection")
				}
			}
			conn.Close()
		}, brief},
		{"strangers that announce nonsense", transport.RejectFrame, func(t *testing.T, dial func() net.Conn) {
			whole := wire.AppendAnnounce(nil, &wire.Announce{MinVersion: wire.MaxVersion, MaxVersion: wire.MaxVersion, Body: []byte("join")})
			cut := append([]byte(nil), whole[:len(whole)-2]...)
			cut = wire.EndFrame(cut, 0)
			for _, frame := range [][]byte{cut, wire.AppendAnnounced(nil, &wire.Announced{Version: wire.MaxVersion})} {
				conn := dial()
				conn.Write(frame)
				ended(t, conn)
			}
			conn := dial() // one frame and no more
			conn.Write(whole)
			conn.Write(wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgHeartbeat, From: 7, To: 1}))
			ended(t, conn)
		}, 0},
		{"version of the future", transport.RejectProtocol, func(t *testing.T, dial func() net.Conn) {
			conn := dial()
			conn.Write(wire.AppendHello(nil, &wire.Hello{MinVersion: wire.MaxVersion + 1, MaxVersion: wire.MaxVersion + 9}))
			refuse := refusal(t, conn)
			if refuse.Kind != transport.RejectProtocol || refuse.MinVersion != wire.MinVersion || refuse.MaxVersion != wire.MaxVersion {
				t.Errorf("refused with %+v", refuse)
			}
			ended(t, conn)
		}, 0},
		{"member in another's name", transport.RejectMember, func(t *testing.T, dial func() net.Conn) {
			conn := shaken(t, dial)
			conn.Write(wire.AppendMessageFrame(nil, &raft.Message{Type: raft.MsgVoteResp, From: 2, To: 1}))
			ended(t, conn)
		}, 0},
		{"member that falls silent", "", func(t *testing.T, dial func() net.Conn) { ended(t, shaken(t, dial)) }, brief},
		{"half a hello", transport.RejectTimeout, func(t *testing.T, dial func() net.Conn) {
			conn := dial()
			conn.Write(hello(7, transport.Control)[:20])
			ended(t, conn)
		}, brief},
		{"many that say nothing", transport.RejectTimeout, func(t *testing.T, dial func() net.Conn) {
			var conns []net.Conn
			for range 200 {
				conns = append(conns, dial())
			}
			shaken(t, dial) // an honest caller still gets in
			for _, conn := range conns {
				ended(t, conn)
			}
		}, brief},
		{"many that come and go", "", func(t *testing.T, dial func() net.Conn) {
			for range 200 {
				dial().Close()
			}
		}, 0},
		{"newer connection of the same member", "", func(t *testing.T, dial func() net.Conn) {
			older := shaken(t, dial)
			newer := shaken(t, dial)
			// The older one is not idle, so it can only have been replaced.
			await(t, "the older connection ends", func() bool {
				older.SetDeadline(time.Now().Add(waitLimit))
				older.Write(wire.AppendPing(nil, wire.Ping{Stamp: 1}))
				_, err := wire.NewReader(older, wire.HandshakeLimit).Next()
				return err != nil
			})
			newer.Write(wire.AppendPing(nil, wire.Ping{Stamp: 5}))
			if f := frame(t, newer); f.Kind != wire.KindPong {
				t.Errorf("a ping was answered with %+v", f)
			}
		}, 0},
	}
	for _, test := range tests {
		t.Run("hostile/"+test.name, func(t *testing.T) {
			t.Parallel()
			h := harness(t)
			h.silence = cmp.Or(test.silence, endless)
			nodes := cluster(t, h, 2)
			seven := transport.Peer{ID: 7, Name: "n7", Address: "127.0.0.1:1"}
			nodes[0].SetPeers([]transport.Peer{nodes[0].peer(), nodes[1].peer(), seven})
			nodes[1].reaches(t, nodes[0])
			test.call(t, func() net.Conn { return h.Raw(t, nodes[0].Addr()) })
			nodes[0].reaches(t, nodes[1])
			nodes[1].reaches(t, nodes[0])
			if test.kind != "" {
				await(t, "counted as "+string(test.kind), func() bool { return nodes[0].obs.rejections(test.kind) > 0 })
				await(t, "logged", func() bool { return nodes[0].log.lines("refused", "kind="+string(test.kind)) > 0 })
				if n := nodes[0].log.lines("refused", "kind="+string(test.kind)); n > 3 {
					t.Errorf("%d refusals gave %d lines in the log", nodes[0].obs.rejections(test.kind), n)
				}
			}
			if n := nodes[0].count(7) + len(nodes[0].received(2, raft.MsgVoteResp)); n != 0 {
				t.Errorf("%d messages came from a hostile caller", n)
			}
		})
	}
}

// hello is what member 7 says to member 1.
func hello(from raft.MemberID, class transport.Class) []byte {
	return wire.AppendHello(nil, &wire.Hello{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Class: class,
		Expected: 1, Self: transport.Identity{Cluster: raft.ClusterID{1}, Member: from, Incarnation: raft.Incarnation{7}}})
}

// shaken opens a connection as member 7, up to the end of the handshake.
func shaken(t *testing.T, dial func() net.Conn) net.Conn {
	t.Helper()
	return shakenAs(t, dial, transport.Control)
}

// shakenAs opens a connection for a class. One that is too slow for the other side, as brief silence has it, calls again.
func shakenAs(t *testing.T, dial func() net.Conn, class transport.Class) (conn net.Conn) {
	t.Helper()
	var f wire.Frame
	await(t, "the hello is answered", func() bool {
		var err error
		conn = dial()
		conn.Write(hello(7, class))
		conn.SetReadDeadline(time.Now().Add(waitLimit))
		if f, err = wire.NewReader(conn, wire.HandshakeLimit).Next(); err != nil {
			conn.Close()
		}
		return err == nil
	})
	if f.Kind != wire.KindAccept {
		t.Fatalf("the hello was answered with %+v", f)
	}
	accept, err := wire.DecodeAccept(f.Body)
	if err != nil || accept.Self.Member != 1 {
		t.Fatalf("the hello was answered with %+v, %v", accept, err)
	}
	return conn
}

// frame reads one frame.
func frame(t *testing.T, conn net.Conn) wire.Frame {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(waitLimit))
	f, err := wire.NewReader(conn, wire.HandshakeLimit).Next()
	if err != nil {
		t.Fatalf("wait for an answer: %v", err)
	}
	return f
}

// refusal reads a frame that must be a refusal.
func refusal(t *testing.T, conn net.Conn) wire.Refuse {
	t.Helper()
	refuse, err := wire.DecodeRefuse(frame(t, conn).Body)
	if err != nil {
		t.Fatal(err)
	}
	return refuse
}

// ended waits until the other side closes the connection.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(waitLimit))
	_, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal(fmt.Errorf("the connection was not closed: %w", err))
	}
	conn.Close()
}
