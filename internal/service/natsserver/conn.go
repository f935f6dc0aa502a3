package natsserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
)

// Observer is told what happens to a node's NATS connection, for metrics. Its methods must be quick.
type Observer interface {
	NATSConnected(connected bool)
	NATSReconnected()
	NATSSlowConsumer()
}

// ConnOptions say who connects and who is told.
type ConnOptions struct {
	Name     string       // shown in NATS's own lists
	Logger   hclog.Logger // nil: none
	Observer Observer     // nil: none
	// Options are added after the package's own (credentials, TLS of an outside server).
	Options []nats.Option
}

// Connect connects the node to its own embedded server, inside the process.
func (s *Server) Connect(o ConnOptions) (*nats.Conn, error) {
	opts := append(o.natsOptions(), nats.InProcessServer(s.srv))
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("nats: connect in process: %w", err)
	}
	o.connected(nc)
	return nc, nil
}

// Dial connects to an outside NATS, a comma-separated list of URLs. It waits for the first connection until
// ctx ends, and goes on trying in the background if none came up by then: the returned connection is good in
// both cases, and the error is nil. A URL that can't be right is an error at once.
func Dial(ctx context.Context, urls string, o ConnOptions) (*nats.Conn, error) {
	up := make(chan struct{}, 1)
	opts := append(o.natsOptions(), nats.RetryOnFailedConnect(true), nats.ConnectHandler(func(nc *nats.Conn) {
		o.connected(nc)
		select {
		case up <- struct{}{}:
		default:
		}
	}))
	opts = append(opts, o.Options...)
	nc, err := nats.Connect(urls, opts...)
	if err != nil {
		return nil, fmt.Errorf("nats: connect to %s: %w", redact(urls), err)
	}
	if nc.IsConnected() {
		o.connected(nc)
		return nc, nil
	}
	select {
	case <-up:
	case <-ctx.Done():
		o.logger().Warn("nats is not reachable yet, trying on", "url", redact(urls))
	}
	return nc, nil
}

// redact keeps user names and passwords of URLs out of messages.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		if at := strings.LastIndex(u, "@"); at >= 0 {
			scheme, _, ok := strings.Cut(u, "://")
			if !ok {
				scheme = "nats"
			}
			parts[i] = scheme + "://…@" + u[at+1:]
		}
	}
	return strings.Join(parts, ",")
}

func (o ConnOptions) logger() hclog.Logger {
	if o.Logger == nil {
		return hclog.NewNullLogger()
	}
	return o.Logger
}

func (o ConnOptions) connected(nc *nats.Conn) {
	if o.Observer != nil {
		o.Observer.NATSConnected(nc.IsConnected())
	}
}

func (o ConnOptions) natsOptions() []nats.Option {
	log := o.logger()
	var loud limiter
	return []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			base := min(50*time.Millisecond<<min(attempts, 6), 2*time.Second)
			return base/2 + rand.N(base/2+1)
		}),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.Timeout(2 * time.Second),
		// Whoever uses the connection waits for a write that its server does not take. The default of a minute would keep a
		// leader that is cut from an outside NATS from handing over.
		nats.FlusherTimeout(writeTimeout),
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if o.Observer != nil {
				o.Observer.NATSConnected(false)
			}
			log.Warn("nats connection lost", "error", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			if o.Observer != nil {
				o.Observer.NATSConnected(true)
				o.Observer.NATSReconnected()
			}
			log.Info("nats connection is back", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			if errors.Is(err, nats.ErrSlowConsumer) && o.Observer != nil {
				o.Observer.NATSSlowConsumer()
			}
			loud.say(log.Warn, "nats reports an error", "subject", subject, "error", err)
		}),
	}
}
