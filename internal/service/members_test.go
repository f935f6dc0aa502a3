package service

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// fakeMembers changes the configuration of a fake node. What is added or replaced is a learner until the test lets it
// vote.
type fakeMembers struct {
	node *fakeNode

	mu     sync.Mutex
	votes  map[raft.MemberID]chan struct{}
	behind atomic.Bool // learners have not caught up
	broken error
}

func (f *fakeMembers) IDOf(name string) raft.MemberID {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return raft.MemberID(h.Sum64())
}

// change edits the configuration, and refuses what a core refuses.
func (f *fakeMembers) change(id raft.MemberID, edit func(c *raft.Configuration, i int) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return f.broken
	}
	st := f.node.Status()
	c := st.Active.Clone()
	i := len(c.Members)
	for k, m := range c.Members {
		if m.ID == id {
			i = k
		}
	}
	if err := edit(&c, i); err != nil {
		return err
	}
	f.node.config.Store(&c)
	return nil
}

func (f *fakeMembers) voteOf(id raft.MemberID) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.votes == nil {
		f.votes = make(map[raft.MemberID]chan struct{})
	}
	if f.votes[id] == nil {
		f.votes[id] = make(chan struct{})
	}
	return f.votes[id]
}

// warmUp goes on without its caller, as a leader does: that the learner is to be promoted is in the configuration.
func (f *fakeMembers) warmUp(ctx context.Context, id raft.MemberID) error {
	promoted := make(chan error, 1)
	go func() {
		select {
		case <-f.node.leading.Done():
			return
		case <-f.voteOf(id):
		}
		promoted <- f.change(id, func(c *raft.Configuration, i int) error {
			if i == len(c.Members) {
				return raft.ErrNoMember
			}
			c.Members[i].Learner = false
			return nil
		})
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-promoted:
		return err
	}
}

func (f *fakeMembers) AddMember(ctx context.Context, m raft.Member, o node.AddOptions) error {
	err := f.change(m.ID, func(c *raft.Configuration, i int) error {
		if i < len(c.Members) {
			return raft.ErrMemberExists
		}
		m.Learner, m.Promote = true, !o.Learner
		c.Members = append(c.Members, m)
		return nil
	})
	if err != nil || o.Learner {
		return err
	}
	return f.warmUp(ctx, m.ID)
}

func (f *fakeMembers) RemoveMember(_ context.Context, id raft.MemberID) error {
	return f.change(id, func(c *raft.Configuration, i int) error {
		if i == len(c.Members) {
			return raft.ErrNoMember
		}
		if v := c.Voters(); len(v) == 1 && v[0] == id {
			return raft.ErrLastVoter
		}
		c.Members = append(c.Members[:i], c.Members[i+1:]...)
		return nil
	})
}

