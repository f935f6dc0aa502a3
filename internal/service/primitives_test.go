package service_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// list is a field that holds objects.
func (o object) list(key string) (all []object) {
	items, _ := o[key].([]any)
	for _, i := range items {
		m, _ := i.(map[string]any)
		all = append(all, m)
	}
	return all
}

func (o object) object(key string) object {
	m, _ := o[key].(map[string]any)
	return m
}

// events subscribes to what a session hears.
func (u *user) events(session uint64) *nats.Subscription {
	u.t.Helper()
	return u.subscribe(fmt.Sprintf("%sevt.%d", base, session))
}

func (u *user) subscribe(subject string) *nats.Subscription {
	u.t.Helper()
	sub, err := u.nc.SubscribeSync(subject)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := u.nc.Flush(); err != nil {
		u.t.Fatal(err)
	}
	return sub
}

// next is the next JSON message of a subscription.
func (u *user) next(sub *nats.Subscription) object {
	u.t.Helper()
	msg, err := sub.NextMsg(testTimeout)
	if err != nil {
		u.t.Fatalf("%s: %v", sub.Subject, err)
	}
	return u.parse(msg)
}

func TestSharedLocks(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	_, b := u.session()
	writer, w := u.session()
	events := u.events(writer)
	first := u.ok(base+"lock.acquire.s", `{`+a+`,"seq":1,"mode":"SHARED"}`)
	second := u.ok(base+"lock.acquire.s", `{`+b+`,"seq":1,"mode":"SHARED"}`)
	if first.str("state") != "GRANTED" || second.str("state") != "GRANTED" || first.str("fence") == second.str("fence") {
		t.Fatalf("%v, %v", first, second)
	}
	if q := u.ok(base+"lock.acquire.s", `{`+w+`,"seq":1}`); q.str("state") != "QUEUED" || len(q.list("holders")) != 2 {
		t.Fatalf("%v", q)
	}
	// A waiting writer stops later readers, and who shares can't take all of it.
	u.fails(base+"lock.acquire.s", `{`+w+`,"seq":2,"mode":"SHARED","wait":"0s"}`, "LOCKED")
	u.fails(base+"lock.acquire.s", `{`+a+`,"seq":2,"holding":["`+first.str("fence")+`"]}`, "BAD_REQUEST")
	if h := u.ok(base+"lock.get.s", `{"fence":"`+second.str("fence")+`"}`).object("lock").list("holders"); len(h) != 2 || h[0].str("fence") != second.str("fence") {
		t.Errorf("the hold that is asked for is not the first: %v", h)
	}
	lock := u.ok(base+"lock.get.s", `{}`).object("lock")
	if h := lock.list("holders"); len(h) != 2 || h[0].str("mode") != "SHARED" || lock.str("waiting") != "1" || lock.list("queue")[0].str("mode") != "EXCLUSIVE" {
		t.Errorf("%v", lock)
	}
	u.ok(base+"lock.release.s", `{`+a+`,"seq":3,"fence":"`+first.str("fence")+`"}`)
	u.ok(base+"lock.release.s", `{`+b+`,"seq":2,"fence":"`+second.str("fence")+`"}`)
	if e := u.next(events); e.str("kind") != "GRANTED" || e.num(t, "fence") <= second.num(t, "fence") {
		t.Errorf("%v", e)
	}
}

func TestSemaphores(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	_, b := u.session()
	got := u.ok(base+"lock.acquire.pool", `{`+a+`,"seq":1,"mode":"SEMAPHORE","limit":5,"count":3}`)
	if got.str("state") != "GRANTED" {
		t.Fatalf("%v", got)
	}
	u.fails(base+"lock.acquire.pool", `{`+b+`,"seq":1,"mode":"SEMAPHORE","limit":4}`, "LIMIT_MISMATCH")
	u.fails(base+"lock.acquire.pool", `{`+b+`,"seq":2}`, "LIMIT_MISMATCH")
	u.fails(base+"lock.acquire.pool", `{`+b+`,"seq":3,"mode":"SEMAPHORE","limit":5,"count":3,"wait":"0s"}`, "LOCKED")
	if q := u.ok(base+"lock.acquire.pool", `{`+b+`,"seq":4,"mode":"SEMAPHORE","limit":5,"count":3}`); q.str("state") != "QUEUED" {
		t.Errorf("%v", q)
	}
	locks := u.ok(base+"lock.list", `{"prefix":"po"}`).list("locks")
	if len(locks) != 1 || locks[0].str("limit") != "5" || locks[0].str("in_use") != "3" || locks[0].str("waiting") != "1" ||
		locks[0].list("holders")[0].str("count") != "3" || locks[0].list("queue")[0].str("count") != "3" {
		t.Errorf("%v", locks)
	}
}

