package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRepeatGetsTheStoredReply(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	f := a.lock("x")
	first := a.do(releaseCommand("x", f))
	r.open("b", time.Minute).lock("x")
	for range 3 {
		again := r.want(r.apply(a.again(a.seq, releaseCommand("x", f))), OK)
		if again.Lock.State != StateReleased || again.Index != first.Index {
			t.Fatalf("%+v, first %+v", again, first)
		}
	}
	if s, _ := r.holder("x"); s != 2 {
		t.Fatal("a repeated release freed the next holder's lock")
	}
	// Refusals are stored as well.
	r.want(a.do(releaseCommand("x", f)), CodeNotHeld)
	index := r.want(r.apply(a.again(a.seq, releaseCommand("x", f))), CodeNotHeld).Index
	if index != r.index-1 {
		t.Fatalf("index %d", index)
	}
	if d := r.m.Live().Counts().Duplicates; d != 4 {
		t.Fatalf("%d duplicates", d)
	}
}

func TestOnlyTheCommandIsComparedWithAStoredOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	a.ack = 1
	r.want(a.do(releaseCommand("x", 99)), CodeNotHeld)
	c := a.again(1, releaseCommand("x", 99))
	c.NotAfter, c.EventsSeen, c.Ack = 1, 5, 0 // late by now, and yet answered: it was executed in time
	r.want(r.apply(c), CodeNotHeld)
	r.want(r.apply(a.again(1, releaseCommand("x", 98))), CodeRequestReused)
	r.want(r.apply(a.again(1, releaseCommand("y", 99))), CodeRequestReused)
	r.want(r.apply(a.again(1, cancelCommand("x", 99))), CodeRequestReused)
	r.want(r.apply(a.again(1, Command{Kind: KindSessionClose})), CodeRequestReused)
	// A ticket is compared just so.
	a.lock("x")
	r.want(r.apply(a.again(2, acquireCommand("y", 0))), CodeRequestReused)
	r.want(r.apply(a.again(2, acquireCommand("x", time.Second))), CodeRequestReused)
	r.want(r.apply(a.again(2, acquireCommand("x", 0))), OK)
}

func TestBelowTheFloorIsStale(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	r.want(a.do(releaseCommand("x", 1)), CodeNotHeld)
	r.want(a.do(releaseCommand("x", 1)), CodeNotHeld) // without an ack, seq 2 acknowledges seq 1
	r.want(r.apply(a.again(1, releaseCommand("x", 1))), CodeRequestStale)
	// A keepalive's ack counts too.
	a.ack = 3
	a.keepalive()
	r.want(r.apply(a.again(2, releaseCommand("x", 1))), CodeRequestStale)
	// An older ack that comes late moves nothing back.
	a.ack = 1
	r.want(r.apply(a.again(2, releaseCommand("x", 1))), CodeRequestStale)
	r.want(a.do(releaseCommand("x", 1)), CodeNotHeld)
}

func TestWindowIsFullAtFloorPlus1024(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	a.ack = 5
	r.want(r.apply(a.again(5+Window-1, releaseCommand("x", 1))), CodeNotHeld)
	r.want(r.apply(a.again(5+Window, releaseCommand("x", 1))), CodeWindowFull)
	r.want(r.apply(a.again(1<<63, releaseCommand("x", 1))), CodeWindowFull)
	a.ack = 6
	r.want(r.apply(a.again(5+Window, releaseCommand("x", 1))), CodeNotHeld) // the refusal wasn't stored
}

func TestSeqsComeInAnyOrderInTheWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	a.ack = 1
	order := []uint64{7, 3, 1024, 1, 2, 500, 6, 5, 4}
	for _, seq := range order {
		r.want(r.apply(a.again(seq, releaseCommand("x", seq))), CodeNotHeld)
	}
	for _, seq := range order {
		r.want(r.apply(a.again(seq, releaseCommand("x", seq))), CodeNotHeld)
		r.want(r.apply(a.again(seq, releaseCommand("x", seq+1))), CodeRequestReused)
	}
	a.ack = 5
	a.keepalive()
	r.want(r.apply(a.again(4, releaseCommand("x", 4))), CodeRequestStale)
	r.want(r.apply(a.again(5, releaseCommand("x", 6))), CodeRequestReused)
}

