package service

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// BenchmarkRequests is the whole way of a request without Raft: client, NATS, decode, join, apply, answer.
// 64 clients each take and release a lock of their own.
func BenchmarkRequests(b *testing.B) {
	for _, format := range []string{"protobuf", "json"} {
		b.Run(format, func(b *testing.B) {
			x := newBench(b, Limits{}, Timing{})
			const clients = 64
			var wg sync.WaitGroup
			each := b.N/clients/2 + 1
			b.ResetTimer()
			for i := range clients {
				wg.Go(func() { x.lockLoop(fmt.Sprint("l", i), each, format == "json") })
			}
			wg.Wait()
			b.ReportMetric(float64(each*clients*2)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

func (b *bench) lockLoop(name string, n int, asJSON bool) {
	secret := []byte("0123456789abcdef")
	ask := func(subject string, m, reply proto.Message) {
		body, err := encodeBody(m, asJSON)
		if err != nil {
			b.t.Error(err)
		}
		var msg *nats.Msg
		if msg, err = b.nc.Request(clientPrefix+"default."+subject, body, 10*time.Second); err != nil {
			b.t.Error(err)
			return
		}
		if bad := decodeBody(msg.Data, reply); bad != nil {
			b.t.Errorf("%s: %v: %s", subject, bad, msg.Data)
		}
	}
	var opened coorddv1.SessionOpenReply
	ask("session.open", &coorddv1.SessionOpenRequest{Secret: secret}, &opened)
	for seq := uint64(1); n > 0; n-- {
		var got coorddv1.LockAcquireReply
		ask("lock.acquire."+name, &coorddv1.LockAcquireRequest{Session: opened.Session, Secret: secret, Seq: seq}, &got)
		ask("lock.release."+name, &coorddv1.LockReleaseRequest{Session: opened.Session, Secret: secret, Seq: seq + 1, Fence: got.Fence}, new(coorddv1.LockReleaseReply))
		seq += 2
	}
}
