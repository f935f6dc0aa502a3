//go:build net

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// flood is how many connections a stranger opens to a port.
const flood = 2000

// hostileShapes are bytes and connections of strangers, straight to the nodes' ports.
func hostileShapes() (shapes []shape) {
	ports := []struct {
		name string
		port int
	}{{"peer", portPeer}, {"client", portNATS}, {"route", portRoutes}, {"http", portHTTP}}
	garbage := []struct {
		name  string
		bytes func(rnd *rand.Rand) []byte
	}{
		{"random bytes", func(rnd *rand.Rand) []byte {
			b := make([]byte, 1+rnd.IntN(100_000))
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}},
		{"an oversized frame", func(*rand.Rand) []byte { return bytes.Repeat([]byte{0xff}, 1<<16) }},
		{"an HTTP request", func(*rand.Rand) []byte {
			return []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
		}},
		{"a NATS message of a gigabyte", func(*rand.Rand) []byte { return []byte("CONNECT {}\r\nPUB x 1073741824\r\nabc") }},
		{"a line without an end", func(*rand.Rand) []byte { return bytes.Repeat([]byte("CONNECT "), 1<<14) }},
		{"nothing at all", func(*rand.Rand) []byte { return nil }},
	}
	for _, p := range ports {
		shapes = append(shapes, shape{"hostile: garbage to the " + p.name + " port", held / 2, true, false, func(x *strike) {
			for _, nd := range x.c.nodes {
				for _, g := range garbage {
					for range 5 {
						x.throw(x.f.at(nd.name, p.port), g.bytes(x.rnd))
					}
				}
			}
		}}, shape{fmt.Sprintf("hostile: %d connections to the %s port", flood, p.name), held, true, false, func(x *strike) {
			nd := x.c.nodes[x.rnd.IntN(len(x.c.nodes))]
			x.flood(nd, x.f.at(nd.name, p.port))
		}})
	}
	return shapes
}

// throw sends bytes to an address and keeps the connection until the fault ends, or the other side ends it.
func (x *strike) throw(addr string, b []byte) {
	x.t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		x.t.Errorf("%s takes no connections any more: %v", addr, err)
		return
	}
	x.undo = append(x.undo, func() { c.Close() })
	x.during.Go(func() {
		_ = c.SetWriteDeadline(time.Now().Add(held))
		_, _ = c.Write(b) // it may be cut off in the middle
		_ = c.SetReadDeadline(time.Now().Add(held))
		_, _ = io.Copy(io.Discard, c)
	})
}

// flood opens many connections that say nothing, and notes what they cost the node.
func (x *strike) flood(nd *node, addr string) {
	x.t.Helper()
	before := nd.resident(x.t)
	opened := 0
	for range flood {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			break // it refuses: a bound is what is wanted
		}
		opened++
		x.undo = append(x.undo, func() { c.Close() })
	}
	x.during.Go(func() {
		<-x.ctx.Done()
		x.t.Logf("%d connections to %s of %s: %d descriptors, %d MiB resident, %d MiB before", opened, addr, nd.name, nd.descriptors(x.t),
			nd.resident(x.t)>>20, before>>20)
	})
}

func (nd *node) descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", nd.pid()))
	if err != nil {
		t.Error(err)
	}
	return len(list)
}

// resident is the node's memory, in bytes.
func (nd *node) resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", nd.pid()))
	if err != nil {
		t.Error(err)
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Error(err)
	}
	return pages * int64(os.Getpagesize())
}

// metric reads one value from the node's metrics; 0 if it is not there.
func (nd *node) metric(t *testing.T, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+nd.httpAddr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("metrics of %s: %v", nd.name, err)
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Error(err)
			}
			return v
		}
	}
	return 0
}