func TestReentrantLock(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	fence := u.ok(base+"lock.acquire.r", `{`+a+`,"seq":1,"reentrant":true}`).str("fence")
	again := u.ok(base+"lock.acquire.r", `{`+a+`,"seq":2,"reentrant":true,"holding":["`+fence+`"]}`)
	if again.str("state") != "GRANTED" || again.str("fence") != fence {
		t.Fatalf("%v", again)
	}
	if r := u.ok(base+"lock.release.r", `{`+a+`,"seq":3,"fence":"`+fence+`"}`); r.str("remaining") != "1" {
		t.Errorf("%v", r)
	}
	if h := u.ok(base+"session.keepalive", `{`+a+`}`).list("holds"); len(h) != 1 || h[0].str("count") != "1" {
		t.Errorf("%v", h)
	}
	if r := u.ok(base+"lock.release.r", `{`+a+`,"seq":4,"fence":"`+fence+`"}`); r.str("remaining") != "0" {
		t.Errorf("%v", r)
	}
}

func TestAcquireAll(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	waiter, w := u.session()
	events := u.events(waiter)
	fence := u.ok(base+"lock.acquire.y", `{`+a+`,"seq":1}`).str("fence")
	q := u.ok(base+"lock.acquire-all", `{`+w+`,"seq":1,"names":["x y","y"],"metadata":{"job":"7"}}`)
	if q.str("state") != "QUEUED" {
		t.Fatalf("%v", q)
	}
	if waits := u.ok(base+"session.keepalive", `{`+w+`}`).list("waits"); len(waits) != 1 || len(waits[0]["names"].([]any)) != 2 {
		t.Errorf("%v", waits)
	}
	e := u.fails(base+"lock.acquire-all", `{`+w+`,"seq":2,"names":["z","y"],"wait":"0s"}`, "LOCKED")
	if text := fmt.Sprint(e["message"]); !strings.Contains(text, `lock "y" is held by "tester" (fence `+fence) {
		t.Errorf("%s", text)
	}
	if e := u.fails(base+"lock.acquire-all", `{`+a+`,"seq":3,"names":["z","z"]}`, "BAD_REQUEST"); !strings.Contains(fmt.Sprint(e), "twice") {
		t.Errorf("%v", e)
	}
	u.ok(base+"lock.release.y", `{`+a+`,"seq":4,"fence":"`+fence+`"}`)
	seen := map[string]uint64{}
	for range 2 {
		e := u.next(events)
		if e.str("kind") != "GRANTED" || e.str("ticket") != "1" {
			t.Fatalf("%v", e)
		}
		seen[e.str("name")] = e.num(t, "fence")
	}
	got := u.ok(base+"lock.acquire-all", `{`+w+`,"seq":1,"names":["x y","y"],"metadata":{"job":"7"}}`)
	fences := got.list("fences")
	if got.str("state") != "GRANTED" || len(fences) != 2 || fences[0].str("name") != "x y" || fences[0].num(t, "fence") != seen["x y"] || fences[1].num(t, "fence") != seen["y"] {
		t.Errorf("%v, events %v", got, seen)
	}
	if h := u.ok(base+"lock.get.y", `{}`).object("lock").list("holders"); len(h) != 1 || h[0].object("metadata").str("job") != "7" {
		t.Errorf("%v", h)
	}
}