func (f *fakeMembers) ReplaceMember(ctx context.Context, id raft.MemberID, address string) error {
	err := f.change(id, func(c *raft.Configuration, i int) error {
		c.Members[i].Learner, c.Members[i].Incarnation = true, raft.Incarnation{}
		if address != "" {
			c.Members[i].Address = address
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.warmUp(ctx, id)
}

func (f *fakeMembers) PromoteMember(_ context.Context, id raft.MemberID) error {
	if f.behind.Load() {
		return node.ErrNotCaughtUp
	}
	return f.change(id, func(c *raft.Configuration, i int) error {
		c.Members[i].Learner = false
		return nil
	})
}

func (f *fakeMembers) SetMemberStandby(_ context.Context, id raft.MemberID, on bool) error {
	return f.change(id, func(c *raft.Configuration, i int) error {
		c.Members[i].Standby = on
		return nil
	})
}

// memberBench is a service whose members can be changed.
func memberBench(t *testing.T) (*bench, *fakeMembers) {
	f := &fakeMembers{}
	b := newBench(t, Limits{}, Timing{}, func(n *fakeNode, c *Config) {
		f.node, c.Members, c.MemberID = n, f, f.IDOf
		n.config.Store(&raft.Configuration{Members: []raft.Member{{ID: 1, Name: "n1", Address: "127.0.0.1:1001"}}})
	})
	t.Cleanup(func() { b.node.depose(raft.ErrNotLeader) })
	return b, f
}

func (b *bench) admin(subject, body string) map[string]any {
	b.t.Helper()
	msg, err := b.nc.Request(adminPrefix+subject, []byte(body), patience)
	if err != nil {
		b.t.Fatalf("%s: %v", subject, err)
	}
	return b.parse(msg)
}

// row is a member as a list shows it.
func row(o map[string]any) string {
	return fmt.Sprint(o["name"], " ", o["role"], " ", o["address"])
}

func (b *bench) rows() (out []string) {
	b.t.Helper()
	list, _ := b.admin("member.list", `{}`)["members"].([]any)
	for _, m := range list {
		out = append(out, row(m.(map[string]any)))
	}
	return out
}

func (b *bench) wantRows(want ...string) {
	b.t.Helper()
	if got := b.rows(); fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("members %v, want %v", got, want)
	}
}

func (b *bench) wantCode(subject, body, code string) {
	b.t.Helper()
	if o := b.admin(subject, body); b.codeOf(o) != code {
		b.t.Errorf("%s %s: %v, want %s", subject, body, o, code)
	}
}

func TestMembersAreAddedPromotedReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	b, f := memberBench(t)
	b.wantRows("n1 voter 127.0.0.1:1001")

	// A learner is answered as soon as it is committed, and goes on by itself.
	o := b.admin("member.add", `{"name":"n2","address":"127.0.0.1:1002","metadata":{"zone":"b"}}`)
	m, _ := o["member"].(map[string]any)
	if row(m) != "n2 learner 127.0.0.1:1002" || m["metadata"].(map[string]any)["zone"] != "b" {
		t.Fatalf("added: %v", o)
	}
	close(f.voteOf(f.IDOf("n2")))
	b.await("the vote of n2", func() bool { return b.rows()[1] == "n2 voter 127.0.0.1:1002" })
	// With a wait the answer tells of the vote.
	go close(f.voteOf(f.IDOf("n3")))
	o = b.admin("member.add", `{"name":"n3","address":"127.0.0.1:1003","wait":"10s"}`)
	if m, _ := o["member"].(map[string]any); row(m) != "n3 voter 127.0.0.1:1003" {
		t.Fatalf("added with a wait: %v", o)
	}
	o = b.admin("member.add", `{"name":"n4","address":"127.0.0.1:1004","learner":true}`)
	if m, _ := o["member"].(map[string]any); row(m) != "n4 learner 127.0.0.1:1004" {
		t.Fatalf("added as a learner: %v", o)
	}
	f.behind.Store(true)
	b.wantCode("member.promote", `{"name":"n4"}`, coorddv1.CodeBusy)
	f.behind.Store(false)
	for range 2 { // the second one finds it done
		if m, _ := b.admin("member.promote", `{"name":"n4"}`)["member"].(map[string]any); row(m) != "n4 voter 127.0.0.1:1004" {
			t.Fatalf("promoted: %v", m)
		}
	}
	for range 2 {
		if m, _ := b.admin("member.standby", `{"name":"n4"}`)["member"].(map[string]any); row(m) != "n4 standby 127.0.0.1:1004" {
			t.Fatalf("standby: %v", m)
		}
	}
	b.admin("member.standby", `{"name":"n4","off":true}`)
	b.wantRows("n1 voter 127.0.0.1:1001", "n2 voter 127.0.0.1:1002", "n3 voter 127.0.0.1:1003", "n4 voter 127.0.0.1:1004")

	f.mu.Lock()
	delete(f.votes, f.IDOf("n4"))
	f.mu.Unlock()
	o = b.admin("member.replace", `{"name":"n4","address":"127.0.0.1:2004"}`)
	if m, _ := o["member"].(map[string]any); row(m) != "n4 learner 127.0.0.1:2004" {
		t.Fatalf("replaced: %v", o)
	}
	o = b.admin("member.remove", `{"name":"n4"}`)
	if m, _ := o["member"].(map[string]any); row(m) != "n4 learner 127.0.0.1:2004" {
		t.Fatalf("removed: %v", o)
	}
	b.wantRows("n1 voter 127.0.0.1:1001", "n2 voter 127.0.0.1:1002", "n3 voter 127.0.0.1:1003")
}

// A learner whose node never comes must not hold up the answer, nor the removal of it.
func TestALearnerThatNeverComesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	b, _ := memberBench(t)
	start := time.Now()
	b.admin("member.add", `{"name":"n2","address":"127.0.0.1:1002","wait":"0.2s"}`)
	if took := time.Since(start); took < 200*time.Millisecond || took > time.Minute {
		t.Errorf("answered after %v", took)
	}
	b.wantRows("n1 voter 127.0.0.1:1001", "n2 learner 127.0.0.1:1002")
	b.admin("member.remove", `{"name":"n2"}`)
	b.wantRows("n1 voter 127.0.0.1:1001")
}

