package service_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

const base = "coord.v1.default."

// The way of a person with the nats tool: open, take, look, give back, in JSON.
func TestJSONRoundTrip(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	id, s := u.session()

	got := u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`)
	if got.str("state") != "GRANTED" || got.num(t, "fence") == 0 {
		t.Fatalf("acquire: %v", got)
	}
	fence := got.str("fence")
	lock := u.ok(base+"lock.get.demo", `{}`)["lock"].(map[string]any)
	holders := lock["holders"].([]any)
	if lock["state"] != "HELD" || len(holders) != 1 || holders[0].(map[string]any)["fence"] != fence || holders[0].(map[string]any)["owner"] != "tester" {
		t.Errorf("get: %v", lock)
	}
	list := u.ok(base+"lock.list", `{"prefix":"de"}`)
	if locks := list["locks"].([]any); len(locks) != 1 || list.str("next_page_token") != "" {
		t.Errorf("list: %v", list)
	}
	beat := u.ok(base+"session.keepalive", `{`+s+`,"ack":2}`)
	if holds := beat["holds"].([]any); len(holds) != 1 || beat.num(t, "deadline") <= beat.num(t, "now") || !strings.HasSuffix(beat.str("safe_for"), "s") {
		t.Errorf("keepalive: %v", beat)
	}
	u.fails(base+"lock.release.demo", `{`+s+`,"seq":2,"fence":999}`, "NOT_HELD")
	if got := u.ok(base+"lock.release.demo", `{`+s+`,"seq":3,"fence":`+fence+`}`); got.str("state") != "RELEASED" {
		t.Errorf("release: %v", got)
	}
	if got := u.ok(base+"lock.release.demo", `{`+s+`,"seq":3,"fence":`+fence+`}`); got.str("state") != "RELEASED" {
		t.Errorf("repeated release: %v", got)
	}
	if lock := u.ok(base+"lock.get.demo", `{}`)["lock"].(map[string]any); lock["state"] != "FREE" {
		t.Errorf("after release: %v", lock)
	}
	if got := u.ok(base+"session.close", `{`+s+`}`); got.num(t, "released") != 0 {
		t.Errorf("close: %v", got)
	}
	u.fails(base+"session.keepalive", `{`+s+`}`, "SESSION_EXPIRED")
	u.fails(base+"session.keepalive", fmt.Sprintf(`{"session":%d}`, id+1000), "SESSION_UNKNOWN")
}

func TestSequences(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, s := u.session()
	u.fails(base+"id.alloc.orders", `{"count":3}`, "SEQ_NOT_FOUND")
	u.fails(base+"id.get.orders", `{}`, "SEQ_NOT_FOUND")
	made := u.ok(base+"id.create.orders", `{`+s+`,"seq":1,"max":"10","start":"1"}`)["sequence"].(map[string]any)
	if made["next"] != "1" || made["max"] != "10" || made["order"] != "CACHED" {
		t.Errorf("create: %v", made)
	}
	u.fails(base+"id.create.orders", `{`+s+`,"seq":2,"max":"11"}`, "SEQ_CONFLICT")
	first := u.ok(base+"id.alloc.orders", `{`+s+`,"seq":3,"count":3}`)
	if first.str("lo") != "1" || first.str("count") != "3" || first["domain"].(float64) == 0 {
		t.Errorf("alloc: %v", first)
	}
	if again := u.ok(base+"id.alloc.orders", `{`+s+`,"seq":3,"count":3}`); again.str("lo") != "1" {
		t.Errorf("a repeat got another range: %v", again)
	}
	if next := u.ok(base+"id.alloc.orders", `{"count":2}`); next.str("lo") != "4" {
		t.Errorf("without a session: %v", next)
	}
	u.fails(base+"id.advance.orders", `{`+s+`,"seq":4,"to":"2"}`, "SEQ_BACKWARD")
	if got := u.ok(base+"id.advance.orders", `{`+s+`,"seq":5,"to":"10"}`)["sequence"].(map[string]any); got["next"] != "10" {
		t.Errorf("advance: %v", got)
	}
	u.ok(base+"id.alloc.orders", `{`+s+`,"seq":6}`)
	u.fails(base+"id.alloc.orders", `{`+s+`,"seq":7}`, "SEQ_EXHAUSTED")
	if l := u.ok(base+"id.list", `{}`)["sequences"].([]any); len(l) != 1 {
		t.Errorf("list: %v", l)
	}
	u.ok(base+"id.delete.orders", `{`+s+`,"seq":8}`)
	u.fails(base+"id.get.orders", `{}`, "SEQ_NOT_FOUND")
}

// A waiter is granted in the entry that frees the lock, and hears of it in the format that it speaks.
func TestGrantEvent(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, holder := u.session()
	waiter, w := u.session()
	events, err := u.nc.SubscribeSync(fmt.Sprintf("coord.v1.default.evt.%d", waiter))
	if err != nil {
		t.Fatal(err)
	}
	fence := u.ok(base+"lock.acquire.demo", `{`+holder+`,"seq":1}`).str("fence")

	msg := nats.NewMsg(base + "lock.acquire.demo")
	msg.Data = []byte(`{` + w + `,"seq":1}`)
	msg.Header["traceparent"] = []string{"00-aa-bb-01"}
	answer, err := u.nc.RequestMsg(msg, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.parse(answer); got.str("state") != "QUEUED" || got.str("position") != "1" || answer.Header.Get("traceparent") != "00-aa-bb-01" {
		t.Fatalf("waiter: %v %v", got, answer.Header)
	}
	u.fails(base+"lock.acquire.demo", `{`+w+`,"seq":2,"wait":"0s"}`, "LOCKED")
	u.ok(base+"lock.release.demo", `{`+holder+`,"seq":2,"fence":`+fence+`}`)

	e, err := events.NextMsg(testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	got := u.parse(e)
	if got.str("kind") != "GRANTED" || got.str("ticket") != "1" || got.str("name") != "demo" || got.num(t, "fence") == 0 || got.str("event_seq") != "1" {
		t.Errorf("event: %v", got)
	}
	if e.Header.Get("traceparent") != "00-aa-bb-01" {
		t.Errorf("the event lost its trace: %v", e.Header)
	}
	// The same acquire again gives the ticket's present state.
	if again := u.ok(base+"lock.acquire.demo", `{`+w+`,"seq":1}`); again.str("state") != "GRANTED" || again.str("fence") != got.str("fence") {
		t.Errorf("repeated acquire: %v", again)
	}
}

func TestProtobufRoundTrip(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	secret := []byte("0123456789abcdef")
	var opened [2]coorddv1.SessionOpenReply
	for i := range opened {
		open := &coorddv1.SessionOpenRequest{Ttl: durationpb.New(15 * time.Second), Owner: "pb", Secret: secret, Nonce: []byte{byte(i)}}
		for range 2 { // the repeat is the same session
			if e := u.protobuf(base+"session.open", open, &opened[i]); e != nil {
				t.Fatal(e)
			}
		}
		if len(opened[i].Secret) != 0 || opened[i].Cluster == "" || opened[i].Domain == 0 || opened[i].SafeFor.AsDuration() < 14*time.Second {
			t.Errorf("open: %v", &opened[i])
		}
	}
	if opened[0].Session == opened[1].Session {
		t.Fatal("one session for two nonces")
	}
	events, err := u.nc.SubscribeSync(fmt.Sprintf("coord.v1.default.evt.%d", opened[1].Session))
	if err != nil {
		t.Fatal(err)
	}
	var a, b coorddv1.LockAcquireReply
	req := &coorddv1.LockAcquireRequest{Session: opened[0].Session, Secret: secret, Seq: 1, Cluster: opened[0].Cluster}
	if e := u.protobuf(base+"lock.acquire.demo", req, &a); e != nil {
		t.Fatal(e)
	}
	req.Session = opened[1].Session
	if e := u.protobuf(base+"lock.acquire.demo", req, &b); e != nil || b.State != coorddv1.LockAcquireReply_QUEUED {
		t.Fatal(e, &b)
	}
	req.Seq, req.Wait = 2, durationpb.New(0)
	if e := u.protobuf(base+"lock.acquire.demo", req, &b); e.GetCode() != "LOCKED" || e.GetDetails().GetHolder() != "pb" || e.GetDetails().GetFence() != a.Fence || !strings.Contains(e.Message, `lock "demo" is held by "pb"`) {
		t.Errorf("try: %v", e)
	}
	var released coorddv1.LockReleaseReply
	if e := u.protobuf(base+"lock.release.demo", &coorddv1.LockReleaseRequest{Session: opened[0].Session, Secret: secret, Seq: 2, Fence: a.Fence}, &released); e != nil {
		t.Fatal(e)
	}
	msg, err := events.NextMsg(testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	var ev coorddv1.Event
	if err := proto.Unmarshal(msg.Data, &ev); err != nil || ev.Kind != coorddv1.Event_GRANTED || ev.Fence <= a.Fence {
		t.Errorf("event %q: %v %v", msg.Data, &ev, err)
	}
	wrong := &coorddv1.LockAcquireRequest{Session: opened[0].Session, Secret: []byte("another secret!!"), Seq: 3}
	if e := u.protobuf(base+"lock.acquire.demo", wrong, &a); e.GetCode() != "DENIED" {
		t.Errorf("wrong secret: %v", e)
	}
	wrong.Cluster = "feed"
	if e := u.protobuf(base+"lock.acquire.demo", wrong, &a); e.GetCode() != "WRONG_CLUSTER" {
		t.Errorf("wrong cluster: %v", e)
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, s := u.session()
	batch := `{` + s + `,"ack":1,"commands":[
		{"seq":1,"verb":"lock.acquire","name":"a b","body":{"wait":"0s"}},
		{"seq":2,"verb":"lock.release","name":"a b","body":{"fence":"77"}},
		{"seq":3,"verb":"id.create","name":"s","body":{}},
		{"seq":4,"verb":"id.alloc","name":"s","body":{"count":"5"}},
		{"seq":5,"verb":"worker.acquire","name":"e"},
		{"verb":"lock.get","name":"a b"}]}`
	var before []any
	for range 2 { // a repeat executes nothing
		got := u.ok(base+"batch", batch)
		results := got["results"].([]any)
		if len(results) != 6 {
			t.Fatalf("%v", got)
		}
		r := func(i int) object { return results[i].(map[string]any) }
		if r(0).str("state") != "GRANTED" || object(r(1)["error"].(map[string]any)).str("code") != "NOT_HELD" || r(3).str("lo") != "1" ||
			object(r(4)["error"].(map[string]any)).str("code") != "BAD_REQUEST" || r(5)["lock"].(map[string]any)["state"] != "HELD" {
			t.Fatalf("%v", results)
		}
		if before != nil && before[0].(map[string]any)["fence"] != r(0)["fence"] {
			t.Errorf("the repeat took another fence: %v, %v", before[0], r(0))
		}
		before = results
	}
	u.fails(base+"batch", `{`+s+`,"atomic":true,"commands":[{"seq":6,"verb":"lock.get","name":"a"}]}`, "BAD_REQUEST")

	// The same in protobuf.
	secret := []byte("0123456789abcdef")
	var opened coorddv1.SessionOpenReply
	if e := u.protobuf(base+"session.open", &coorddv1.SessionOpenRequest{Secret: secret}, &opened); e != nil {
		t.Fatal(e)
	}
	raw := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var reply coorddv1.BatchReply
	if e := u.protobuf(base+"batch", &coorddv1.BatchRequest{Session: opened.Session, Secret: secret, Commands: []*coorddv1.BatchCommand{
		{Seq: 1, Verb: "lock.acquire", Name: "p", Raw: raw(&coorddv1.LockAcquireRequest{})},
		{Seq: 2, Verb: "lock.acquire", Name: "a b", Raw: raw(&coorddv1.LockAcquireRequest{Wait: durationpb.New(0)})},
	}}, &reply); e != nil {
		t.Fatal(e)
	}
	var got coorddv1.LockAcquireReply
	if len(reply.Results) != 2 || proto.Unmarshal(reply.Results[0].Raw, &got) != nil || got.State != coorddv1.LockAcquireReply_GRANTED || reply.Results[1].Error.GetCode() != "LOCKED" {
		t.Errorf("%v", &reply)
	}
}

func TestForceRelease(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, s := u.session()
	fence := u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`).str("fence")
	const force = "coord.admin.v1.lock.force-release.default.demo"
	u.fails(force, `{"fence":"12345"}`, "NOT_HELD")
	if got := u.ok(force, `{"fence":"`+fence+`","reason":"stuck"}`); got.str("state") != "DELAYED" {
		t.Errorf("%v", got)
	}
	if l := u.ok(base+"lock.get.demo", `{}`)["lock"].(map[string]any); l["state"] != "DELAYED" || l["delayed_for"] == nil {
		t.Errorf("%v", l)
	}
	if got := u.ok(force, `{"fence":"`+fence+`","now":true}`); got.str("state") != "RELEASED" {
		t.Errorf("%v", got)
	}
}

