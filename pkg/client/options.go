package client

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

const (
	defaultNamespace = "default"
	defaultTTL       = 15 * time.Second
	defaultTimeout   = 5 * time.Second
	defaultDrift     = 0.01
)

// Option is a setting of [Connect], [New] or [Client.NewSession].
type Option func(*config)

type config struct {
	namespace string
	owner     string
	ttl       time.Duration
	metadata  map[string]string
	timeout   time.Duration
	drift     float64
	log       hclog.Logger
	nats      []nats.Option
	clock     clock.Clock
}

// WithNamespace sets the namespace of all names. Default: default.
func WithNamespace(ns string) Option { return func(c *config) { c.namespace = ns } }

// WithOwner sets what others see as the holder of this client's locks. Default: program, process ID and host.
func WithOwner(owner string) Option { return func(c *config) { c.owner = owner } }

// WithTTL sets how long a session, and with it all its locks, outlives its last renewal: 1 s to 24 h, default 15 s.
func WithTTL(ttl time.Duration) Option { return func(c *config) { c.ttl = ttl } }

// WithMetadata attaches key-value pairs to sessions, which operators see.
func WithMetadata(md map[string]string) Option { return func(c *config) { c.metadata = md } }

// WithTimeout bounds how long a call goes on looking for an answer when its context has no earlier end.
// Waiting in a lock's queue does not count. Default: 5 s.
func WithTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// WithClockDrift sets by how much the rates of this machine's clock and of a node's may differ. Default: 0.01.
func WithClockDrift(ratio float64) Option { return func(c *config) { c.drift = ratio } }

// WithLogger makes the client tell what it does in the background. Default: silence.
func WithLogger(l hclog.Logger) Option { return func(c *config) { c.log = l } }

// WithNATSOptions adds options of the NATS connection that [Connect] makes: credentials, TLS and so on. They
// come after the client's own.
func WithNATSOptions(opts ...nats.Option) Option {
	return func(c *config) { c.nats = append(c.nats, opts...) }
}

// Tests of programs that use this package decide how time passes (pkg/client/coorddtest).
func init() {
	clock.Option = func(k clock.Clock) any { return Option(func(c *config) { c.clock = k }) }
}

func newConfig(opts []Option) (config, error) {
	return config{namespace: defaultNamespace, owner: defaultOwner(), ttl: defaultTTL, timeout: defaultTimeout,
		drift: defaultDrift, log: hclog.NewNullLogger(), clock: clock.System()}.with(opts)
}

var namespaceShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// with returns the configuration changed by opts, checked.
func (c config) with(opts []Option) (config, error) {
	for _, o := range opts {
		o(&c)
	}
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	switch {
	case !namespaceShape.MatchString(c.namespace):
		return c, localError(coorddv1.CodeBadName, "namespace %q is not 1 to 64 of A-Za-z0-9_-", c.namespace)
	case c.ttl < time.Second || c.ttl > 24*time.Hour:
		return c, localError(coorddv1.CodeBadRequest, "TTL %v is not between 1s and 24h", c.ttl)
	case c.timeout <= 0:
		return c, localError(coorddv1.CodeBadRequest, "timeout %v is not positive", c.timeout)
	case !(c.drift >= 0 && c.drift < 0.5):
		return c, localError(coorddv1.CodeBadRequest, "clock drift %v is not between 0 and 0.5", c.drift)
	}
	return c, nil
}

func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s[%d]@%s", filepath.Base(os.Args[0]), os.Getpid(), host)
}
