package service

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

var testLimits = Limits{}.withDefaults()

const env = `"session":"7","secret":"MDEyMzQ1Njc4OWFiY2RlZg==","seq":3`

// asCommand decodes a body as handlers do.
func asCommand(verbName, body string) (machine.Command, *coorddv1.Error) {
	v := verbByName[verbName]
	if verbName == forceVerb.name {
		v = forceVerb
	}
	m := v.request()
	if bad := decodeBody([]byte(body), m); bad != nil {
		return machine.Command{}, bad
	}
	e := envelopeOf(m)
	return v.command(&testLimits, "default", "x", m, &e)
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, tc := range []struct{ verb, body, says string }{
		{"session.open", `{"ttl":"0.5s"}`, "ttl 500ms is out of range: 1s to 24h0m0s"},
		{"session.open", `{"ttl":"86401s"}`, "out of range"},
		{"session.open", `{"ttl":"-1s"}`, "out of range"},
		{"session.open", `{"ttl":"315576000000s"}`, "ttl is out of range"},
		{"session.open", `{"ttl":"abc"}`, `"15s"`},
		{"session.open", `{"ttl":15}`, "JSON body"},
		{"session.open", `{"ttl":"15s","colour":"red"}`, `unknown field "colour"`},
		{"session.open", `{"ttl":"15s"`, "JSON body"},
		{"session.open", `{"ttl":"15s"} x`, "JSON body"},
		{"session.open", `{"ttl":"15s","ttl":"16s"}`, "JSON body"},
		{"session.open", "hello", "neither"},
		{"session.open", "[1,2]", "neither"},
		{"session.open", `{"secret":"c2hvcnQ="}`, "secret has 5 bytes, 16 to 64"},
		{"session.open", `{"nonce":"YWJj"}`, "nonce needs a secret"},
		{"session.open", `{"owner":"a\nb"}`, "owner holds the control character U+000A"},
		{"session.open", `{"owner":"` + long + `"}`, "owner has 5000 bytes"},
		{"session.open", `{"metadata":{"k":"` + long + `"}}`, "metadata has 5001 bytes, at most 4096"},
		{"session.open", `{"metadata":{"":"v"}}`, "empty key"},
		{"session.keepalive", `{}`, "session is missing"},
		{"session.keepalive", `{"session":"-1"}`, "JSON body"},
		{"session.keepalive", `{"session":"99999999999999999999"}`, "JSON body"},
		{"session.keepalive", `{"session":1,"seq":1}`, `unknown field "seq"`},
		{"lock.acquire", `{"seq":1}`, "session is missing"},
		{"lock.acquire", `{"session":1}`, "seq is missing"},
		{"lock.acquire", `{` + env + `,"mode":"NONSENSE"}`, "JSON body"},
		{"lock.acquire", `{` + env + `,"mode":4}`, "mode 4 is unknown"},
		{"lock.acquire", `{` + env + `,"mode":-1}`, "mode -1 is unknown"},
		{"lock.acquire", `{` + env + `,"mode":"SEMAPHORE"}`, "limit 0 is out of range: a semaphore has 1 to 2147483647"},
		{"lock.acquire", `{` + env + `,"mode":"SEMAPHORE","limit":"2147483648"}`, "limit 2147483648 is out of range"},
		{"lock.acquire", `{` + env + `,"mode":"SEMAPHORE","limit":5,"count":6}`, "count 6 is over the semaphore's limit of 5"},
		{"lock.acquire", `{` + env + `,"mode":"SEMAPHORE","limit":5,"reentrant":true}`, "a semaphore is not reentrant"},
		{"lock.acquire", `{` + env + `,"count":2}`, "count 2 is a semaphore's: a lock in mode EXCLUSIVE"},
		{"lock.acquire", `{` + env + `,"mode":"SHARED","count":2}`, "a lock in mode SHARED"},
		{"lock.acquire", `{` + env + `,"limit":1}`, "limit is that of a semaphore: it goes with mode SEMAPHORE, not EXCLUSIVE"},
		{"lock.acquire", `{` + env + `,"delay":"-1s"}`, "delay -1s is out of range"},
		{"lock.acquire", `{` + env + `,"delay":"86401s"}`, "delay 24h0m1s is out of range: 0s (none) to 24h0m0s"},
		{"lock.acquire", `{` + env + `,"max_hold":"-1s"}`, "max_hold -1s is out of range"},
		{"lock.acquire", `{` + env + `,"max_hold":"0.000001s"}`, "max_hold 1µs is out of range: 1ms to"},
		{"lock.acquire", `{` + env + `,"holding":[` + strings.TrimSuffix(strings.Repeat("1,", 65), ",") + `]}`, "holding lists 65 fences, at most 64"},
		{"lock.acquire-all", `{` + env + `}`, "names is empty"},
		{"lock.acquire-all", `{` + env + `,"names":["a","b","a"]}`, `names lists "a" twice`},
		{"lock.acquire-all", `{` + env + `,"names":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 257), ",") + `]}`, "names lists 257 locks, at most 256"},
		{"lock.acquire-all", `{` + env + `,"names":["a"],"wait":"-1s"}`, "wait -1s is out of range"},
		{"lock.acquire-all", `{` + env + `,"names":["a"],"metadata":{"k":"` + long + `"}}`, "metadata has"},
		{"lock.acquire-all", `{"seq":1,"names":["a"]}`, "session is missing"},
		{"lock.hand-over", `{` + env + `,"to":4}`, "fence is missing"},
		{"lock.hand-over", `{` + env + `,"fence":4}`, "to is missing"},
		{"election.campaign", `{` + env + `,"metadata":{"k":"` + long + `"}}`, "metadata has 5001 bytes, at most 4096"},
		{"election.campaign", `{` + env + `,"value":7}`, "JSON body"},
		{"election.campaign", `{` + env + `,"mode":"SHARED"}`, `unknown field "mode"`},
		{"election.proclaim", `{` + env + `,"value":"YQ=="}`, "fence is missing"},
		{"election.resign", `{` + env + `}`, "fence is missing"},
		{"barrier.wait", `{` + env + `}`, "parties 0 is out of range: 1 to 10000"},
		{"barrier.wait", `{` + env + `,"parties":10001}`, "parties 10001"},
		{"barrier.wait", `{` + env + `,"parties":2,"wait":"-1s"}`, "wait -1s"},
		{"latch.set", `{` + env + `,"count":"9223372036854775808"}`, "count 9223372036854775808 is out of range"},
		{"latch.set", `{` + env + `,"count":-1}`, "JSON body"},
		{"latch.count-down", `{` + env + `,"n":"18446744073709551615"}`, "n 18446744073709551615 is out of range"},
		{"latch.wait", `{` + env + `,"wait":"-1s"}`, "wait -1s"},
		{"latch.wait", `{"session":1}`, "seq is missing"},
		{"lock.acquire", `{` + env + `,"wait":"-1s"}`, "wait -1s is out of range"},
		{"lock.acquire", `{` + env + `,"wait":"315360000001s"}`, "wait is out of range"},
		{"lock.acquire", `{` + env + `,"metadata":{"k":"` + long + `"}}`, "metadata has"},
		{"lock.cancel", `{` + env + `}`, "ticket is missing"},
		{"lock.release", `{` + env + `}`, "fence is missing"},
		{"lock.force-release", `{"reason":"x"}`, "fence is missing"},
		{"lock.force-release", `{"fence":1,"reason":"a\tb"}`, "control character"},
		{"id.create", `{` + env + `,"max":0}`, "max 0"},
		{"id.create", `{` + env + `,"step":0}`, "step 0"},
		{"id.create", `{` + env + `,"step":-2}`, "step -2"},
		{"id.create", `{` + env + `,"max_range":0}`, "max_range 0"},
		{"id.create", `{` + env + `,"order":"SLOW"}`, "JSON body"},
		{"id.create", `{"seq":1,"min":1}`, "session is missing"},
		{"id.alloc", `{"count":-1}`, "count -1 is negative"},
		{"id.alloc", `{"count":5,"min_count":6}`, "min_count 6"},
		{"id.alloc", `{"seq":5}`, "seq without session"},
	} {
		body, says := tc.body, tc.says
		_, bad := asCommand(tc.verb, body)
		if bad == nil || bad.Code != "BAD_REQUEST" || !strings.Contains(bad.Message, says) {
			t.Errorf("%s %.60q: %v, want BAD_REQUEST with %q", tc.verb, body, bad, says)
			continue
		}
		checkRefusal(t, bad)
	}
}

// A value that is too large is said to be that, and a bad name of several is a bad name.
func TestOtherBadBodies(t *testing.T) {
	t.Parallel()
	large := base64.StdEncoding.EncodeToString(make([]byte, 4097))
	for _, tc := range []struct{ verb, body, code, says string }{
		{"election.campaign", `{` + env + `,"value":"` + large + `"}`, "TOO_LARGE", "value has 4097 bytes, at most 4096"},
		{"election.proclaim", `{` + env + `,"fence":1,"value":"` + large + `"}`, "TOO_LARGE", "value has 4097 bytes"},
		{"lock.acquire-all", `{` + env + `,"names":["a",""]}`, "BAD_NAME", "empty"},
		{"lock.acquire-all", `{` + env + `,"names":["a","b\nc"]}`, "BAD_NAME", "control character"},
	} {
		_, bad := asCommand(tc.verb, tc.body)
		if code(bad) != tc.code || !strings.Contains(bad.GetMessage(), tc.says) {
			t.Errorf("%s %.60q: %v, want %s with %q", tc.verb, tc.body, bad, tc.code, tc.says)
			continue
		}
		checkRefusal(t, bad)
	}
}

func TestUnknownProtobufField(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(&coorddv1.LockAcquireRequest{Session: 1, Seq: 1, Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	bad := decodeBody(append(b, 0xf8, 0x3f, 0x01), new(coorddv1.LockAcquireRequest)) // field 1023
	if code(bad) != "BAD_REQUEST" || !strings.Contains(bad.Message, "1023") {
		t.Errorf("got %v", bad)
	}
}

func TestGoodBodies(t *testing.T) {
	t.Parallel()
	secret := hashSecret([]byte("0123456789abcdef"))
	for _, tc := range []struct {
		verb, body string
		check      func(c machine.Command) bool
	}{
		{"session.open", `{}`, func(c machine.Command) bool { return c.Open.TTL == int64(15*time.Second) && c.Session == 0 }},
		{"session.open", `{"ttl":"1s","owner":"me"}`, func(c machine.Command) bool { return c.Open.TTL == 1e9 && c.Open.Owner == "me" }},
		{"session.open", `{"ttl":"86400s"}`, func(c machine.Command) bool { return c.Open.TTL == int64(24*time.Hour) }},
		{"lock.acquire", `{` + env + `}`, func(c machine.Command) bool {
			return c.Session == 7 && c.Seq == 3 && c.Secret == secret && c.Acquire.Wait == machine.NoWaitLimit && c.Acquire.Mode == machine.Exclusive
		}},
		{"lock.acquire", `{` + env + `,"wait":"0s","ack":"2","not_after":"99","events_seen":4,"generation":1,"mode":"EXCLUSIVE","count":1,"holding":["9007199254740993",5]}`,
			func(c machine.Command) bool {
				return c.Acquire.Wait == 0 && c.Ack == 2 && c.NotAfter == 99 && c.EventsSeen == 4 && c.Generation == 1
			}},
		{"lock.acquire", `{` + env + `,"wait":"0.250s"}`, func(c machine.Command) bool { return c.Acquire.Wait == 250e6 }},
		{"lock.acquire", `{` + env + `,"mode":"SHARED","reentrant":true,"holding":[3],"delay":"2s","max_hold":"60s"}`, func(c machine.Command) bool {
			a := c.Acquire
			return a.Mode == machine.Shared && a.Reentrant && len(a.Holding) == 1 && a.Holding[0] == 3 && a.Delay == 2e9 && a.MaxHold == 60e9
		}},
		{"lock.acquire", `{` + env + `,"mode":"SEMAPHORE","limit":"5","count":"5"}`, func(c machine.Command) bool {
			return c.Acquire.Mode == machine.Semaphore && c.Acquire.Limit == 5 && c.Acquire.Count == 5
		}},
		{"lock.acquire-all", `{` + env + `,"names":["b","a b"],"wait":"0s","max_hold":"1s"}`, func(c machine.Command) bool {
			a := c.AcquireAll
			return len(a.Names) == 2 && a.Names[0] == "b" && a.Names[1] == "a b" && a.Wait == 0 && a.MaxHold == 1e9
		}},
		{"lock.hand-over", `{` + env + `,"fence":4,"to":"5"}`, func(c machine.Command) bool { return *c.HandOver == machine.HandOver{Fence: 4, To: 5} }},
		{"election.campaign", `{` + env + `,"value":"YWI=","metadata":{"a":"b"}}`, func(c machine.Command) bool {
			a := c.Acquire
			return c.Kind == machine.KindLockAcquire && a.Mode == machine.Exclusive && string(a.Value) == "ab" && a.Wait == machine.NoWaitLimit && a.Metadata["a"] == "b"
		}},
		{"election.proclaim", `{` + env + `,"fence":4,"value":"YWI="}`, func(c machine.Command) bool { return c.Proclaim.Fence == 4 && string(c.Proclaim.Value) == "ab" }},
		{"election.resign", `{` + env + `,"fence":4}`, func(c machine.Command) bool { return c.Kind == machine.KindLockRelease && c.Release.Fence == 4 }},
		{"barrier.wait", `{` + env + `,"parties":3,"wait":"1s"}`, func(c machine.Command) bool { return *c.BarrierWait == machine.BarrierWait{Parties: 3, Wait: 1e9} }},
		{"latch.set", `{` + env + `}`, func(c machine.Command) bool { return c.LatchSet.Count == 0 }},
		{"latch.count-down", `{` + env + `,"n":2}`, func(c machine.Command) bool { return c.LatchCountDown.N == 2 }},
		{"latch.wait", `{` + env + `}`, func(c machine.Command) bool { return c.LatchWait.Wait == machine.NoWaitLimit }},
		{"lock.release", `{` + env + `,"fence":"9007199254740993"}`, func(c machine.Command) bool { return c.Release.Fence == 9007199254740993 }},
		{"lock.cancel", `{` + env + `,"ticket":2}`, func(c machine.Command) bool { return c.Cancel.Ticket == 2 }},
		{"id.create", `{` + env + `,"min":-5,"start":0,"order":"STRICT","max":"9"}`, func(c machine.Command) bool {
			s := c.Create
			return s.HasMin && s.Min == -5 && s.HasStart && s.Start == 0 && s.Strict && s.Max == 9
		}},
		{"id.alloc", `{}`, func(c machine.Command) bool { return c.Alloc.Count == 1 && c.Session == 0 && c.Seq == 0 }},
		{"id.alloc", `{"count":"10","min_count":3}`, func(c machine.Command) bool { return c.Alloc.Count == 10 && c.Alloc.MinCount == 3 }},
		{"lock.force-release", `{"fence":3,"reason":"stuck","now":true}`, func(c machine.Command) bool {
			return c.Force.Fence == 3 && c.Force.Now && c.Name == "x" && c.Namespace == "default"
		}},
	} {
		c, bad := asCommand(tc.verb, tc.body)
		if bad != nil || !tc.check(c) {
			t.Errorf("%s %s: %v, %+v", tc.verb, tc.body, bad, c)
		}
	}
}

func TestJSONAnswers(t *testing.T) {
	t.Parallel()
	b, err := encodeBody(&coorddv1.LockAcquireReply{Index: 9007199254740993, State: coorddv1.LockAcquireReply_GRANTED, Fence: 7}, true)
	if want := `{"index":"9007199254740993","state":"GRANTED","fence":"7","until":"0","position":"0","holders":[],"fences":[]}`; err != nil || string(b) != want {
		t.Errorf("%s %v\nwant %s", b, err, want)
	}
	b, err = encodeBody(&coorddv1.SessionOpenReply{Session: 1, Secret: []byte("0123456789abcdef"), Ttl: durationpb.New(15 * time.Second)}, true)
	if err != nil || !strings.Contains(string(b), `"ttl":"15s"`) || !strings.Contains(string(b), `"secret":"MDEyMzQ1Njc4OWFiY2RlZg=="`) {
		t.Errorf("%s %v", b, err)
	}
}

// Whatever comes in: no panic, and what is accepted is within the limits and can be written into the log.
func FuzzRequest(f *testing.F) {
	for i := range verbs {
		f.Add(uint8(i), []byte(`{`+env+`}`))
		f.Add(uint8(i), []byte(`{"ttl":"15s","owner":"me","metadata":{"a":"b"},"count":"5"}`))
	}
	if b, err := proto.Marshal(&coorddv1.LockAcquireRequest{Session: 7, Seq: 1, Wait: durationpb.New(time.Second), Metadata: map[string]string{"a": "b"}}); err == nil {
		f.Add(uint8(4), b)
	}
	f.Add(uint8(0), []byte("{"))
	f.Add(uint8(0), []byte(`{"metadata":{"a":null}}`))
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		v := verbs[int(which)%len(verbs)]
		m := v.request()
		if bad := decodeBody(body, m); bad != nil {
			checkRefusal(t, bad)
			return
		}
		e := envelopeOf(m)
		if v.read != nil {
			return
		}
		c, bad := v.command(&testLimits, "default", "x", m, &e)
		if bad != nil {
			checkRefusal(t, bad)
			return
		}
		checkEncodes(t, []machine.Command{c})
	})
}

func checkEncodes(t *testing.T, cs []machine.Command) {
	t.Helper()
	data, err := machine.EncodeCommands(cs)
	if err != nil {
		t.Fatalf("an accepted command can't be encoded: %v", err)
	}
	if _, err := machine.DecodeCommands(data); err != nil {
		t.Fatalf("an encoded command can't be decoded: %v", err)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"session":1,"commands":[{"seq":1,"verb":"lock.acquire","name":"a","body":{"wait":"0s"}},{"seq":"2","verb":"lock.get","name":"a"}]}`))
	f.Add([]byte(`{"session":1,"commands":[{"seq":1,"verb":"nope"}],"atomic":true}`))
	raw, _ := proto.Marshal(&coorddv1.LockReleaseRequest{Fence: 3})
	if b, err := proto.Marshal(&coorddv1.BatchRequest{Session: 1, Commands: []*coorddv1.BatchCommand{{Seq: 1, Verb: "lock.release", Name: "x y", Raw: raw}}}); err == nil {
		f.Add(b)
	}
	s := &Service{cfg: Config{Limits: testLimits}}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, cmds, bad := decodeBatch(body, 1024)
		if bad != nil {
			checkRefusal(t, bad)
			return
		}
		m.Cluster = ""
		c := &call{verb: batchVerb, ns: "default", asJSON: isJSON(body)}
		if bad := s.fillBatch(c, m, cmds); bad != nil {
			checkRefusal(t, bad)
			return
		}
		if len(c.batch.items) != len(cmds) {
			t.Fatalf("%d items for %d commands", len(c.batch.items), len(cmds))
		}
		for _, it := range c.batch.items {
			n := 0
			if it.refused != nil {
				checkRefusal(t, it.refused)
				n++
			}
			if it.read != nil && it.refused == nil {
				n++
			}
			if it.cmd >= 0 {
				n++
			}
			if n != 1 {
				t.Fatalf("an item is %d things: %+v", n, it)
			}
		}
		if len(c.cmds) > 0 {
			checkEncodes(t, c.cmds)
		}
	})
}