func TestDeadlockIsToldWithItsCycle(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	_, b := u.session()
	x := u.ok(base+"lock.acquire.x", `{`+a+`,"seq":1}`).str("fence")
	y := u.ok(base+"lock.acquire.y", `{`+b+`,"seq":1}`).str("fence")
	u.ok(base+"lock.acquire.y", `{`+a+`,"seq":2,"holding":["`+x+`"]}`)
	e := u.fails(base+"lock.acquire.x", `{`+b+`,"seq":2,"holding":["`+y+`"]}`, "DEADLOCK")
	if cycle, _ := e.object("details")["cycle"].([]any); len(cycle) < 2 {
		t.Errorf("%v", e)
	}
}

func TestMaxHoldAndDelay(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	holder, a := u.session()
	waiter, b := u.session()
	lost, granted := u.events(holder), u.events(waiter)
	got := u.ok(base+"lock.acquire.m", `{`+a+`,"seq":1,"max_hold":"0.300s"}`)
	if got.str("until") == "0" {
		t.Fatalf("%v", got)
	}
	u.ok(base+"lock.acquire.m", `{`+b+`,"seq":1,"max_hold":"3600s"}`)
	if e := u.next(lost); e.str("kind") != "LOST" || e.str("fence") != got.str("fence") || e.str("reason") == "" {
		t.Errorf("%v", e)
	}
	if e := u.next(granted); e.str("kind") != "GRANTED" || e.num(t, "until") < got.num(t, "until")+uint64(time.Hour) {
		t.Errorf("%v", e)
	}
	h := u.ok(base+"lock.get.m", `{}`).object("lock").list("holders")
	if len(h) != 1 || h[0].str("until") == "0" {
		t.Errorf("%v", h)
	}
	// A forced release keeps the lock for as long as its delay says.
	u.ok("coord.admin.v1.lock.force-release.default.m", `{"fence":"`+h[0].str("fence")+`","reason":"stuck"}`)
	if l := u.ok(base+"lock.get.m", `{}`).object("lock"); l.str("state") != "DELAYED" || l.list("holders")[0]["delayed"] != true {
		t.Errorf("%v", l)
	}
}

func TestElection(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	first, a := u.session()
	second, b := u.session()
	watch := u.subscribe(base + "watch.e")
	toFirst, toSecond := u.events(first), u.events(second)
	if o := u.ok(base+"election.observe.e", `{}`); o["leader"] != nil || o.str("campaigning") != "0" {
		t.Errorf("%v", o)
	}
	fence := u.ok(base+"election.campaign.e", `{`+a+`,"seq":1,"value":"b25l"}`).str("fence") // "one"
	if q := u.ok(base+"election.campaign.e", `{`+b+`,"seq":1,"value":"dHdv"}`); q.str("state") != "QUEUED" {
		t.Errorf("%v", q)
	}
	o := u.ok(base+"election.observe.e", `{}`)
	if l := o.object("leader"); l.str("value") != "b25l" || l.str("fence") != fence || l.num(t, "session") != first || o.str("campaigning") != "1" {
		t.Errorf("%v", o)
	}
	u.fails(base+"election.proclaim.e", `{`+b+`,"seq":2,"fence":"`+fence+`","value":"YQ=="}`, "NOT_HELD")
	u.ok(base+"election.proclaim.e", `{`+a+`,"seq":2,"fence":"`+fence+`","value":"dW5v"}`)
	// The candidate asks for the leadership, and gets it.
	if r := u.ok(base+"election.hand-over.e", fmt.Sprintf(`{%s,"seq":3,"fence":%q,"to":%d}`, b, fence, second)); r.str("state") != "ASKED" {
		t.Errorf("%v", r)
	}
	if e := u.next(toFirst); e.str("kind") != "HANDOVER_ASKED" || e.str("fence") != fence || e.str("name") != "e" {
		t.Errorf("%v", e)
	}
	u.fails(base+"election.hand-over.e", fmt.Sprintf(`{%s,"seq":3,"fence":%q,"to":999}`, a, fence), "NOT_FOUND")
	given := u.ok(base+"election.hand-over.e", fmt.Sprintf(`{%s,"seq":4,"fence":%q,"to":%d}`, a, fence, second))
	if given.str("state") != "HANDED_OVER" || given.num(t, "fence") <= 1 {
		t.Errorf("%v", given)
	}
	if e := u.next(toSecond); e.str("kind") != "GRANTED" || e.str("fence") != given.str("fence") {
		t.Errorf("%v", e)
	}
	if r := u.ok(base+"election.resign.e", `{`+b+`,"seq":4,"fence":"`+given.str("fence")+`"}`); r.str("state") != "RELEASED" {
		t.Errorf("%v", r)
	}
	if o := u.ok(base+"election.observe.e", `{}`); o["leader"] != nil {
		t.Errorf("%v", o)
	}
	// Whose leadership was taken away does not lead, though the lock is still kept from others.
	forced := u.ok(base+"election.campaign.f", `{`+a+`,"seq":5,"value":"b25l"}`).str("fence")
	u.ok("coord.admin.v1.lock.force-release.default.f", `{"fence":"`+forced+`","reason":"stuck"}`)
	if o := u.ok(base+"election.observe.f", `{}`); o["leader"] != nil {
		t.Errorf("%v", o)
	}
	// Who watches has heard all of it, with the values.
	var kinds []string
	values := map[string]bool{}
	for n := uint64(1); len(kinds) == 0 || kinds[len(kinds)-1] != "RELEASED"; n++ {
		m := u.next(watch)
		if m.num(t, "number") != n || m.str("name") != "e" {
			t.Errorf("transition %d: %v", n, m)
		}
		kinds = append(kinds, m.str("kind"))
		values[m.str("value")] = true
	}
	all := strings.Join(kinds, " ")
	for _, kind := range []string{"GRANTED", "QUEUED", "PROCLAIMED", "HANDED_OVER", "RELEASED"} {
		if !strings.Contains(all, kind) {
			t.Errorf("no %s among %s", kind, all)
		}
	}
	if !values["b25l"] || !values["dW5v"] || !values["dHdv"] {
		t.Errorf("values %v", values)
	}
}