func TestRequestsNeedASeq(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for _, c := range []Command{acquireCommand("x", 0), releaseCommand("x", 1), cancelCommand("x", 1), createCommand("s", SeqCreate{})} {
		r.want(r.apply(a.again(0, c)), CodeBadRequest)
	}
}

func TestNotAfterIsCheckedAtApplyAndStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	c := a.fill(acquireCommand("x", 0))
	c.NotAfter = int64(r.now)
	r.pass(1)
	r.want(r.apply(c), CodeDeadline)
	r.wantHolder("x", nil)
	c.NotAfter = int64(r.now + time.Hour) // a repeat that allows more time
	r.want(r.apply(c), CodeDeadline)
	c = a.fill(acquireCommand("x", 0))
	c.NotAfter = int64(r.now) // not past it
	r.want(r.apply(c), OK)
	for _, c := range []Command{openCommand("b", time.Minute, ""), a.keepaliveCommand(), resumeCommand(a.id, "a", "r"),
		a.again(0, Command{Kind: KindSessionClose}), forceCommand("x", 1, true), allocCommand("s", 1, 0)} {
		c.NotAfter, c.Namespace = 1, "ns"
		r.want(r.apply(c), CodeDeadline)
	}
}

func TestRefusedRequestsChangeNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	a.ack = 1
	r.want(a.do(releaseCommand("x", 1)), CodeNotHeld)
	c := a.again(2, acquireCommand("x", 0))
	c.Generation, c.Ack = 9, 2
	r.want(r.apply(c), CodeSessionExpired)
	r.want(r.apply(a.again(1, releaseCommand("x", 1))), CodeNotHeld) // its ack didn't count
}

// coordination.md: one goroutine that waits an hour must not block its whole process.
func TestTicketLivesOutsideTheReplyCache(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 24*time.Hour), r.open("b", 24*time.Hour)
	f := a.lock("x")
	ticket := b.queue("x", noLimit)
	for range 3 * Window {
		b.seq++
	}
	b.lock("y") // the window has moved on, acknowledging QUEUED
	got := r.want(r.apply(b.again(ticket, acquireCommand("x", noLimit))), OK)
	if got.Lock.State != StateQueued || got.Lock.Position != 1 {
		t.Fatalf("%+v", got.Lock)
	}
	a.release("x", f)
	got = r.want(r.apply(b.again(ticket, acquireCommand("x", noLimit))), OK)
	if got.Lock.State != StateGranted || got.Lock.Fence != r.wantHolder("x", b) {
		t.Fatalf("%+v", got.Lock)
	}
	r.want(r.apply(b.again(ticket, acquireCommand("y", noLimit))), CodeRequestReused)
}

func TestTicketShowsItsEndUntilThatIsAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	a.ack = a.seq + 1 // the acquire is acknowledged, the release below isn't
	a.release("x", f)
	got := r.want(r.apply(a.again(1, acquireCommand("x", 0))), CodeNotHeld)
	if got.Detail.Fence != f {
		t.Fatalf("%+v", got.Detail)
	}
	a.ack = 0
	b.lock("x")
	r.want(a.do(acquireCommand("x", 0)), CodeLocked) // acknowledges the release
	r.want(r.apply(a.again(1, acquireCommand("x", 0))), CodeRequestStale)

	// A wait that ends by itself is acknowledged by its event.
	ticket := a.queue("x", time.Second)
	r.pass(time.Second).tick()
	r.wantEvents("1:timed-out:x")
	told := r.last.Events[0].Seq
	r.want(a.do(acquireCommand("x", 0)), CodeLocked)
	r.want(r.apply(a.again(ticket, acquireCommand("x", time.Second))), CodeWaitTimeout)
	if w := a.keepalive().Waits; !cmp.Equal(w, []Wait{{Name: "x", Seq: ticket, State: TicketTimedOut}}) {
		t.Fatalf("waits %+v", w)
	}
	a.events = told
	if w := a.keepalive().Waits; len(w) != 0 {
		t.Fatalf("waits %+v", w)
	}
	r.want(r.apply(a.again(ticket, acquireCommand("x", time.Second))), CodeRequestStale)
}

