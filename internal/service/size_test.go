package service

import (
	"fmt"
	"strings"
	"testing"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/natsserver"
)

// acquires are n acquires for a batch.
func acquires(n, firstSeq int, name func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"seq":%d,"verb":"lock.acquire","name":%q,"body":{"wait":"0s"}}`, firstSeq+i, name(i))
	}
	return b.String()
}

// Answers stay within what NATS carries: a batch loses its texts first, and a read says that it did not fit.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	open := func() string {
		o := b.ask("session.open", `{"ttl":"3600s","owner":"`+strings.Repeat("o", 250)+`"}`)
		return fmt.Sprintf(`"session":%q,"secret":%q`, o["session"], o["secret"])
	}
	holder, other := open(), open()
	long := func(i int) string { return fmt.Sprintf("%0150d", i) }
	const n = 1000
	for i, s := range []string{holder, other} {
		o := b.ask("batch", `{`+s+`,"ack":1,"commands":[`+acquires(n, 1, long)+`]}`)
		results, _ := o["results"].([]any)
		if len(results) != n {
			t.Fatalf("%d results: %.300v", len(results), o)
		}
		bare := 0
		for _, r := range results {
			r := r.(map[string]any)
			if e, _ := r["error"].(map[string]any); i == 1 {
				if e["code"] != "LOCKED" || e["number"] != 423.0 {
					t.Fatalf("%v", r)
				} else if e["message"] == "" {
					bare++
				}
			} else if r["state"] != "GRANTED" {
				t.Fatalf("%v", r)
			}
		}
		if i == 1 && (bare == 0 || bare == n) {
			t.Errorf("%d of %d errors without a text: this test wants both kinds", bare, n)
		}
	}
	// More holds than a message takes: the answer says that it is not all of them.
	for round := 1; round < 3; round++ {
		b.ask("batch", fmt.Sprintf(`{%s,"ack":%d,"commands":[%s]}`, holder, round*n+1,
			acquires(n, round*n+1, func(i int) string { return long(round*n + i) })))
	}
	beat := b.ask("session.keepalive", `{`+holder+`}`)
	if holds := len(beat["holds"].([]any)); beat["incomplete"] != true || holds < 1000 || holds >= 3*n {
		t.Errorf("incomplete %v with %d holds", beat["incomplete"], holds)
	}
	if beat := b.ask("session.keepalive", `{`+other+`}`); beat["incomplete"] != false {
		t.Errorf("%.200v", beat)
	}
	// Pages end early, and together show everything once.
	seen, pages, token := map[string]bool{}, 0, ""
	for {
		o := b.ask("lock.list", `{"page_size":1000,"page_token":"`+token+`"}`)
		for _, l := range o["locks"].([]any) {
			name := l.(map[string]any)["name"].(string)
			if seen[name] {
				t.Fatalf("%s comes twice", name)
			}
			seen[name] = true
		}
		pages++
		if token = o["next_page_token"].(string); token == "" {
			break
		}
	}
	if len(seen) != 3*n || pages < 4 {
		t.Errorf("%d locks on %d pages", len(seen), pages)
	}
	if o := b.ask("lock.list", `{"page_token":"!"}`); b.codeOf(o) != "BAD_REQUEST" {
		t.Errorf("%v", o)
	}
	if o := b.ask("lock.list", `{"prefix":"x","page_token":"`+(&page{listing: (&readQuery{verb: "lock.list", ns: "default"}).listing("y")}).token("y")+`"}`); b.codeOf(o) != "BAD_REQUEST" {
		t.Errorf("a token of another listing: %v", o)
	}
}

func TestEscapedBytesBoundsJSON(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"plain", `"\`, "\x01\x1f\x7f", "größe\u2028", strings.Repeat("\"", 100)} {
		raw, err := encodeBody(quoted(s), true)
		if err != nil {
			t.Fatal(err)
		}
		if max := escapedBytes(s); len(raw)-len(`{"cluster":""}`) > max {
			t.Errorf("%q takes more than %d bytes: %s", s, max, raw)
		}
	}
}

// However many hold a lock and wait for it, and whatever they say of themselves, an answer about it fits into a message.
func TestALockWithVeryMuchToShow(t *testing.T) {
	t.Parallel()
	long := machine.HolderInfo{Session: 1<<63 - 1, Owner: strings.Repeat("\x01", 256), Fence: 1 << 52, Mode: machine.Shared, Count: 1, Since: 1 << 62, Value: make([]byte, 4096),
		Metadata: map[string]string{"k": strings.Repeat("\x01", 4095)}}
	wide := machine.WaiterInfo{Session: 1<<63 - 1, Owner: strings.Repeat("\x01", 256), Names: make([]string, 256)}
	for i := range wide.Names {
		wide.Names[i] = strings.Repeat("\"", 512)
	}
	x := machine.LockInfo{Name: strings.Repeat("\"", 512), Waiting: 70_000}
	x.Holds = 50_000
	for range machine.MaxShownHolders {
		x.Holders = append(x.Holders, long)
	}
	for range machine.MaxShownWaiters {
		x.Queue = append(x.Queue, wide)
	}
	m := lockMessage(&x, 0)
	body, err := encodeBody(&coorddv1.LockGetReply{Lock: m}, true)
	if err != nil || len(body) > natsserver.MaxRequestBytes*2 || m.Holds != 50_000 || m.Waiting != 70_000 || len(m.Holders) == 0 || len(m.Queue) == 0 {
		t.Errorf("%d bytes, %d holders of %d, %d waiters of %d: %v", len(body), len(m.Holders), m.Holds, len(m.Queue), m.Waiting, err)
	}
	few := machine.LockInfo{Name: "l", Holds: 150}
	for i := range uint64(150) {
		few.Holders = append(few.Holders, machine.HolderInfo{Session: i, Fence: i, Mode: machine.Shared, Count: 1})
	}
	if m := lockMessage(&few, 0); len(m.Holders) != maxShown || m.Holds != 150 {
		t.Errorf("%d holders of %d", len(m.Holders), m.Holds)
	}
}
