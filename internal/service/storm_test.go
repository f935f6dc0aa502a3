package service

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/internal/machine"
)

// An answer that gets ready while thousands of events go out is not behind all of them, and a session's events keep
// their order.
func TestAnswersGoBeforeAStormOfEvents(t *testing.T) {
	t.Parallel()
	const sessions, each, ready = 4000, 5, 3000
	var b *bench
	var events atomic.Int64
	a := &answerer{}
	b = newBench(t, Limits{}, Timing{}, func(_ *fakeNode, c *Config) {
		heard := c.Interest
		c.Interest = func(subject string) bool {
			if strings.Contains(subject, ".evt.") && events.Add(1) == ready {
				a.work.put(job{calls: []*call{{verb: keepaliveVerb, inbox: "coord.v1.default.answer", asJSON: true, failed: badRequest("late")}}})
				a.work.put(job{events: []machine.Event{{Namespace: "default", Session: 1, Seq: each + 1, Kind: machine.EventLost}}})
			}
			return heard(subject)
		}
	})
	sub, err := b.nc.SubscribeSync("coord.v1.default.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := b.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	*a = answerer{s: b.s}
	a.work.wake, a.reads.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	a.formats.reset()
	var storm []machine.Event
	for seq := range uint64(each) {
		for id := range uint64(sessions) {
			storm = append(storm, machine.Event{Namespace: "default", Session: id + 1, Seq: seq + 1, Kind: machine.EventLost})
		}
	}
	a.start()
	a.entry(nil, storm)
	last, answered := map[string]int{}, 0
	for n := 0; n < len(storm)+2; n++ {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		if strings.HasSuffix(msg.Subject, ".answer") {
			answered = n
			continue
		}
		var e struct {
			Seq int `json:"event_seq,string"`
		}
		if err := json.Unmarshal(msg.Data, &e); err != nil || e.Seq != last[msg.Subject]+1 {
			t.Fatalf("%s: event %d follows %d: %v", msg.Subject, e.Seq, last[msg.Subject], err)
		}
		last[msg.Subject] = e.Seq
	}
	a.stop()
	if answered == 0 || answered > ready+eventChunk {
		t.Errorf("the answer came after %d messages, it was ready after %d", answered, ready)
	}
	if last["coord.v1.default.evt.1"] != each+1 {
		t.Errorf("session 1 heard %d events", last["coord.v1.default.evt.1"])
	}
}

// Whatever waits at the end is said: a storm, too.
func TestAStormIsToldToTheEnd(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	s := &Service{cfg: Config{Interest: func(string) bool { seen.Add(1); return false }}}
	a := newAnswerer(s)
	storm := make([]machine.Event, 10*eventChunk+1)
	a.entry(nil, storm)
	a.start()
	a.stop()
	if n := seen.Load(); n != int64(len(storm)) {
		t.Errorf("%d of %d events", n, len(storm))
	}
}

// What other verbs do never keeps a session from being renewed: neither what is under way, nor the namespace's rate.
func TestKeepalivesAreNotRefusedForOtherLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Outstanding: 4, RequestsPerSecond: 40}, Timing{KeepaliveJoin: time.Millisecond})
	o := b.ask("session.open", `{}`)
	beat := fmt.Sprintf(`{"session":%q,"secret":%q}`, o["session"], o["secret"])
	b.node.held.Store(true)
	_, dump := b.inbox()
	for range 4 {
		b.send(dump, "session.open", `{}`)
	}
	b.await("the calls", func() bool { return b.s.answers.outstanding.Load() == 4 })
	if o := b.ask("session.open", `{}`); b.codeOf(o) != "BUSY" {
		t.Fatalf("%v", o)
	}
	b.s.rate.mu.Lock()
	b.s.rate.buckets["default"].tokens = -1e9
	b.s.rate.mu.Unlock()
	before := len(b.node.entries())
	sub, inbox := b.inbox()
	b.send(inbox, "session.keepalive", beat)
	b.send(inbox, "batch", `{"commands":[{"verb":"session.keepalive","body":`+beat+`}]}`)
	b.await("both keepalives' entries", func() bool {
		n := 0
		for _, size := range b.node.entries()[before:] {
			n += size
		}
		return n == 2
	})
	b.node.held.Store(false)
	b.node.release()
	for range 2 {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if o := b.parse(msg); b.codeOf(o) != "" {
			t.Errorf("%v", o)
		}
	}
	b.await("nothing to be counted", func() bool { return b.s.answers.outstanding.Load() == 0 && b.s.answers.beats.Load() == 0 })
}

