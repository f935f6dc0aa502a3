package transporttest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// testAnnounce has nodes announce themselves to one that does not know them.
func testAnnounce(t *testing.T, h Harness) {
	name, other := transport.NameHash("x"), transport.NameHash("y")
	one := newNode(t, h, 1, "", func(id *transport.Identity) { id.NameHash, id.ClusterHash = name, [16]byte{1} }).start(t)
	one.SetPeers([]transport.Peer{one.peer()})
	one.OnAnnounce(func(_ context.Context, from transport.Identity, body []byte) ([]byte, error) {
		if from.Member == 8 {
			return nil, errors.New("a change of the membership is under way")
		}
		return append([]byte("welcome "), body...), nil
	})
	blank := func(hash [16]byte) func(*transport.Identity) {
		return func(id *transport.Identity) { id.Cluster, id.NameHash = raft.ClusterID{}, hash }
	}
	joining := newNode(t, h, 7, "", blank(name)).start(t)
	if got, err := joining.Announce(limited(t), one.Addr(), []byte("n7")); err != nil || string(got) != "welcome n7" {
		t.Errorf("announced: %q, %v", got, err)
	}
	if s := one.Strangers(); len(s) != 1 || s[0].Member != 7 || s[0].Name != "n7" || s[0].Incarnation != (raft.Incarnation{7}) || s[0].NameHash != name {
		t.Errorf("those who announced themselves: %+v", s)
	}
	// A member of its own may, too.
	if got, err := newNode(t, h, 2, "", nil).start(t).Announce(limited(t), one.Addr(), []byte("n2")); err != nil || string(got) != "welcome n2" {
		t.Errorf("a member of the cluster: %q, %v", got, err)
	}
	var remote *transport.RemoteError
	if _, err := newNode(t, h, 8, "", blank(name)).start(t).Announce(limited(t), one.Addr(), nil); !errors.As(err, &remote) || remote.Text != "a change of the membership is under way" {
		t.Errorf("the handler's error arrives as %v", err)
	}
	heard := len(one.Strangers())
	for what, stranger := range map[string]*node{
		"cluster": newNode(t, h, 9, "", func(id *transport.Identity) { id.Cluster, id.NameHash = raft.ClusterID{9}, name }),
		"name":    newNode(t, h, 10, "", blank(other)),
	} {
		var refusal *transport.Refusal
		_, err := stranger.start(t).Announce(limited(t), one.Addr(), nil)
		if !errors.As(err, &refusal) || refusal.Kind != transport.RejectCluster || !strings.Contains(refusal.Text, what) {
			t.Errorf("one of another %s: %v", what, err)
		}
	}
	if n := len(one.Strangers()); n != heard || one.obs.rejections(transport.RejectCluster) < 2 {
		t.Errorf("%d were heard, %d should have been; %d rejections were counted", n, heard, one.obs.rejections(transport.RejectCluster))
	}
	// An announcement makes nobody a member.
	joining.SetPeers([]transport.Peer{one.peer()})
	refused(t, transport.RejectMember, one, joining)
	if _, err := joining.Announce(limited(t), "127.0.0.1:1", nil); err == nil {
		t.Error("announced where nobody listens")
	}
}

// testAnnounceContext lets a caller go while its announcement is handled.
func testAnnounceContext(t *testing.T, h Harness) {
	one, two := newNode(t, h, 1, "", nil).start(t), newNode(t, h, 2, "", nil).start(t)
	gone := make(chan struct{})
	one.OnAnnounce(func(ctx context.Context, _ transport.Identity, _ []byte) ([]byte, error) {
		<-ctx.Done()
		close(gone)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := two.Announce(ctx, one.Addr(), nil)
		ended <- err
	}()
	await(t, "the handler runs", func() bool { return len(one.Strangers()) == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the announcement ended with %v", err)
	}
	select {
	case <-gone:
	case <-time.After(waitLimit):
		t.Error("the handler's context did not end")
	}
}

// testFloodOfStrangers has many announce themselves again and again, to a handler that takes its time: the members don't
// feel it, few are handled at the same time, and an honest one is heard.
func testFloodOfStrangers(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	var mu sync.Mutex
	running, most := 0, 0
	nodes[0].OnAnnounce(func(_ context.Context, _ transport.Identity, body []byte) ([]byte, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond) // as a proposal would
		mu.Lock()
		running--
		mu.Unlock()
		return body, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	for id := range raft.MemberID(20) {
		stranger := newNode(t, h, 100+id, "", nil).start(t)
		for range 2 {
			group.Go(func() {
				for ctx.Err() == nil {
					stranger.Announce(ctx, nodes[0].Addr(), make([]byte, transport.MaxAnnounceBytes))
				}
			})
		}
	}
	await(t, "the flood has come", func() bool { return len(nodes[0].Strangers()) >= 20 })
	for range 50 {
		within(t, "a message beside the flood", func() {
			nodes[0].reaches(t, nodes[1])
			nodes[1].reaches(t, nodes[0])
		})
	}
	honest := newNode(t, h, 50, "", nil).start(t)
	await(t, "an honest caller amid the flood is heard", func() bool { // connecting may take several attempts
		got, err := honest.Announce(limited(t), nodes[0].Addr(), []byte("let me in"))
		return err == nil && string(got) == "let me in"
	})
	mu.Lock()
	defer mu.Unlock()
	if most > 8 {
		t.Errorf("up to %d announcements were handled at the same time", most)
	}
}

// testRefusedIsTold looks at what a member learns that others do not take any more.
func testRefusedIsTold(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	for _, n := range nodes[:2] {
		n.SetPeers([]transport.Peer{nodes[0].peer(), nodes[1].peer()})
	}
	for _, by := range nodes[:2] {
		await(t, "member 3 is told that it was removed", func() bool {
			nodes[2].say(by.id, raft.MsgHeartbeat, 0)
			return len(nodes[2].Refusals(by.id)) > 0
		})
		r := nodes[2].Refusals(by.id)[0]
		if r.Kind != transport.RejectMember || !strings.Contains(r.Text, "removed") || !strings.Contains(r.Text, "--join") {
			t.Errorf("member %s refused with %+v", by.id, r)
		}
	}
	recorded := nodes[2].peer()
	recorded.Incarnation = raft.Incarnation{99}
	nodes[0].SetPeers([]transport.Peer{nodes[0].peer(), nodes[1].peer(), recorded})
	await(t, "member 3 is told that its directory is another one", func() bool {
		nodes[2].say(1, raft.MsgHeartbeat, 0)
		rs := nodes[2].Refusals(1)
		return rs[len(rs)-1].Kind == transport.RejectIncarnation && strings.Contains(rs[len(rs)-1].Text, "member replace")
	})
	if len(nodes[0].Refusals(3)) != 0 || len(nodes[1].Refusals(1)) != 0 {
		t.Error("one that refuses was told that it was refused")
	}
}
