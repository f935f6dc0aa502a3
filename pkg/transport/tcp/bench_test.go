package tcp_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

// counter is a handler that answers heartbeats and tells of each message.
type counter struct {
	transport.MessageHandler // nil: nothing but Requested is called
	id                       raft.MemberID
	got                      chan raft.Message
}

func (c *counter) Requested(context.Context, raft.MemberID, []byte) ([]byte, error) { return nil, nil }

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

// BenchmarkRequest is a request of one chunk of a snapshot, or of next to nothing, and its answer.
func BenchmarkRequest(b *testing.B) {
	for _, size := range []int{128, 256 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			ends, _ := benchPair(b)
			body := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := ends[0].Request(context.Background(), 2, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkChunks carries chunks of 256 KiB, four under way, with a heartbeat and its answer every millisecond beside
// them: how long those take with and without the chunks.
func BenchmarkChunks(b *testing.B) {
	for _, workers := range []int{0, 4} {
		b.Run(fmt.Sprintf("underway=%d", workers), func(b *testing.B) {
			ends, handlers := benchPair(b)
			ctx, cancel := context.WithCancel(context.Background())
			var group sync.WaitGroup
			var carried atomic.Int64
			body := make([]byte, 256<<10)
			for range workers {
				group.Go(func() {
					for ctx.Err() == nil {
						if _, err := ends[0].Request(ctx, 2, body); err == nil {
							carried.Add(int64(len(body)))
						}
					}
				})
			}
			ask := []raft.Message{{Type: raft.MsgHeartbeat, From: 1, To: 2}}
			answer := []raft.Message{{Type: raft.MsgHeartbeatResp, From: 2, To: 1}}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			var delays []time.Duration
			begin := time.Now()
			for b.Loop() {
				<-tick.C
				at := time.Now()
				ends[0].Send(ask)
				<-handlers[1].got
				ends[1].Send(answer)
				<-handlers[0].got
				delays = append(delays, time.Since(at))
			}
			took := time.Since(begin)
			cancel()
			group.Wait()
			slices.Sort(delays)
			b.ReportMetric(float64(carried.Load())/1e6/took.Seconds(), "chunk-MB/s")
			b.ReportMetric(float64(delays[len(delays)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(delays[len(delays)*99/100].Microseconds()), "p99-µs")
		})
	}
}
