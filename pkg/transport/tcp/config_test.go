package tcp

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// TestConfig lists what is refused, and with which words.
func TestConfig(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"listen address":     {},
		"missing port":       {Listen: "host"},
		"advertised address": {Listen: ":0", Advertise: "x"},
		"connect timeout":    {Listen: ":0", ConnectTimeout: 2 * time.Second, RequestTimeout: time.Second},
		"ping interval":      {Listen: ":0", PingInterval: time.Hour},
		"backoff":            {Listen: ":0", BackoffMin: time.Second, BackoffMax: time.Millisecond},
		"TTL":                {Listen: ":0", IPTTL: 256},
		"negative":           {Listen: ":0", IdleTimeout: -1},
		"size is negative":   {Listen: ":0", BlockSize: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something about %q", cfg, err, want)
		}
	}
	tr, err := New(Config{Listen: ":0", ConnectTimeout: time.Second})
	if err != nil || tr.cfg.RequestTimeout != time.Second || tr.cfg.BlockSize != 65535 || tr.cfg.HandshakeTimeout != 5*time.Second {
		t.Errorf("defaults: %+v, %v", tr, err)
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// named is a connection from a made-up address.
type named struct {
	net.Conn
	from   string
	closed bool
}

func (n *named) RemoteAddr() net.Addr { return n }
func (n *named) Network() string      { return "tcp" }
func (n *named) String() string       { return n.from }
func (n *named) Close() error         { n.closed = true; return nil }

// TestPending fills the room for callers whose handshake is not done.
func TestPending(t *testing.T) {
	t.Parallel()
	evicted := 0
	p := newPending(4, 2, func() { evicted++ })
	var entries []*pendingEntry
	var conns []*named
	add := func(from string) {
		c := &named{from: from}
		conns = append(conns, c)
		entries = append(entries, p.add(c))
	}
	expect := func(what string, closed ...int) {
		t.Helper()
		want := map[int]bool{}
		for _, i := range closed {
			want[i] = true
		}
		for i, c := range conns {
			if c.closed != want[i] {
				t.Errorf("%s: connection %d closed: %v", what, i, c.closed)
			}
		}
	}
	add("a:1") // 0
	add("b:1") // 1
	add("a:2") // 2
	expect("room for all")
	add("a:3") // 3
	expect("third of a: its oldest goes", 0)
	add("c:1") // 4
	expect("room again", 0)
	add("[::1]:1") // 5
	expect("fifth: the oldest goes", 0, 1)
	if p.remove(entries[0]) || !p.remove(entries[2]) || p.remove(entries[2]) {
		t.Error("remove lies")
	}
	add("a:4") // 6
	expect("a has room for one more", 0, 1)
	p.closeAll()
	add("d:1") // 7
	expect("closed", 0, 1, 3, 4, 5, 6, 7)
	if evicted != 2 || len(p.byHost) != 0 {
		t.Errorf("%d were evicted; hosts left: %v", evicted, p.byHost)
	}
}

// TestNotices logs once until something changes, for so many and no more.
func TestNotices(t *testing.T) {
	t.Parallel()
	n := newNotices()
	for i, want := range []bool{true, false, false} {
		if n.changed("a 1", "x") != want {
			t.Errorf("call %d", i)
		}
	}
	if !n.changed("a 1", "y") || !n.changed("a 2", "x") {
		t.Error("a change is no news")
	}
	n.forget("a ")
	if !n.changed("a 1", "y") || !n.changed("a 2", "x") {
		t.Error("what was forgotten is no news")
	}
	for i := range 2 * maxNotices {
		n.changed("k"+strings.Repeat("x", i), "")
	}
	if len(n.last) != maxNotices || !n.changed("a 1", "z") {
		t.Errorf("%d are remembered", len(n.last))
	}
}