func TestBadChangesOfMembersAreRefused(t *testing.T) {
	t.Parallel()
	b, f := memberBench(t)
	b.admin("member.add", `{"name":"n2","address":"127.0.0.1:1002","learner":true}`)
	for _, c := range []struct{ subject, body, code string }{
		{"member.add", `{"name":"n2","address":"127.0.0.1:1009"}`, coorddv1.CodeMemberExists},
		{"member.add", `{"name":"n3","address":"127.0.0.1:1002"}`, coorddv1.CodeMemberExists},
		{"member.add", `{"name":"n 3","address":"127.0.0.1:1003"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"","address":"127.0.0.1:1003"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":"127.0.0.1"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":":1003"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":"127.0.0.1:0"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":"127.0.0.1:1003","wait":"2h"}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":"127.0.0.1:1003","voter":true}`, coorddv1.CodeBadRequest},
		{"member.add", `{"name":"n3","address":"127.0.0.1:1003","cluster":"another"}`, coorddv1.CodeWrongCluster},
		{"member.remove", `{"name":"n3"}`, coorddv1.CodeNotFound},
		{"member.remove", `{}`, coorddv1.CodeNotFound},
		{"member.remove", `{"name":"n1"}`, coorddv1.CodeLastVoter},
		{"member.promote", `{"name":"n3"}`, coorddv1.CodeNotFound},
		{"member.standby", `{"name":"n3"}`, coorddv1.CodeNotFound},
		{"member.standby", `{"name":"n1"}`, coorddv1.CodeBadRequest},
		{"member.replace", `{"name":"n3"}`, coorddv1.CodeNotFound},
		{"member.replace", `{"name":"n1"}`, coorddv1.CodeBadRequest},
		{"member.replace", `{"name":"n2","address":"127.0.0.1:1001"}`, coorddv1.CodeMemberExists},
		{"leader.transfer", `{"to":"n2"}`, coorddv1.CodeBadRequest},
		{"leader.transfer", `{"to":"n3"}`, coorddv1.CodeNotFound},
	} {
		b.wantCode(c.subject, c.body, c.code)
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{raft.ErrChangePending, coorddv1.CodeChangeInProgress},
		{raft.ErrMemberExists, coorddv1.CodeMemberExists},
		{fmt.Errorf("%w: %w", raft.ErrBusy, raft.ErrTransferring), coorddv1.CodeBusy},
		{context.DeadlineExceeded, coorddv1.CodeTimeout},
		{errors.New("something else"), coorddv1.CodeInternal},
	} {
		f.mu.Lock()
		f.broken = c.err
		f.mu.Unlock()
		b.wantCode("member.add", `{"name":"n3","address":"127.0.0.1:1003"}`, c.code)
		b.wantCode("member.remove", `{"name":"n2"}`, c.code)
	}
	// A node that doubts its leadership says nothing.
	f.mu.Lock()
	f.broken = raft.ErrNotLeader
	f.mu.Unlock()
	if msg, err := b.nc.Request(adminPrefix+"member.remove", []byte(`{"name":"n2"}`), 200*time.Millisecond); err == nil {
		t.Errorf("a node that is not the leader answered %s", msg.Data)
	}
	b.wantRows("n1 voter 127.0.0.1:1001", "n2 learner 127.0.0.1:1002")
}

func TestAHandOverThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	b, f := memberBench(t)
	f.node.config.Store(&raft.Configuration{Members: []raft.Member{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}}})
	none, failed := fmt.Errorf("handing over: %w: 0002", raft.ErrNoTransferTarget), fmt.Errorf("given up: %w", node.ErrTransferFailed)
	for _, c := range []struct {
		to   string
		peer node.PeerStatus
		err  error
		want string
	}{
		{"n2", node.PeerStatus{ID: 2, LastContact: 1500 * time.Millisecond}, none, "n2\" is not reachable: no answer for 1.5s"},
		{"n2", node.PeerStatus{ID: 2, LastContact: -1}, none, "n2\" is not reachable: it has not answered since"},
		{"n2", node.PeerStatus{ID: 2, SnapshotIndex: 7}, none, "n2\" is being given a snapshot"},
		{"n2", node.PeerStatus{ID: 2}, failed, "n2\" did not take over in time; see `coordd status`"},
		{"n2", node.PeerStatus{ID: 2}, raft.ErrTransferring, "handed to another member"},
		{"", node.PeerStatus{ID: 2}, none, "no other member can take it"},
	} {
		f.node.peers.Store(&[]node.PeerStatus{c.peer})
		f.node.stays.Store(&c.err)
		o := b.admin("leader.transfer", `{"to":"`+c.to+`"}`)
		text := fmt.Sprint(o)
		if b.codeOf(o) != coorddv1.CodeBusy || !strings.Contains(text, "leadership stays at n1") || !strings.Contains(text, c.want) || strings.Contains(text, "0002") {
			t.Errorf("to %q: %v, want %s", c.to, text, c.want)
		}
	}
}
