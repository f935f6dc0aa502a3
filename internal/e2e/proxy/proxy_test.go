package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// echo answers every connection with what it sends.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

func start(t *testing.T) *Proxy {
	t.Helper()
	p, err := Start(Config{Listen: "127.0.0.1:0", Target: echo(t), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n := p.Open(); n > 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c
}

// ask sends b and reads as many bytes as want has, which it compares.
func ask(t *testing.T, c net.Conn, b, want string) {
	t.Helper()
	if _, err := c.Write([]byte(b)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

// ended reads until the connection ends and returns what came before.
func ended(t *testing.T, c net.Conn) []byte {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatal("the connection does not end")
	}
	return b
}

// mute shows that nothing comes for a while.
func mute(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var b [1]byte
	n, err := c.Read(b[:])
	if ne, ok := err.(net.Error); n > 0 || !ok || !ne.Timeout() {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
}

// fired waits until a fault has struck: it does so where the proxy works, at some time after what it strikes was sent.
func fired(t *testing.T, p *Proxy, kind string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); p.Fired()[kind] == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q is not counted: %v", kind, p.Fired())
		}
	}
}

func TestWithoutAFaultEverythingPasses(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	ask(t, c, "one", "one")
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	go c.Write(big) // what is read below shows whether it went
	got := make([]byte, len(big))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("a megabyte did not come back as it was: %v", err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest := ended(t, c); len(rest) > 0 {
		t.Errorf("%q came at the end", rest)
	}
	if len(p.Fired()) > 0 {
		t.Errorf("faults are counted: %v", p.Fired())
	}
}

func TestRefusedHeldAndHalfOpen(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	ask(t, c, "a", "a")
	p.Set(Fault{Refuse: true})
	ended(t, c)
	if late, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may come while Dial looks whether it is connected
		ended(t, late)
		late.Close()
	}
	fired(t, p, "refused")
	p.Clear()

	c = dial(t, p)
	ask(t, c, "b", "b")
	p.Set(Fault{Hold: true})
	if _, err := c.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	d := dial(t, p)
	if _, err := d.Write([]byte("late too")); err != nil {
		t.Fatal(err)
	}
	fired(t, p, "held")
	mute(t, c)
	mute(t, d)
	p.Clear()
	ask(t, c, "", "late")
	ask(t, d, "", "late too")

	p.Set(Fault{HalfOpen: true})
	p.Clear()
	if _, err := c.Write([]byte("nobody")); err != nil {
		t.Fatal(err)
	}
	mute(t, c)
	ask(t, dial(t, p), "new", "new")
	fired(t, p, "half open")
}

func TestOneDirectionIsLost(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	ask(t, c, "a", "a")
	p.Set(Fault{Down: Stream{Drop: true}}, "127.0.0.1")
	if _, err := c.Write([]byte("gone")); err != nil {
		t.Fatal(err)
	}
	fired(t, p, "dropped")
	mute(t, c)
	p.Clear()
	if rest := ended(t, c); len(rest) > 0 {
		t.Errorf("%q came after a loss", rest)
	}
	p.Set(Fault{Refuse: true}, "192.0.2.1")
	ask(t, dial(t, p), "not me", "not me")
}

func TestDelayKeepsTheOrder(t *testing.T) {
	p := start(t)
	c := dial(t, p)
	ask(t, c, "x", "x")
	p.Set(Fault{Up: Stream{Delay: 100 * time.Millisecond, Jitter: 50 * time.Millisecond}})
	begin := time.Now()
	for _, s := range []string{"1", "2", "3"} {
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, c, "", "123")
	if d := time.Since(begin); d < 100*time.Millisecond {
		t.Errorf("they came after %v", d)
	}
	p.Set(Fault{Up: Stream{BytesPerSecond: 100}})
	begin = time.Now()
	ask(t, c, "0123456789", "0123456789")
	ask(t, c, "0", "0")
	if d := time.Since(begin); d < 90*time.Millisecond {
		t.Errorf("eleven bytes took %v at 100 a second", d)
	}
	fired(t, p, "throttled")
}

func TestConnectionsEndInTheMiddle(t *testing.T) {
	for kind, s := range map[string]Stream{"reset": {Reset: 1}, "cut": {Cut: 1}} {
		p := start(t)
		c := dial(t, p)
		ask(t, c, "x", "x")
		p.Set(Fault{Up: s})
		if _, err := c.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		if got := ended(t, c); len(got) == 10 {
			t.Errorf("%s: all of it came back", kind)
		}
		fired(t, p, kind)
	}
	p := start(t)
	c := dial(t, p)
	p.Set(Fault{Up: Stream{Stall: 1, StallFor: 100 * time.Millisecond}})
	begin := time.Now()
	ask(t, c, "0123456789", "0123456789")
	if d := time.Since(begin); d < 100*time.Millisecond {
		t.Errorf("it stalled for %v", d)
	}
}

func TestDamage(t *testing.T) {
	for _, tc := range []struct {
		kind  string
		s     Stream
		right func(got string) bool
	}{
		{"corrupted", Stream{Corrupt: 1}, func(got string) bool { return len(got) == 10 && got != "0123456789" }},
		{"truncated", Stream{Truncate: 1}, func(got string) bool { return len(got) < 10 }},
		{"repeated", Stream{Repeat: 1}, func(got string) bool { return got == "01234567890123456789" }},
		{"inserted", Stream{Insert: 1}, func(got string) bool { return len(got) > 10 && got[len(got)-10:] == "0123456789" }},
	} {
		p := start(t)
		c := dial(t, p)
		p.Set(Fault{Up: tc.s})
		if _, err := c.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		if got := string(ended(t, c)); !tc.right(got) {
			t.Errorf("%s: %q", tc.kind, got)
		}
		fired(t, p, tc.kind)
	}
	p := start(t)
	c := dial(t, p)
	ask(t, c, "x", "x")
	p.Set(Fault{Up: Stream{Swap: 1}})
	if _, err := c.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	fired(t, p, "swapped") // else both may come to the proxy as one
	mute(t, c)
	ask(t, c, "second", "secondfirst")
}
