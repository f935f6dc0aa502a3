package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/raft"
)

// others returns the running members besides m.
func (c *cluster) others(m *member) (rest []*member) {
	for _, o := range c.members {
		if o != m && !o.stopped {
			rest = append(rest, o)
		}
	}
	return rest
}

// A leader's stop moves everything to another one: what was answered is answered again the same way.
func TestLeaderStops(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	u := c.user(c.others(old)[0])
	_, s := u.session()
	first := u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1,"ack":1}`)
	u.ok(base+"id.create.n", `{`+s+`,"seq":2,"ack":1}`)
	ids := u.ok(base+"id.alloc.n", `{`+s+`,"seq":3,"ack":1,"count":4}`)

	old.stop(t)
	again := u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1,"ack":1}`)
	if again.str("fence") != first.str("fence") {
		t.Errorf("the repeated acquire got fence %s, the first one %s", again.str("fence"), first.str("fence"))
	}
	if same := u.ok(base+"id.alloc.n", `{`+s+`,"seq":3,"ack":1,"count":4}`); same.str("lo") != ids.str("lo") {
		t.Errorf("the repeated alloc got %v, the first one %v", same, ids)
	}
	if next := u.ok(base+"id.alloc.n", `{`+s+`,"seq":4,"ack":1}`); next.str("lo") != "5" {
		t.Errorf("the next alloc got %v", next)
	}
	if c.leader() == old {
		t.Error("a stopped member leads")
	}
}

