package machine

import (
	"strings"
	"testing"
	"time"
)

func TestAcquireGrantsAFreeLockWithANewFence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	last := uint64(0)
	for range 5 {
		f := a.lock("x")
		if f <= last {
			t.Fatalf("fence %d after %d", f, last)
		}
		last = f
		a.release("x", f)
	}
	if r.m.Live().Fence() != last || last != 5 {
		t.Fatalf("fence counter %d, last fence %d", r.m.Live().Fence(), last)
	}
	if c := r.m.Live().Counts(); c.Grants != 5 || c.Releases != 5 || c.LocksHeld != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestQueueIsServedFirstInFirstOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	holder := r.open("h", time.Hour)
	f := holder.lock("x")
	var ps []*peer
	for range 5 {
		p := r.open("p", time.Hour)
		got := r.want(p.do(acquireCommand("x", noLimit)), OK)
		ps = append(ps, p)
		if got.Lock.Position != uint64(len(ps)) || len(got.Lock.Holders) != 1 || got.Lock.Holders[0].Fence != f || got.Lock.Holders[0].Owner != "h" {
			t.Fatalf("%+v", got.Lock)
		}
	}
	r.pass(time.Second)
	for _, p := range ps {
		holder.release("x", f)
		if len(r.last.Events) != 1 || len(r.last.Waited) != 1 || len(r.last.Held) != 1 {
			t.Fatalf("%+v", r.last)
		}
		ev := r.last.Events[0]
		f = r.wantHolder("x", p) // in the same entry
		if ev.Kind != EventGranted || ev.Session != p.id || ev.Fence != f || ev.Ticket != 1 || ev.Name != "x" || ev.Namespace != "ns" || ev.At != int64(r.now) {
			t.Fatalf("%+v", ev)
		}
		holder = p
	}
	if r.last.Waited[0] != int64(time.Second) {
		t.Fatalf("waited %d", r.last.Waited[0])
	}
}

func TestTryNeverQueuesAndTellsTheHolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Minute), r.open("b", time.Minute)
	f := a.lock("x")
	r.open("c", time.Hour).queue("x", noLimit)
	r.pass(10 * time.Second)
	got := r.want(b.do(acquireCommand("x", 0)), CodeLocked)
	if d := got.Detail; d.Holder != "a" || d.HolderID != a.id || d.Fence != f || d.Queue != 1 || d.ExpiresIn != int64(50*time.Second) {
		t.Fatalf("%+v", d)
	}
	if l, _ := r.m.Live().Lock("ns", "x"); l.Waiting != 1 {
		t.Fatalf("%+v", l)
	}
	r.want(a.do(acquireCommand("x", 0)), CodeLocked) // not reentrant
}

func TestWaitTimesOutAtItsInstant(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", time.Hour), r.open("c", time.Hour)
	f := a.lock("x")
	ticket := b.queue("x", 10*time.Second)
	c.queue("x", noLimit)
	r.pass(10*time.Second - 1).tick()
	r.wantEvents()
	r.pass(1).tick()
	r.wantEvents("2:timed-out:x")
	if ev := r.last.Events[0]; ev.Ticket != ticket || ev.Fence != 0 {
		t.Fatalf("%+v", ev)
	}
	a.release("x", f)
	r.wantHolder("x", c) // no ghost hold
	if n := r.m.Live().Counts().Timeouts; n != 1 {
		t.Fatalf("%d time-outs", n)
	}
}

func TestAWaitBeyondTheEndOfTimeHasNoEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	a.lock("x")
	b.queue("x", 1<<63-1)
	if d, _ := r.m.NextDue(); d != int64(r.now+time.Hour) {
		t.Fatalf("due at %d", d)
	}
}

func TestWaitersOfADeadSessionLeaveTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", 5*time.Second), r.open("c", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	b.queue("x", time.Minute)
	c.queue("x", noLimit)
	r.pass(5 * time.Second).tick()
	r.wantEvents("2:expired:")
	if l, _ := r.m.Live().Lock("ns", "x"); l.Waiting != 1 || l.Queue[0].Session != c.id || l.Queue[0].Owner != "c" {
		t.Fatalf("%+v", l)
	}
	a.release("x", f)
	r.wantHolder("x", c)
}

