package machine

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestExpiredHoldWithLockDelayStaysInTheWay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	a.got("x", want{delay: 5 * time.Second})
	b.waits(want{wait: noLimit}.of("x"))
	r.pass(12 * time.Second).tick() // ended at 10 s
	r.wantHolders("x", -1)
	if l, _ := r.m.Live().Lock("ns", "x"); !l.Delayed || l.Until != int64(16*time.Second) {
		t.Fatalf("%+v", l)
	}
	if at, _ := r.m.NextDue(); at != int64(16*time.Second) {
		t.Fatalf("due at %d", at)
	}
	r.pass(2900 * time.Millisecond).tick()
	r.wantHolders("x", -1)
	r.pass(200 * time.Millisecond).tick()
	r.wantHolder("x", b)
}

// When nothing ended for so long that the delay is over too, nobody has to wait for it any more.
func TestLockDelayCountsFromTheEndAndNotFromTheCleanUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 10*time.Second), r.open("b", time.Hour)
	a.got("x", want{delay: 5 * time.Second})
	b.waits(want{wait: noLimit}.of("x"))
	r.pass(time.Minute).tick()
	r.wantHolder("x", b)
}

func TestLockDelayIsForExpiryAndForceOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", 10*time.Second)
	f := a.got("x", want{delay: time.Minute})
	a.release("x", f)
	r.wantHolders("x")
	a.got("x", want{delay: time.Minute})
	r.want(a.do(Command{Kind: KindSessionClose}), OK)
	r.wantHolders("x")

	b := r.open("b", 10*time.Second)
	f = b.got("x", want{delay: time.Minute})
	got := r.want(r.apply(forceCommand("x", f, false)), OK)
	if got.Lock.State != StateDelayed || got.Lock.Until != int64(r.now+time.Minute) { // later than the session's deadline
		t.Fatalf("%+v", got.Lock)
	}
	f = b.got("y", want{delay: 2 * time.Second})
	if got := r.want(r.apply(forceCommand("y", f, false)), OK); got.Lock.Until != int64(r.now+10*time.Second) { // the session's is later
		t.Fatalf("%+v", got.Lock)
	}
	f = b.got("z", want{delay: time.Minute})
	r.want(r.apply(forceCommand("z", f, true)), OK)
	r.wantHolders("z")
}

func TestMaxHoldEndsAHold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	got := r.want(a.do(want{maxHold: 3 * time.Second}.of("x")), OK)
	if got.Lock.Until != int64(r.now+3*time.Second) {
		t.Fatalf("%+v", got.Lock)
	}
	if k := a.keepalive(); k.Holds[0].Until != got.Lock.Until {
		t.Fatalf("%+v", k.Holds)
	}
	b.waits(want{wait: noLimit, maxHold: 2 * time.Second, delay: 4 * time.Second}.of("x"))
	r.pass(3*time.Second - 1).tick()
	r.wantHolder("x", a)
	r.pass(1).tick()
	r.wantHolder("x", b)
	r.wantEvents("1:lost:x", "2:granted:x")
	if e := r.last.Events[0]; e.Reason != "max_hold" || e.Fence != got.Lock.Fence || e.Until != int64(r.now) {
		t.Fatalf("%+v", e)
	}
	if e := r.last.Events[1]; e.Until != int64(r.now+2*time.Second) { // from its grant on
		t.Fatalf("%+v", e)
	}
	if got := r.want(r.apply(a.again(1, want{maxHold: 3 * time.Second}.of("x"))), CodeNotHeld); !strings.Contains(got.Detail.Text, "max_hold") {
		t.Fatal(got.Detail.Text)
	}
	r.pass(2 * time.Second).tick() // and the lock-delay comes after it
	r.wantHolders("x", -2)
	r.pass(4 * time.Second).tick()
	r.wantHolders("x")
}

