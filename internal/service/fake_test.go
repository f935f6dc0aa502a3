package service

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/natsserver"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// fakeNode is a node whose log the test holds in its hands: entries are applied when the test lets them.
type fakeNode struct {
	sm    *StateMachine
	lease atomic.Bool

	version atomic.Uint32 // of commands that all members know
	held    atomic.Bool   // entries wait for release
	doubts  atomic.Bool   // no read is proved
	refuse  atomic.Pointer[error]
	config  atomic.Pointer[raft.Configuration] // nil: n1 alone
	peers   atomic.Pointer[[]node.PeerStatus]
	stays   atomic.Pointer[error] // why leadership is not handed over

	leading context.Context
	depose  context.CancelCauseFunc

	mu      sync.Mutex // what follows, and the "applier goroutine"
	index   uint64
	began   time.Time
	waiting []fakeEntry
	sizes   []int // commands of each entry that was submitted
}

type fakeEntry struct {
	data []byte
	done func(node.Result, error)
}

func newFakeNode(sm *StateMachine) *fakeNode {
	f := &fakeNode{sm: sm, began: time.Now()}
	f.version.Store(machine.CommandVersion)
	f.lease.Store(true)
	f.leading, f.depose = context.WithCancelCause(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applyLocked(raft.EntryNoOp, nil)
	return f
}

func (f *fakeNode) applyLocked(kind raft.EntryKind, data []byte) node.Result {
	f.index++
	v, err := f.sm.Apply(raft.Entry{Index: f.index, Term: 1, Time: int64(time.Since(f.began)), Kind: kind, Data: data})
	if err != nil {
		panic(err)
	}
	return node.Result{Index: f.index, Term: 1, Value: v}
}

func (f *fakeNode) Propose(ctx context.Context, data []byte) (node.Result, error) {
	ch := make(chan node.Result, 1)
	f.Submit(data, func(r node.Result, _ error) { ch <- r })
	select {
	case r := <-ch:
		return r, nil
	case <-ctx.Done():
		return node.Result{}, ctx.Err()
	}
}

func (f *fakeNode) Submit(data []byte, done func(node.Result, error)) {
	cs, err := machine.DecodeCommands(data)
	if err != nil {
		panic(err)
	}
	if e := f.refuse.Load(); e != nil {
		go done(node.Result{}, *e)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes = append(f.sizes, len(cs))
	f.waiting = append(f.waiting, fakeEntry{data, done})
	if !f.held.Load() {
		go f.release()
	}
}

// release applies what waits.
func (f *fakeNode) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.waiting {
		e.done(f.applyLocked(raft.EntryCommand, e.data), nil)
	}
	f.waiting = nil
}

func (f *fakeNode) entries() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.sizes...)
}

func (f *fakeNode) SubmitRead(done func(uint64, error)) {
	if f.doubts.Load() {
		go done(0, raft.ErrLeadershipLost)
		return
	}
	go func() { f.mu.Lock(); defer f.mu.Unlock(); done(f.index, nil) }()
}

func (f *fakeNode) Inspect(g func(uint64)) bool {
	go func() { f.mu.Lock(); defer f.mu.Unlock(); g(f.index) }()
	return true
}

func (f *fakeNode) LeadershipContext() context.Context { return f.leading }
func (f *fakeNode) Events() (<-chan node.Event, func()) {
	ch := make(chan node.Event)
	return ch, func() {}
}
func (f *fakeNode) Status() node.Status {
	config := f.config.Load()
	if config == nil {
		config = &raft.Configuration{Members: []raft.Member{{ID: 1, Name: "n1"}}}
	}
	st := node.Status{ID: 1, Name: "n1", Role: raft.Leader, Term: 1, Leader: 1, LeaderName: "n1", ClusterID: raft.ClusterID{1},
		Active: *config}
	if peers := f.peers.Load(); peers != nil {
		st.Peers = *peers
	}
	return st
}
func (f *fakeNode) ClusterTime() (int64, bool) { return int64(time.Since(f.began)), true }
func (f *fakeNode) ClusterVersion() uint32     { return f.version.Load() }
func (f *fakeNode) Lease() bool                { return f.lease.Load() }
func (f *fakeNode) TransferLeadership(context.Context, raft.MemberID) error {
	if why := f.stays.Load(); why != nil {
		return *why
	}
	return node.ErrTransferFailed
}

// bench is a service on a fake node with a client.
type bench struct {
	t    testing.TB
	node *fakeNode
	s    *Service
	nc   *nats.Conn
	seen *counts
}

// counts is an Observer.
type counts struct {
	noObserver
	duplicates, quota atomic.Int64
}

func (c *counts) DuplicateRequest()   { c.duplicates.Add(1) }
func (c *counts) QuotaRefused(string) { c.quota.Add(1) }

// newBench returns one that serves.
func newBench(t testing.TB, l Limits, tm Timing, tunes ...func(*fakeNode, *Config)) *bench {
	t.Helper()
	b := startBench(t, l, tm, tunes...)
	b.await("service", b.s.Serving)
	return b
}

func startBench(t testing.TB, l Limits, tm Timing, tunes ...func(*fakeNode, *Config)) *bench {
	t.Helper()
	srv, err := natsserver.Start(natsserver.Config{Name: "n1", ClusterName: "test", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	sm := NewStateMachine(machine.New())
	b := &bench{t: t, node: newFakeNode(sm), seen: &counts{}}
	conn, err := srv.Connect(natsserver.ConnOptions{Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Node: b.node, StateMachine: sm, Conn: conn, Name: "n1", ClusterName: "test", Limits: l, Timing: tm, Observer: b.seen, Interest: srv.Interest}
	for _, f := range tunes {
		f(b.node, &cfg)
	}
	b.s, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.s.Start(); err != nil {
		t.Fatal(err)
	}
	if b.nc, err = nats.Connect(srv.ClientURL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.node.held.Store(false)
		b.node.release()
		b.nc.Close()
		if err := b.s.Stop(ctx); err != nil {
			t.Error(err)
		}
		conn.Close()
		if err := srv.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// patience bounds every wait of these tests; it is far beyond what any of them needs on a machine that does much else.
const patience = 2 * time.Minute

func (b *bench) await(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-deadline:
			b.t.Fatalf("waited for %s", what)
		case <-look.C:
		}
	}
}

// send publishes a request; its answer goes to inbox.
func (b *bench) send(inbox, subject, body string) {
	b.t.Helper()
	if err := b.nc.PublishRequest(clientPrefix+"default."+subject, inbox, []byte(body)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) ask(subject, body string) map[string]any {
	b.t.Helper()
	msg, err := b.nc.Request(clientPrefix+"default."+subject, []byte(body), patience)
	if err != nil {
		b.t.Fatalf("%s: %v", subject, err)
	}
	return b.parse(msg)
}

func (b *bench) parse(msg *nats.Msg) map[string]any {
	b.t.Helper()
	var o map[string]any
	if err := json.Unmarshal(msg.Data, &o); err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *bench) inbox() (*nats.Subscription, string) {
	b.t.Helper()
	name := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return sub, name
}

func (b *bench) codeOf(o map[string]any) string {
	e, _ := o["error"].(map[string]any)
	c, _ := e["code"].(string)
	return c
}

func quoted(s string) *coorddv1.MemberListRequest { return &coorddv1.MemberListRequest{Cluster: s} }