// Keepalives of many sessions are one message, each with an envelope of its own, and share an entry.
func TestJoinedKeepalives(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	var beats []string
	for range 3 {
		o := b.ask("session.open", `{"ttl":"3600s"}`)
		beats = append(beats, fmt.Sprintf(`{"session":%q,"secret":%q}`, o["session"], o["secret"]))
	}
	list := func(bodies ...string) string {
		for i := range bodies {
			bodies[i] = `{"verb":"session.keepalive","body":` + bodies[i] + `}`
		}
		return `{"commands":[` + strings.Join(bodies, ",") + `]}`
	}
	before := len(b.node.entries())
	wrong := strings.Replace(beats[1], `"secret":"`, `"secret":"AAAA`, 1)
	o := b.ask("batch", list(beats[0], wrong, `{"session":"99"}`, `{}`, beats[2], `{"session":"1","cluster":"feed"}`))
	var codes []string
	for _, r := range o["results"].([]any) {
		r := r.(map[string]any)
		codes = append(codes, b.codeOf(r))
		if r["error"] == nil && (r["ttl"] != "3600s" || r["safe_for"] == "0s") {
			t.Errorf("%v", r)
		}
	}
	if want := []string{"", "DENIED", "SESSION_UNKNOWN", "BAD_REQUEST", "", "WRONG_CLUSTER"}; !slices.Equal(codes, want) {
		t.Errorf("codes %q, want %q", codes, want)
	}
	if sizes := b.node.entries()[before:]; len(sizes) != 1 || sizes[0] != 4 {
		t.Errorf("entries of %v commands", sizes)
	}
	// Only keepalives have an envelope of their own.
	o = b.ask("batch", `{"commands":[{"seq":1,"verb":"session.close","body":`+beats[0]+`},{"verb":"lock.acquire","name":"a","seq":1,"body":`+beats[0]+`},{"verb":"lock.get","name":"a"}]}`)
	r := o["results"].([]any)
	if b.codeOf(r[0].(map[string]any)) != "BAD_REQUEST" || b.codeOf(r[1].(map[string]any)) != "BAD_REQUEST" || b.codeOf(r[2].(map[string]any)) != "" {
		t.Errorf("%v", r)
	}
	// A batch of one session does not renew another one.
	o = b.ask("batch", strings.TrimSuffix(beats[0], "}")+`,"commands":[{"verb":"session.keepalive"},{"verb":"session.keepalive","body":`+beats[1]+`}]}`)
	r = o["results"].([]any)
	if b.codeOf(r[0].(map[string]any)) != "" || b.codeOf(r[1].(map[string]any)) != "BAD_REQUEST" {
		t.Errorf("%v", r)
	}
}

// Where the answers of joined keepalives don't fit into a message, some have the short form, and every session is renewed.
func TestJoinedKeepalivesThatDoNotFit(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	var bodies []string
	for i := range 4 {
		o := b.ask("session.open", `{"ttl":"3600s"}`)
		s := fmt.Sprintf(`"session":%q,"secret":%q`, o["session"], o["secret"])
		b.ask("batch", `{`+s+`,"commands":[`+acquires(1000, 1, func(n int) string { return fmt.Sprintf("%d-%0120d", i, n) })+`]}`)
		bodies = append(bodies, `{"verb":"session.keepalive","body":{`+s+`}}`)
	}
	o := b.ask("batch", `{"commands":[`+strings.Join(bodies, ",")+`]}`)
	whole, short := 0, 0
	for _, r := range o["results"].([]any) {
		r := r.(map[string]any)
		holds, _ := r["holds"].([]any)
		switch {
		case r["ttl"] != "3600s" || r["deadline"] == "0":
			t.Errorf("%.300v", r)
		case r["incomplete"] == true && len(holds) == 0:
			short++
		case r["incomplete"] == false && len(holds) == 1000:
			whole++
		}
	}
	if whole == 0 || short == 0 || whole+short != 4 {
		t.Errorf("%d whole answers, %d short ones", whole, short)
	}
}

// A page token is good for the listing that gave it.
func TestPageTokenOfAnotherListing(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	o := b.ask("session.open", `{"ttl":"3600s"}`)
	s := fmt.Sprintf(`"session":%q,"secret":%q`, o["session"], o["secret"])
	b.ask("batch", `{`+s+`,"commands":[`+acquires(3, 1, func(i int) string { return fmt.Sprint("a/", i) })+`,{"seq":4,"verb":"id.create","name":"a/s"},{"seq":5,"verb":"id.create","name":"a/t"}]}`)
	page := b.ask("lock.list", `{"prefix":"a","page_size":2}`)
	token, _ := page["next_page_token"].(string)
	next := func(subject, prefix, token string) map[string]any {
		msg, err := b.nc.Request(subject, fmt.Appendf(nil, `{"prefix":%q,"page_token":%q}`, prefix, token), patience)
		if err != nil {
			t.Fatal(err)
		}
		return b.parse(msg)
	}
	if o := next("coord.v1.default.lock.list", "a", token); len(o["locks"].([]any)) != 1 {
		t.Fatalf("%v", o)
	}
	for _, tc := range []struct{ subject, prefix, token string }{
		{"coord.v1.default.lock.list", "a/", token}, {"coord.v1.default.lock.list", "", token}, {"coord.v1.other.lock.list", "a", token},
		{"coord.v1.default.id.list", "a", token}, {"coord.v1.default.stale.lock.list", "a", token},
		{"coord.v1.default.lock.list", "a", "!"}, {"coord.v1.default.lock.list", "a", token + "="}, {"coord.v1.default.lock.list", "a", "YS8x"},
	} {
		if o := next(tc.subject, tc.prefix, tc.token); b.codeOf(o) != "BAD_REQUEST" || !strings.Contains(fmt.Sprint(o), "page_token") {
			t.Errorf("%+v: %v", tc, o)
		}
	}
}

