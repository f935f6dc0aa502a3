package client

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(stopping{m}, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// stopping runs the tests and then stops what the examples share.
type stopping struct{ m *testing.M }

func (s stopping) Run() int {
	code := s.m.Run()
	StopExamples()
	return code
}

// StopExamples is set by the first example that runs.
var StopExamples = func() {}

// Rig is a real node and service in this process, with a relay between it and the clients at which tests make
// messages late, lost or repeated.
type Rig struct {
	back  *natsserver.Server
	inner *nats.Conn // of the service
	node  *node.Node
	svc   *service.Service

	front *server.Server // where clients connect
	out   *nats.Conn     // relay, clients' side
	in    *nats.Conn     // relay, service's side
	wg    sync.WaitGroup

	mu       sync.Mutex
	script   func(Message) Fate
	seen     []Message
	stopped  bool
	commands *nats.Subscription
}

// Message is what passes the relay.
type Message struct {
	Verb  string // lock.acquire, …, batch; evt for events, watch for transitions
	Name  string // encoded, or the session of an event
	Body  []byte
	Event *coorddv1.Event // of evt
}

// Fate is what the relay does with a message. The zero value passes it on.
type Fate struct {
	DropRequest  bool            // it never arrives
	DropReply    bool            // it is executed, and nobody hears of it
	Refuse       string          // answered with this code, not executed
	NoResponders bool            // answered as if nobody listened
	Twice        bool            // the request and its answer pass twice
	Delay        time.Duration   // of the answer (of an event: of it)
	Hold         <-chan struct{} // the answer waits for it
}

// StartRig starts a node.
func StartRig() (*Rig, error) {
	r := &Rig{}
	var err error
	if r.back, err = natsserver.Start(natsserver.Config{Name: "n1", ClusterName: "test", Listen: "127.0.0.1:0"}); err != nil {
		return nil, err
	}
	if r.inner, err = r.back.Connect(natsserver.ConnOptions{Name: "n1"}); err != nil {
		return nil, err
	}
	sm := service.NewStateMachine(machine.New())
	r.node, err = node.Start(node.Config{ID: 1, Name: "n1", Members: []raft.Member{{ID: 1, Name: "n1", Address: "127.0.0.1:1"}},
		Log: storage.NewMemory(), StateMachine: sm, Version: machine.CommandVersion, ElectionTimeoutMin: 20 * time.Millisecond, ElectionTimeoutMax: 40 * time.Millisecond,
		HeartbeatThreshold: 0.5, DriftBound: 1.1, ClusterHash: [16]byte(sha256.New().Sum(nil)[:16])})
	if err != nil {
		return nil, err
	}
	r.svc, err = service.New(service.Config{Node: r.node, StateMachine: sm, Conn: r.inner, Name: "n1", ClusterName: "test",
		ElectionTimeoutMax: 40 * time.Millisecond, Timing: service.Timing{KeepaliveJoin: 5 * time.Millisecond}})
	if err != nil {
		return nil, err
	}
	if err := r.svc.Start(); err != nil {
		return nil, err
	}
	if r.in, err = nats.Connect(r.back.ClientURL()); err != nil {
		return nil, err
	}
	return r, r.startFront()
}

func (r *Rig) startFront() (err error) {
	if r.front, err = StartNATS(); err != nil {
		return err
	}
	if r.out, err = nats.Connect("", nats.InProcessServer(r.front), nats.NoEcho()); err != nil {
		return err
	}
	if err := r.Listen(); err != nil {
		return err
	}
	if _, err := r.out.Subscribe(statusSubject, r.status); err != nil {
		return err
	}
	if _, err := r.in.Subscribe("coord.v1.*.evt.*", r.event); err != nil {
		return err
	}
	if err := r.in.Flush(); err != nil {
		return err
	}
	return r.out.Flush()
}

// StartNATS starts a NATS server for clients.
func StartNATS() (*server.Server, error) {
	s, err := server.NewServer(&server.Options{ServerName: "front", Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return nil, fmt.Errorf("the NATS server is not ready")
	}
	return s, nil
}

// URL is where clients connect.
func (r *Rig) URL() string { return r.front.ClientURL() }

// Listen takes commands, as a new leader does.
func (r *Rig) Listen() (err error) {
	if r.commands, err = r.out.Subscribe("coord.v1.>", r.command); err != nil {
		return err
	}
	return r.out.Flush()
}

// RelayWatches passes on the transitions of locks, from now on. A rig whose test doesn't need them is spared the work.
func (r *Rig) RelayWatches() error {
	if _, err := r.in.Subscribe("coord.v1.*.watch.*", r.event); err != nil {
		return err
	}
	return r.in.Flush()
}

// newWatchRig starts a rig that relays transitions.
func newWatchRig(t testing.TB) *Rig {
	t.Helper()
	r := newRig(t)
	if err := r.RelayWatches(); err != nil {
		t.Fatal(err)
	}
	return r
}

// Silence stops taking commands: to clients there is no leader.
func (r *Rig) Silence() error {
	if err := r.commands.Unsubscribe(); err != nil {
		return err
	}
	return r.out.Flush()
}

// Stop ends everything.
func (r *Rig) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.wg.Wait()
	r.out.Close()
	r.in.Close()
	_ = r.svc.Stop(ctx)
	_ = r.node.Stop(ctx)
	r.inner.Close()
	_ = r.back.Stop(ctx)
	r.front.Shutdown()
	r.front.WaitForShutdown()
}

func (r *Rig) spawn(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.wg.Go(f)
	}
}