func TestBatchBodies(t *testing.T) {
	t.Parallel()
	s := &Service{cfg: Config{Limits: testLimits}}
	many := `{"session":1,"commands":[` + strings.TrimSuffix(strings.Repeat(`{"seq":1,"verb":"id.alloc","name":"s"},`, 1025), ",") + `]}`
	for _, tc := range []struct{ body, code, says string }{
		{`{"session":1,"commands":[]}`, "BAD_REQUEST", "no commands"},
		{`{"session":1}`, "BAD_REQUEST", "no commands"},
		{`{"session":1,"commands":{}}`, "BAD_REQUEST", "not a list"},
		{`{"session":1,"commands":[1]}`, "BAD_REQUEST", "command 0"},
		{`{"session":1,"commands":[{"verb":"lock.get","colour":1}]}`, "BAD_REQUEST", `command 0: unknown field "colour"`},
		{`{"session":1,"colour":1,"commands":[{"verb":"lock.get","name":"a"}]}`, "BAD_REQUEST", `unknown field "colour"`},
		{`{"session":1,"session":2,"commands":[{"verb":"lock.get","name":"a"}]}`, "BAD_REQUEST", "comes twice"},
		{`{"session":1,"atomic":true,"commands":[{"verb":"lock.get","name":"a"}]}`, "BAD_REQUEST", "atomic is not supported"},
		{many, "TOO_LARGE", "1025 commands, at most 1024"},
	} {
		m, cmds, bad := decodeBatch([]byte(tc.body), 1024)
		if bad == nil {
			bad = s.fillBatch(&call{ns: "default"}, m, cmds)
		}
		if code(bad) != tc.code || !strings.Contains(bad.GetMessage(), tc.says) {
			t.Errorf("%.80s: %v, want %s with %q", tc.body, bad, tc.code, tc.says)
		}
	}
}

