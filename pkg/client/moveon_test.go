package client

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startBeside starts a NATS server that has no way to the rig's, as that of a node has which the network, or the others,
// keep apart.
func startBeside(t *testing.T) *server.Server {
	t.Helper()
	s, err := StartNATS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// A NATS server that lives, but from which no leader can be reached, is left for another one, whether it says so (nobody
// listens) or messages get lost behind it.
func TestAServerWithoutALeaderIsLeft(t *testing.T) {
	t.Parallel()
	for name, swallow := range map[string]bool{"no responders": false, "no answers": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, beside := newRig(t), startBeside(t)
			if swallow {
				nc, err := nats.Connect(beside.ClientURL())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(nc.Close)
				if _, err := nc.Subscribe("coord.>", func(*nats.Msg) {}); err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Connect(t.Context(), beside.ClientURL()+","+r.URL(), WithTimeout(time.Minute), WithNATSOptions(nats.DontRandomize(), nats.IgnoreDiscoveredServers()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.wire.nc.ConnectedUrl(); got != beside.ClientURL() {
				t.Fatalf("connected to %s first", got)
			}
			l, err := c.Lock(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if got := c.wire.nc.ConnectedUrl(); got != r.URL() {
				t.Errorf("connected to %s", got)
			}
			if err := l.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server behind which a leader answers is never left because it refuses, or is slow for one of many.
func TestAServerThatAnswersIsNotLeft(t *testing.T) {
	t.Parallel()
	r, beside := newRig(t), startBeside(t)
	c, err := Connect(t.Context(), r.URL()+","+beside.ClientURL(), WithTimeout(time.Minute), WithNATSOptions(nats.DontRandomize(), nats.IgnoreDiscoveredServers()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Lock(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	// This acquire finds nobody for as long as others are answered.
	r.Script(only("lock.acquire", repeat(Fate{DropRequest: true}, 4)...))
	got := make(chan error, 1)
	go func() {
		_, err := c.Lock(t.Context(), "x")
		got <- err
	}()
	for {
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
			if c.wire.nc.Stats().Reconnects > 0 {
				t.Error("the client has left a server that answered it")
			}
			return
		default:
			lookAt(t, c, "y")
		}
	}
}

func repeat(f Fate, n int) (fates []Fate) {
	for range n {
		fates = append(fates, f)
	}
	return fates
}

func TestPatienceGrowsByRounds(t *testing.T) {
	t.Parallel()
	var d desert
	for moves, want := range map[int64]time.Duration{0: time.Second, 2: time.Second, 3: 2 * time.Second, 5: 2 * time.Second, 6: 4 * time.Second, 9: 8 * time.Second, 1000: 8 * time.Second} {
		d.moves.Store(moves)
		if got := d.patience(3); got != want {
			t.Errorf("after %d moves between three servers: %v, want %v", moves, got, want)
		}
	}
	d.moves.Store(1000)
	if got := d.patience(0); got != longestPatience {
		t.Errorf("without servers: %v", got)
	}
}