func TestBarrierAndLatch(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	first, a := u.session()
	_, b := u.session()
	events := u.events(first)
	if q := u.ok(base+"barrier.wait.b", `{`+a+`,"seq":1,"parties":2}`); q.str("state") != "QUEUED" {
		t.Fatalf("%v", q)
	}
	if p := u.ok(base+"barrier.wait.b", `{`+b+`,"seq":1,"parties":2}`); p.str("state") != "GRANTED" || p.str("fence") != "0" {
		t.Errorf("%v", p)
	}
	if e := u.next(events); e.str("kind") != "GRANTED" || e.str("ticket") != "1" || e.str("fence") != "0" {
		t.Errorf("%v", e)
	}
	if r := u.ok(base+"latch.set.l", `{`+a+`,"seq":2,"count":3}`); r.str("count") != "3" {
		t.Errorf("%v", r)
	}
	if q := u.ok(base+"latch.wait.l", `{`+a+`,"seq":3}`); q.str("state") != "QUEUED" {
		t.Errorf("%v", q)
	}
	for i, want := range []string{"2", "0"} {
		if r := u.ok(base+"latch.count-down.l", fmt.Sprintf(`{%s,"seq":%d,"n":%d}`, b, 2+i, 1+i)); r.str("count") != want {
			t.Errorf("%v, want %s", r, want)
		}
	}
	if e := u.next(events); e.str("kind") != "GRANTED" || e.str("ticket") != "3" {
		t.Errorf("%v", e)
	}
	if p := u.ok(base+"latch.wait.l", `{`+b+`,"seq":4}`); p.str("state") != "GRANTED" {
		t.Errorf("%v", p)
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	_, b := u.session()
	if w := u.ok(base+"lock.why.~YSBi", `{}`); w.object("lock").str("state") != "FREE" || len(w["explanation"].([]any)) == 0 || len(w.list("timeline")) != 0 {
		t.Errorf("%v", w)
	}
	fence := u.ok(base+"lock.acquire.~YSBi", `{`+a+`,"seq":1}`).str("fence")
	u.ok(base+"lock.acquire.~YSBi", `{`+b+`,"seq":1}`)
	u.ok("coord.admin.v1.lock.force-release.default.~YSBi", `{"fence":"`+fence+`","reason":"stuck job","now":true}`)
	w := u.ok(base+"lock.why.~YSBi", `{}`)
	var kinds []string
	for _, tr := range w.list("timeline") {
		kinds = append(kinds, tr.str("kind"))
	}
	if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "GRANTED QUEUED FORCED") || !strings.HasSuffix(got, "GRANTED") {
		t.Errorf("timeline %s", got)
	}
	if text := fmt.Sprint(w["explanation"]); !strings.Contains(text, `"tester" (session`) || !strings.Contains(text, "stuck job") || !strings.Contains(text, `has held "a b" for`) {
		t.Errorf("%s", text)
	}
	u.fails(base+"lock.why", `{}`, "BAD_NAME")
}

