package machine

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOpenAnswersIDAndClock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.want(r.apply(openCommand("a", 15*time.Second, "")), OK).Session
	want := SessionReply{ID: 1, TTL: int64(15 * time.Second), Now: int64(r.now), Deadline: int64(r.now + 15*time.Second), Domain: 7}
	if got.ID != want.ID || got.TTL != want.TTL || got.Now != want.Now || got.Deadline != want.Deadline || got.Domain != want.Domain ||
		got.Generation != 0 || got.HighestSeq != 0 || got.EventSeq != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestOpenRefusesWhatIsOutOfBounds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, change := range map[string]func(c *Command){
		"ttl too short":     func(c *Command) { c.Open.TTL = int64(time.Second) - 1 },
		"ttl too long":      func(c *Command) { c.Open.TTL = int64(24*time.Hour) + 1 },
		"ttl negative":      func(c *Command) { c.Open.TTL = -1 },
		"no secret":         func(c *Command) { c.Secret = SecretHash{} },
		"owner too long":    func(c *Command) { c.Open.Owner = strings.Repeat("o", MaxOwnerBytes+1) },
		"owner not UTF-8":   func(c *Command) { c.Open.Owner = "\xff" },
		"nonce too long":    func(c *Command) { c.Open.Nonce = make([]byte, MaxNonceBytes+1) },
		"metadata too long": func(c *Command) { c.Open.Metadata = map[string]string{"k": strings.Repeat("v", MaxMetadataBytes)} },
		"metadata not UTF-8": func(c *Command) {
			c.Open.Metadata = map[string]string{"k": "\xc0"}
		},
	} {
		c := openCommand("a", time.Minute, "")
		change(&c)
		if got := r.apply(c); got.Code != CodeBadRequest {
			t.Errorf("%s: %s", name, got.Code)
		}
	}
	for _, ns := range []string{"", "a b", "a/b", "ä", strings.Repeat("n", MaxNamespaceBytes+1), "a\x00"} {
		c := openCommand("a", time.Minute, "")
		c.Namespace = ns
		if got := r.apply(c); got.Code != CodeBadName {
			t.Errorf("namespace %q: %s", ns, got.Code)
		}
	}
	for _, ttl := range []time.Duration{time.Second, 24 * time.Hour} {
		r.open("a", ttl)
	}
}

func TestRepeatedOpenAnswersTheSameSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := openCommand("a", 10*time.Second, "n1")
	first := *r.want(r.apply(c), OK).Session
	second := *r.want(r.pass(time.Second).apply(c), OK).Session
	if second.ID != first.ID || second.Deadline != first.Deadline || second.Now != int64(r.now) {
		t.Fatalf("%+v after %+v", second, first)
	}
	other := c
	other.Secret = secretOf("b") // another owner who drew the same nonce
	if got := r.want(r.apply(other), OK).Session; got.ID == first.ID {
		t.Fatal("a session was given to another secret")
	}
	changed := openCommand("a", 11*time.Second, "n1")
	r.want(r.apply(changed), CodeRequestReused)
	elsewhere := c
	elsewhere.Namespace = "other"
	if got := r.want(r.apply(elsewhere), OK).Session; got.ID == first.ID {
		t.Fatal("a session was given to another namespace")
	}
	plain := openCommand("a", 10*time.Second, "")
	if x, y := r.apply(plain).Session.ID, r.apply(plain).Session.ID; x == y {
		t.Fatal("without a nonce each open is a session")
	}
}

func TestRepeatedOpenAfterAResumeIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := openCommand("a", 10*time.Second, "n1")
	id := r.apply(c).Session.ID
	r.want(r.apply(resumeCommand(id, "a", "r1")), OK)
	r.want(r.apply(c), CodeSessionExpired)
}

func TestRepeatedOpenAfterTheEndMakesAnotherSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := openCommand("a", time.Second, "n1")
	first := r.apply(c).Session.ID
	r.pass(time.Second)
	if got := r.want(r.apply(c), OK).Session.ID; got != first+1 {
		t.Fatalf("session %d after %d", got, first)
	}
}

