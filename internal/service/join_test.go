package service

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
)

// What arrives while entries are under way becomes one entry.
func TestQueuedCallsShareAnEntry(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Entries: 2}, Timing{})
	b.node.held.Store(true)
	before := len(b.node.entries())
	sub, inbox := b.inbox()
	for i := range 2 {
		b.send(inbox, "session.open", `{}`)
		b.await("an entry of its own", func() bool { return len(b.node.entries()) == before+i+1 })
	}
	const more = 50
	for range more {
		b.send(inbox, "session.open", `{}`)
	}
	b.await("all calls", func() bool { return b.s.answers.outstanding.Load() == more+2 })
	if got := len(b.node.entries()); got != before+2 {
		t.Fatalf("%d entries under way, at most 2 were allowed", got-before)
	}
	b.node.held.Store(false)
	b.node.release()
	seen := map[string]bool{}
	for range more + 2 {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		seen[b.parse(msg)["session"].(string)] = true
	}
	if len(seen) != more+2 {
		t.Errorf("%d sessions for %d requests", len(seen), more+2)
	}
	if sizes := b.node.entries()[before:]; len(sizes) != 3 || sizes[2] != more {
		t.Errorf("entries of %v commands", sizes)
	}
	b.await("nothing outstanding", func() bool { return b.s.answers.outstanding.Load() == 0 })
}

// One keepalive after a quiet while leaves at once; those that follow within the interval share an entry.
func TestKeepalivesAreJoined(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{KeepaliveJoin: 5 * time.Second})
	o := b.ask("session.open", `{}`)
	beat := fmt.Sprintf(`{"session":%q,"secret":%q}`, o["session"], o["secret"])
	b.ask("session.keepalive", beat)
	before := len(b.node.entries())
	sub, inbox := b.inbox()
	for range 20 {
		b.send(inbox, "session.keepalive", beat)
	}
	for range 20 {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if o := b.parse(msg); b.codeOf(o) != "" {
			t.Fatalf("%v", o)
		}
	}
	if sizes := b.node.entries()[before:]; len(sizes) != 1 || sizes[0] != 20 {
		t.Errorf("entries of %v keepalives", sizes)
	}
}

// Keepalives don't wait behind other work.
func TestKeepalivesGoFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Entries: 1}, Timing{KeepaliveJoin: time.Millisecond})
	o := b.ask("session.open", `{}`)
	b.node.held.Store(true)
	before := len(b.node.entries())
	_, inbox := b.inbox()
	for range 5 {
		b.send(inbox, "session.open", `{}`)
	}
	b.await("the calls", func() bool { return b.s.answers.outstanding.Load() == 5 })
	b.send(inbox, "session.keepalive", fmt.Sprintf(`{"session":%q,"secret":%q}`, o["session"], o["secret"]))
	b.await("the keepalive's entry", func() bool { return len(b.node.entries()) == before+2 })
}

// BUSY is said only while nobody else can lead.
func TestBusyOnlyWithinTheLease(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Outstanding: 3}, Timing{})
	b.node.held.Store(true)
	sub, inbox := b.inbox()
	for range 3 {
		b.send(inbox, "session.open", `{}`)
	}
	b.await("a full house", func() bool { return b.s.answers.outstanding.Load() == 3 })
	if o := b.ask("session.open", `{}`); b.codeOf(o) != "BUSY" || o["error"].(map[string]any)["retryable"] != true {
		t.Errorf("%v", o)
	}
	b.node.lease.Store(false)
	b.send(inbox, "session.open", `{}`)
	// A refusal that follows from the request alone is still said, and comes after the silence.
	if o := b.ask("session.open", `{"ttl":"0s"}`); b.codeOf(o) != "BAD_REQUEST" {
		t.Errorf("%v", o)
	}
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("a node in doubt said something: %d messages, %v", n, err)
	}
	b.node.held.Store(false)
	b.node.release()
	for range 3 { // what was taken is answered from apply
		if _, err := sub.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
}

// A proposal that was refused for certain is BUSY within the lease; a lost one, and any without a lease, is silence.
func TestRefusedProposals(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	for _, tc := range []struct {
		err   error
		lease bool
		code  string
	}{
		{raft.ErrBusy, true, "BUSY"},
		{raft.ErrTransferring, true, "BUSY"},
		{raft.ErrTooLarge, true, "TOO_LARGE"},
		{raft.ErrBusy, false, ""},
		{raft.ErrLeadershipLost, true, ""},
		{fmt.Errorf("x: %w", raft.ErrNotLeader), true, ""},
	} {
		b.node.refuse.Store(&tc.err)
		b.node.lease.Store(tc.lease)
		sub, inbox := b.inbox()
		b.send(inbox, "session.open", `{}`)
		if tc.code == "" {
			b.ask("session.open", `{"ttl":"0s"}`) // the request before it was taken
			b.await("silence", func() bool { return b.s.answers.outstanding.Load() == 0 })
			if n, _, _ := sub.Pending(); n != 0 {
				t.Errorf("%v, lease %v: answered", tc.err, tc.lease)
			}
			continue
		}
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.codeOf(b.parse(msg)); got != tc.code {
			t.Errorf("%v: %s, want %s", tc.err, got, tc.code)
		}
	}
}

