package machine

import (
	"strings"
	"testing"
	"time"
)

// coordination.md: else somebody is granted the lock beside a holder that still believes in its hold.
func TestForcedReleaseDelaysUntilTheSessionsDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	until := r.now + 10*time.Second
	r.pass(3 * time.Second)
	got := r.want(r.apply(forceCommand("x", f, false)), OK)
	if got.Lock.State != StateDelayed || got.Lock.Until != int64(until) {
		t.Fatalf("%+v", got.Lock)
	}
	r.wantEvents("1:lost:x")
	if ev := r.last.Events[0]; ev.Fence != f || ev.Reason != "forced: ticket 4711" || ev.Until != int64(until) || ev.Ticket != 1 {
		t.Fatalf("%+v", ev)
	}
	l, _ := r.m.Live().Lock("ns", "x")
	if !l.Delayed || l.Until != int64(until) || !l.Holders[0].Delayed || l.Holders[0].Deadline != int64(until) || l.Holders[0].Owner != "a" {
		t.Fatalf("%+v", l)
	}
	if holds := a.keepalive().Holds; len(holds) != 0 { // renews the session, and not the delay
		t.Fatalf("%+v", holds)
	}
	// It blocks, and says so.
	if d := r.want(r.open("c", time.Hour).do(acquireCommand("x", 0)), CodeLocked).Detail; d.ExpiresIn != int64(7*time.Second) || d.Fence != f {
		t.Fatalf("%+v", d)
	}
	// Asked again, it tells the same and does nothing.
	if got := r.want(r.apply(forceCommand("x", f, false)), OK); got.Lock.State != StateDelayed || got.Lock.Until != int64(until) || len(r.last.Events) != 0 {
		t.Fatalf("%+v", got.Lock)
	}
	r.pass(7*time.Second - 1).tick()
	r.wantHolder("x", a)
	r.pass(1).tick()
	r.wantHolder("x", b)
	r.wantEvents("2:granted:x")
	if n := r.m.Live().Counts().Forced; n != 1 {
		t.Fatalf("%d forced", n)
	}
}

func TestForcedReleaseNowHandsTheLockOnAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	got := r.want(r.apply(forceCommand("x", f, true)), OK)
	if got.Lock.State != StateReleased || got.Lock.Until != 0 {
		t.Fatalf("%+v", got.Lock)
	}
	r.wantEvents("1:lost:x", "2:granted:x")
	r.wantHolder("x", b)
	r.want(a.do(releaseCommand("x", f)), CodeNotHeld)
}

// coordination.md: by name, its repeat would free the successor.
func TestForcedReleaseNamesTheFenceThatWasSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	r.want(r.apply(forceCommand("x", f, true)), OK)
	r.want(r.apply(forceCommand("x", f, true)), CodeNotHeld)
	r.want(r.apply(forceCommand("x", f, false)), CodeNotHeld)
	r.wantHolder("x", b)
}

func TestADelayedHoldCanBeForcedNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	r.want(r.apply(forceCommand("x", f, false)), OK)
	r.want(r.apply(forceCommand("x", f, true)), OK)
	r.wantEvents("2:granted:x")
	r.wantHolder("x", b)
	if n := r.m.Live().Counts().Forced; n != 1 {
		t.Fatalf("%d forced", n)
	}
}

func TestADelayedHoldEndsWhenItsSessionReleasesIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	r.want(r.apply(forceCommand("x", f, false)), OK)
	r.want(b.do(releaseCommand("x", f)), CodeNotHeld)
	a.release("x", f)
	r.wantHolder("x", b)
}

// The delay protects from the process that held the lock, so it outlives that process's session.
func TestADelayedHoldOutlivesItsSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Minute), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", noLimit)
	r.want(r.apply(forceCommand("x", f, false)), OK)
	r.want(a.do(Command{Kind: KindSessionClose}), OK)
	r.wantHolder("x", a)
	r.pass(time.Minute).tick()
	r.wantHolder("x", b)
}

func TestADelayEndsWithTheSessionThatNobodyRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Minute), r.open("b", time.Hour)
	f := a.lock("x")
	b.queue("x", time.Minute) // at the same instant its wait ends: too late
	r.pass(time.Nanosecond)
	b.queue("x", time.Minute)
	r.want(r.apply(forceCommand("x", f, false)), OK)
	r.pass(time.Minute - time.Nanosecond).tick()
	r.wantEvents("2:timed-out:x", "1:expired:", "2:granted:x")
	r.wantHolder("x", b)
}

func TestForcedReleaseDoesNotReachAResumedHold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	f := a.lock("x")
	r.want(r.apply(resumeCommand(a.id, "a", "r")), OK)
	r.want(r.apply(forceCommand("x", f, true)), CodeNotHeld)
	r.wantHolder("x", a)
}

func TestResumeLeavesADelayedHoldAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	f := a.lock("x")
	r.want(r.apply(forceCommand("x", f, false)), OK)
	if got := r.want(r.apply(resumeCommand(a.id, "a", "r")), OK).Session; len(got.Holds) != 0 {
		t.Fatalf("%+v", got.Holds)
	}
	if _, g := r.holder("x"); g != f {
		t.Fatalf("fence %d", g)
	}
}

func TestForcedReleaseChecksItsReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.open("a", time.Hour).lock("x")
	c := forceCommand("x", f, true)
	c.Force.Reason = strings.Repeat("r", MaxReasonBytes+1)
	r.want(r.apply(c), CodeBadRequest)
	c.Force.Reason = "\xff"
	r.want(r.apply(c), CodeBadRequest)
	c.Force.Reason = ""
	r.want(r.apply(c), OK)
	if got := r.last.Events[0].Reason; got != "forced" {
		t.Fatalf("reason %q", got)
	}
}
