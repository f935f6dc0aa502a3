package client

import (
	"sync/atomic"
	"time"
)

const (
	// firstPatience is about how long a NATS server is stayed with through which nothing is answered: longer than an
	// election takes. It doubles with each move, up to longestPatience, until something is answered.
	firstPatience, longestPatience = time.Second, 8 * time.Second
)

// desert is about the NATS server that the client is connected to: whether it leads to a leader. A server may live and not
// do so, because the network, or the other members, keep its node apart, while other servers do. [A client that stayed with
// such a server would lose its session, and with it its locks, in the middle of a cluster that serves.]
type desert struct {
	// leaveAt is when the server is left, by the client's clock; 0: the last try was answered, or there was none yet.
	leaveAt  atomic.Int64
	patience atomic.Int64 // before the next move; 0: firstPatience
}

// answeredHere notes that a coordd node has answered.
func (w *wire) answeredHere() {
	w.answered.Store(true)
	if w.desert.leaveAt.Load() != 0 {
		w.desert.leaveAt.Store(0)
		w.desert.patience.Store(0)
	}
}

// fruitless notes that a try found no leader or no answer, and goes to the next server if it has been so for long.
func (w *wire) fruitless() {
	if !w.own {
		return
	}
	d, now := &w.desert, w.clock().mono
	patience := max(time.Duration(d.patience.Load()), firstPatience)
	at := d.leaveAt.Load()
	if at == 0 {
		// With jitter, so that the clients of a server do not leave it all at once.
		d.leaveAt.CompareAndSwap(0, int64(now+jitter(patience)))
		return
	}
	if int64(now) < at || !d.leaveAt.CompareAndSwap(at, 0) || len(w.nc.Servers()) < 2 {
		return
	}
	d.patience.Store(int64(min(2*patience, longestPatience)))
	w.log.Info("no leader answers through this NATS server; trying another one", "server", w.nc.ConnectedUrlRedacted())
	if err := w.nc.ForceReconnect(); err != nil {
		w.log.Debug("reconnect", "error", err)
	}
}
