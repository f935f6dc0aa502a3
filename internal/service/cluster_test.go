package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/internal/service/natsserver"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport/inmem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout bounds every wait of these tests; it is far beyond what any of them needs on a machine that does much else.
const testTimeout = 2 * time.Minute

// member is one node with its embedded NATS server and its service.
type member struct {
	name    string
	id      raft.MemberID
	server  *natsserver.Server
	conn    *nats.Conn
	machine *machine.Machine
	node    *node.Node
	service *service.Service
	stopped bool
}

type cluster struct {
	t       *testing.T
	network *inmem.Network
	members []*member
}

// tune changes a member's configuration before it starts.
type tune func(i int, c *service.Config)

// startCluster starts n members with logs in memory, transports in the process, and NATS servers on free
// ports, and stops them at the end of the test.
func startCluster(t *testing.T, n int, tunes ...tune) *cluster {
	t.Helper()
	c := &cluster{t: t, network: inmem.NewNetwork()}
	t.Cleanup(c.stop)
	var list []raft.Member
	for i := range n {
		list = append(list, raft.Member{ID: raft.MemberID(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("n%d", i+1)})
	}
	log := hclog.NewNullLogger()
	if os.Getenv("COORDD_TEST_LOG") != "" {
		log = hclog.New(&hclog.LoggerOptions{Name: t.Name(), Level: hclog.Debug, Output: os.Stderr})
	}
	for i := range n {
		m := &member{name: list[i].Name, id: list[i].ID, machine: machine.New()}
		c.members = append(c.members, m)
		cfg := natsserver.Config{Name: m.name, ClusterName: "test", Listen: "127.0.0.1:0", Logger: log.Named(m.name + ".nats")}
		if n > 1 {
			cfg.RouteListen = "127.0.0.1:0"
		}
		var err error
		if m.server, err = natsserver.Start(cfg); err != nil {
			t.Fatal(err)
		}
	}
	c.route()
	for i, m := range c.members {
		var err error
		if m.conn, err = m.server.Connect(natsserver.ConnOptions{Name: m.name, Logger: log}); err != nil {
			t.Fatal(err)
		}
		sm := service.NewStateMachine(m.machine)
		cfg := node.Config{ID: m.id, Name: m.name, Members: list, Log: storage.NewMemory(), StateMachine: sm, CheckQuorum: true, Version: machine.CommandVersion,
			// Long ones: a busy test machine must not look like a dead leader.
			ElectionTimeoutMin: time.Second, ElectionTimeoutMax: 2 * time.Second,
			Transport: c.network.New(inmem.Config{Address: m.name}), Logger: log.Named(m.name + ".node")}
		if m.node, err = node.Start(cfg); err != nil {
			t.Fatal(err)
		}
		sc := service.Config{Node: m.node, StateMachine: sm, Conn: m.conn, Name: m.name, ClusterName: "test", Version: "v1.2.3",
			Logger: log.Named(m.name + ".service"), Interest: m.server.Interest}
		for _, f := range tunes {
			f(i, &sc)
		}
		if m.service, err = service.New(sc); err != nil {
			t.Fatal(err)
		}
		if err := m.service.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// route joins the members' NATS servers.
func (c *cluster) route() {
	c.t.Helper()
	if len(c.members) == 1 {
		return
	}
	var addrs []string
	for _, m := range c.members {
		addrs = append(addrs, m.server.RouteAddr())
	}
	for i, m := range c.members {
		if err := m.server.SetRoutes(slices.Delete(slices.Clone(addrs), i, i+1)); err != nil {
			c.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for _, m := range c.members {
		if err := m.server.Ready(ctx, len(c.members)-1); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (m *member) stop(t *testing.T) {
	if m.stopped {
		return
	}
	m.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if m.service != nil {
		if err := m.service.Stop(ctx); err != nil {
			t.Errorf("stop the service of %s: %v", m.name, err)
		}
	}
	if m.node != nil {
		if err := m.node.Stop(ctx); err != nil {
			t.Errorf("stop %s: %v", m.name, err)
		}
	}
	if m.conn != nil {
		m.conn.Close()
	}
	if m.server != nil {
		if err := m.server.Stop(ctx); err != nil {
			t.Errorf("stop the nats server of %s: %v", m.name, err)
		}
	}
}

func (c *cluster) stop() {
	for _, m := range c.members {
		m.stop(c.t)
	}
}

// leader waits until one member serves and returns it.
func (c *cluster) leader() *member {
	c.t.Helper()
	var found *member
	waitFor(c.t, "a serving leader", func() bool {
		found = nil
		for _, m := range c.members {
			if !m.stopped && m.service.Serving() {
				found = m
			}
		}
		return found != nil
	})
	return found
}

// waitFor looks again and again until ok.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(testTimeout)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %v for %s", testTimeout, what)
		case <-look.C:
		}
	}
}

// user is a client's connection to one member's server.
type user struct {
	t  *testing.T
	nc *nats.Conn
}

func (c *cluster) user(m *member) *user {
	c.t.Helper()
	nc, err := nats.Connect(m.server.ClientURL(), nats.ReconnectBufSize(-1))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return &user{t: c.t, nc: nc}
}

// ask sends one request and returns the answer as it is.
func (u *user) ask(subject string, body []byte) (*nats.Msg, error) {
	return u.nc.Request(subject, body, 10*time.Second)
}

// must sends a request until a leader answers it.
func (u *user) must(subject string, body []byte) *nats.Msg {
	u.t.Helper()
	var msg *nats.Msg
	waitFor(u.t, "an answer on "+subject, func() bool {
		var err error
		msg, err = u.ask(subject, body)
		if err != nil && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout) {
			u.t.Fatalf("%s: %v", subject, err)
		}
		return err == nil
	})
	return msg
}

// object is a JSON answer.
type object map[string]any

// json sends a JSON request and returns the answer's object.
func (u *user) json(subject, body string) object {
	u.t.Helper()
	return u.parse(u.must(subject, []byte(body)))
}

func (u *user) parse(msg *nats.Msg) object {
	u.t.Helper()
	var o object
	if err := json.Unmarshal(msg.Data, &o); err != nil {
		u.t.Fatalf("%s: answer %q: %v", msg.Subject, msg.Data, err)
	}
	return o
}

// ok is json for a request that must go well.
func (u *user) ok(subject, body string) object {
	u.t.Helper()
	o := u.json(subject, body)
	if o["error"] != nil {
		u.t.Fatalf("%s %s: %v", subject, body, o["error"])
	}
	return o
}

// fails checks that a JSON request gets this code, in the body and in the headers.
func (u *user) fails(subject, body, code string) object {
	u.t.Helper()
	msg := u.must(subject, []byte(body))
	o := u.parse(msg)
	e, _ := o["error"].(map[string]any)
	info, _ := coorddv1.LookupCode(code)
	if e["code"] != code || e["message"] == "" || msg.Header.Get(coorddv1.ErrorCodeHeader) != strconv.Itoa(int(info.Number)) ||
		msg.Header.Get(coorddv1.ErrorHeader) == "" {
		u.t.Errorf("%s %.100s: %s %v, want %s", subject, body, msg.Data, msg.Header, code)
	}
	return e
}

func (o object) str(key string) string { s, _ := o[key].(string); return s }

func (o object) num(t *testing.T, key string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(o.str(key), 10, 64)
	if err != nil {
		t.Fatalf("%s of %v is not a number in a string", key, o)
	}
	return n
}

// session opens a session in JSON and returns the fields that its requests carry.
func (u *user) session() (id uint64, fields string) {
	u.t.Helper()
	o := u.ok("coord.v1.default.session.open", `{"ttl":"3600s","owner":"tester"}`)
	return o.num(u.t, "session"), fmt.Sprintf(`"session":%q,"secret":%q`, o.str("session"), o.str("secret"))
}

// protobuf sends a request in protobuf and reads the answer into reply, or returns the error.
func (u *user) protobuf(subject string, request, reply proto.Message) *coorddv1.Error {
	u.t.Helper()
	body, err := proto.Marshal(request)
	if err != nil {
		u.t.Fatal(err)
	}
	msg := u.must(subject, body)
	if msg.Header.Get(coorddv1.ErrorCodeHeader) != "" {
		var e coorddv1.ErrorReply
		if err := proto.Unmarshal(msg.Data, &e); err != nil {
			u.t.Fatal(err)
		}
		return e.Error
	}
	if err := proto.Unmarshal(msg.Data, reply); err != nil {
		u.t.Fatalf("%s: %q: %v", subject, msg.Data, err)
	}
	return nil
}