func TestSessionList(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	u.ok(base+"lock.acquire.a", `{`+a+`,"seq":1}`)
	for i := range 5 {
		u.ok(base+"session.open", fmt.Sprintf(`{"owner":"job-%d","metadata":{"n":"%d"}}`, i, i))
	}
	u.ok("coord.v1.other.session.open", `{"owner":"job-9"}`)
	var owners []string
	pages, token := 0, ""
	for {
		o := u.ok(base+"session.list", `{"owner":"job-","page_size":2,"page_token":"`+token+`"}`)
		for _, s := range o.list("sessions") {
			owners = append(owners, s.str("owner"))
		}
		pages++
		if token = o.str("next_page_token"); token == "" {
			break
		}
		u.fails(base+"session.list", `{"owner":"job","page_token":"`+token+`"}`, "BAD_REQUEST")
		u.fails(base+"lock.list", `{"prefix":"job-","page_token":"`+token+`"}`, "BAD_REQUEST")
	}
	if got := strings.Join(owners, " "); got != "job-0 job-1 job-2 job-3 job-4" || pages != 3 {
		t.Errorf("%s on %d pages", got, pages)
	}
	msg := u.must(base+"session.list", []byte(`{"owner":"tester"}`))
	all := u.parse(msg).list("sessions")
	if len(all) != 1 || all[0].str("holds") != "1" || all[0].str("ttl") != "3600s" || strings.Contains(string(msg.Data), "secret") {
		t.Errorf("%s", msg.Data)
	}
}

