package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/inmem"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait.
const limit = 2 * time.Minute

// cluster is three members in this process, on one of the transports, with or without folders.
type cluster struct {
	t         *testing.T
	network   *inmem.Network // nil: TCP
	folder    string         // empty: in memory
	static    []raft.Member
	listeners map[raft.MemberID]net.Listener // of a first start
	running   map[raft.MemberID]*member
	printed   map[raft.MemberID]*bytes.Buffer // complete once a member has stopped
	client    *http.Client
}

// variants runs a test on each transport, and with or without folders.
func variants(t *testing.T, folders []bool, test func(t *testing.T, c *cluster)) {
	t.Parallel()
	for _, name := range []string{"inmem", "tcp"} {
		for _, folder := range folders {
			t.Run(fmt.Sprintf("%s,folder=%v", name, folder), func(t *testing.T) {
				t.Parallel()
				c := newCluster(t, name == "tcp", folder)
				c.startAll()
				test(t, c)
			})
		}
	}
}

func newCluster(t *testing.T, overTCP, folder bool) *cluster {
	way := http.DefaultTransport.(*http.Transport).Clone()
	c := &cluster{t: t, listeners: map[raft.MemberID]net.Listener{}, running: map[raft.MemberID]*member{},
		printed: map[raft.MemberID]*bytes.Buffer{}, client: &http.Client{Transport: way, Timeout: limit}}
	if folder {
		c.folder = t.TempDir()
	}
	if !overTCP {
		c.network = inmem.NewNetwork()
	}
	for i := range 3 {
		m := raft.Member{ID: raft.MemberID(i + 1), Name: nameOf(raft.MemberID(i + 1)), Address: fmt.Sprintf("host%d", i+1)}
		if overTCP {
			c.listeners[m.ID] = listen(t, "127.0.0.1:0")
			m.Address = c.listeners[m.ID].Addr().String()
		}
		c.static = append(c.static, m)
	}
	t.Cleanup(func() {
		for id := range c.running {
			c.kill(id)
		}
		way.CloseIdleConnections()
	})
	return c
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, m := range c.static {
		c.start(m.ID, nil)
	}
	for _, m := range c.static {
		c.ready(m.ID)
	}
}

// start starts a member, of the static list or, where there are addresses to join, a new one.
func (c *cluster) start(id raft.MemberID, join []string) *member {
	c.t.Helper()
	c.printed[id] = &bytes.Buffer{}
	s := settings{id: id, members: c.static, out: &terminal{to: c.printed[id]}, web: listen(c.t, "127.0.0.1:0")}
	if join != nil {
		s.members, s.join = nil, join
	}
	if int(id) <= len(c.static) {
		s.address = c.static[id-1].Address
	}
	if c.folder != "" {
		s.folder = filepath.Join(c.folder, nameOf(id))
	}
	s.transport = c.transport(&s)
	m, err := start(s)
	if err != nil {
		c.t.Fatal(err)
	}
	c.running[id] = m
	return m
}

