package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// limited is a context for one request of a test.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	t.Cleanup(cancel)
	return ctx
}

// asks sends a request that must be answered.
func (n *node) asks(t testing.TB, to *node, body []byte) []byte {
	t.Helper()
	answer, err := n.Request(limited(t), to.id, body)
	if err != nil {
		t.Fatalf("member %s asks %s: %v", n.id, to.id, err)
	}
	return answer
}

// pattern is a body in which each place differs from its neighbours.
func pattern(size int, seed byte) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ seed
	}
	return b
}

// testRequests sends bodies of all sizes both ways.
func testRequests(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	for i, from := range nodes {
		to := nodes[1-i]
		to.OnRequest(func(_ context.Context, who raft.MemberID, body []byte) ([]byte, error) {
			if who != from.id {
				return nil, fmt.Errorf("a request of member %s", who)
			}
			for i := range body { // the body is the handler's
				body[i] ^= 0xff
			}
			return body, nil
		})
		for _, size := range []int{0, 1, 511, 512, 513, 4 << 10, 64 << 10, 256 << 10, transport.MaxBodyBytes} {
			sent := pattern(size, byte(i))
			got := from.asks(t, to, sent)
			for j := range got {
				got[j] ^= 0xff
			}
			if !bytes.Equal(got, sent) || !bytes.Equal(sent, pattern(size, byte(i))) {
				t.Fatalf("a body of %d bytes changed on its way", size)
			}
		}
		if n := len(to.Requests()); n != 9 {
			t.Errorf("the handler of member %s ran %d times for 9 requests", to.id, n)
		}
		if !from.Stats()[to.id].MessagesConnected {
			t.Error("the statistics know of no connection for messages")
		}
		await(t, "the bytes are counted on both sides", func() (counted bool) {
			for _, n := range nodes {
				n.obs.locked(func() {
					other := fmt.Sprintf("n%d", 3-n.id)
					counted = n.obs.sent[other] > 1<<20 && n.obs.received[other] > 1<<20
				})
			}
			return counted
		})
	}
}

// testRequestErrors goes through the ways in which a request ends without an answer.
func testRequestErrors(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, two := nodes[0], nodes[1]
	two.OnRequest(func(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
		if string(body) == "large" {
			return make([]byte, transport.MaxBodyBytes+1), nil
		}
		return nil, errors.New("no such chunk:\n" + string(body))
	})
	var remote *transport.RemoteError
	if _, err := one.Request(limited(t), 2, []byte("7")); !errors.As(err, &remote) || remote.Text != "no such chunk: 7" && remote.Text != "no such chunk:\n7" {
		t.Errorf("the handler's error arrives as %v", err)
	}
	if _, err := one.Request(limited(t), 2, []byte("large")); !errors.As(err, &remote) || !strings.Contains(remote.Text, "too large") {
		t.Errorf("an answer beyond the bound arrives as %v", err)
	}
	for _, nobody := range []raft.MemberID{1, 9} {
		if _, err := one.Request(limited(t), nobody, nil); !errors.Is(err, transport.ErrUnknownPeer) {
			t.Errorf("request to member %s: %v", nobody, err)
		}
		if err := one.Notify(nobody, nil); !errors.Is(err, transport.ErrUnknownPeer) {
			t.Errorf("notification to member %s: %v", nobody, err)
		}
	}
	beyond := make([]byte, transport.MaxBodyBytes+1)
	if _, err := one.Request(limited(t), 2, beyond); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("request beyond the bound: %v", err)
	}
	if err := one.Notify(2, beyond); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("notification beyond the bound: %v", err)
	}
	if _, err := one.Announce(limited(t), two.Addr(), beyond[:transport.MaxAnnounceBytes+1]); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("announcement beyond the bound: %v", err)
	}
	if n := len(two.Requests()); n != 2 {
		t.Errorf("the handler ran %d times for 2 requests", n)
	}
}