// Every command of the primitives in protobuf, in one batch and alone.
func TestPrimitivesInProtobuf(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	secret := []byte("0123456789abcdef")
	var opened coorddv1.SessionOpenReply
	if e := u.protobuf(base+"session.open", &coorddv1.SessionOpenRequest{Secret: secret, Ttl: durationpb.New(time.Hour)}, &opened); e != nil {
		t.Fatal(e)
	}
	id := opened.Session
	raw := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var reply coorddv1.BatchReply
	if e := u.protobuf(base+"batch", &coorddv1.BatchRequest{Session: id, Secret: secret, Ack: 1, Commands: []*coorddv1.BatchCommand{
		{Seq: 1, Verb: "lock.acquire", Name: "s", Raw: raw(&coorddv1.LockAcquireRequest{Mode: coorddv1.Mode_SHARED})},
		{Seq: 2, Verb: "lock.acquire-all", Raw: raw(&coorddv1.LockAcquireAllRequest{Names: []string{"x", "y"}})},
		{Seq: 3, Verb: "election.campaign", Name: "e", Raw: raw(&coorddv1.ElectionCampaignRequest{Value: []byte("v")})},
		{Seq: 4, Verb: "latch.set", Name: "l", Raw: raw(&coorddv1.LatchSetRequest{Count: 2})},
		{Seq: 5, Verb: "latch.count-down", Name: "l", Raw: raw(&coorddv1.LatchCountDownRequest{N: 2})},
		{Seq: 6, Verb: "latch.wait", Name: "l", Raw: raw(&coorddv1.LatchWaitRequest{})},
		{Seq: 7, Verb: "barrier.wait", Name: "b", Raw: raw(&coorddv1.BarrierWaitRequest{Parties: 1})},
		{Verb: "lock.why", Name: "s"}, {Verb: "election.observe", Name: "e"}, {Verb: "session.list"},
		{Seq: 8, Verb: "lock.acquire", Name: "p", Raw: raw(&coorddv1.LockAcquireRequest{Mode: coorddv1.Mode_SEMAPHORE, Limit: 2, Count: 3})},
	}}, &reply); e != nil {
		t.Fatal(e)
	}
	var got coorddv1.LockAcquireReply
	for _, i := range []int{0, 1, 2, 5, 6} {
		if err := proto.Unmarshal(reply.Results[i].Raw, &got); err != nil || reply.Results[i].Error != nil || got.State != coorddv1.LockAcquireReply_GRANTED {
			t.Errorf("result %d: %v %v %v", i, &got, reply.Results[i].Error, err)
		}
	}
	var why coorddv1.LockWhyReply
	var leader coorddv1.ElectionObserveReply
	var sessions coorddv1.SessionListReply
	for i, m := range map[int]proto.Message{7: &why, 8: &leader, 9: &sessions} {
		if err := proto.Unmarshal(reply.Results[i].Raw, m); err != nil || reply.Results[i].Error != nil {
			t.Errorf("result %d: %v %v", i, reply.Results[i].Error, err)
		}
	}
	if why.Lock.GetState() != coorddv1.Lock_HELD || len(why.Timeline) != 1 || string(leader.Leader.GetValue()) != "v" || len(sessions.Sessions) != 1 || sessions.Sessions[0].Holds != 4 {
		t.Errorf("%v\n%v\n%v", &why, &leader, &sessions)
	}
	if e := reply.Results[10].Error; e.GetCode() != "BAD_REQUEST" {
		t.Errorf("%v", e)
	}
	var proclaimed coorddv1.ElectionProclaimReply
	if e := u.protobuf(base+"election.proclaim.e", &coorddv1.ElectionProclaimRequest{Session: id, Secret: secret, Seq: 9, Fence: leader.Leader.GetFence(), Value: make([]byte, 4096)}, &proclaimed); e != nil || proclaimed.Index == 0 {
		t.Errorf("%v %v", e, &proclaimed)
	}
	if e := u.protobuf(base+"election.proclaim.e", &coorddv1.ElectionProclaimRequest{Session: id, Secret: secret, Seq: 10, Fence: leader.Leader.GetFence(), Value: make([]byte, 4097)}, &proclaimed); e.GetCode() != "TOO_LARGE" {
		t.Errorf("%v", e)
	}
	var over coorddv1.LockHandOverReply
	if e := u.protobuf(base+"lock.hand-over.x", &coorddv1.LockHandOverRequest{Session: id, Secret: secret, Seq: 10, Fence: 1, To: 5}, &over); e == nil {
		t.Errorf("handed over to nobody: %v", &over)
	}
}

// Who watches through another member's server hears it, and hears of what the old leader may not have told once more.
func TestWatchAcrossRoutesAndLeaders(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader()
	u := c.user(c.others(old)[0])
	_, s := u.session()
	watch := u.subscribe(base + "watch.demo")
	// The interest has to reach the leader's server before it counts there.
	waitFor(t, "the interest to be known", func() bool { return old.server.Interest(base + "watch.demo") })
	u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`)
	first := u.next(watch)
	if first.str("kind") != "GRANTED" || first.str("number") != "1" {
		t.Errorf("%v", first)
	}
	old.stop(t)
	c.leader()
	if again := u.next(watch); again.str("kind") != "GRANTED" || again.str("number") != "1" || again.str("index") != first.str("index") {
		t.Errorf("%v", again)
	}
}

// The requests in docs/protocol.md work as they stand there, but for the session that the reader has opened.
func TestDocumentedRequestsWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, maker := u.session()
	u.ok(base+"id.create.orders", `{`+maker+`,"seq":1}`)
	_, fields := u.session()
	envelope := regexp.MustCompile(`"session":"1","secret":"[^"]*"`)
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +\$ nats req (\S+) '(.*)'$`).FindAllStringSubmatch(string(text), -1) {
		u.ok(m[1], envelope.ReplaceAllLiteralString(m[2], fields))
		parts := strings.SplitN(m[1], ".", 6)
		seen[strings.Join(parts[3:min(len(parts), 5)], ".")] = true
	}
	for _, verb := range []string{"session.open", "lock.acquire", "lock.acquire-all", "election.campaign", "election.observe", "barrier.wait",
		"latch.set", "latch.count-down", "latch.wait", "id.alloc"} {
		if !seen[verb] {
			t.Errorf("no request shows %s", verb)
		}
	}
}
