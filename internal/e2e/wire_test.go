//go:build e2e || net

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// wire is how one client reaches NATS. It can be cut for good, and counts what the client says: each message by the verb in its
// subject.
type wire struct {
	mu    sync.Mutex
	isCut bool
	conns map[net.Conn]struct{}
	sent  map[string]int // lock.acquire, batch, session.keepalive, …; other subjects as they are
}

func newWire() *wire { return &wire{conns: map[net.Conn]struct{}{}, sent: map[string]int{}} }

// option has a client's connection go this way.
func (w *wire) option() nats.Option { return nats.SetCustomDialer(w) }

// Dial is called by the NATS client.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: time.Second}).Dial(network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		c.Close()
		return nil, errors.New("the wire is cut")
	}
	w.conns[c] = struct{}{}
	return &counted{Conn: c, w: w}, nil
}

// cut ends every connection, and lets no other one come.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for c := range w.conns {
		c.Close()
	}
}

// counts is what was sent so far, by verb.
func (w *wire) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.sent)
}

// counted reads along what is written: the lines of the NATS protocol, and their payloads.
type counted struct {
	net.Conn
	w    *wire
	line []byte // the part of a line that has come
	skip int    // bytes of a payload that are still to come
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.read(b[:n])
	return n, err
}

func (c *counted) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c.Conn)
	c.w.mu.Unlock()
	return c.Conn.Close()
}

func (c *counted) read(b []byte) {
	for len(b) > 0 {
		if c.skip > 0 {
			n := min(c.skip, len(b))
			c.skip, b = c.skip-n, b[n:]
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			c.line = append(c.line, b...)
			return
		}
		fields := strings.Fields(string(append(c.line, b[:end]...)))
		c.line, b = nil, b[end+1:]
		if len(fields) < 3 || fields[0] != "PUB" && fields[0] != "HPUB" {
			continue
		}
		size, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			panic(fmt.Sprintf("this is not NATS: %q", fields))
		}
		c.skip = size + len("\r\n")
		c.w.mu.Lock()
		c.w.sent[verbOf(fields[1])]++
		c.w.mu.Unlock()
	}
}

// verbOf is the verb in a command's subject.
func verbOf(subject string) string {
	parts := strings.Split(subject, ".")
	switch {
	case len(parts) >= 4 && parts[0] == "coord" && parts[1] == "v1" && parts[3] == "batch":
		return "batch"
	case len(parts) >= 5 && parts[0] == "coord" && parts[1] == "v1":
		return parts[3] + "." + parts[4]
	}
	return subject
}

// list prints counts, the names in order.
func list(counts map[string]int) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		s = append(s, fmt.Sprintf("%d %s", counts[k], k))
	}
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, ", ")
}
