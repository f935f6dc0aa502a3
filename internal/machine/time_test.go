package machine

import (
	"testing"
	"time"
)

func TestTimeIsTheLatestEntrysTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	res := r.m.Apply(Entry{Index: r.index + 1, Term: r.term, Time: int64(r.now) - 5})
	if res.Err != nil || r.m.Live().Now() != int64(r.now) {
		t.Fatalf("time went back to %d (%v)", r.m.Live().Now(), res.Err)
	}
}

func TestSessionEndsAtItsDeadlineAndNotBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	a.lock("x")
	r.pass(10*time.Second - 1).tick()
	r.wantHolder("x", a)
	r.pass(1).tick()
	r.wantHolder("x", nil)
	r.wantEvents("1:expired:")
	if c := r.m.Live().Counts(); c.Expirations != 1 || c.SessionsExpired != 1 || c.Sessions != 0 {
		t.Fatalf("%+v", c)
	}
}

// An entry of any kind ends what is due: there is no expire command that one leader's timers could send.
func TestExpiryIsTheEffectOfTimeInAnyEntry(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]func(r *rig){
		"no-op":   func(r *rig) { r.entry() },
		"command": func(r *rig) { r.apply(openCommand("z", time.Second, "")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.open("a", time.Second).lock("x")
			last(r.pass(time.Second))
			r.wantHolder("x", nil)
		})
	}
}

func TestNewTermStopsExpiryUntilServing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	a.lock("x")
	r.elect()
	if _, due := r.m.NextDue(); due || r.m.Live().Serving() {
		t.Fatal("serving in a new term")
	}
	r.pass(11 * time.Second).tick()
	r.wantHolder("x", a)
	// A request that arrives while the leader isn't serving still renews: nothing has ended.
	a.keepalive()
	r.serve()
	r.wantHolder("x", a)
	if d, _ := r.m.NextDue(); d != int64(r.now+10*time.Second) {
		t.Fatalf("due at %d", d)
	}
}

// coordination.md: the first entry after a 16 s outage must not end every 15 s session before anybody can renew.
func TestServingGivesGraceAfterAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const ttl = 15 * time.Second
	a := r.open("a", ttl)
	a.lock("x")
	r.pass(16 * time.Second).elect()
	r.serve()
	r.wantHolder("x", a)
	grace := 2*electionTimeout + ttl/3
	if d, _ := r.m.NextDue(); d != int64(r.now+grace) {
		t.Fatalf("due at %s, want %s", time.Duration(d), r.now+grace)
	}
	r.pass(grace).tick()
	r.wantHolder("x", nil)
}

func TestGraceIsAtMostTheTTL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open("a", 10*time.Second)
	r.pass(9 * time.Second).elect()
	r.apply(Command{Kind: KindServing, Serving: &Serving{ElectionTimeout: int64(time.Hour)}})
	if d, _ := r.m.NextDue(); d != int64(r.now+10*time.Second) {
		t.Fatalf("due at %s", time.Duration(d))
	}
}

func TestGraceEndsTwoTTLsAfterTheLastRenewal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const ttl = 10 * time.Second
	born := r.now
	a := r.open("a", ttl)
	a.lock("x")
	r.pass(17 * time.Second).elect()
	r.serve()
	if d, _ := r.m.NextDue(); d != int64(born+2*ttl) {
		t.Fatalf("due at %s, want %s", time.Duration(d), born+2*ttl)
	}
	// Failovers one after the other give no more.
	r.pass(2 * time.Second).elect()
	r.serve()
	if d, _ := r.m.NextDue(); d != int64(born+2*ttl) {
		t.Fatalf("due at %s", time.Duration(d))
	}
	r.pass(time.Second).elect()
	r.serve() // the very entry that makes serving true ends it
	r.wantHolder("x", nil)
}

func TestGraceNeverShortensASession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open("a", 15*time.Second)
	r.elect()
	r.serve()
	if d, _ := r.m.NextDue(); d != int64(r.now+15*time.Second) {
		t.Fatalf("due at %s", time.Duration(d))
	}
}

