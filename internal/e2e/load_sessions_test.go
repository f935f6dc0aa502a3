//go:build load

package e2e

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

var (
	flagConnections = flag.Int("load.connections", 100, "connections that keep sessions alive")
	flagJoined      = flag.Int("load.joined", 1000, "sessions of each, whose keepalives are one message; at most 1,024")
	flagKeep        = flag.Duration("load.keep", 30*time.Second, "how long figures of that are taken")
	flagStorm       = flag.Int("load.storm", 20_000, "sessions that expire at once")
)

const (
	loadTTL = 15 * time.Second
	// loadAnswer is for how long a client asks again: the figures tell how long it took.
	loadAnswer = 30 * time.Second
)

// TestLoadJoinedKeepalives keeps very many sessions alive over few connections, and tells what that costs each node.
func TestLoadJoinedKeepalives(t *testing.T) {
	c := startLoadCluster(t)
	conns := make([]*loadConn, *flagConnections)
	var keepers sync.WaitGroup
	end := make(chan struct{})
	stop := sync.OnceFunc(func() { close(end) })
	t.Cleanup(func() { stop(); keepers.Wait() })
	var lost, renewed, rounds atomic.Int64
	began := time.Now()
	for i := range conns {
		conns[i] = dialLoad(t, c, "load")
		conns[i].open(*flagJoined)
		keepers.Go(func() {
			tick := time.NewTicker(loadTTL / 3)
			defer tick.Stop()
			for {
				good, bad := conns[i].renew()
				renewed.Add(good)
				lost.Add(bad)
				rounds.Add(1)
				select {
				case <-end:
					return
				case <-tick.C:
				}
			}
		})
	}
	opened := time.Since(began)

	before := c.figures()
	client := processTime(os.Getpid())
	renewedBefore, roundsBefore := renewed.Load(), rounds.Load()
	began = time.Now()
	time.Sleep(*flagKeep) // the window of the figures
	took := time.Since(began).Seconds()
	after := c.figures()
	clientTook := (processTime(os.Getpid()) - client).Seconds()
	kept, messages := renewed.Load()-renewedBefore, rounds.Load()-roundsBefore
	stop()
	keepers.Wait()

	var b strings.Builder
	fmt.Fprintf(&b, "%d connections with %d sessions each, TTL %v (opened in %.1f s); load average %s\n", len(conns), *flagJoined, loadTTL,
		opened.Seconds(), loadAverage())
	fmt.Fprintf(&b, "  %.0f keepalives/s in %.1f messages/s; lost: %d; the client's own processor time: %.0f ms/s\n", float64(kept)/took, float64(messages)/took,
		lost.Load(), 1000*clientTook/took)
	for i, nd := range c.nodes {
		x, y := before[i], after[i]
		fmt.Fprintf(&b, "  %s (%s): processor %.0f ms/s, resident %.0f MiB, %.0f entries/s, log %.2f MB/s, written to disk %.2f MB/s\n", nd.name, y.role,
			1000*(y.processor-x.processor).Seconds()/took, float64(y.resident)/(1<<20), float64(y.last-x.last)/took,
			y.loggedSince(&x)/took/1e6, float64(y.written-x.written)/took/1e6)
	}
	t.Log(b.String())
	if n := lost.Load(); n > 0 {
		t.Errorf("%d keepalives were refused", n)
	}
	if kept == 0 {
		t.Error("nothing was renewed in the window")
	}
}

// TestLoadStorm lets very many sessions, each of which holds a lock and waits for another one, expire at once, and tells
// what others notice of it.
func TestLoadStorm(t *testing.T) {
	c := startLoadCluster(t)
	const each = 1000
	n := *flagStorm
	events := dialLoad(t, c, "storm")
	var told, expired atomic.Int64
	var firstAt, lastAt atomic.Int64 // of SESSION_EXPIRED, Unix nanoseconds
	sub, err := events.nc.Subscribe("coord.v1.storm.evt.>", func(m *nats.Msg) {
		told.Add(1)
		if !tellsOfTheEnd(m.Data) {
			return
		}
		now := time.Now().UnixNano()
		firstAt.CompareAndSwap(0, now)
		lastAt.Store(now)
		expired.Add(1)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	var conns []*loadConn
	var keepers, takers sync.WaitGroup
	end := make(chan struct{})
	stop := sync.OnceFunc(func() { close(end) })
	t.Cleanup(func() { stop(); keepers.Wait() })
	for from := 0; from < n; from += each {
		l := dialLoad(t, c, "storm")
		conns = append(conns, l)
		l.open(min(each, n-from))
		keepers.Go(func() {
			tick := time.NewTicker(loadTTL / 5)
			defer tick.Stop()
			for {
				if _, bad := l.renew(); bad > 0 {
					t.Errorf("%d sessions ended before the storm", bad)
				}
				select {
				case <-end:
					return
				case <-tick.C:
				}
			}
		})
		takers.Go(func() { l.holdAndWait(from, n) })
	}
	takers.Wait()
	stop()
	keepers.Wait()

	others := startOthers(t, c, 8)
	var last sync.WaitGroup
	for _, l := range conns {
		last.Go(func() { l.renew() }) // the last time, all at once
	}
	last.Wait()
	deadline := time.Now().Add(2 * time.Minute)
	for expired.Load() < int64(n) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	settled := time.Now()
	time.Sleep(time.Second) // what follows it
	all := others.stop()
	if expired.Load() < int64(n) {
		t.Fatalf("%d of %d sessions were told of their end", expired.Load(), n)
	}
	first := time.Unix(0, firstAt.Load())
	// A storm begins before its first event is out: a request that was under way then waited for it.
	calm, storm := all.between(first.Add(-12*time.Second), first.Add(-2*time.Second)), all.between(first.Add(-time.Second), settled)
	t.Logf("%d sessions with a lock and a wait each expired at once; load average %s\n"+
		"  %d events in %.2f s, from the first to the last end of a session\n"+
		"  others' requests before: %d, p50 %.2f p99 %.2f ms, longest %.1f ms\n"+
		"  others' requests in it:  %d, p50 %.2f p99 %.2f ms, longest %.1f ms; refused or lost: %d",
		n, loadAverage(), told.Load(), time.Unix(0, lastAt.Load()).Sub(first).Seconds(),
		len(calm), milliseconds(calm, 0.5), milliseconds(calm, 0.99), milliseconds(calm, 1),
		len(storm), milliseconds(storm, 0.5), milliseconds(storm, 0.99), milliseconds(storm, 1), all.failed.Load())
	if len(calm) == 0 || len(storm) == 0 {
		t.Error("no requests of others were measured")
	}
}

// tellsOfTheEnd says whether an event is that of a session's end. A leader that is new does not know yet who speaks
// protobuf.
func tellsOfTheEnd(event []byte) bool {
	if strings.HasPrefix(string(event), "{") {
		return strings.Contains(string(event), `"SESSION_EXPIRED"`)
	}
	var e coorddv1.Event
	return proto.Unmarshal(event, &e) == nil && e.Kind == coorddv1.Event_SESSION_EXPIRED
}
