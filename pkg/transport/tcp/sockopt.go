package tcp

import (
	"net"
	"syscall"
	"time"
)

// tune sets what the configuration says of connections, as far as the connection is one of TCP, or wraps one. An
// option that the system refuses is not worth a connection.
func tune(conn net.Conn, cfg *Config) {
	tcp, ok := bare(conn).(*net.TCPConn)
	if !ok {
		return
	}
	switch {
	case cfg.Linger < 0:
		tcp.SetLinger(0)
	case cfg.Linger > 0:
		tcp.SetLinger(int((cfg.Linger + time.Second - 1) / time.Second))
	}
	if cfg.IPTTL > 0 {
		if raw, err := tcp.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { setTTL(fd, cfg.IPTTL) })
		}
	}
}

// controlTTL sets the time to live of a socket before it says its first word.
func controlTTL(ttl int) func(network, address string, raw syscall.RawConn) error {
	if ttl == 0 {
		return nil
	}
	return func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { setTTL(fd, ttl) })
	}
}

// bare returns what a connection wraps, as one of crypto/tls does, or the connection itself.
func bare(conn net.Conn) net.Conn {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return conn
}

// hangUp closes a connection at once. One of TLS would first say so to the other side, and wait for seconds if that does
// not read; frames say by themselves where they end.
func hangUp(conn net.Conn) {
	if under := bare(conn); under != conn {
		under.Close()
	}
	conn.Close()
}