func TestExpiryHandsTheLockOnInTheSameEntry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 5*time.Second), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	r.pass(5 * time.Second).tick()
	r.wantEvents("1:expired:", "2:granted:x")
	if g := r.wantHolder("x", b); g != f+1 {
		t.Fatalf("fence %d after %d", g, f)
	}
	r.want(a.do(releaseCommand("x", f)), CodeSessionExpired)
	r.wantHolder("x", b)
}

func TestCancelTakesATicketOutOfTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", time.Hour), r.open("c", time.Hour)
	f := a.lock("x")
	ticket := b.queue("x", time.Minute)
	c.queue("x", noLimit)
	b.ack = ticket
	got := r.want(b.do(cancelCommand("x", ticket)), OK)
	if got.Lock.State != StateCancelled {
		t.Fatalf("%+v", got.Lock)
	}
	if again := r.want(r.apply(b.again(ticket, acquireCommand("x", time.Minute))), OK); again.Lock.State != StateCancelled {
		t.Fatalf("%+v", again.Lock)
	}
	if got := r.want(b.do(cancelCommand("x", ticket)), OK); got.Lock.State != StateCancelled {
		t.Fatalf("%+v", got.Lock)
	}
	a.release("x", f)
	r.wantHolder("x", c)
	r.pass(time.Minute).tick()
	r.wantEvents() // the wait's deadline went with it
}

func TestCancelOfAGrantedTicketTellsItsFence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	ticket := b.queue("x", noLimit)
	a.release("x", f)
	got := r.want(b.do(cancelCommand("x", ticket)), OK)
	if got.Lock.State != StateAlreadyGranted || got.Lock.Fence != r.wantHolder("x", b) {
		t.Fatalf("%+v", got.Lock)
	}
}

// coordination.md: else a late acquire is granted to nobody.
func TestCancelOfASeqThatWasNotExecutedYet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	a.ack = 1
	if got := r.want(r.apply(a.again(2, cancelCommand("x", 1))), OK); got.Lock.State != StateCancelled {
		t.Fatalf("%+v", got.Lock)
	}
	late := r.want(r.apply(a.again(1, acquireCommand("x", noLimit))), OK)
	if late.Lock.State != StateCancelled {
		t.Fatalf("%+v", late.Lock)
	}
	r.wantHolder("x", nil)
	r.want(r.apply(a.again(1, releaseCommand("x", 1))), CodeRequestReused)
	// A seq beyond the window can't be marked, so the cancel stays outstanding.
	r.want(r.apply(a.again(3, cancelCommand("x", 1+Window))), CodeWindowFull)
	a.ack = 3
	if got := r.want(r.apply(a.again(3, cancelCommand("x", 1+Window))), OK); got.Lock.State != StateCancelled {
		t.Fatalf("%+v", got.Lock)
	}
}

func TestCancelOfOtherThings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	a.ack = 1
	b.lock("x")
	r.want(a.do(acquireCommand("x", 0)), CodeLocked)    // 1
	r.want(a.do(releaseCommand("x", 1)), CodeNotHeld)   // 2
	ticket := a.queue("x", noLimit)                     // 3
	r.want(a.do(cancelCommand("x", 1)), OK)             // it was refused
	r.want(a.do(cancelCommand("x", 2)), CodeBadRequest) // it is no acquire
	r.want(a.do(cancelCommand("y", ticket)), CodeBadRequest)
	r.want(a.do(cancelCommand("x", 0)), CodeBadRequest)
	r.want(a.do(cancelCommand("x", a.seq+1)), CodeBadRequest) // itself
	a.ack = a.seq
	r.want(a.do(cancelCommand("x", 1)), OK) // below the floor, and it holds nothing
	if l, _ := r.m.Live().Lock("ns", "x"); l.Waiting != 1 {
		t.Fatalf("%+v", l)
	}
}

