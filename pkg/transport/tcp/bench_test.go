package tcp_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

// counter is a handler that answers heartbeats and tells of each message.
type counter struct {
	transport.MessageHandler // nil: nothing is asked
	id                       raft.MemberID
	got                      chan raft.Message
}

func (c *counter) Receive(m raft.Message) { c.got <- m }
func (c *counter) Identity() transport.Identity {
	return transport.Identity{Member: c.id, Incarnation: raft.Incarnation{byte(c.id)}}
}
func (c *counter) Witness(raft.MemberID) transport.Witnessed    { return transport.Witnessed{} }
func (c *counter) Seen(transport.Identity, transport.Witnessed) {}
func (c *counter) Unreachable(raft.MemberID)                    {}

// benchPair connects two members on the loopback.
func benchPair(b *testing.B) (ends [2]*tcp.Transport, handlers [2]*counter) {
	var peers []transport.Peer
	for i := range ends {
		tr, err := tcp.New(tcp.Config{Listen: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		handlers[i] = &counter{id: raft.MemberID(i + 1), got: make(chan raft.Message, 1024)}
		if err := tr.Start(handlers[i]); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { tr.Close(context.Background()) })
		ends[i] = tr
		peers = append(peers, transport.Peer{ID: handlers[i].id, Address: tr.Addr()})
	}
	for i, tr := range ends {
		tr.SetPeers(peers)
		for m := (raft.Message{Type: raft.MsgHello, From: raft.MemberID(i + 1), To: raft.MemberID(2 - i)}); ; {
			if s := tr.Stats()[m.To]; s.Connected && s.BulkConnected {
				break
			}
		}
	}
	return ends, handlers
}

// BenchmarkRoundTrip is an append of one entry and its answer, as a commit needs them.
func BenchmarkRoundTrip(b *testing.B) {
	ends, handlers := benchPair(b)
	ask := []raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Entries: []raft.Entry{{Index: 1, Data: make([]byte, 128)}}}}
	answer := []raft.Message{{Type: raft.MsgAppendResp, From: 2, To: 1}}
	b.ReportAllocs()
	for b.Loop() {
		ends[0].Send(ask)
		<-handlers[1].got
		ends[1].Send(answer)
		<-handlers[0].got
	}
}

// BenchmarkAppends is a stream of appends, with as many under way as a core keeps.
func BenchmarkAppends(b *testing.B) {
	for _, entries := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			ends, handlers := benchPair(b)
			m := raft.Message{Type: raft.MsgAppend, From: 1, To: 2}
			for i := range entries {
				m.Entries = append(m.Entries, raft.Entry{Index: uint64(i) + 1, Term: 1, Data: make([]byte, 128)})
			}
			window := max(1, min(256, (1<<20)/(entries*176)))
			sent := 0
			b.ReportAllocs()
			b.SetBytes(int64(entries * 128))
			for b.Loop() {
				if sent >= window {
					<-handlers[1].got
				}
				ends[0].Send([]raft.Message{m})
				sent++
			}
		})
	}
}
