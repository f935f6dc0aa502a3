package daemon

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Strangers' connections to the HTTP address must not use up the file descriptors that the log and the peers need: the oldest
// ones that ask for nothing go.
func TestSilentHTTPConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 8
	w := newWebConns(most)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }))
	defer srv.Close()
	srv.Config.ConnState = w.changed // httptest adds its own
	srv.Start()
	var conns []net.Conn
	for range 3 * most {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for i, c := range conns[:2*most] {
		_ = c.SetReadDeadline(time.Now().Add(waitLimit))
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("connection %d stays open: %v", i, err)
		}
	}
	if resp, err := http.Get(srv.URL); err != nil || resp.StatusCode != http.StatusNoContent {
		t.Errorf("a request besides: %v", err)
	} else {
		resp.Body.Close()
	}
}

func TestTheHTTPServerIsBounded(t *testing.T) {
	t.Parallel()
	r := run(t, testConfig(t, "n1"))
	r.waitReady()
	c, err := net.Dial("tcp", r.d.cfg.HTTPListen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.eventually("the connection is counted", func() bool { return r.d.webConns.len() > 0 })
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// A connection that is being answered is not quiet, and stays.
func TestTheOldestQuietConnectionGoes(t *testing.T) {
	t.Parallel()
	conns := func() net.Conn { c, _ := net.Pipe(); return c }
	closed := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(-time.Second))
		_, err := c.Read(make([]byte, 1))
		return !isTimeout(err)
	}
	w := newWebConns(2)
	a, b, c, d := conns(), conns(), conns(), conns()
	w.changed(a, http.StateNew)
	w.changed(a, http.StateActive)
	w.changed(b, http.StateNew)
	w.changed(c, http.StateNew)
	if closed(a) || !closed(b) || closed(c) {
		t.Errorf("a busy one closed: %v; the oldest quiet one: %v; the new one: %v", closed(a), closed(b), closed(c))
	}
	w.changed(b, http.StateClosed)
	w.changed(c, http.StateActive)
	w.changed(d, http.StateNew)
	if closed(a) || closed(c) || !closed(d) {
		t.Error("with busy ones only, the new one goes")
	}
	w.changed(d, http.StateClosed)
	w.changed(a, http.StateClosed)
	w.changed(c, http.StateIdle)
	if w.len() != 1 || closed(c) {
		t.Errorf("%d connections", w.len())
	}
}

func TestClientsLeaveDescriptorsToTheLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit uint64
		want  int
	}{{64, 32}, {1024, 512}, {4096, 3072}, {20_000, 18_976}, {1 << 20, 64 << 10}, {1 << 63, 64 << 10}} {
		if got := clientConnections(c.limit); got != c.want {
			t.Errorf("of %d descriptors %d are for clients, want %d", c.limit, got, c.want)
		}
	}
}