// Each command of a batch is checked by itself; one that is refused stops none of the others.
func TestBatchItems(t *testing.T) {
	t.Parallel()
	s := &Service{cfg: Config{Limits: testLimits}}
	body := `{"session":"7","secret":"MDEyMzQ1Njc4OWFiY2RlZg==","ack":1,"not_after":"50","commands":[
		{"seq":1,"verb":"lock.acquire","name":"a b","body":{"wait":"0s","not_after":"60"}},
		{"seq":2,"verb":"lock.acquire","name":"","body":{}},
		{"seq":3,"verb":"session.open","body":{}},
		{"seq":4,"verb":"lock.force-release","name":"a","body":{"fence":1}},
		{"seq":5,"verb":"lock.release","name":"a","body":{"fence":1,"session":"8"}},
		{"seq":6,"verb":"lock.release","name":"a","body":{"fence":"1","colour":2}},
		{"verb":"lock.release","name":"a","body":{"fence":"1"}},
		{"verb":"lock.get","name":"a"},
		{"seq":"7","verb":"id.alloc","name":"s","body":{"count":3}},
		{"seq":8,"verb":"lock.list","name":"a"},
		{"verb":"session.keepalive"}]}`
	m, cmds, bad := decodeBatch([]byte(body), 1024)
	if bad != nil {
		t.Fatal(bad)
	}
	c := &call{ns: "default"}
	if bad := s.fillBatch(c, m, cmds); bad != nil {
		t.Fatal(bad)
	}
	for i, want := range []string{"", "BAD_NAME", "BAD_REQUEST", "BAD_REQUEST", "BAD_REQUEST", "BAD_REQUEST", "BAD_REQUEST", "", "", "BAD_NAME", ""} {
		if got := code(c.batch.items[i].refused); got != want {
			t.Errorf("command %d: %q, want %q (%v)", i, got, want, c.batch.items[i].refused)
		}
	}
	if len(c.cmds) != 3 || c.cmds[0].NotAfter != 60 || c.cmds[1].NotAfter != 50 || c.cmds[0].Name != "a b" || c.cmds[1].Alloc.Count != 3 || c.cmds[1].Seq != 7 ||
		c.cmds[2].Kind != machine.KindSessionKeepalive || c.cmds[0].Ack != 1 || c.cmds[0].Secret == (machine.SecretHash{}) {
		t.Errorf("commands %+v", c.cmds)
	}
}

func TestSplitObject(t *testing.T) {
	t.Parallel()
	f, err := splitObject([]byte(`{"a":1,"b":{"c":[1,2]}}`))
	if err != nil || string(f["b"]) != `{"c":[1,2]}` || len(f) != 2 {
		t.Errorf("%v %v", f, err)
	}
	for _, bad := range []string{``, `[]`, `{"a":1`, `{"a":1,"a":2}`, `{"a":1}{`, `{"a":1} 2`} {
		if f, err := splitObject([]byte(bad)); err == nil {
			t.Errorf("%s: accepted as %v", bad, f)
		}
	}
	if _, err := splitObject([]byte(`{}`)); err != nil {
		t.Error(err)
	}
	var probe map[string]any
	if err := json.Unmarshal([]byte(`{}`), &probe); err != nil {
		t.Error(err)
	}
}
