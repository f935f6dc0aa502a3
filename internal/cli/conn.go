package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// defaultNATSURL is where a node by itself and the first of `coordd dev` listen.
const defaultNATSURL = "nats://127.0.0.1:4222"

// clientFlags are the flags of every command that speaks to a cluster.
type clientFlags struct {
	urls      []string
	urlFlag   *pflag.Flag // nil: urls were given
	namespace string
	timeout   time.Duration
	format    *outputFormat

	user, password, creds, nkey string
	tlsCA, tlsCert, tlsKey      string

	violation atomic.Pointer[string] // the last permission that NATS refused
}

// addClientFlags adds them to a command and what is below it.
func addClientFlags(cmd *cobra.Command) *clientFlags {
	c := &clientFlags{}
	f := cmd.PersistentFlags()
	f.StringSliceVar(&c.urls, "nats-url", []string{defaultNATSURL}, "NATS URLs of the cluster; unless given, ports 4223 and 4224 are tried after it")
	c.urlFlag = f.Lookup("nats-url")
	f.StringVar(&c.namespace, "namespace", "default", "namespace of locks and sequences")
	f.DurationVar(&c.timeout, "timeout", 5*time.Second, "limit of connecting and of each request, elections included")
	f.StringVar(&c.user, "user", "", "NATS user")
	f.StringVar(&c.password, "password", "", "NATS password (the environment is safer: others see arguments)")
	f.StringVar(&c.creds, "creds", "", "NATS credentials file")
	f.StringVar(&c.nkey, "nkey", "", "NATS nkey seed file")
	f.StringVar(&c.tlsCA, "tls-ca", "", "file with the authority of the NATS server's certificate")
	f.StringVar(&c.tlsCert, "tls-cert", "", "file with a client certificate for NATS")
	f.StringVar(&c.tlsKey, "tls-key", "", "file with the client certificate's key")
	c.format = outputFlag(f)
	offer(cmd, "output", string(outputText), string(outputJSON), string(outputYAML))
	return c
}

// isDefault reports whether nobody said where the cluster is.
func (c *clientFlags) isDefault() bool { return c.urlFlag != nil && !c.urlFlag.Changed }

// servers are the URLs to try. Where nobody gave any, the other nodes of `coordd dev` follow the first one,
// which may just be down; but credentials go nowhere that nobody named.
func (c *clientFlags) servers() []string {
	if !c.isDefault() || c.user != "" || c.password != "" || c.creds != "" || c.nkey != "" {
		return c.urls
	}
	return []string{defaultNATSURL, "nats://127.0.0.1:4223", "nats://127.0.0.1:4224"}
}

// orderOptions keep the order of default URLs: what listens on 4222 is meant first.
func (c *clientFlags) orderOptions() []nats.Option {
	if c.isDefault() {
		return []nats.Option{nats.DontRandomize()}
	}
	return nil
}

// server names the URLs in messages, without what they may hold of secrets.
func (c *clientFlags) server() string {
	var out []string
	for _, s := range c.servers() {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			u.User = nil
			s = u.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, ",")
}

// check refuses flags that cannot work.
func (c *clientFlags) check() error {
	if c.timeout <= 0 {
		return usagef("--timeout: %v is not positive", c.timeout)
	}
	if len(c.urls) == 0 {
		return usagef("--nats-url: no URL")
	}
	for _, s := range c.urls {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || (u.Host == "" && u.Scheme != "") {
			return usagef("--nats-url: %q is not a URL like nats://host:4222", s)
		}
		host := u.Host
		if u.Scheme == "" { // host:port alone is what people type
			host = s
		} else if u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss" {
			// "localhost:4222" parses as the scheme localhost
			if _, _, err := net.SplitHostPort(s); err != nil {
				return usagef("--nats-url: %q is not a URL like nats://host:4222", s)
			}
			host = s
		}
		if h, p, err := net.SplitHostPort(host); err == nil && (h == "" || !isPort(p)) {
			return usagef("--nats-url: %q has a bad address", s)
		}
	}
	if !namespaceName.MatchString(c.namespace) {
		return usagef("--namespace: %q is not 1 to 64 of A-Z a-z 0-9 _ -", c.namespace)
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	return nil
}

