package client

import (
	"sync/atomic"
	"time"
)

const (
	// firstPatience is about how long a NATS server is stayed with through which nothing is answered: longer than an
	// election takes. It doubles with each round over all servers, up to longestPatience, until something is answered. [Doubled
	// with each move, three wrong servers took two thirds of a session's default TTL.]
	firstPatience, longestPatience = time.Second, 8 * time.Second
)

// desert is about the NATS server that the client is connected to: whether it leads to a leader. A server may live and not
// do so, because the network, or the other members, keep its node apart, while other servers do. [A client that stayed with
// such a server would lose its session, and with it its locks, in the middle of a cluster that serves.]
type desert struct {
	// leaveAt is when the server is left, by the client's clock; 0: the last try was answered, or there was none yet.
	leaveAt atomic.Int64
	heard   atomic.Int64 // when something was answered last, by the same clock
	moves   atomic.Int64 // since then
}

// patience is how long the next of so many servers is stayed with.
func (d *desert) patience(servers int) time.Duration {
	rounds := d.moves.Load() / int64(max(servers, 1))
	return min(firstPatience<<min(rounds, 8), longestPatience)
}

// answeredHere notes that a coordd node has answered.
func (w *wire) answeredHere() {
	w.answered.Store(true)
	w.desert.heard.Store(int64(w.clock.Now().Mono))
	if w.desert.leaveAt.Load() != 0 || w.desert.moves.Load() != 0 {
		w.desert.leaveAt.Store(0)
		w.desert.moves.Store(0)
	}
}

// fruitless notes that a try which was sent at the given instant found no leader or no answer, and goes to the next server if
// that has been so for long.
func (w *wire) fruitless(sent instant) {
	if !w.own {
		return
	}
	d, servers := &w.desert, len(w.nc.Servers())
	since := max(sent.Mono, time.Duration(d.heard.Load())) // others may have been answered meanwhile
	// With jitter, so that the clients of a server do not leave it all at once.
	d.leaveAt.CompareAndSwap(0, int64(since+jitter(d.patience(servers))))
	at := d.leaveAt.Load()
	if int64(w.clock.Now().Mono) < at || !d.leaveAt.CompareAndSwap(at, 0) || servers < 2 {
		return
	}
	d.moves.Add(1)
	w.log.Info("no leader answers through this NATS server; trying another one", "server", w.nc.ConnectedUrlRedacted())
	if err := w.nc.ForceReconnect(); err != nil {
		w.log.Debug("reconnect", "error", err)
	}
}