func TestMissingSessionIsExpiredOrUnknownByTheCounter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Second)
	r.pass(time.Second).tick()
	r.want(a.do(acquireCommand("x", 0)), CodeSessionExpired)
	a.id++
	r.want(a.do(acquireCommand("x", 0)), CodeSessionUnknown)
	r.want(r.apply(a.keepaliveCommand()), CodeSessionUnknown)
	a.id = 0
	r.want(a.do(acquireCommand("x", 0)), CodeBadRequest)
	r.open("b", time.Minute) // takes the ID that was asked for too early
	a.id = 2
	r.want(a.do(acquireCommand("x", 0)), CodeDenied)
}

func TestWrongSecretOrNamespaceIsDenied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	deadline := a.keepalive().Deadline
	r.pass(time.Second)
	for _, kind := range []Command{acquireCommand("x", 0), {Kind: KindSessionKeepalive}, {Kind: KindSessionClose},
		{Kind: KindSessionResume, Resume: &Resume{}}} {
		c := a.again(1, kind)
		c.Secret = secretOf("b")
		r.want(r.apply(c), CodeDenied)
		c = a.again(1, kind)
		c.Secret = SecretHash{}
		r.want(r.apply(c), CodeDenied)
		c = a.again(1, kind)
		c.Namespace = "other"
		r.want(r.apply(c), CodeDenied)
	}
	if d, _ := r.m.NextDue(); d != deadline {
		t.Fatal("a denied request renewed the session")
	}
	a.lock("x") // seq 1 is still free
}

func TestKeepaliveRenewsAndShowsHoldsAndWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	f := a.lock("x")
	b.lock("y")
	for range 3 {
		r.open("z", time.Hour).queue("y", noLimit)
	}
	ticket := a.queue("y", noLimit)
	r.pass(5 * time.Second)
	got := a.keepalive()
	if got.Now != int64(r.now) || got.Deadline != int64(r.now+10*time.Second) {
		t.Fatalf("%+v", got)
	}
	if len(got.Holds) != 1 || got.Holds[0] != (Hold{Name: "x", Fence: f, Mode: Exclusive, Count: 1, Ticket: 1}) {
		t.Fatalf("holds %+v", got.Holds)
	}
	if len(got.Waits) != 1 || !cmp.Equal(got.Waits[0], Wait{Name: "y", Seq: ticket, State: TicketQueued, Position: 4}) {
		t.Fatalf("waits %+v", got.Waits)
	}
	r.pass(9 * time.Second).tick()
	r.wantHolder("x", a)
}

func TestJoinedKeepalivesAreAnsweredOneByOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", 10*time.Second), r.open("b", 20*time.Second), r.open("c", time.Second)
	r.pass(2 * time.Second)
	bad := b.keepaliveCommand()
	bad.Secret = secretOf("x")
	res := r.entry(a.keepaliveCommand(), c.keepaliveCommand(), bad, b.keepaliveCommand())
	for i, code := range []Code{OK, CodeSessionExpired, CodeDenied, OK} {
		r.want(res.Replies[i], code)
	}
	if got := res.Replies[3].Session.Deadline; got != int64(r.now+20*time.Second) {
		t.Fatalf("deadline %d", got)
	}
}

func TestOnlyOpenKeepaliveAndResumeRenew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	d, _ := r.m.NextDue()
	r.pass(time.Second)
	a.lock("x")
	if now, _ := r.m.NextDue(); now != d {
		t.Fatal("a lock renewed its session")
	}
}

func resumeCommand(id uint64, owner, nonce string) Command {
	c := Command{Kind: KindSessionResume, Namespace: "ns", Session: id, Secret: secretOf(owner), Resume: &Resume{}}
	if nonce != "" {
		c.Resume.Nonce = []byte(nonce)
	}
	return c
}