// testRequestContext ends requests whose handler does not answer, and whose peer is away.
func testRequestContext(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	release := make(chan struct{})
	nodes[1].OnRequest(func(context.Context, raft.MemberID, []byte) ([]byte, error) { <-release; return nil, nil })
	why := errors.New("the operator has gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error)
	go func() {
		_, err := nodes[0].Request(ctx, 2, nil)
		ended <- err
	}()
	await(t, "the handler runs", func() bool { return len(nodes[1].Requests()) == 1 })
	cancel(why)
	if err := <-ended; !errors.Is(err, why) {
		t.Errorf("the request ended with %v", err)
	}
	if _, err := nodes[0].Request(ctx, 2, nil); !errors.Is(err, why) {
		t.Errorf("a request whose context had ended before: %v", err)
	}
	close(release)
	nodes[1].OnRequest(nil)
	if got := nodes[0].asks(t, nodes[1], []byte("next")); string(got) != "next" {
		t.Errorf("the next request was answered with %q", got)
	}
	nodes[1].stop(t)
	short, cancelShort := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancelShort()
	if _, err := nodes[0].Request(short, 2, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request to a peer that is away: %v", err)
	}
}

// testNotices sends notifications, each of which arrives at most once.
func testNotices(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	for i := range 300 {
		if err := nodes[0].Notify(2, pattern(i*10, byte(i))); err != nil {
			t.Fatal(err)
		}
		if i%30 == 29 { // no more than are handled at the same time
			await(t, "notifications arrive", func() bool { return len(nodes[1].Notices()) == i+1 })
		}
	}
	seen := map[string]int{}
	for _, b := range nodes[1].Notices() {
		seen[string(b)]++
	}
	for i := range 300 {
		if seen[string(pattern(i*10, byte(i)))] != 1 {
			t.Fatalf("notification %d arrived %d times", i, seen[string(pattern(i*10, byte(i)))])
		}
	}
	nodes[1].stop(t)
	await(t, "notifications to one that is away are lost, and counted", func() bool {
		nodes[0].Notify(2, nil)
		return nodes[0].Stats()[2].Dropped > 0
	})
}

// testRequestRunsOnce breaks the connection while the handler runs, so that what it says is lost: the repeat gets that
// run's answer, whether it finds it running or answered.
func testRequestRunsOnce(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, two := nodes[0], nodes[1]
	var runs atomic.Int64
	for _, answered := range []bool{false, true} {
		began, release, left := make(chan struct{}, 9), make(chan struct{}), make(chan struct{}, 9)
		two.OnRequest(func(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
			number := runs.Add(1)
			began <- struct{}{}
			<-release
			defer func() { left <- struct{}{} }()
			return append(body, fmt.Sprint(number)...), nil
		})
		answers, want := make(chan string, 1), fmt.Sprint("run ", runs.Load()+1, "<nil>")
		go func() {
			answer, err := one.Request(limited(t), 2, []byte("run "))
			answers <- fmt.Sprint(string(answer), err)
		}()
		<-began
		h.Cut(1, 2)
		await(t, "the break is noticed", func() bool { one.say(2, raft.MsgHeartbeat, 0); return !one.Stats()[2].Connected })
		if answered {
			close(release)
			<-left
		}
		h.Heal(1, 2)
		one.reaches(t, two)
		if !answered {
			close(release)
		}
		if got := <-answers; got != want {
			t.Fatalf("the answer is %q, want %q", got, want)
		}
	}
	if n := runs.Load(); n != 2 {
		t.Fatalf("2 requests ran %d times", n)
	}
}

// testRequestWaitsForPeer asks a member that is not there yet, is there, goes, and comes back.
func testRequestWaitsForPeer(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, two := nodes[0], nodes[1]
	address, peers := two.Addr(), []transport.Peer{one.peer(), two.peer()}
	two.OnRequest(func(ctx context.Context, _ raft.MemberID, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	answers := make(chan string)
	go func() {
		answer, err := one.Request(limited(t), 2, []byte("hello"))
		answers <- fmt.Sprint(string(answer), err)
	}()
	await(t, "the handler runs", func() bool { return len(two.Requests()) == 1 })
	two.stop(t) // its handler ends with the context, and that is no answer
	two = newNode(t, h, 2, address, nil)
	two.SetPeers(peers)
	two.start(t)
	if got := <-answers; got != "hello<nil>" {
		t.Fatalf("the request ended with %q", got)
	}
}

// testCloseAmidRequests closes both ends of requests that run.
func testCloseAmidRequests(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	var running atomic.Int64
	nodes[1].OnRequest(func(ctx context.Context, _ raft.MemberID, _ []byte) ([]byte, error) {
		running.Add(1)
		defer running.Add(-1)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ended := make(chan error)
	for range 10 {
		go func() {
			_, err := nodes[0].Request(context.Background(), 2, []byte("wait"))
			ended <- err
		}()
	}
	await(t, "all run", func() bool { return running.Load() == 10 })
	nodes[0].stop(t)
	for range 10 {
		if err := <-ended; !errors.Is(err, transport.ErrClosed) {
			t.Errorf("a request under way ended with %v", err)
		}
	}
	if _, err := nodes[0].Request(limited(t), 2, nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a request after Close: %v", err)
	}
	if err := nodes[0].Notify(2, nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a notification after Close: %v", err)
	}
	if _, err := nodes[0].Announce(limited(t), nodes[1].Addr(), nil); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("an announcement after Close: %v", err)
	}
	within(t, "closing the one that answers", func() { nodes[1].stop(t) })
	if n := running.Load(); n != 0 {
		t.Errorf("%d handlers run after Close", n)
	}
}

// testManyRequests asks more at a time than are handled at a time.
func testManyRequests(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	var running, most atomic.Int64
	several := make(chan struct{})
	together := sync.OnceFunc(func() { close(several) })
	nodes[1].OnRequest(func(ctx context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		if now >= 8 {
			together()
		}
		select { // the first ones do not answer before several run
		case <-several:
			return body, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	const askers = 500
	var group sync.WaitGroup
	for i := range askers {
		group.Go(func() {
			sent := []byte(fmt.Sprint("request ", i))
			if got, err := nodes[0].Request(limited(t), 2, sent); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("request %d: %q, %v", i, got, err)
			}
		})
	}
	group.Wait()
	if n := len(nodes[1].Requests()); n != askers {
		t.Errorf("%d requests ran %d times", askers, n)
	}
	if most.Load() > 64 {
		t.Errorf("up to %d handlers ran at the same time", most.Load())
	}
}

// testRequestFollowsPeer moves a peer, and takes it out of the list, while it is asked.
func testRequestFollowsPeer(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	one, old := nodes[0], nodes[1]
	old.OnRequest(func(ctx context.Context, _ raft.MemberID, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ended := make(chan string)
	ask := func() {
		go func() {
			answer, err := one.Request(limited(t), 2, []byte("where are you"))
			ended <- fmt.Sprint(string(answer), err)
		}()
	}
	ask()
	await(t, "the old one runs it", func() bool { return len(old.Requests()) == 1 })
	two := newNode(t, h, 2, "", func(id *transport.Identity) { id.Incarnation = raft.Incarnation{77} }).start(t)
	moved := two.peer()
	moved.Incarnation = raft.Incarnation{77}
	one.SetPeers([]transport.Peer{one.peer(), moved})
	two.SetPeers([]transport.Peer{one.peer(), moved})
	if got := <-ended; got != "where are you<nil>" {
		t.Fatalf("the request ended with %q", got)
	}
	two.OnRequest(func(ctx context.Context, _ raft.MemberID, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ask()
	await(t, "the new one runs it", func() bool { return len(two.Requests()) == 2 })
	one.SetPeers([]transport.Peer{one.peer()})
	if got := <-ended; !strings.Contains(got, transport.ErrUnknownPeer.Error()) {
		t.Fatalf("the request to a removed peer ended with %q", got)
	}
}

// testMessagesInNobodysWay stalls everything that is asked and told of a member: its heartbeats and appends go on.
func testMessagesInNobodysWay(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	nodes[1].OnRequest(func(context.Context, raft.MemberID, []byte) ([]byte, error) { <-release; return nil, nil })
	nodes[1].OnNotice(func(raft.MemberID, []byte) { <-release })
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	for range 200 {
		group.Go(func() { nodes[0].Request(ctx, 2, make([]byte, transport.MaxBodyBytes)) })
	}
	await(t, "requests run", func() bool { return len(nodes[1].Requests()) > 0 })
	for range 200 {
		nodes[0].Notify(2, make([]byte, 16<<10)) // lost, as a rule: the requests have all the room
	}
	for i := range uint64(20) {
		within(t, "a heartbeat and an append beside stuck requests", func() {
			nodes[0].say(2, raft.MsgHeartbeat, i)
			nodes[0].say(2, raft.MsgAppend, i)
			await(t, "both arrive", func() bool {
				return len(nodes[1].received(1, raft.MsgHeartbeat)) == int(i)+1 && len(nodes[1].received(1, raft.MsgAppend)) == int(i)+1
			})
		})
	}
}

// testChunksAndEntries sends a snapshot's chunks and entries to one peer at the same time.
func testChunksAndEntries(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	const chunks, size = 64, 256 << 10
	var group sync.WaitGroup
	var next atomic.Int64
	for range 4 { // as many as are under way
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < chunks; i = int(next.Add(1)) - 1 {
				sent := pattern(size, byte(i))
				if got, err := nodes[0].Request(limited(t), 2, sent); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("chunk %d: %d bytes, %v", i, len(got), err)
				}
			}
		})
	}
	sent := 0
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for open := true; open; sent++ {
		nodes[0].Send([]raft.Message{{Type: raft.MsgAppend, From: 1, To: 2, Round: uint64(sent),
			Entries: []raft.Entry{{Index: uint64(sent), Data: pattern(4<<10, byte(sent))}}}})
		await(t, "append arrives", func() bool { return len(nodes[1].received(1, raft.MsgAppend)) > sent-16 })
		select {
		case <-done:
			open = false
		default:
		}
	}
	await(t, "all appends arrive", func() bool { return len(nodes[1].received(1, raft.MsgAppend)) == sent })
	for i, m := range nodes[1].received(1, raft.MsgAppend) {
		if m.Round != uint64(i) || !bytes.Equal(m.Entries[0].Data, pattern(4<<10, byte(i))) {
			t.Fatalf("append %d arrived at place %d, or changed", m.Round, i)
		}
	}
	if n := len(nodes[1].Requests()); n != chunks {
		t.Errorf("%d chunks arrived %d times", chunks, n)
	}
}

// testSnapshotIsNotSent gives a transport the message that it must not carry.
func testSnapshotIsNotSent(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	nodes[0].Send([]raft.Message{{Type: raft.MsgSnapshot, From: 1, To: 2, Term: 1, Snapshot: &raft.SnapshotMeta{Index: 7}}})
	nodes[0].reaches(t, nodes[1])
	if s := nodes[0].Stats()[2]; s.Dropped != 1 || !s.Connected || !s.BulkConnected {
		t.Errorf("%+v", s)
	}
	if got := nodes[1].received(1, raft.MsgSnapshot); len(got) != 0 {
		t.Errorf("a snapshot's message came through: %+v", got)
	}
}
