package coorddtest

import (
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// door makes the connections of one client, which can be shut.
type door struct {
	provider nats.InProcessConnProvider

	again func() // a connection was made that is not the first one

	mu   sync.Mutex
	cond *sync.Cond
	shut bool
	made int
}

func newDoor(p nats.InProcessConnProvider, again func()) *door {
	d := &door{provider: p, again: again}
	d.cond = sync.NewCond(&d.mu)
	return d
}

// set shuts the door, or opens it: meanwhile nothing passes in either direction, and nothing is lost.
func (d *door) set(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	d.cond.Broadcast()
}

// InProcessConn implements nats.InProcessConnProvider.
func (d *door) InProcessConn() (net.Conn, error) {
	inner, err := d.provider.InProcessConn()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.made++
	first := d.made == 1
	d.mu.Unlock()
	if !first {
		d.again()
	}
	c := &doorConn{Conn: inner, d: d}
	go c.pump()
	return c, nil
}

// doorConn reads ahead, so that the server is never kept waiting by a client that is paused: it would keep others waiting.
type doorConn struct {
	net.Conn
	d *door

	// Guarded by the door's mutex.
	read   []byte // and not passed on yet
	err    error  // after that
	closed bool
}

func (c *doorConn) pump() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Conn.Read(buf)
		c.d.mu.Lock()
		c.read = append(c.read, buf[:n]...)
		c.err = err
		c.d.cond.Broadcast()
		c.d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *doorConn) Read(b []byte) (int, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for !c.closed && (c.d.shut || len(c.read) == 0 && c.err == nil) {
		c.d.cond.Wait()
	}
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.read) == 0:
		return 0, c.err
	}
	n := copy(b, c.read)
	c.read = c.read[n:]
	return n, nil
}

func (c *doorConn) Write(b []byte) (int, error) {
	c.d.mu.Lock()
	for !c.closed && c.d.shut {
		c.d.cond.Wait()
	}
	c.d.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *doorConn) Close() error {
	c.d.mu.Lock()
	c.closed = true
	c.d.cond.Broadcast()
	c.d.mu.Unlock()
	return c.Conn.Close()
}