// What nobody hears is not published; what somebody hears is JSON, in order, with its value, whoever the watcher is.
func TestTransitionsArePublishedToThoseWhoListen(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	sub, err := b.nc.SubscribeSync("coord.v1.default.watch.~YSBi")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	change := func(name string, n uint64) machine.Change {
		return machine.Change{Namespace: "default", Name: name, Value: []byte("v"),
			Transition: machine.Transition{Number: n, Kind: machine.TransitionProclaimed, At: 5, Index: 7, Session: 3, Owner: "me", Fence: 9, Mode: machine.Exclusive, Count: 1}}
	}
	before := b.s.nc.Stats().OutMsgs
	var nobody []machine.Change
	for n := range uint64(1000) {
		nobody = append(nobody, change("c", n))
	}
	b.s.watches.put(nobody)
	b.s.watches.put([]machine.Change{change("a b", 1), change("a b", 2)})
	for n := range 2 {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"number":"%d","kind":"PROCLAIMED","at":"5","index":"7","session":"3","owner":"me","ticket":"0","fence":"9",`+
			`"mode":"EXCLUSIVE","count":"1","reason":"","name":"a b","value":"dg==","until":"0"}`, n+1); string(msg.Data) != want {
			t.Errorf("%s\nwant %s", msg.Data, want)
		}
	}
	if sent := b.s.nc.Stats().OutMsgs - before; sent > 500 {
		t.Errorf("%d messages for two that somebody hears", sent)
	}
}

// An outside NATS does not tell who listens: it is given everything.
func TestTransitionsArePublishedWhereInterestIsUnknown(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{}, func(_ *fakeNode, c *Config) { c.Interest, c.ExternalNATS = nil, true })
	before := b.s.nc.Stats().OutMsgs
	changes := make([]machine.Change, 100)
	for i := range changes {
		changes[i] = machine.Change{Namespace: "default", Name: "c"}
	}
	b.s.watches.put(changes)
	b.await("all of them to be sent", func() bool { return b.s.nc.Stats().OutMsgs-before >= uint64(len(changes)) })
}

// A watcher that falls behind loses the oldest transitions, and nobody waits for it.
func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	hold, seen := make(chan struct{}), make(chan string, 3*maxWatched)
	s := &Service{cfg: Config{Interest: func(subject string) bool { <-hold; seen <- subject; return false }}}
	s.cfg.Logger = hclog.NewNullLogger()
	w := newWatcher(s)
	done := make(chan struct{})
	go func() { defer close(done); w.run() }()
	for i := range 2 * maxWatched / 1024 {
		changes := make([]machine.Change, 1024)
		for j := range changes {
			changes[j].Name = fmt.Sprint(i)
		}
		w.put(changes)
	}
	close(hold)
	w.close()
	<-done
	close(seen)
	last, n := "", 0
	for subject := range seen {
		last = subject
		n++
	}
	if n > maxWatched+1024 || n < maxWatched-1024 || uint64(n)+w.dropped.Load() != 2*maxWatched || !strings.HasSuffix(last, fmt.Sprint(".", 2*maxWatched/1024-1)) {
		t.Errorf("%d transitions looked at, %d dropped, the last one %s", n, w.dropped.Load(), last)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	var r ring[int]
	all := make([]int, 3*remembered)
	for i := range all {
		all[i] = i
	}
	every := func(*int) bool { return true }
	r.add(all[:5])
	if got := r.since(every); !slices.Equal(got, all[:5]) {
		t.Errorf("%v", got)
	}
	r.add(all[5 : remembered+7])
	if got := r.since(every); !slices.Equal(got, all[7:remembered+7]) {
		t.Errorf("%d, from %d on", len(got), got[0])
	}
	r.add(all[remembered+7:])
	if got := r.since(func(i *int) bool { return *i > 2*remembered+1 }); !slices.Equal(got, all[2*remembered+2:]) {
		t.Errorf("%d, from %d on", len(got), got[0])
	}
}