func TestHandOverOutOfTurn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", time.Hour), r.open("chief", 10*time.Second)
	f := a.got("x", want{value: "a"})
	b.waits(want{wait: noLimit, value: "b"}.of("x"))
	r.want(c.do(handOverCommand("x", f, c.id)), CodeNotHeld) // it does not even wait
	c.waits(want{wait: noLimit, value: "c"}.of("x"))
	r.want(c.do(handOverCommand("x", f, b.id)), CodeBadRequest)
	for _, to := range []uint64{0, c.id} {
		if got := r.want(c.do(handOverCommand("x", f, to)), OK); got.Lock.State != StateAsked {
			t.Fatalf("%+v", got.Lock)
		}
	}
	if e := r.last.Events[0]; e.Kind != EventHandOverAsked || e.Session != a.id || e.Fence != f || !strings.Contains(e.Reason, "chief") {
		t.Fatalf("%+v", e)
	}
	r.want(a.do(handOverCommand("x", f, 77)), CodeNotFound)
	r.want(a.do(handOverCommand("x", f+5, c.id)), CodeNotHeld)
	got := r.want(a.do(handOverCommand("x", f, c.id)), OK)
	if fc := r.wantHolder("x", c); got.Lock.State != StateHandedOver || got.Lock.Fence != fc || fc <= f {
		t.Fatalf("%+v", got.Lock)
	}
	r.wantEvents("3:granted:x")
	if l, _ := r.m.Live().Lock("ns", "x"); string(l.Holders[0].Value) != "c" || l.Waiting != 1 {
		t.Fatalf("%+v", l)
	}
	if again := r.apply(a.again(a.seq, handOverCommand("x", f, c.id))); !reflect.DeepEqual(again, got) {
		t.Fatalf("%+v", again)
	}
	r.pass(10 * time.Second).tick() // the queue goes on as before
	r.wantHolder("x", b)
}

// A waiter that ends in the very entry of the hand-over is not there any more.
func TestNothingIsHandedToWhoHasEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", 10*time.Second)
	f := a.got("x", want{})
	b.waits(want{wait: noLimit}.of("x"))
	r.pass(10 * time.Second)
	r.want(a.do(handOverCommand("x", f, b.id)), CodeNotFound)
	r.wantHolder("x", a)
}

func TestProclaimSetsTheLeadersValue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	f := a.got("x", want{value: "first"})
	r.want(b.do(proclaimCommand("x", f, "b")), CodeNotHeld)
	r.want(a.do(proclaimCommand("x", f+1, "a")), CodeNotHeld)
	r.want(a.do(proclaimCommand("x", f, "second")), OK)
	if c := r.last.Changes; len(c) != 1 || c[0].Kind != TransitionProclaimed || string(c[0].Value) != "second" {
		t.Fatalf("%+v", c)
	}
	l, _ := r.m.Live().Lock("ns", "x")
	if h := l.Holders[0]; string(h.Value) != "second" || h.Fence != f {
		t.Fatalf("%+v", h)
	}
	r.want(r.apply(forceCommand("x", f, false)), OK)
	r.want(a.do(proclaimCommand("x", f, "third")), CodeNotHeld)
}

func TestBarrierLetsAllPassAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", time.Hour), r.open("c", time.Hour)
	a.lock("x") // has nothing to do with barrier x
	first, second := a.waits(barrierCommand("x", 3, noLimit)), b.waits(barrierCommand("x", 3, noLimit))
	if got := r.want(c.do(barrierCommand("x", 2, noLimit)), CodeLimitMismatch); !strings.Contains(got.Detail.Text, "3 parties, not for 2") {
		t.Fatal(got.Detail.Text)
	}
	c.ack = c.seq + 1
	got := r.want(c.do(barrierCommand("x", 3, 0)), OK)
	if got.Lock.State != StateGranted || got.Lock.Fence != 0 {
		t.Fatalf("%+v", got.Lock)
	}
	last := c.seq
	r.wantEvents("1:granted:x", "2:granted:x")
	for _, e := range r.last.Events {
		if e.Fence != 0 || e.Ticket == 0 {
			t.Fatalf("%+v", e)
		}
	}
	for p, seq := range map[*peer]uint64{a: first, b: second, c: last} {
		if got := r.want(r.apply(p.again(seq, barrierCommand("x", 3, map[bool]time.Duration{true: 0, false: noLimit}[p == c]))), OK); got.Lock.State != StateGranted {
			t.Fatalf("%+v", got.Lock)
		}
		if got := r.want(p.do(cancelCommand("x", seq)), OK); got.Lock.State != StateAlreadyGranted || got.Lock.Fence != 0 {
			t.Fatalf("%+v", got.Lock)
		}
	}
	// A ticket that passed is shown until the client has seen it.
	if k := a.keepalive(); len(k.Holds) != 1 || len(k.Waits) != 1 || k.Waits[0].State != TicketGranted || k.Waits[0].Seq != first {
		t.Fatalf("%+v %+v", k.Holds, k.Waits)
	}
	a.events, a.ack = r.told[a.id], a.seq+1
	if k := a.keepalive(); len(k.Waits) != 0 {
		t.Fatalf("%+v", k.Waits)
	}
	// The barrier begins anew.
	if c := r.m.Live().Counts(); c.Barriers != 0 {
		t.Fatalf("%+v", c)
	}
	r.want(a.do(barrierCommand("x", 2, 0)), CodeWaitTimeout)
	r.want(a.do(barrierCommand("x", 1, 0)), OK)
	r.want(a.do(barrierCommand("x", 0, 0)), CodeBadRequest)
	r.want(a.do(barrierCommand("x", MaxParties+1, 0)), CodeBadRequest)
	one := a.waits(barrierCommand("x", 2, noLimit)) // one session may bring several
	r.want(a.do(barrierCommand("x", 2, noLimit)), OK)
	r.wantEvents("1:granted:x")
	if r.last.Events[0].Ticket != one {
		t.Fatalf("%+v", r.last.Events)
	}
}

func TestTheDeadDoNotCountAtABarrier(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", 10*time.Second), r.open("b", time.Hour), r.open("c", time.Hour)
	a.waits(barrierCommand("x", 3, noLimit))
	b.waits(barrierCommand("x", 3, 20*time.Second))
	r.pass(10 * time.Second)
	c.waits(barrierCommand("x", 3, noLimit)) // in the entry that ends a
	ticket := c.seq
	r.pass(10 * time.Second).tick()
	r.wantEvents("2:timed-out:x")
	if got := r.want(r.apply(b.again(1, barrierCommand("x", 3, 20*time.Second))), CodeWaitTimeout); !strings.Contains(got.Detail.Text, "barrier") {
		t.Fatal(got.Detail.Text)
	}
	if got := r.want(c.do(cancelCommand("x", ticket)), OK); got.Lock.State != StateCancelled {
		t.Fatalf("%+v", got.Lock)
	}
	if n := r.m.Live().Counts().Barriers; n != 0 {
		t.Fatalf("%d barriers", n)
	}
}

func TestLatchOpensAtZero(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Hour), r.open("b", time.Hour), r.open("c", 10*time.Second)
	r.want(a.do(countDownCommand("l", 1)), CodeNotFound)
	b.waits(latchWaitCommand("l", noLimit)) // nobody has set it yet
	r.want(a.do(countDownCommand("l", 1)), CodeNotFound)
	if got := r.want(a.do(latchSetCommand("l", 3)), OK); got.Latch != 3 {
		t.Fatalf("%+v", got)
	}
	c.waits(latchWaitCommand("l", noLimit))
	r.want(a.do(latchWaitCommand("l", 0)), CodeWaitTimeout)
	if got := r.want(a.do(countDownCommand("l", 0)), OK); got.Latch != 2 {
		t.Fatalf("%+v", got)
	}
	if again := r.want(r.apply(a.again(a.seq, countDownCommand("l", 0))), OK); again.Latch != 2 {
		t.Fatalf("%+v", again)
	}
	r.pass(10 * time.Second) // ends c
	if got := r.want(a.do(countDownCommand("l", 7)), OK); got.Latch != 0 {
		t.Fatalf("%+v", got)
	}
	r.wantEvents("3:expired:", "2:granted:l")
	if got := r.want(a.do(latchWaitCommand("l", noLimit)), OK); got.Lock.State != StateGranted { // it stays open
		t.Fatalf("%+v", got.Lock)
	}
	r.want(a.do(latchSetCommand("l", 0)), OK) // and is forgotten
	if n := r.m.Live().Counts().Latches; n != 0 {
		t.Fatalf("%d latches", n)
	}
	ticket := a.waits(latchWaitCommand("l", noLimit))
	r.want(b.do(latchSetCommand("l", 0)), OK)
	r.wantEvents("1:granted:l")
	if k := a.keepalive(); len(k.Waits) != 1 || k.Waits[0].State != TicketGranted || k.Waits[0].Seq != ticket {
		t.Fatalf("%+v", k.Waits)
	}
}