// A deposed leader unsubscribes first and forgets what it has not proposed.
func TestDeposedLeaderFallsSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Entries: 1}, Timing{})
	b.node.held.Store(true)
	before := len(b.node.entries())
	sub, inbox := b.inbox()
	b.send(inbox, "session.open", `{}`)
	b.await("an entry", func() bool { return len(b.node.entries()) == before+1 })
	for range 3 {
		b.send(inbox, "session.open", `{}`)
	}
	b.await("the calls", func() bool { return b.s.answers.outstanding.Load() == 4 })
	b.node.depose(errors.New("another leads"))
	b.await("the end", func() bool { return b.s.reign.Load() == nil })
	_, err := b.nc.Request(clientPrefix+"default.session.open", []byte(`{}`), patience)
	if err == nil || !strings.Contains(err.Error(), "no responders") {
		t.Errorf("after the end: %v", err)
	}
	if err := errors.Join(b.s.nc.Flush(), b.nc.Flush()); err != nil { // whatever was answered has come
		t.Fatal(err)
	}
	if n := b.s.answers.outstanding.Load(); n != 1 { // the one under way is answered or lost later
		t.Errorf("%d calls are still counted", n)
	}
	if n, _, _ := sub.Pending(); n != 0 {
		t.Errorf("%d answers of a deposed leader", n)
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{}, Timing{})
	o := b.ask("session.open", `{}`)
	create := fmt.Sprintf(`{"session":%q,"secret":%q,"seq":1}`, o["session"], o["secret"])
	for range 3 {
		b.ask("id.create.x", create)
	}
	if n := b.seen.duplicates.Load(); n != 2 {
		t.Errorf("%d duplicates were counted, 2 were sent", n)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	l := newRateLimiter(2)
	now := time.Unix(0, 0)
	ok := func(ns string) bool { return l.allowAt(ns, now) }
	for i, want := range []bool{true, true, false} {
		if ok("a") != want {
			t.Errorf("request %d: a burst of one second's worth is allowed", i)
		}
	}
	if !ok("b") {
		t.Error("one namespace takes another one's tokens")
	}
	now = now.Add(500 * time.Millisecond)
	for i, want := range []bool{true, false} {
		if ok("a") != want {
			t.Errorf("request %d after half a second", i)
		}
	}
	now = now.Add(time.Hour)
	for i := range maxBuckets + 10 {
		if !ok(fmt.Sprint("ns", i)) {
			now = now.Add(time.Hour) // all full again: they make room
			if !ok(fmt.Sprint("ns", i)) {
				t.Fatalf("no room at %d", i)
			}
		}
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d namespaces are remembered", len(l.buckets))
	}
	if free := newRateLimiter(0); !free.allow("a") || len(free.buckets) != 0 {
		t.Error("without a limit nothing is counted")
	}
}

// What a part of the cluster would not understand is not written into the log; the rest of the same entry is.
func TestCommandsThatNotAllMembersKnow(t *testing.T) {
	t.Parallel()
	b := newBench(t, Limits{Entries: 1}, Timing{})
	o := b.ask("session.open", `{}`)
	s := fmt.Sprintf(`"session":%q,"secret":%q`, o["session"], o["secret"])
	b.node.version.Store(1)
	b.node.held.Store(true)
	old, first := b.inbox()
	newer, second := b.inbox()
	b.send(first, "session.open", `{}`)
	b.await("an entry to be under way", func() bool { return b.s.answers.outstanding.Load() == 1 && len(b.node.entries()) > 0 })
	b.send(first, "lock.acquire.a", `{`+s+`,"seq":1,"ack":1}`)
	b.send(second, "lock.acquire.b", `{`+s+`,"seq":2,"ack":1,"mode":"SHARED"}`)
	b.await("both to wait", func() bool { return b.s.answers.outstanding.Load() == 3 })
	b.node.held.Store(false)
	b.node.release()
	for range 2 {
		msg, err := old.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if o := b.parse(msg); b.codeOf(o) != "" {
			t.Errorf("%v", o)
		}
	}
	msg, err := newer.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if o := b.parse(msg); b.codeOf(o) != "BUSY" || !strings.Contains(string(msg.Data), "upgraded") {
		t.Errorf("%v", o)
	}
	b.node.version.Store(machine.CommandVersion)
	if o := b.ask("lock.acquire.b", `{`+s+`,"seq":2,"ack":1,"mode":"SHARED"}`); o["state"] != "GRANTED" {
		t.Errorf("once all know it: %v", o)
	}
}