// An event may be seen before the answer of the acquire: then the ticket must outlive its event, or a
// repeat would be executed again.
func TestTicketIsNotForgottenAboveTheFloor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.lock("x")
	b.ack = 1
	ticket := b.queue("x", time.Second)
	r.pass(time.Second).tick()
	b.events = r.last.Events[0].Seq
	b.keepalive()
	a.release("x", f)
	r.want(r.apply(b.again(ticket, acquireCommand("x", time.Second))), CodeWaitTimeout)
	r.wantHolder("x", nil)
}

func TestEventsSeenBeyondTheLastEventCountForNothingLater(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	a.lock("x")
	b.events = 1 << 60
	ticket := b.queue("x", time.Second)
	b.ack = ticket + 1
	b.keepalive()
	b.events = 0
	r.pass(time.Second).tick()
	r.want(r.apply(b.again(ticket, acquireCommand("x", time.Second))), CodeWaitTimeout)
}

func TestEndsThatNobodyAcknowledgesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 24*time.Hour), r.open("b", 24*time.Hour)
	a.lock("x")
	const n = 3
	for range MaxEndedTickets + n {
		// Entries straight to the machine: checking the state after each of them would take long.
		data, err := EncodeCommands([]Command{b.fill(acquireCommand("x", 1))})
		if err != nil {
			t.Fatal(err)
		}
		r.index++
		r.now++
		r.m.Apply(Entry{Index: r.index, Term: r.term, Time: int64(r.now), Command: true, Data: data})
	}
	r.told[b.id] = MaxEndedTickets + n - 1 // the last one is told by the next entry
	r.pass(1).tick()
	if got := len(b.keepalive().Waits); got != MaxEndedTickets {
		t.Fatalf("%d ends are kept", got)
	}
	b.ack = b.seq + 1
	b.keepalive()
	r.want(r.apply(b.again(n, acquireCommand("x", 1))), CodeRequestStale)
	r.want(r.apply(b.again(n+1, acquireCommand("x", 1))), CodeWaitTimeout)
}

func TestOneFailureInABatchStopsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	a.ack = 1
	res := r.entry(a.fill(acquireCommand("x", 0)), a.fill(acquireCommand("", 0)), a.fill(acquireCommand("x", 0)), a.fill(acquireCommand("y", 0)))
	for i, code := range []Code{OK, CodeBadName, CodeLocked, OK} {
		r.want(res.Replies[i], code)
	}
}

func TestReplyCacheSharesNothingThatChanges(t *testing.T) {
	t.Parallel()
	// Each cache is changed once, and all older ones must stay as they were.
	var all []replyCache
	var want []string
	show := func(rc replyCache) string {
		s := ""
		for _, st := range rc {
			s += fmt.Sprint(st.seq, " ")
		}
		return s
	}
	rc := replyCache(nil)
	floor := uint64(0)
	for i := uint64(1); i < 400; i++ {
		seq := i*2 + 2*(i%3)*(i%2) // not quite in order
		if rc.find(seq) == nil && seq >= floor {
			rc = rc.with(&stored{seq: seq})
		}
		if i%5 == 0 {
			floor = i
			rc = rc.from(floor)
		}
		all, want = append(all, rc), append(want, show(rc))
	}
	for i := range all {
		if got := show(all[i]); got != want[i] {
			t.Fatalf("cache %d was %s and is %s", i, want[i], got)
		}
		for j := 1; j < len(all[i]); j++ {
			if all[i][j-1].seq >= all[i][j].seq {
				t.Fatalf("cache %d is out of order: %s", i, want[i])
			}
		}
	}
}