func TestTimelineKeepsTheLastTransitions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", 10*time.Second)
	f := a.lock("x")
	b.queue("x", noLimit)
	a.release("x", f)
	r.want(r.apply(forceCommand("x", f+1, false)), OK)
	r.pass(10 * time.Second).tick()
	var got []string
	for _, k := range r.m.Live().Timeline("ns", "x") {
		got = append(got, fmt.Sprintf("%d %d %s %d %s", k.Number, k.Kind, k.Owner, k.Fence, k.Reason))
	}
	// b's session ends with its delay, so that its name is gone when the lock is free.
	want := []string{fmt.Sprintf("1 %d a %d ", TransitionGranted, f), fmt.Sprintf("2 %d b 0 ", TransitionQueued), fmt.Sprintf("3 %d a %d ", TransitionReleased, f),
		fmt.Sprintf("4 %d b %d ", TransitionGranted, f+1), fmt.Sprintf("5 %d b %d forced: ticket 4711", TransitionForced, f+1),
		fmt.Sprintf("6 %d b %d ", TransitionDelayed, f+1), fmt.Sprintf("7 %d  %d its delay ended", TransitionReleased, f+1)}
	if !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	for i := range 40 {
		v := r.m.View()
		before := v.Timeline("ns", "x")
		a.release("x", a.lock("x"))
		ts := r.m.Live().Timeline("ns", "x")
		if n := min(Transitions, 7+2*(i+1)); len(ts) != n || ts[n-1].Number != uint64(7+2*(i+1)) || ts[0].Number != ts[n-1].Number-uint64(n-1) {
			t.Fatalf("%d: %+v", i, ts)
		}
		if !reflect.DeepEqual(before, v.Timeline("ns", "x")) {
			t.Fatal("a view's timeline has changed")
		}
	}
	if c := r.last.Changes; len(c) != 1 || c[0].Namespace != "ns" || c[0].Name != "x" || c[0].Kind != TransitionReleased || c[0].Number != 87 || c[0].Index != r.index {
		t.Fatalf("%+v", c)
	}
}

func TestTimelinesOfTheLongestFreeLocksAreForgotten(t *testing.T) {
	t.Parallel()
	m := bigMachine(t, 0)
	p := openedBy(t, m, "p")
	var cs []Command
	apply := func() []Reply {
		t.Helper()
		data, err := EncodeCommandsAs(CommandVersion, cs)
		if err != nil {
			t.Fatal(err)
		}
		cs = cs[:0]
		return m.Apply(Entry{Index: m.index + 1, Term: 1, Time: 1, Command: true, Data: data}).Replies
	}
	use := func(from, n int) {
		for i := from; i < from+n; i++ {
			cs = append(cs, p.fill(acquireCommand(fmt.Sprint(i), 0)))
		}
		for i, r := range apply() {
			cs = append(cs, p.fill(releaseCommand(fmt.Sprint(from+i), r.Lock.Fence)))
		}
		apply()
	}
	const step = 512
	for from := 0; from < MaxFreeTimelines; from += step {
		use(from, step)
	}
	use(0, 1) // it is not the oldest one any more
	cs = append(cs, p.fill(acquireCommand("1", 0)))
	apply() // and this one is held, and does not count
	use(MaxFreeTimelines, 3)
	for name, n := range map[string]int{"0": 4, "1": 3, "2": 0, "3": 0, "4": 2, fmt.Sprint(MaxFreeTimelines + 2): 2} {
		if got := m.Live().Timeline("ns", name); len(got) != n {
			t.Errorf("%s has %d transitions, want %d", name, len(got), n)
		}
	}
	if err := m.check(); err != nil {
		t.Fatal(err)
	}
	again := restore(t, save(t, m.Live()))
	if again.Live().Hash() != m.Live().Hash() {
		t.Fatal("the order of the free ones is lost in a snapshot")
	}
	if again.unheld.first.key != m.unheld.first.key || m.unheld.n != MaxFreeTimelines {
		t.Fatalf("%q, %q, %d", again.unheld.first.key, m.unheld.first.key, m.unheld.n)
	}
}