func TestReleaseNamesSessionAndFence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	r.want(a.do(releaseCommand("x", f+1)), CodeNotHeld)
	r.want(a.do(releaseCommand("y", f)), CodeNotHeld)
	r.want(a.do(releaseCommand("x", 0)), CodeNotHeld)
	got := r.want(b.do(releaseCommand("x", f)), CodeNotHeld)
	if got.Detail.Fence != f || got.Detail.Holder != "" {
		t.Fatalf("%+v", got.Detail)
	}
	r.wantHolder("x", a)
	a.release("x", f)
	r.want(a.do(releaseCommand("x", f)), CodeNotHeld)
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for _, name := range []string{"", "a\nb", "\x00", "a\x7f", "a\u0085b", "\xff", "a\xc3", strings.Repeat("n", MaxNameBytes+1)} {
		r.want(a.do(acquireCommand(name, 0)), CodeBadName)
		r.want(a.do(releaseCommand(name, 1)), CodeBadName)
		r.want(a.do(cancelCommand(name, 1)), CodeBadName)
		r.want(r.apply(forceCommand(name, 1, true)), CodeBadName)
	}
	for _, name := range []string{"a", "orders/42", "ä ö", "\u00a0", "🔒", "\ufffd", strings.Repeat("n", MaxNameBytes)} {
		a.lock(name)
	}
}

func TestOtherModesAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for _, mode := range []Mode{0, 4, 77} {
		c := acquireCommand("x", 0)
		c.Acquire.Mode = mode
		if got := r.want(a.do(c), CodeBadRequest); !strings.Contains(got.Detail.Text, "not supported by this version") {
			t.Fatal(got.Detail.Text)
		}
	}
	r.want(a.do(acquireCommand("x", -2)), CodeBadRequest)
	c := acquireCommand("x", 0)
	c.Acquire.Metadata = map[string]string{"k": strings.Repeat("v", MaxMetadataBytes)}
	r.want(a.do(c), CodeBadRequest)
}

func TestTicketQuotaPerSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	s, _ := r.m.sessions.Get(a.id)
	s.holds = MaxTicketsPerSession
	data, _ := EncodeCommands([]Command{a.fill(acquireCommand("x", 0))})
	res := r.m.Apply(Entry{Index: r.index + 1, Term: r.term, Time: int64(r.now), Command: true, Data: data})
	if res.Replies[0].Code != CodeQuota {
		t.Fatalf("%+v", res.Replies[0])
	}
}

func TestFenceCounterStopsBeforeItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	const limit = 1<<53 - 1 - 1<<30
	r.m.locks.SetCounters(limit-1, r.m.locks.Arrivals())
	if got := a.lock("y"); got != limit {
		t.Fatalf("fence %d", got)
	}
	r.want(a.do(acquireCommand("z", 0)), CodeInternal)
	r.want(a.do(acquireCommand("y", noLimit)), CodeInternal)
	r.want(r.apply(resumeCommand(a.id, "a", "r")), CodeInternal)
	a.release("x", f)
	if got := r.wantHolder("x", b); got != limit+1 { // what waits is still served
		t.Fatalf("fence %d", got)
	}
}

func TestLockListings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for _, n := range []string{"b/2", "a", "b/1", "b", "c"} {
		a.lock(n)
	}
	other := openCommand("o", time.Hour, "")
	other.Namespace = "ns2"
	id := r.want(r.apply(other), OK).Session.ID
	c := acquireCommand("b/1", 0)
	c.Namespace, c.Session, c.Secret, c.Seq = "ns2", id, secretOf("o"), 1
	r.want(r.apply(c), OK)
	names := func(ns, prefix, after string, limit int) (s string) {
		for _, l := range r.m.Live().Locks(ns, prefix, after, limit) {
			s += l.Namespace + ":" + l.Name + " "
		}
		return s
	}
	if got := names("ns", "", "", 0); got != "ns:a ns:b ns:b/1 ns:b/2 ns:c " {
		t.Error(got)
	}
	if got := names("ns", "b/", "", 1); got != "ns:b/1 " {
		t.Error(got)
	}
	if got := names("ns", "b/", "b/1", 9); got != "ns:b/2 " {
		t.Error(got)
	}
	if got := names("ns2", "", "", 9); got != "ns2:b/1 " {
		t.Error(got)
	}
	if l, held := r.m.Live().Lock("ns", "free"); held || len(l.Holders) != 0 || l.Name != "free" {
		t.Errorf("%+v", l)
	}
}
