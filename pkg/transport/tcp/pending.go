package tcp

import (
	"net"
	"sync"
)

// pending bounds the connections whose callers are not known yet, in all and by remote address. Over a
// bound the oldest one is closed rather than the newest refused: an honest caller is done within
// milliseconds, one that only holds the place is not.
type pending struct {
	evicted func() // called for each that is closed

	mu      sync.Mutex
	waiting []*pendingEntry // oldest first
	byHost  map[string]int
	total   int // bound in all
	host    int // bound for one remote address
	closed  bool
}

// pendingEntry is one such connection.
type pendingEntry struct {
	conn net.Conn
	host string
}

func newPending(total, host int, evicted func()) *pending {
	return &pending{evicted: evicted, byHost: map[string]int{}, total: total, host: host}
}

// add enters a connection and makes room for it.
func (p *pending) add(conn net.Conn) *pendingEntry {
	e := &pendingEntry{conn: conn, host: remoteHost(conn)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		hangUp(conn)
		return e
	}
	if p.byHost[e.host] >= p.host {
		p.evict(e.host)
	} else if len(p.waiting) >= p.total {
		p.evict("")
	}
	p.waiting = append(p.waiting, e)
	p.byHost[e.host]++
	return e
}

// remove takes out a connection whose handshake has ended; false: it was closed before.
func (p *pending) remove(e *pendingEntry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.waiting {
		if w == e {
			p.take(i)
			return true
		}
	}
	return false
}

// closeAll closes what waits and what is still to come.
func (p *pending) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.waiting) > 0 {
		hangUp(p.take(0).conn)
	}
}

// evict closes the oldest one of a host, or of all.
func (p *pending) evict(host string) {
	for i, w := range p.waiting {
		if host == "" || w.host == host {
			hangUp(p.take(i).conn)
			p.evicted()
			return
		}
	}
}

// take takes out the i-th one.
func (p *pending) take(i int) *pendingEntry {
	e := p.waiting[i]
	p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
	if p.byHost[e.host]--; p.byHost[e.host] == 0 {
		delete(p.byHost, e.host)
	}
	return e
}