func (c *cluster) transport(s *settings) transport.Transport {
	c.t.Helper()
	if c.network != nil {
		if s.address == "" {
			s.address = fmt.Sprintf("host%d", s.id)
		}
		return c.network.New(inmem.Config{Address: s.address})
	}
	l := c.listeners[s.id]
	delete(c.listeners, s.id)
	switch {
	case l != nil:
	case s.address == "":
		l = listen(c.t, "127.0.0.1:0")
	default:
		l = listen(c.t, s.address)
	}
	s.address = l.Addr().String()
	t, err := tcp.New(tcp.Config{Listener: l})
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// ready waits until a member is ready, and knows where each member serves HTTP.
func (c *cluster) ready(id raft.MemberID) {
	c.t.Helper()
	m := c.running[id]
	select {
	case <-m.node.Ready():
	case <-m.node.Done():
		c.t.Fatalf("node %d ended: %v", id, m.node.Err())
	case <-time.After(limit):
		c.t.Fatalf("node %d is not ready: %+v", id, m.node.Status())
	}
	c.await(fmt.Sprintf("URLs on node %d", id), func() bool {
		s := m.node.Status()
		conf := inEffect(&s)
		for id, o := range c.running {
			if listed, ok := conf.Member(id); ok && listed.Metadata["http"] != o.url {
				return false
			}
		}
		return true
	})
}

// await looks again and again, for a bounded time.
func (c *cluster) await(what string, holds func() bool) {
	c.t.Helper()
	tick, end := time.NewTicker(5*time.Millisecond), time.NewTimer(limit)
	defer tick.Stop()
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end.C:
			for id, m := range c.running {
				c.t.Logf("node %d: %+v", id, m.node.Status())
			}
			c.t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// leader waits until all running members agree on a running leader, which is ready to lead.
func (c *cluster) leader() raft.MemberID {
	c.t.Helper()
	var leader raft.MemberID
	c.await("leader", func() bool {
		leader = 0
		for _, m := range c.running {
			s := m.node.Status()
			if l := c.running[s.Leader]; l == nil || (leader != 0 && leader != s.Leader) || !l.node.Status().Leading {
				return false
			}
			leader = s.Leader
		}
		return leader != 0
	})
	return leader
}

// follower is any running member that does not lead.
func (c *cluster) follower() raft.MemberID {
	c.t.Helper()
	leader := c.leader()
	for _, m := range c.static {
		if c.running[m.ID] != nil && m.ID != leader {
			return m.ID
		}
	}
	c.t.Fatal("no follower")
	return 0
}

// stop ends a member in order.
func (c *cluster) stop(id raft.MemberID) {
	c.t.Helper()
	m := c.running[id]
	delete(c.running, id)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := m.stop(ctx); err != nil {
		c.t.Errorf("stopping %d: %v", id, err)
	}
}

// kill ends a member at once: nothing is handed over, and nothing waited for.
func (c *cluster) kill(id raft.MemberID) {
	m := c.running[id]
	delete(c.running, id)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	m.web.Close()
	m.stop(over)
	<-m.node.Done()
}

// reply is what a member answered.
type reply struct {
	code   int
	body   string
	header http.Header
}

// send sends one request to a member and follows redirects.
func (c *cluster) send(id raft.MemberID, method, path, body string, header ...string) reply {
	c.t.Helper()
	r, err := http.NewRequest(method, c.running[id].url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{res.StatusCode, string(b), res.Header}
}

// patiently sends one request as a client does that waits through elections, of which a busy machine has some: what was
// not done, or is read, is sent again, and so is what nobody knows of, where the repeat changes nothing.
func (c *cluster) patiently(id raft.MemberID, method, path, body string, header ...string) (r reply) {
	c.t.Helper()
	c.await(fmt.Sprintf("answer to %s %s", method, path), func() bool {
		r = c.send(id, method, path, body, header...)
		return r.code != http.StatusServiceUnavailable && r.code != http.StatusGatewayTimeout
	})
	return r
}

// want sends one request that has to succeed.
func (c *cluster) want(id raft.MemberID, method, path, body string, header ...string) string {
	c.t.Helper()
	got := c.patiently(id, method, path, body, header...)
	if got.code != http.StatusOK {
		c.t.Fatalf("%s %s on node %d: %d %s", method, path, id, got.code, got.body)
	}
	return got.body
}

// write is a PUT or a DELETE with its outcome.
func (c *cluster) write(id raft.MemberID, method, path, body string, header ...string) (o outcome) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.want(id, method, path, body, header...)), &o); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// everywhere checks that each running member reads a value.
func (c *cluster) everywhere(key, want string) {
	c.t.Helper()
	for id := range c.running {
		if got := c.want(id, "GET", "/map/"+key, ""); got != want {
			c.t.Errorf("node %d has %q for %s, want %q", id, got, key, want)
		}
	}
}