// Script says what happens to the messages from now on; nil: all pass.
func (r *Rig) Script(f func(Message) Fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = f
}

// Seen returns what passed so far.
func (r *Rig) Seen(verb string) (out []Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.seen {
		if m.Verb == verb {
			out = append(out, m)
		}
	}
	return out
}

func (r *Rig) fate(m Message) Fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, m)
	if r.script == nil {
		return Fate{}
	}
	return r.script(m)
}

// command relays one request; each in a goroutine of its own, so that one may wait.
func (r *Rig) command(m *nats.Msg) {
	parts := strings.SplitN(m.Subject, ".", 6) // coord v1 ns verb verb name
	msg := Message{Verb: parts[3], Body: m.Data}
	if msg.Verb != "batch" {
		msg.Verb += "." + parts[4]
	}
	if len(parts) == 6 {
		msg.Name = parts[5]
	}
	f := r.fate(msg)
	r.spawn(func() { r.relay(m, f) })
}

func (r *Rig) relay(m *nats.Msg, f Fate) {
	switch {
	case f.DropRequest:
		return
	case f.NoResponders:
		_ = r.out.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
		return
	case f.Refuse != "":
		e := coorddv1.NewError(f.Refuse, "")
		body, _ := proto.Marshal(&coorddv1.ErrorReply{Error: e})
		_ = r.out.PublishMsg(&nats.Msg{Subject: m.Reply, Data: body, Header: nats.Header{
			coorddv1.ErrorHeader: {e.Message}, coorddv1.ErrorCodeHeader: {fmt.Sprint(e.Number)}}})
		return
	}
	for range 1 + map[bool]int{true: 1}[f.Twice] {
		reply, err := r.in.RequestMsg(&nats.Msg{Subject: m.Subject, Data: m.Data}, time.Minute)
		if f.DropReply {
			continue
		}
		time.Sleep(f.Delay)
		if f.Hold != nil {
			<-f.Hold
		}
		if err != nil {
			if err == nats.ErrNoResponders {
				_ = r.out.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
			}
			continue
		}
		_ = r.out.PublishMsg(&nats.Msg{Subject: m.Reply, Data: reply.Data, Header: reply.Header})
	}
}

func (r *Rig) status(m *nats.Msg) { _ = r.out.Publish(m.Reply, nil) }

func (r *Rig) event(m *nats.Msg) {
	parts := strings.Split(m.Subject, ".")
	msg := Message{Verb: parts[3], Name: parts[len(parts)-1], Body: m.Data}
	if msg.Verb == "evt" {
		msg.Event = new(coorddv1.Event)
		_ = unmarshal(m.Data, msg.Event)
	}
	f := r.fate(msg)
	if f.DropReply || f.DropRequest {
		return
	}
	r.spawn(func() {
		time.Sleep(f.Delay)
		if f.Hold != nil {
			<-f.Hold
		}
		for range 1 + map[bool]int{true: 1}[f.Twice] {
			_ = r.out.Publish(m.Subject, m.Data)
		}
	})
}

// newRig starts a rig for a test.
func newRig(t testing.TB) *Rig {
	t.Helper()
	r, err := StartRig()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// connect returns a client that the test's end closes.
func (r *Rig) connect(t testing.TB, opts ...Option) *Client {
	t.Helper()
	c, err := Connect(t.Context(), r.URL(), append([]Option{WithTimeout(time.Minute)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
