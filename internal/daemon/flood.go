package daemon

import (
	"container/list"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxWebConns bounds the connections to the HTTP address: some probes, scrapers and browsers.
	maxWebConns = 256
	// maxClientConns is what the NATS server takes at most, as by its own default.
	maxClientConns = 64 << 10
	// ownDescriptors are kept from clients, where there are so many: for the log, the peers, the routes and HTTP. [Whoever
	// opens connections until there are no descriptors left would end the node at the log's next file.]
	ownDescriptors = 1024
)

// clientConnections is how many clients may connect to the embedded NATS server of a process with so many descriptors.
func clientConnections(limit uint64) int {
	return int(min(maxClientConns, limit-min(ownDescriptors, limit/2)))
}

// descriptorLimit is how many files this process may have open.
func descriptorLimit() uint64 {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return ownDescriptors
	}
	return uint64(r.Cur)
}

// webConns bounds the connections of an HTTP server: beyond the bound the oldest one goes that asks for nothing.
type webConns struct {
	most int

	mu    sync.Mutex
	open  map[net.Conn]*list.Element // nil: it is being answered
	quiet *list.List                 // the oldest first
}

func newWebConns(most int) *webConns {
	return &webConns{most: most, open: make(map[net.Conn]*list.Element), quiet: list.New()}
}

// changed is the server's ConnState.
func (w *webConns) changed(c net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.open[c]; e != nil {
		w.quiet.Remove(e)
	}
	switch state {
	case http.StateActive:
		w.open[c] = nil
	case http.StateNew, http.StateIdle:
		w.open[c] = w.quiet.PushBack(c)
		if len(w.open) > w.most {
			oldest := w.quiet.Remove(w.quiet.Front()).(net.Conn)
			w.open[oldest] = nil // it counts until its goroutine tells the end
			_ = oldest.Close()
		}
	default:
		delete(w.open, c)
	}
}

// len is the number of connections.
func (w *webConns) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}
