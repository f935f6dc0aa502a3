package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// Client speaks to one coordd cluster in one namespace. It has a default session, which is opened when it is
// needed first, and replaced at the next use after it has ended.
type Client struct {
	cfg   config
	wire  *wire
	clock clock.Clock

	ctx    context.Context // of background work that outlives sessions
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	cluster  string // its ID, once an answer told it
	sessions map[*Session]struct{}
	current  *Session
	opening  *opening

	sequences *sequenceSet
	renewals  *renewals
}

// opening is one attempt to open the default session, shared by all who wait for it.
type opening struct {
	done chan struct{}
	s    *Session
	err  error
}

// New returns a client on a connection of the caller's, which is used as it is and stays open after Close. It
// should have nats.ReconnectBufSize(-1): a request must not leave after its caller was told that it failed.
func New(nc *nats.Conn, opts ...Option) (*Client, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if len(cfg.nats) > 0 {
		return nil, errors.New("NATS options belong to Connect: this connection is the caller's")
	}
	c := newClient(cfg)
	return c, c.start(nc, false)
}

func newClient(cfg config) *Client {
	c := &Client{cfg: cfg, clock: cfg.clock, sessions: make(map[*Session]struct{})}
	c.sequences = newSequenceSet(c, cfg, c.session)
	c.renewals = newRenewals(c)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *Client) start(nc *nats.Conn, own bool) error {
	c.wire = newWire(nc, own, c.cfg.log, c.clock)
	c.wire.onAgain = c.renewAll
	if err := c.wire.start(); err != nil {
		return err
	}
	c.wg.Go(c.renewals.run)
	return nil
}

// Close releases everything: it ends all sessions of the client, and with them all locks, and closes the
// connection if [Connect] made it. An error says that the service did not confirm it in time; what is not
// confirmed ends when the sessions run out.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	var sessions []*Session
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()

	results := make([]error, len(sessions))
	var closing sync.WaitGroup
	for i, s := range sessions {
		closing.Go(func() { results[i] = s.Close(context.Background()) })
	}
	closing.Wait()
	for _, s := range sessions {
		s.wg.Wait()
		s.sequences.close()
	}
	c.cancel()
	c.sequences.close()
	c.wg.Wait()
	c.wire.stop()
	return errors.Join(results...)
}

// adopt takes a session into the client's care; false if the client is closed.
func (c *Client) adopt(s *Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.sessions[s] = struct{}{}
	}
	return !c.closed
}

func (c *Client) disown(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed { // Close waits for those that it found
		delete(c.sessions, s)
	}
}

// background runs f, which must end with its context: after d, or when the client is closed.
func (c *Client) background(d time.Duration, f func(context.Context)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wg.Go(func() {
		ctx, cancel := clock.WithTimeout(c.ctx, c.clock, d, context.DeadlineExceeded)
		defer cancel()
		f(ctx)
	})
}

// renewAll has every session renewed at once: after a reconnect, events may be missing.
func (c *Client) renewAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		s.soon()
	}
}

func (c *Client) clusterID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cluster
}

func (c *Client) learnCluster(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == "" {
		c.cluster = id
	}
}

// session returns the default session, opened if need be.
func (c *Client) session(ctx context.Context) (*Session, error) {
	for {
		c.mu.Lock()
		s, closed := c.current, c.closed
		c.mu.Unlock()
		if closed {
			return nil, fmt.Errorf("client: %w", ErrClosed)
		}
		if s != nil && s.Err() == nil {
			return s, nil
		}
		o := c.startOpening()
		if o == nil {
			continue // closed just now
		}
		select {
		case <-o.done:
			if o.err != nil {
				return nil, o.err
			}
			if o.s.Err() == nil {
				return o.s, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("open a session: %w", ended(ctx))
		}
	}
}

// startOpening returns the attempt that is under way, or a new one; nil if the client is closed.
func (c *Client) startOpening() *opening {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opening == nil && !c.closed {
		o := &opening{done: make(chan struct{})}
		c.opening = o
		c.wg.Go(func() { c.openDefault(o) })
	}
	return c.opening
}

// openDefault opens the default session, whoever waits for it.
func (c *Client) openDefault(o *opening) {
	o.s, o.err = c.open(c.ctx, c.cfg)
	c.mu.Lock()
	if o.err == nil {
		c.current = o.s
	}
	c.opening = nil
	c.mu.Unlock()
	close(o.done)
}

// ask sends a request that belongs to no session's sequence of commands, and reads its answer into rep. It
// returns when the message was sent that was answered.
func (c *Client) ask(ctx context.Context, cfg config, verb, name string, req, rep proto.Message) (instant, error) {
	body, err := proto.Marshal(req)
	if err != nil {
		return instant{}, fmt.Errorf("encode %s: %w", verb, err)
	}
	bounded, cancel := clock.WithTimeout(ctx, c.clock, cfg.timeout, errCallTimeout)
	defer cancel()
	out, err := c.wire.do(bounded, &request{subject: subjectOf(cfg.namespace, verb, name), body: func() ([]byte, error) { return body, nil }})
	switch {
	case err == nil:
		if err := unmarshal(out.data, rep); err != nil {
			return instant{}, fmt.Errorf("the answer to %s can't be read: %w", verb, err)
		}
		return out.sent, nil
	case bounded.Err() == nil:
		return instant{}, err // an answer, or a closed connection
	default:
		return instant{}, c.wire.explain(out, ended(ctx), false)
	}
}