// A cancel that overtakes its acquire keeps it from being granted, and a wait can be cancelled.
func TestCancel(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, a := u.session()
	_, b := u.session()
	if got := u.ok(base+"lock.cancel.demo", `{`+a+`,"seq":2,"ack":1,"ticket":"1"}`); got.str("state") != "CANCELLED" {
		t.Errorf("%v", got)
	}
	if got := u.ok(base+"lock.acquire.demo", `{`+a+`,"seq":1,"ack":1}`); got.str("state") != "CANCELLED" {
		t.Errorf("%v", got)
	}
	fence := u.ok(base+"lock.acquire.demo", `{`+a+`,"seq":3,"ack":1}`).str("fence")
	if got := u.ok(base+"lock.cancel.demo", `{`+a+`,"seq":4,"ack":1,"ticket":"3"}`); got.str("state") != "ALREADY_GRANTED" || got.str("fence") != fence {
		t.Errorf("%v", got)
	}
	u.ok(base+"lock.acquire.demo", `{`+b+`,"seq":1,"ack":1}`)
	if got := u.ok(base+"lock.cancel.demo", `{`+b+`,"seq":2,"ack":1,"ticket":"1"}`); got.str("state") != "CANCELLED" {
		t.Errorf("%v", got)
	}
	if got := u.ok(base+"lock.acquire.demo", `{`+b+`,"seq":1,"ack":1}`); got.str("state") != "CANCELLED" {
		t.Errorf("%v", got)
	}
}