// openedBy opens a session in an entry of its own.
func openedBy(t *testing.T, m *Machine, owner string) *peer {
	t.Helper()
	data, err := EncodeCommandsAs(CommandVersion, []Command{openCommand(owner, time.Hour, "")})
	if err != nil {
		t.Fatal(err)
	}
	res := m.Apply(Entry{Index: m.index + 1, Term: 1, Time: 1, Command: true, Data: data})
	return &peer{owner: owner, id: res.Replies[0].Session.ID}
}

func TestQuotasOfNamespaces(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct {
		set func(*space)
		do  Command
	}{
		"namespace ns has 2000000 holds":   {func(s *space) { s.holds = MaxHoldsPerNamespace }, want{}.of("x")},
		"namespace ns has 1999999 holds":   {func(s *space) { s.holds = MaxHoldsPerNamespace - 1 }, allCommand(0, "x", "y")},
		"namespace ns has 1000000 waiters": {func(s *space) { s.waiters = MaxWaitersPerNamespace }, barrierCommand("x", 2, noLimit)},
		"has 10000 barriers and latches":   {func(s *space) { s.gates = MaxGatesPerNamespace }, latchSetCommand("x", 2)},
		"ns has 10000 barriers and latch":  {func(s *space) { s.gates = MaxGatesPerNamespace }, latchWaitCommand("x", noLimit)},
		"namespace ns has 10000 barriers":  {func(s *space) { s.gates = MaxGatesPerNamespace }, barrierCommand("x", 2, noLimit)},
	} {
		r := newRig(t)
		a := r.open("a", time.Hour)
		c.set(r.m.space("ns"))
		data, _ := EncodeCommandsAs(CommandVersion, []Command{a.fill(c.do)})
		got := r.m.Apply(Entry{Index: r.index + 1, Term: r.term, Time: int64(r.now), Command: true, Data: data}).Replies[0]
		if got.Code != CodeQuota || !strings.Contains(got.Detail.Text, text) {
			t.Errorf("%s %+v, want %q", got.Code, got.Detail, text)
		}
	}
}

func TestSessionsAreListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("job/1", time.Minute), r.open("other", time.Minute), r.open("job/2", time.Minute)
	a.lock("x")
	r.want(c.do(allCommand(noLimit, "x", "y")), OK)
	list := r.m.Live().Sessions("ns", "job/", 0, 0)
	if len(list) != 2 || list[0].ID != a.id || list[0].Holds != 1 || list[1].ID != c.id || list[1].Waits != 2 || list[1].Owner != "job/2" {
		t.Fatalf("%+v", list)
	}
	if list := r.m.Live().Sessions("ns", "", a.id, 1); len(list) != 1 || list[0].ID != b.id {
		t.Fatalf("%+v", list)
	}
	for _, list := range [][]SessionInfo{r.m.Live().Sessions("other", "", 0, 0), r.m.Live().Sessions("ns", "", math.MaxUint64, 0)} {
		if len(list) != 0 {
			t.Fatalf("%+v", list)
		}
	}
}