// natsOptions are those of the connections that this program makes itself.
func (c *clientFlags) natsOptions() ([]nats.Option, error) {
	opts, err := c.credentials()
	if err != nil {
		return nil, err
	}
	opts = append(opts, c.orderOptions()...)
	return append(opts,
		nats.Name("coordd command line"),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(50*time.Millisecond),
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				text := err.Error()
				c.violation.Store(&text)
			}
		})), nil
}

// credentials say who we are and whom we trust.
func (c *clientFlags) credentials() (opts []nats.Option, err error) {
	if c.user != "" || c.password != "" {
		opts = append(opts, nats.UserInfo(c.user, c.password))
	}
	if c.creds != "" {
		if _, err := os.Stat(c.creds); err != nil {
			return nil, fmt.Errorf("--creds: %w", err)
		}
		opts = append(opts, nats.UserCredentials(c.creds))
	}
	if c.nkey != "" {
		o, err := nats.NkeyOptionFromSeed(c.nkey)
		if err != nil {
			return nil, fmt.Errorf("--nkey: %w", err)
		}
		opts = append(opts, o)
	}
	if c.tlsCA != "" {
		opts = append(opts, nats.RootCAs(c.tlsCA))
	}
	if c.tlsCert != "" {
		opts = append(opts, nats.ClientCert(c.tlsCert, c.tlsKey))
	}
	return opts, nil
}

// dial connects, and tries again for as long as --timeout allows: a node that is just being restarted is
// not a reason to fail.
func (c *clientFlags) dial(ctx context.Context) (*nats.Conn, error) {
	opts, err := c.natsOptions()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var nc *nats.Conn
	err = retry(ctx, func() (again bool, err error) {
		limit := 2 * time.Second
		if deadline, ok := ctx.Deadline(); ok {
			limit = min(limit, time.Until(deadline))
		}
		nc, err = nats.Connect(strings.Join(c.servers(), ","), append(opts, nats.Timeout(max(limit, time.Millisecond)))...)
		return connectAgain(err), err
	})
	if err != nil {
		return nil, c.connectFailure(err)
	}
	return nc, nil
}

// connectAgain reports whether a failed connect may go well a little later.
func connectAgain(err error) bool {
	var dns *net.DNSError
	return err != nil && !errors.Is(err, nats.ErrAuthorization) && !errors.Is(err, nats.ErrAuthExpired) &&
		!(errors.As(err, &dns) && dns.IsNotFound) && !isTLSError(err)
}

func isTLSError(err error) bool {
	return errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired) ||
		strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:")
}

// connectFailure says why there is no connection.
func (c *clientFlags) connectFailure(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return &failure{exit: exitDenied, code: "DENIED", err: fmt.Errorf("%s refused the credentials (--user, --creds, --nkey): %w", c.server(), err)}
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return unreachablef("nobody answers at %s; is coordd running there? (--nats-url, or `coordd dev` for a cluster on this machine)", c.server())
	}
	return unreachablef("connect to %s: %w", c.server(), err)
}

// retry calls f until it is done, must not be called again, or ctx ends, with a pause that grows to 100 ms.
func retry(ctx context.Context, f func() (again bool, err error)) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		again, err := f()
		if err == nil || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// electionPatience is how long a server behind which nobody leads is stayed with: longer than an election takes.
const electionPatience = 500 * time.Millisecond

// moveOn has the connection go to the next server, if there is more than one. The server of a node that the others
// have not taken in, such as one that waits for `member replace`, has no routes to theirs.
func moveOn(nc *nats.Conn) {
	if len(nc.Servers()) > 1 {
		_ = nc.ForceReconnect() // fails only if it is closed, and then the next request does
	}
}

func isPort(s string) bool {
	_, err := net.LookupPort("tcp", s)
	return err == nil && s != "0"
}