// coordination.md: otherwise a paused first process and the second hold with one fence.
func TestResumeRaisesTheGenerationAndEachFence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	fx, fy := a.lock("x"), a.lock("y")
	b.lock("z")
	ticket := a.queue("z", noLimit)
	before := r.m.Live().Fence()
	r.pass(time.Second)
	got := r.want(r.apply(resumeCommand(a.id, "a", "r1")), OK).Session
	r.wantEvents("1:expired:")
	if ev := r.last.Events[0]; ev.Generation != 0 || ev.Seq != got.EventSeq {
		t.Fatalf("the old process is told %+v", ev)
	}
	if got.Generation != 1 || got.HighestSeq != 3 || got.Deadline != int64(r.now+10*time.Second) {
		t.Fatalf("%+v", got)
	}
	if len(got.Holds) != 2 || got.Holds[0].Fence != before+1 || got.Holds[1].Fence != before+2 {
		t.Fatalf("holds %+v after fence %d", got.Holds, before)
	}
	if len(got.Waits) != 1 || got.Waits[0].Seq != ticket || got.Waits[0].Position != 1 {
		t.Fatalf("waits %+v", got.Waits)
	}
	// The old process, generation 0, is refused everywhere.
	r.want(a.do(releaseCommand("x", fx)), CodeSessionExpired)
	r.want(r.apply(a.keepaliveCommand()), CodeSessionExpired)
	r.want(a.do(Command{Kind: KindSessionClose}), CodeSessionExpired)
	// The new one holds under the new fences only.
	a.generation, a.seq = 1, got.HighestSeq
	r.want(a.do(releaseCommand("y", fy)), CodeNotHeld)
	a.release("y", before+2)
	a.generation = 2
	r.want(r.apply(a.keepaliveCommand()), CodeSessionExpired)
}

func TestRepeatedResumeChangesNothingButNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	a.lock("x")
	first := *r.want(r.apply(resumeCommand(a.id, "a", "r1")), OK).Session
	r.pass(time.Second)
	second := *r.want(r.apply(resumeCommand(a.id, "a", "r1")), OK).Session
	if second.Now != int64(r.now) || second.Deadline != first.Deadline || second.Generation != 1 ||
		second.Holds[0] != first.Holds[0] || second.EventSeq != first.EventSeq {
		t.Fatalf("%+v after %+v", second, first)
	}
	if third := r.apply(resumeCommand(a.id, "a", "r2")).Session; third.Generation != 2 || third.Holds[0].Fence <= first.Holds[0].Fence {
		t.Fatalf("%+v", third)
	}
	// A late copy of the first one must not take the session away from the process that has it now.
	r.want(r.apply(resumeCommand(a.id, "a", "r1")), CodeSessionExpired)
	for want := uint64(3); want < 6; want++ {
		if got := r.apply(resumeCommand(a.id, "a", "")).Session; got.Generation != want {
			t.Fatalf("without a nonce each resume counts: %+v", got)
		}
	}
	c := resumeCommand(a.id, "a", strings.Repeat("n", MaxNonceBytes+1))
	r.want(r.apply(c), CodeBadRequest)
}

func TestResumeRemembersTheLastNonces(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for i := range maxResumes + 3 {
		r.want(r.apply(resumeCommand(a.id, "a", string(rune('A'+i)))), OK)
	}
	for i := 3; i < maxResumes+2; i++ {
		r.want(r.apply(resumeCommand(a.id, "a", string(rune('A'+i)))), CodeSessionExpired)
	}
}

func TestCloseReleasesEverythingInOneEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Minute), r.open("b", time.Hour)
	a.lock("x")
	a.lock("y")
	b.lock("z")
	a.queue("z", time.Minute)
	a.queue("x", noLimit) // behind itself
	b.queue("x", noLimit)
	got := r.want(a.do(Command{Kind: KindSessionClose}), OK)
	if got.Closed != 2 {
		t.Fatalf("%d released", got.Closed)
	}
	r.wantEvents("1:expired:", "2:granted:x")
	r.wantHolder("x", b)
	r.wantHolder("y", nil)
	if l, _ := r.m.Live().Lock("ns", "z"); len(l.Queue) != 0 {
		t.Fatalf("a closed session waits: %+v", l.Queue)
	}
	r.want(r.apply(a.again(a.seq, Command{Kind: KindSessionClose})), CodeSessionExpired)
	if c := r.m.Live().Counts(); c.Sessions != 1 || c.Expirations != 0 || c.Releases != 2 {
		t.Fatalf("%+v", c)
	}
}

func TestCloseWithoutASeq(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	a.lock("x")
	r.want(r.apply(a.again(0, Command{Kind: KindSessionClose})), OK)
	r.wantHolder("x", nil)
}

func TestSessionQuotaPerNamespace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.m.space("ns").sessions = MaxSessionsPerNamespace
	data, _ := EncodeCommands([]Command{openCommand("a", time.Minute, "")})
	res := r.m.Apply(Entry{Index: r.index + 1, Term: r.term, Command: true, Data: data})
	if res.Replies[0].Code != CodeQuota || r.m.Live().Counts().QuotaRefusals != 1 {
		t.Fatalf("%+v", res.Replies[0])
	}
}