// coordination.md: a Serving after a failover must not revive a session whose lock was already granted on.
func TestServingRevivesNothingThatEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	a.lock("x")
	b.queue("x", noLimit)
	r.pass(10 * time.Second).tick()
	r.wantHolder("x", b)
	r.elect()
	r.serve()
	r.wantHolder("x", b)
	r.want(r.apply(a.keepaliveCommand()), CodeSessionExpired)
}

func TestNotServingStopsExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	a.lock("x")
	r.want(r.apply(Command{Kind: KindNotServing}), OK)
	r.pass(12 * time.Second).tick()
	r.wantHolder("x", a)
	r.serve()
	r.wantHolder("x", a)
	if !r.m.Live().Serving() {
		t.Fatal("not serving")
	}
}

func TestServingWithANegativeTimeoutIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.want(r.apply(Command{Kind: KindServing, Serving: &Serving{ElectionTimeout: -1}}), CodeBadRequest)
}

func TestEndsComeInTheOrderOfDeadlineKindAndID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// Sessions 1 and 2 end together, 3 a moment before; a wait of session 4 ends with 1 and 2.
	r.open("a", 10*time.Second)
	r.open("b", 10*time.Second)
	c, d := r.open("c", 9*time.Second), r.open("d", time.Hour)
	c.lock("x")
	holder := r.open("e", time.Hour)
	holder.lock("y")
	d.queue("y", 10*time.Second)
	r.pass(time.Minute).tick()
	r.wantEvents("4:timed-out:y", "3:expired:", "1:expired:", "2:expired:")
}

// Nothing is granted to what has ended, however much of the clean-up is still to be done.
func TestCascadeSkipsWaitersThatEndedInTheSameEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c, d := r.open("a", 5*time.Second), r.open("b", 7*time.Second), r.open("c", time.Hour), r.open("d", time.Hour)
	a.lock("x")
	b.queue("x", noLimit)       // its session ends after a's, in the same entry
	c.queue("x", 6*time.Second) // its wait ends after a's session, in the same entry
	d.queue("x", noLimit)
	before := r.m.Live().Fence()
	r.pass(10 * time.Second).tick()
	if got := r.wantHolder("x", d); got != before+1 {
		t.Fatalf("fence %d after %d: somebody dead was granted the lock", got, before)
	}
	r.wantEvents("3:timed-out:x", "1:expired:", "4:granted:x", "2:expired:")
}

func TestWaitAndSessionThatEndTogetherFreeTheLockOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", 10*time.Second)
	a.lock("x")
	b.queue("x", 10*time.Second)
	r.pass(10 * time.Second).tick()
	r.wantHolder("x", nil)
	r.wantEvents("1:expired:", "2:expired:")
}

func TestNextDueIsTheEarliestDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, due := r.m.NextDue(); due {
		t.Fatal("due in an empty machine")
	}
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", time.Minute)
	if d, _ := r.m.NextDue(); d != int64(r.now+time.Minute) {
		t.Fatalf("due at %s", time.Duration(d))
	}
	r.pass(time.Second)
	a.release("x", f) // the wait is over, and its deadline with it
	if d, _ := r.m.NextDue(); d != int64(r.now-time.Second+time.Hour) {
		t.Fatalf("due at %s", time.Duration(d))
	}
}

func TestEntriesOutOfOrderAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.m.Live().Hash()
	for _, e := range []Entry{
		{Index: r.index, Term: 1}, {Index: r.index + 2, Term: 1}, {Index: r.index + 1, Term: 0},
		{Index: r.index + 1, Term: 1, Command: true}, {Index: r.index + 1, Term: 1, Command: true, Data: []byte{CommandVersion, 1, 99, 0, 0, 0}},
		{Index: r.index + 1, Term: 1, Command: true, Data: []byte{CommandVersion + 1, 1, 2, 0, 0, 0}},
	} {
		if res := r.m.Apply(e); res.Err == nil {
			t.Errorf("%+v was applied", e)
		}
	}
	if r.m.Live().Hash() != before {
		t.Error("a refused entry changed the state")
	}
}