// Without a majority there is no leader, and NATS says so at once.
func TestNoResponders(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader()
	u := c.user(leader)
	_, s := u.session()
	for _, m := range c.members {
		c.network.Isolate(m.id)
	}
	waitFor(t, "no responders", func() bool {
		_, err := u.nc.Request(base+"lock.acquire.demo", []byte(`{`+s+`,"seq":1}`), 200*time.Millisecond)
		return errors.Is(err, nats.ErrNoResponders)
	})
	// Stale reads are answered by name, with an age.
	got := u.ok(base+"stale.lock.get.demo", `{}`)
	if got["age"] == nil || got["lock"] == nil {
		t.Errorf("stale get: %v", got)
	}
	u.ok(base+"stale.lock.list", `{}`)
	u.fails(base+"stale.lock.get.~", `{}`, "BAD_NAME")
	c.network.HealAll()
	u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`)
}

// A waiter that was granted while its leader died hears of it from the next one.
func TestGrantAcrossLeaders(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	u := c.user(c.others(old)[0])
	_, holder := u.session()
	waiter, w := u.session()
	events, err := u.nc.SubscribeSync(fmt.Sprintf("coord.v1.default.evt.%d", waiter))
	if err != nil {
		t.Fatal(err)
	}
	fence := u.ok(base+"lock.acquire.demo", `{`+holder+`,"seq":1}`).str("fence")
	u.ok(base+"lock.acquire.demo", `{`+w+`,"seq":1}`)
	u.ok(base+"lock.release.demo", `{`+holder+`,"seq":2,"fence":`+fence+`}`)
	old.stop(t)
	c.leader()
	// The old leader told it, and the new one tells it again: the same event by number and fence.
	for i := range 2 {
		msg, err := events.NextMsg(testTimeout)
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if got := u.parse(msg); got.str("kind") != "GRANTED" || got.str("event_seq") != "1" {
			t.Errorf("event %d: %v", i, got)
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	to := c.others(old)[1]
	u := c.user(to)
	const subject = "coord.admin.v1.leader.transfer"
	u.fails(subject, `{"to":"nobody"}`, "NOT_FOUND")
	u.fails(subject, `{"where":"n1"}`, "BAD_REQUEST")
	if got := u.ok(subject, `{"to":"`+old.name+`"}`); got.str("leader") != old.name {
		t.Errorf("to itself: %v", got)
	}
	u.ok(subject, `{"to":"`+to.name+`"}`)
	waitFor(t, "the new leader to serve", to.service.Serving)
	waitFor(t, "the old one to stop", func() bool { return !old.service.Serving() })
	u.session()
}

// quick makes a member notice a loss of NATS soon.
func quick(_ int, c *service.Config) {
	c.Timing.ProbeInterval, c.Timing.NATSLost = 50*time.Millisecond, 400*time.Millisecond
}

// cutFromNATS takes the routes between m's NATS server and the others away; Raft goes on.
func (c *cluster) cutFromNATS(m *member) {
	c.t.Helper()
	rest := c.others(m)
	if err := m.server.SetRoutes(nil); err != nil {
		c.t.Fatal(err)
	}
	for i, o := range rest {
		if err := o.server.SetRoutes([]string{rest[1-i].server.RouteAddr()}); err != nil {
			c.t.Fatal(err)
		}
	}
	waitFor(c.t, "the routes to be gone", func() bool { return len(m.server.Remotes()) == 0 })
}

// A leader that NATS does not reach lets nothing expire. It stays while nobody else is known to be better off,
// and serves again when NATS is back.
func TestLeaderCutFromNATSStays(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, quick)
	old := c.leader()
	u := c.user(old)
	o := u.ok(base+"session.open", `{"ttl":"15s"}`) // beyond the time that it takes to notice the cut
	s := fmt.Sprintf(`"session":%q,"secret":%q`, o.str("session"), o.str("secret"))
	c.cutFromNATS(old)
	waitFor(t, "expiry to stop", func() bool { return !old.service.Serving() })
	if old.service.NATSHealthy() {
		t.Error("a leader without routes calls itself healthy")
	}
	// After its deadline the session is still there, and can be renewed.
	_, other := u.session()
	waitFor(t, "the deadline to pass", func() bool {
		return u.ok(base+"session.keepalive", `{`+other+`}`).num(t, "now") > o.num(t, "deadline")+200e6
	})
	u.ok(base+"session.keepalive", `{`+s+`}`)
	c.route()
	waitFor(t, "service again", func() bool { return old.service.Serving() && old.service.NATSHealthy() })
	u.fails(base+"session.keepalive", `{"session":"1000000"}`, "SESSION_UNKNOWN")
}

// If a member says by another way that it is reachable, it gets the leadership.
func TestLeaderCutFromNATSHandsOver(t *testing.T) {
	t.Parallel()
	var c *cluster
	ask := func(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
		for _, m := range c.members {
			if m.id == to {
				return m.service.AnswerPeer(ctx, 1, body)
			}
		}
		return nil, errors.New("nobody")
	}
	c = startCluster(t, 3, quick, func(_ int, sc *service.Config) { sc.AskPeer = ask })
	old := c.leader()
	c.cutFromNATS(old)
	waitFor(t, "another leader", func() bool {
		for _, m := range c.others(old) {
			if m.service.Serving() {
				return true
			}
		}
		return false
	})
	c.user(c.others(old)[0]).session()
}

// A member that NATS does not reach may be elected all the same: it must not wait for NATS, but hand over as well.
func TestLeaderElectedWithoutNATSHandsOver(t *testing.T) {
	t.Parallel()
	var c *cluster
	ask := func(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
		for _, m := range c.members {
			if m.id == to {
				return m.service.AnswerPeer(ctx, 1, body)
			}
		}
		return nil, errors.New("nobody")
	}
	c = startCluster(t, 3, quick, func(_ int, sc *service.Config) { sc.AskPeer = ask })
	old := c.leader()
	cut := c.others(old)[0]
	c.cutFromNATS(cut)
	waitFor(t, "the member to notice", func() bool { return !cut.service.NATSHealthy() })
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := old.node.TransferLeadership(ctx, cut.id); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a leader that can serve", func() bool {
		for _, m := range c.others(cut) {
			if m.service.Serving() && m.node.LeadershipContext().Err() == nil {
				return true
			}
		}
		return false
	})
	c.user(old).session()
}

func TestStatus(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader()
	u := c.user(c.members[0])
	for _, m := range c.members {
		got := u.ok("coord.node.v1."+m.name+".status", `{}`)
		role := "follower"
		if m == leader {
			role = "leader"
		}
		if got.str("name") != m.name || got.str("role") != role || got.str("version") != "v1.2.3" {
			t.Errorf("status of %s: %v", m.name, got)
		}
	}
	inbox := u.nc.NewInbox()
	sub, err := u.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.nc.PublishRequest("coord.cluster.v1.status", inbox, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range c.members {
		msg, err := sub.NextMsg(testTimeout)
		if err != nil {
			t.Fatal(err)
		}
		o := u.parse(msg)
		seen[o.str("name")] = true
		if info := o["cluster"].(map[string]any); info["leader"] != leader.name && info["leader"] != c.leader().name || info["name"] != "test" || info["id"] == "" {
			t.Errorf("cluster: %v", info)
		}
	}
	if len(seen) != 3 {
		t.Errorf("answers from %v", seen)
	}
	u.fails("coord.node.v1.n1.status", `{"x":1}`, "BAD_REQUEST")

	// Discovery by NATS's own tools.
	if err := u.nc.PublishRequest("$SRV.STATS.coordd", inbox, nil); err != nil {
		t.Fatal(err)
	}
	roles := map[string]int{}
	for range c.members {
		msg, err := sub.NextMsg(testTimeout)
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Name      string
			Endpoints []struct {
				Data struct {
					Role string
					Term uint64
				}
			}
		}
		if err := json.Unmarshal(msg.Data, &stats); err != nil || len(stats.Endpoints) == 0 {
			t.Fatalf("%s: %v", msg.Data, err)
		}
		roles[stats.Endpoints[0].Data.Role]++
	}
	if roles["leader"] != 1 || roles["follower"] != 2 {
		t.Errorf("roles %v", roles)
	}
}