// A session that another process takes over has new fences, and the old process is refused.
func TestResume(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, s := u.session()
	fence := u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`).num(t, "fence")
	got := u.ok(base+"session.resume", `{`+s+`,"nonce":"YWJj"}`)
	hold := object(got["holds"].([]any)[0].(map[string]any))
	if got.str("generation") != "1" || hold.num(t, "fence") <= fence || got.str("highest_seq") != "1" {
		t.Errorf("%v", got)
	}
	if again := u.ok(base+"session.resume", `{`+s+`,"nonce":"YWJj"}`); again.str("generation") != "1" {
		t.Errorf("the repeat: %v", again)
	}
	u.fails(base+"session.keepalive", `{`+s+`}`, "SESSION_EXPIRED")
	u.ok(base+"session.keepalive", `{`+s+`,"generation":1}`)
}

// Each bad input of a client gets its code, at once, and leaves the leader as it was.
func TestBadInputOverNATS(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, s := u.session()
	name := func(n string) string { return "~" + base64.RawURLEncoding.EncodeToString([]byte(n)) }
	for _, tc := range []struct{ subject, body, code string }{
		{"lock.acquire.~", `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire", `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire." + strings.Repeat("x", 513), `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire." + name("a\tb"), `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire." + name("plain"), `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire.a.b", `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"lock.acquire.a~b", `{` + s + `,"seq":1}`, "BAD_NAME"},
		{"session.open", `{"ttl":"0.1s"}`, "BAD_REQUEST"},
		{"session.open", `{"ttl":"90000s"}`, "BAD_REQUEST"},
		{"session.open", `{"tll":"15s"}`, "BAD_REQUEST"},
		{"session.open", `{"ttl":"15s"`, "BAD_REQUEST"},
		{"lock.acquire.a", `{"session":"4711","seq":1}`, "SESSION_UNKNOWN"},
		{"lock.acquire.a", `{` + strings.Replace(s, `"secret":"`, `"secret":"AAAA`, 1) + `,"seq":1}`, "DENIED"},
		{"lock.acquire.a", `{` + s + `}`, "BAD_REQUEST"},
		{"lock.acquire.a", `{` + s + `,"seq":1,"mode":"SHARED","limit":3}`, "BAD_REQUEST"},
		{"lock.acquire.a", `{` + s + `,"seq":1,"cluster":"other"}`, "WRONG_CLUSTER"},
		{"lock.release.a", `{` + s + `,"seq":2,"ack":1,"fence":"5"}`, "NOT_HELD"},
		{"batch", `{` + s + `,"commands":[]}`, "BAD_REQUEST"},
		{"session.open", `{"owner":"` + strings.Repeat("x", 256<<10) + `"}`, "TOO_LARGE"},
	} {
		u.fails(base+tc.subject, tc.body, tc.code)
	}
	u.fails("coord.v1.a/b.session.open", `{}`, "BAD_NAME")
	// Neither JSON nor protobuf: the answer is protobuf.
	var reply coorddv1.SessionOpenReply
	msg := u.must(base+"session.open", []byte("hello"))
	var e coorddv1.ErrorReply
	if err := proto.Unmarshal(msg.Data, &e); err != nil || e.Error.GetCode() != "BAD_REQUEST" {
		t.Errorf("%q: %v %v", msg.Data, &e, err)
	}
	if e := u.protobuf(base+"session.open", &coorddv1.SessionOpenRequest{Ttl: durationpb.New(time.Millisecond)}, &reply); e.GetCode() != "BAD_REQUEST" {
		t.Errorf("%v", e)
	}
	// seq 1 was only ever refused before the log: it is still good. Used, it is good for nothing else.
	u.ok(base+"lock.acquire.a", `{`+s+`,"seq":1,"ack":1}`)
	u.fails(base+"lock.acquire.b", `{`+s+`,"seq":1,"ack":1}`, "REQUEST_REUSED")
	u.fails(base+"lock.acquire.b", `{`+s+`,"seq":2000,"ack":1}`, "WINDOW_FULL")
	u.ok(base+"lock.acquire.b", `{`+s+`,"seq":5,"ack":5}`)
	u.fails(base+"lock.acquire.c", `{`+s+`,"seq":3,"ack":3}`, "REQUEST_STALE")
	u.fails(base+"lock.acquire.c", `{`+s+`,"seq":6,"not_after":"1"}`, "DEADLINE_EXCEEDED")
	// Verbs of later versions have no listener.
	if _, err := u.ask(base+"worker.acquire.x", []byte("{}")); err == nil {
		t.Error("somebody answered a verb that there is not")
	}
}

func TestWaitTimeoutEndsAnIdleWait(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	_, holder := u.session()
	waiter, w := u.session()
	events, err := u.nc.SubscribeSync(fmt.Sprintf("coord.v1.default.evt.%d", waiter))
	if err != nil {
		t.Fatal(err)
	}
	u.ok(base+"lock.acquire.demo", `{`+holder+`,"seq":1}`)
	begin := time.Now()
	u.ok(base+"lock.acquire.demo", `{`+w+`,"seq":1,"wait":"0.300s"}`)
	// Nothing else happens: a tick of the leader's own lets the wait end.
	msg, err := events.NextMsg(testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.parse(msg); got.str("kind") != "TIMED_OUT" || got.str("ticket") != "1" {
		t.Errorf("%v", got)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("a wait of 300 ms ended after %v", took)
	}
}

func TestAnIdleSessionExpires(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	u := c.user(c.leader())
	o := u.ok(base+"session.open", `{"ttl":"1s"}`)
	s := fmt.Sprintf(`"session":%q,"secret":%q`, o.str("session"), o.str("secret"))
	_, waiter := u.session()
	u.ok(base+"lock.acquire.demo", `{`+s+`,"seq":1}`)
	u.ok(base+"lock.acquire.demo", `{`+waiter+`,"seq":1}`)
	waitFor(t, "the lock to pass on", func() bool {
		return u.ok(base+"lock.acquire.demo", `{`+waiter+`,"seq":1}`).str("state") == "GRANTED"
	})
	u.fails(base+"session.keepalive", `{`+s+`}`, "SESSION_EXPIRED")
}
