package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/client"
)

func init() {
	Register("coordd", func() System { return &coorddSys{} })
	Register("coordd-8conn", func() System { return &coorddSys{shared: 8} })
}

type coorddSys struct {
	procs
	shared int // > 0: all clients share that many connections
	pool   []*nats.Conn
	next   int
}

func (s *coorddSys) Name() string {
	if s.shared > 0 {
		return fmt.Sprintf("coordd-%dconn", s.shared)
	}
	return "coordd"
}

func (s *coorddSys) Config() string {
	return "3 nodes, defaults (election 150 to 300 ms, every write synced), embedded NATS, put: a committed sequence allocation of one, get: linearizable lock.get, id: one committed allocation a request"
}

func (s *coorddSys) nats(n int) string { return fmt.Sprintf("nats://127.0.0.1:%d", 26222+n) }

func (s *coorddSys) Start(ctx context.Context, dir string) error {
	s.dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for n := range 3 {
		if err := s.Restart(ctx, n); err != nil {
			return err
		}
	}
	return waitWrite(ctx, s, 60*time.Second)
}

func (s *coorddSys) Restart(_ context.Context, n int) error {
	var peers, routes []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("n%d=127.0.0.1:%d", i, 26230+i))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", 26240+i))
	}
	return s.start(n, s.dir, nil, binPath("coordd"), "serve", "--name", fmt.Sprintf("n%d", n), "--cluster", "peerbench",
		"--data-dir", filepath.Join(s.dir, fmt.Sprintf("n%d", n)),
		"--peer-listen", fmt.Sprintf("127.0.0.1:%d", 26230+n), "--peers", strings.Join(peers, ","),
		"--nats-listen", fmt.Sprintf("127.0.0.1:%d", 26222+n), "--nats-cluster-listen", fmt.Sprintf("127.0.0.1:%d", 26240+n),
		"--nats-routes", strings.Join(routes, ","), "--http-listen", fmt.Sprintf("127.0.0.1:%d", 26250+n), "--log-level", "warn")
}

func (s *coorddSys) Leader(context.Context) (int, error) {
	for n := range s.PIDs() {
		nc, err := nats.Connect(s.nats(n), nats.NoReconnect())
		if err != nil {
			continue
		}
		msg, err := nc.Request(fmt.Sprintf("coord.node.v1.n%d.status", n), []byte("{}"), time.Second)
		nc.Close()
		if err != nil {
			continue
		}
		var st struct {
			Role string `json:"role"`
		}
		if json.Unmarshal(msg.Data, &st) == nil && st.Role == "leader" {
			return n, nil
		}
	}
	return -1, nil
}

func (s *coorddSys) NewClient(ctx context.Context, only int) (Client, error) {
	urls := s.nats(0) + "," + s.nats(1) + "," + s.nats(2)
	if only >= 0 {
		urls = s.nats(only)
	}
	if s.shared > 0 && only < 0 {
		if len(s.pool) < s.shared {
			nc, err := nats.Connect(urls, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
			if err != nil {
				return nil, err
			}
			s.pool = append(s.pool, nc)
		}
		s.next++
		c, err := client.New(s.pool[s.next%len(s.pool)], client.WithTTL(60*time.Second))
		return &coorddClient{c: c, held: map[string]*client.Lock{}}, err
	}
	c, err := client.Connect(ctx, urls, client.WithTTL(60*time.Second))
	if err != nil {
		return nil, err
	}
	return &coorddClient{c: c, held: map[string]*client.Lock{}}, nil
}

// Stop closes the shared connections as well.
func (s *coorddSys) Stop() {
	s.procs.Stop()
	for _, nc := range s.pool {
		nc.Close()
	}
	s.pool = nil
}

type coorddClient struct {
	c     *client.Client
	held  map[string]*client.Lock
	seqs  map[string]*client.Sequence
	probe *client.Lock
}

func (c *coorddClient) Acquire(ctx context.Context, lock string) (uint64, error) {
	l, err := c.c.Lock(ctx, lock)
	if err != nil {
		return 0, err
	}
	c.held[lock] = l
	return l.Fence(), nil
}

func (c *coorddClient) Release(ctx context.Context, lock string, _ uint64) error {
	l := c.held[lock]
	if l == nil {
		return fmt.Errorf("not held")
	}
	return l.Unlock(ctx)
}

// NextID takes an ID by a request of its own: a strict sequence is never served from a leased range.
func (c *coorddClient) NextID(ctx context.Context, name string) (uint64, error) {
	if c.seqs == nil {
		c.seqs = map[string]*client.Sequence{}
	}
	s := c.seqs[name]
	if s == nil {
		var err error
		if s, err = c.c.Sequence(ctx, name, client.Strict()); err != nil {
			return 0, err
		}
		c.seqs[name] = s
	}
	n, err := s.Next(ctx)
	return uint64(n), err
}

// Put commits a small command: coordd has no key-value store.
func (c *coorddClient) Put(ctx context.Context, _ string, _ []byte) error {
	_, err := c.NextID(ctx, "put")
	return err
}

// Get is a linearizable read: is the lock still held with this fence?
func (c *coorddClient) Get(ctx context.Context, key string) ([]byte, error) {
	if c.probe == nil {
		l, err := c.c.Lock(ctx, fmt.Sprintf("%s-%p", key, c))
		if err != nil {
			return nil, err
		}
		c.probe = l
	}
	return val100, c.probe.Verify(ctx)
}

func (c *coorddClient) Close() { c.c.Close() }
