package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	// dialTimeout bounds one attempt to connect to one server. nats.go holds its lock meanwhile, so everything
	// else waits: a stopped server must not take long.
	dialTimeout = time.Second
	// reconnectPause is between two rounds over all servers.
	reconnectPause = 20 * time.Millisecond
	// writeTimeout bounds a write to a server that takes nothing.
	writeTimeout = 2 * time.Second
)

// Connect connects to NATS at url, which may be a comma-separated list of servers, and returns a client. More
// servers are learned from those that are reached. It tries until one answers or ctx ends, but no longer than
// WithTimeout; a refusal of the credentials ends it at once. No request is sent to coordd yet.
func Connect(ctx context.Context, url string, opts ...Option) (*Client, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if err := checkURLs(url); err != nil {
		return nil, err
	}
	c := newClient(cfg)
	// The error handler may be called before Connect returns; by then the wire must be there.
	ready := make(chan struct{})
	onError := func(nc *nats.Conn, sub *nats.Subscription, err error) {
		<-ready
		if c.wire != nil {
			c.wire.asyncError(nc, sub, err)
		}
	}
	defer close(ready)
	nc, err := dial(ctx, url, cfg, onError)
	if err != nil {
		return nil, err
	}
	if err := c.start(nc, true); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func dial(ctx context.Context, url string, cfg config, onError nats.ErrHandler) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("coordd client " + cfg.owner),
		nats.Timeout(dialTimeout),
		nats.ReconnectBufSize(-1), // what could not be sent now is never sent later
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectPause),
		nats.CustomReconnectDelay(func(int) time.Duration { return jitter(reconnectPause) }),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeTimeout),
		nats.ErrorHandler(onError),
	}
	options = append(options, cfg.nats...)
	ctx, cancel := clock.WithTimeout(ctx, cfg.clock, cfg.timeout, errCallTimeout)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, 10*longestPause) {
		nc, err := dialOnce(ctx, url, options)
		switch {
		case err == nil:
			return nc, nil
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
			return nil, fmt.Errorf("connect to %s: %w: %w", redacted(url), err, ErrDenied)
		case !worthRepeating(err):
			return nil, fmt.Errorf("connect to %s: %w", redacted(url), err)
		}
		clock.Sleep(cfg.clock, jitter(pause), ctx.Done())
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); cause != errCallTimeout {
				return nil, fmt.Errorf("connect to %s: %w: %w: %w", redacted(url), err, ErrNoLeader, ctx.Err())
			}
			return nil, fmt.Errorf("connect to %s: %w: %w", redacted(url), err, ErrNoLeader)
		}
	}
}

// dialOnce tries each server once. nats.Connect knows no context, so it runs beside.
func dialOnce(ctx context.Context, url string, options []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, options...)
		got <- result{nc, err}
	}()
	select {
	case r := <-got:
		return r.nc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-got; r.err == nil {
				r.nc.Close()
			}
		}()
		return nil, nats.ErrTimeout
	}
}

// worthRepeating says whether a failed connect may go better a moment later.
func worthRepeating(err error) bool {
	var opErr *net.OpError
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrStaleConnection) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) || errors.As(err, &opErr)
}

// checkURLs refuses what can't be a list of NATS servers, before anybody waits for it to answer.
func checkURLs(urls string) error {
	for u := range strings.SplitSeq(urls, ",") {
		u = strings.TrimSpace(u)
		scheme, rest, ok := strings.Cut(u, "://")
		if !ok {
			scheme, rest = "nats", u
		}
		switch parsed, err := url.Parse(scheme + "://" + rest); {
		case err != nil:
			var pe *url.Error // it repeats the URL, with the password
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return localError(coorddv1.CodeBadRequest, "NATS URL %q: %v", redacted(u), err)
		case scheme != "nats" && scheme != "tls" && scheme != "ws" && scheme != "wss":
			return localError(coorddv1.CodeBadRequest, "NATS URL %q: scheme %q is not one of nats, tls, ws, wss", redacted(u), scheme)
		case parsed.Hostname() == "":
			return localError(coorddv1.CodeBadRequest, "NATS URL %q has no host", redacted(u))
		}
	}
	return nil
}

// redacted takes the passwords out of a list of URLs.
func redacted(urls string) string {
	parts := strings.Split(urls, ",")
	for i, u := range parts {
		if at := strings.LastIndexByte(u, '@'); at >= 0 {
			scheme := ""
			if s := strings.Index(u, "://"); s >= 0 && s < at {
				scheme = u[:s+3]
			}
			parts[i] = scheme + "…" + u[at:]
		}
	}
	return strings.Join(parts, ",")
}
