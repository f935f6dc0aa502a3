package tcp_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/transport/tcp"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContract runs the suite that each transport passes.
func TestContract(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(testing.TB) transporttest.Harness { return harness(nil) })
}

// TestContractTLS runs the same suite with each connection wrapped in TLS, and certificates asked of both sides.
func TestContractTLS(t *testing.T) {
	t.Parallel()
	cfg := mutualTLS(t)
	transporttest.Run(t, func(testing.TB) transporttest.Harness { return harness(cfg) })
}

// harness makes transports on sockets; with a configuration of TLS, their connections are wrapped in it.
func harness(secure *tls.Config) transporttest.Harness {
	w := newWires()
	return transporttest.Harness{
		BindsEarly: secure != nil,
		New: func(t testing.TB, o transporttest.Options) transporttest.Tested {
			cfg := tcp.Config{Listen: "127.0.0.1:0", Observer: o.Observer, Logger: o.Logger, Dial: w.dialer(o.Member),
				ConnectTimeout: o.Silence / 3, HandshakeTimeout: o.Silence, IdleTimeout: o.Silence, PingInterval: 100 * time.Millisecond,
				JournalExpiry: time.Hour}
			if o.Address != "" {
				cfg.Listen = o.Address
			}
			if secure != nil {
				cfg.Dial = secureDial(cfg.Dial, secure)
				cfg.Listener = secureListener(t, cfg.Listen, secure)
			}
			tr, err := tcp.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			w.enter(o.Member, tr)
			return tr
		},
		Holes: func(t testing.TB) []string { return []string{"hole.invalid:1", neverAccepts(t), neverAnswers(t)} },
		Cut:   w.cut,
		Heal:  w.heal,
		Raw: func(t testing.TB, address string) net.Conn {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if secure != nil {
				return tls.Client(conn, secure)
			}
			return conn
		},
	}
}

// neverAccepts returns an address whose kernel takes connections that nobody looks at, as that of a
// stopped process does.
func neverAccepts(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// neverAnswers returns an address where everything is read and nothing is said.
func neverAnswers(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			conn.Close()
		}
	}()
	return listener.Addr().String()
}
