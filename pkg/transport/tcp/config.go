package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/transport"
)

// transportLabel is the name of this transport in metrics.
const transportLabel = "tcp"

// Config of a transport. Everything but the place to listen has a default.
type Config struct {
	// Listen is the host:port to listen on; port 0 takes a free one.
	Listen string
	// Listener, if set, is used in place of Listen. The transport closes it.
	Listener net.Listener
	// Advertise is the host:port at which peers reach this node; empty: the listener's address.
	Advertise string

	// ConnectTimeout bounds the connection to one address, after its name was resolved; 0: 75 ms.
	ConnectTimeout time.Duration
	// RequestTimeout is how long a peer may take nothing of a block before the connection is given up. It
	// is not shorter than ConnectTimeout; 0: 75 ms or ConnectTimeout, if that is longer.
	RequestTimeout time.Duration
	// HandshakeTimeout is how long a caller has until its handshake is done; 0: 5 s.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long a connection lives without a byte from the other side; 0: 1.5 s, which is
	// ten of the shortest default election timeouts.
	IdleTimeout time.Duration
	// PingInterval is the pause between two pings; 0: a sixth of IdleTimeout.
	PingInterval time.Duration
	// BackoffMin and BackoffMax bound the pause before a peer is dialled again; 0: 10 and 500 ms.
	BackoffMin, BackoffMax time.Duration

	// Linger is what closing does with bytes that are not sent: 0: the system's default, > 0: wait that
	// long (whole seconds, rounded up), < 0: discard.
	Linger time.Duration
	// BlockSize is how many bytes are given to the kernel at once; 0: 65,535.
	BlockSize int
	// Backlog is for how many peers there is room to shake hands at a time; 0: 16. Each may use four
	// connections, and one remote address half of the room.
	Backlog int
	// IPTTL is the time to live (IPv6: hop limit) of packets; 0: the system's default.
	IPTTL int

	// MaxFrameBytes is the largest message that is sent or taken; 0: 16 MiB.
	MaxFrameBytes int
	// ControlQueue is how many small messages wait for one peer; 0: 4,096.
	ControlQueue int
	// BulkQueueBytes is how much of appends waits for one peer; 0: 8 MiB.
	BulkQueueBytes int

	// JournalBytes and JournalExpiry bound the journal of requests that were answered (transport.Journal); 0: 10 MiB
	// and 10 s.
	JournalBytes  int
	JournalExpiry time.Duration
	// ResendInterval is how long a request waits for its answer, on a connection that lives, before it is repeated;
	// the pause doubles. 0: forty times RequestTimeout. A connection that breaks has them repeated at once.
	ResendInterval time.Duration
	// MessagesIdle is how long the connection for requests and notifications lives without any; 0: 30 s.
	MessagesIdle time.Duration

	// Dial replaces the dialling, with its resolving of names; the context ends after ConnectTimeout.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Observer transport.Observer // nil: none
	Logger   hclog.Logger       // nil: none
}

// withDefaults returns the configuration with its gaps filled, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Listener == nil {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return c, fmt.Errorf("tcp: listen address %q: %w", c.Listen, err)
		}
	}
	if c.Advertise != "" {
		if _, _, err := net.SplitHostPort(c.Advertise); err != nil {
			return c, fmt.Errorf("tcp: advertised address %q: %w", c.Advertise, err)
		}
	}
	for _, d := range []time.Duration{c.ConnectTimeout, c.RequestTimeout, c.HandshakeTimeout, c.IdleTimeout,
		c.PingInterval, c.BackoffMin, c.BackoffMax, c.JournalExpiry, c.ResendInterval, c.MessagesIdle} {
		if d < 0 {
			return c, errors.New("tcp: a timeout is negative")
		}
	}
	for _, n := range []int{c.BlockSize, c.Backlog, c.IPTTL, c.MaxFrameBytes, c.ControlQueue, c.BulkQueueBytes, c.JournalBytes} {
		if n < 0 {
			return c, errors.New("tcp: a size is negative")
		}
	}
	orDefault(&c.ConnectTimeout, 75*time.Millisecond)
	orDefault(&c.RequestTimeout, max(75*time.Millisecond, c.ConnectTimeout))
	orDefault(&c.HandshakeTimeout, 5*time.Second)
	orDefault(&c.IdleTimeout, 1500*time.Millisecond)
	orDefault(&c.PingInterval, max(c.IdleTimeout/6, time.Millisecond))
	orDefault(&c.BackoffMin, 10*time.Millisecond)
	orDefault(&c.BackoffMax, max(500*time.Millisecond, c.BackoffMin))
	orDefault(&c.BlockSize, 65535)
	orDefault(&c.Backlog, 16)
	orDefault(&c.MaxFrameBytes, 16<<20)
	orDefault(&c.ControlQueue, 4096)
	orDefault(&c.BulkQueueBytes, 8<<20)
	orDefault(&c.ResendInterval, 40*c.RequestTimeout)
	orDefault(&c.MessagesIdle, 30*time.Second)
	switch {
	case c.ConnectTimeout > c.RequestTimeout:
		return c, fmt.Errorf("tcp: connect timeout %s is longer than request timeout %s", c.ConnectTimeout, c.RequestTimeout)
	case c.PingInterval >= c.IdleTimeout:
		return c, fmt.Errorf("tcp: ping interval %s is not shorter than idle timeout %s", c.PingInterval, c.IdleTimeout)
	case c.BackoffMin > c.BackoffMax:
		return c, fmt.Errorf("tcp: shortest backoff %s is longer than longest %s", c.BackoffMin, c.BackoffMax)
	case c.IPTTL > 255:
		return c, fmt.Errorf("tcp: IP TTL %d is above 255", c.IPTTL)
	}
	if c.Observer == nil {
		c.Observer = transport.NopObserver{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c, nil
}

// orDefault fills a gap.
func orDefault[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}
