package machine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// want is an acquire with everything that it can have.
type want struct {
	mode      Mode
	wait      time.Duration
	count     uint64
	limit     uint64
	delay     time.Duration
	maxHold   time.Duration
	reentrant bool
	holding   []uint64
	value     string
}

func (w want) of(name string) Command {
	a := &Acquire{Mode: max(w.mode, Exclusive), Wait: int64(w.wait), Count: w.count, Limit: w.limit, Delay: int64(w.delay),
		MaxHold: int64(w.maxHold), Reentrant: w.reentrant, Holding: w.holding}
	if w.value != "" {
		a.Value = []byte(w.value)
	}
	return Command{Kind: KindLockAcquire, Name: name, Acquire: a}
}

func allCommand(wait time.Duration, names ...string) Command {
	return Command{Kind: KindLockAcquireAll, AcquireAll: &AcquireAll{Names: names, Wait: int64(wait)}}
}

func handOverCommand(name string, fence, to uint64) Command {
	return Command{Kind: KindLockHandOver, Name: name, HandOver: &HandOver{Fence: fence, To: to}}
}

func proclaimCommand(name string, fence uint64, value string) Command {
	return Command{Kind: KindElectionProclaim, Name: name, Proclaim: &Proclaim{Fence: fence, Value: []byte(value)}}
}

func barrierCommand(name string, parties uint64, wait time.Duration) Command {
	return Command{Kind: KindBarrierWait, Name: name, BarrierWait: &BarrierWait{Parties: parties, Wait: int64(wait)}}
}

func latchSetCommand(name string, count uint64) Command {
	return Command{Kind: KindLatchSet, Name: name, LatchSet: &LatchSet{Count: count}}
}

func countDownCommand(name string, n uint64) Command {
	return Command{Kind: KindLatchCountDown, Name: name, LatchCountDown: &LatchCountDown{N: n}}
}

func latchWaitCommand(name string, wait time.Duration) Command {
	return Command{Kind: KindLatchWait, Name: name, LatchWait: &LatchWait{Wait: int64(wait)}}
}

// got acquires what is free and returns the fence.
func (p *peer) got(name string, w want) uint64 {
	p.r.t.Helper()
	got := p.r.want(p.do(w.of(name)), OK)
	if got.Lock.State != StateGranted {
		p.r.t.Fatalf("state %d, want granted", got.Lock.State)
	}
	return got.Lock.Fence
}

// waits queues for what is not free and returns the ticket.
func (p *peer) waits(c Command) uint64 {
	p.r.t.Helper()
	got := p.r.want(p.do(c), OK)
	if got.Lock.State != StateQueued {
		p.r.t.Fatalf("state %d, want queued", got.Lock.State)
	}
	return p.seq
}

// holders returns the sessions that hold a lock, by fence, delayed holds with a minus.
func (r *rig) holders(name string) (ids []int) {
	l, _ := r.m.Live().Lock("ns", name)
	for _, h := range l.Holders {
		id := int(h.Session)
		if h.Delayed {
			id = -id
		}
		ids = append(ids, id)
	}
	return ids
}

func (r *rig) wantHolders(name string, ids ...int) {
	r.t.Helper()
	if got := r.holders(name); !slices.Equal(got, ids) {
		r.t.Fatalf("%s is held by %v, want %v", name, got, ids)
	}
}

func TestReadersShareAndAWaitingWriterStopsLaterOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c, d := r.open("a", time.Minute), r.open("b", time.Minute), r.open("c", time.Minute), r.open("d", time.Minute)
	fa, fb := a.got("x", want{mode: Shared}), b.got("x", want{mode: Shared})
	r.wantHolders("x", 1, 2)
	c.waits(want{wait: noLimit}.of("x"))
	r.want(d.do(want{mode: Shared}.of("x")), CodeLocked)
	d.waits(want{mode: Shared, wait: noLimit}.of("x"))
	a.release("x", fa)
	r.wantHolders("x", 2)
	b.release("x", fb)
	fc := r.wantHolder("x", c)
	r.wantEvents("3:granted:x")
	c.release("x", fc)
	r.wantHolders("x", 4)
}

// The readers behind a writer that gives up need not wait for the readers before it.
func TestReadersGetInWhenTheWriterBeforeThemLeaves(t *testing.T) {
	t.Parallel()
	for _, leave := range []func(r *rig, writer *peer, ticket uint64){
		func(r *rig, w *peer, ticket uint64) { r.want(w.do(cancelCommand("x", ticket)), OK) },
		func(r *rig, w *peer, _ uint64) { r.want(w.do(Command{Kind: KindSessionClose}), OK) },
		func(r *rig, _ *peer, _ uint64) { r.pass(6 * time.Second).tick() },  // its wait ends
		func(r *rig, _ *peer, _ uint64) { r.pass(21 * time.Second).tick() }, // and its session as well
	} {
		r := newRig(t)
		a, w, c := r.open("a", time.Hour), r.open("w", 20*time.Second), r.open("c", time.Hour)
		a.got("x", want{mode: Shared})
		ticket := w.waits(want{wait: 5 * time.Second}.of("x"))
		c.waits(want{mode: Shared, wait: noLimit}.of("x"))
		leave(r, w, ticket)
		r.wantHolders("x", 1, 3)
	}
}

func TestSemaphoreGivesItsPermitsInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Minute), r.open("b", time.Minute), r.open("c", time.Minute)
	fa := a.got("s", want{mode: Semaphore, limit: 5, count: 3})
	b.waits(want{mode: Semaphore, limit: 5, count: 3, wait: noLimit}.of("s"))
	c.waits(want{mode: Semaphore, limit: 5, wait: noLimit}.of("s")) // one is free, and b comes first
	l, _ := r.m.Live().Lock("ns", "s")
	if l.Limit != 5 || l.InUse != 3 || l.Queue[0].Count != 3 || l.Queue[1].Count != 1 || l.Holders[0].Mode != Semaphore || l.Holders[0].Count != 3 {
		t.Fatalf("%+v", l)
	}
	a.release("s", fa)
	r.wantHolders("s", 2, 3)
	if l, _ := r.m.Live().Lock("ns", "s"); l.InUse != 4 {
		t.Fatalf("%+v", l)
	}
	got := r.want(a.do(want{mode: Semaphore, limit: 5, count: 2}.of("s")), CodeLocked)
	if !strings.Contains(got.Detail.Text, "4 of the semaphore's 5 permits are taken") {
		t.Fatal(got.Detail.Text)
	}
	for text, c := range map[string]Command{
		"limit of semaphore \"s\" is 5, not 6":     want{mode: Semaphore, limit: 6}.of("s"),
		"\"s\" is a semaphore with a limit of 5":   want{}.of("s"),
		"\"x\" is held or waited for as a lock":    want{mode: Semaphore, limit: 5}.of("x"),
		"is a semaphore with a limit of 5, not a ": allCommand(noLimit, "y", "s"),
	} {
		if c.Name == "x" {
			a.got("x", want{mode: Shared})
		}
		if got := r.want(a.do(c), CodeLimitMismatch); !strings.Contains(got.Detail.Text, text) {
			t.Errorf("%q, want %q", got.Detail.Text, text)
		}
	}
	if k := a.keepalive(); len(k.Holds) != 1 || k.Holds[0].Mode != Shared {
		t.Fatalf("%+v", k.Holds)
	}
	if k := b.keepalive(); len(k.Holds) != 1 || k.Holds[0].Mode != Semaphore || k.Holds[0].Count != 3 {
		t.Fatalf("%+v", k.Holds)
	}
}

func TestBadAcquiresOfEachMode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	for text, w := range map[string]want{
		"limit is 1 to 2147483647, not 0":          {mode: Semaphore},
		"limit is 1 to 2147483647, not 2147483648": {mode: Semaphore, limit: 1 << 31},
		"6 permits are more than the limit of 5":   {mode: Semaphore, limit: 5, count: 6},
		"a semaphore is not reentrant":             {mode: Semaphore, limit: 5, reentrant: true},
		"only a semaphore has a limit":             {mode: Shared, limit: 5},
		"acquired with a count":                    {count: 2},
		"a lock-delay is 0 to 24h":                 {delay: 24*time.Hour + 1},
		"a lock-delay is 0 to 24h, not -":          {delay: -1},
		"a max-hold is at least 1ms":               {maxHold: time.Millisecond - 1},
		"at most 64 fences":                        {holding: make([]uint64, 65)},
	} {
		if got := r.want(a.do(w.of("x")), CodeBadRequest); !strings.Contains(got.Detail.Text, text) {
			t.Errorf("%q, want %q", got.Detail.Text, text)
		}
	}
	r.want(a.do(want{value: strings.Repeat("v", MaxValueBytes+1)}.of("x")), CodeTooLarge)
	f := a.got("x", want{value: strings.Repeat("v", MaxValueBytes), count: 1, delay: 24 * time.Hour, maxHold: time.Millisecond, holding: make([]uint64, 64)})
	r.want(a.do(proclaimCommand("x", f, strings.Repeat("v", MaxValueBytes+1))), CodeTooLarge)
	names := make([]string, MaxNames+1)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		code  Code
		text  string
		names []string
	}{
		{CodeBadRequest, "1 to 256 names, not 0", nil}, {CodeBadRequest, "1 to 256 names, not 257", names},
		{CodeBadRequest, `the name "7" twice`, []string{"7", "8", "7"}}, {CodeBadName, "control", []string{"a", "\x00"}},
	} {
		if got := r.want(a.do(allCommand(0, c.names...)), c.code); !strings.Contains(got.Detail.Text, c.text) {
			t.Errorf("%q, want %q", got.Detail.Text, c.text)
		}
	}
	if got := r.want(a.do(allCommand(0, names[:MaxNames]...)), OK); len(got.Lock.Fences) != MaxNames {
		t.Fatalf("%d fences", len(got.Lock.Fences))
	}
}

func TestSeveralLocksAreGrantedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, c := r.open("a", time.Minute), r.open("b", time.Minute), r.open("c", time.Minute)
	fx, fy := a.lock("x"), a.lock("y")
	ticket := b.waits(allCommand(noLimit, "z", "y", "x"))
	r.wantHolders("z") // it holds nothing
	if l, there := r.m.Live().Lock("ns", "z"); !there || l.Delayed || l.Waiting != 1 || !slices.Equal(l.Queue[0].Names, []string{"z", "y", "x"}) {
		t.Fatalf("%+v", l)
	}
	c.waits(want{wait: noLimit}.of("z")) // and keeps its place
	a.release("x", fx)
	r.wantHolders("x")
	if k := b.keepalive(); len(k.Waits) != 1 || k.Waits[0].Position != 1 || len(k.Waits[0].Names) != 3 || k.Waits[0].Name != "z" {
		t.Fatalf("%+v", k.Waits)
	}
	a.release("y", fy)
	r.wantEvents("2:granted:z", "2:granted:y", "2:granted:x")
	again := r.want(r.apply(b.again(ticket, allCommand(noLimit, "z", "y", "x"))), OK)
	var fences []uint64
	for i, f := range again.Lock.Fences {
		if f.Name != []string{"z", "y", "x"}[i] || f.Fence != r.wantHolder(f.Name, b) {
			t.Fatalf("%+v", f)
		}
		fences = append(fences, f.Fence)
	}
	if !slices.Equal(fences, []uint64{fy + 1, fy + 2, fy + 3}) {
		t.Fatalf("fences %v", fences)
	}
	if got := r.want(b.do(cancelCommand("y", ticket)), OK); got.Lock.State != StateAlreadyGranted || got.Lock.Fence != fences[0] {
		t.Fatalf("%+v", got.Lock)
	}
	// Each is given back by itself.
	b.release("z", fences[0])
	r.wantHolder("z", c)
	if got := r.want(b.do(cancelCommand("z", ticket)), OK); got.Lock.State != StateAlreadyGranted {
		t.Fatalf("cancelled by the name that is given back already: %+v", got.Lock)
	}
	if k := b.keepalive(); len(k.Holds) != 2 || k.Holds[0].Name != "y" || k.Holds[1].Name != "x" || len(k.Waits) != 0 {
		t.Fatalf("%+v", k)
	}
	b.release("x", fences[2])
	if got := r.want(b.do(Command{Kind: KindSessionClose}), OK); got.Closed != 1 {
		t.Fatalf("%d released", got.Closed)
	}
	r.wantHolders("y")
}

func TestResumeRenewsEachFenceOfSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	before := r.want(a.do(Command{Kind: KindLockAcquireAll, AcquireAll: &AcquireAll{Names: []string{"x", "y"}, MaxHold: int64(30 * time.Second)}}), OK).Lock.Fences
	f := a.got("r", want{reentrant: true})
	a.got("r", want{reentrant: true, holding: []uint64{f}})
	s := r.want(r.apply(resumeCommand(a.id, "a", "n")), OK).Session
	if len(s.Holds) != 3 {
		t.Fatalf("%+v", s.Holds)
	}
	for i, h := range s.Holds {
		if h.Fence <= f || i < 2 && h.Fence == before[i].Fence {
			t.Fatalf("%+v", h)
		}
	}
	if s.Holds[0].Count != 1 || s.Holds[2].Count != 2 {
		t.Fatalf("entries: %+v", s.Holds) // the next owner has to give each back
	}
	if s.Holds[2].Fence != f+3 { // one for each hold, however often it was entered
		t.Fatalf("%+v", s.Holds[2])
	}
	r.pass(30 * time.Second).tick() // the max-hold goes on under the new fences
	r.wantEvents("1:lost:x", "1:lost:y")
	r.wantHolders("x")
	r.wantHolders("y")
}

func TestReentrantHoldsAreEnteredAndLeft(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Exclusive, Shared} {
		r := newRig(t)
		a, b := r.open("a", time.Minute), r.open("b", time.Minute)
		f := a.got("x", want{mode: mode, reentrant: true})
		a.ack = a.seq + 1 // its next request stays outstanding
		once := want{mode: mode, reentrant: true, holding: []uint64{999, f}}
		if got := a.got("x", once); got != f {
			t.Fatalf("fence %d, want %d", got, f)
		}
		if l, _ := r.m.Live().Lock("ns", "x"); len(l.Holders) != 1 || l.Holders[0].Count != 2 {
			t.Fatalf("entered twice, and shown as %+v", l.Holders)
		}
		seq := a.seq
		if got := r.want(r.apply(a.again(seq, once.of("x"))), OK); got.Lock.State != StateGranted || got.Lock.Fence != f {
			t.Fatalf("%+v", got.Lock)
		}
		if got := r.want(a.do(cancelCommand("x", seq-1)), OK); got.Lock.State != StateAlreadyGranted {
			t.Fatalf("%+v", got.Lock)
		}
		if got := r.want(a.do(cancelCommand("x", seq)), OK); got.Lock.State != StateAlreadyGranted || got.Lock.Fence != f {
			t.Fatalf("%+v", got.Lock)
		}
		b.waits(want{wait: noLimit}.of("x"))
		if got := r.want(a.do(releaseCommand("x", f)), OK); got.Lock.State != StateReleased || got.Lock.Entries != 1 {
			t.Fatalf("%+v", got.Lock)
		}
		r.wantHolders("x", 1)
		if got := r.want(a.do(releaseCommand("x", f)), OK); got.Lock.Entries != 0 {
			t.Fatalf("%+v", got.Lock)
		}
		fb := r.wantHolder("x", b)
		// The fence must be live, of this session and of this lock.
		r.want(a.do(want{mode: mode, reentrant: true, holding: []uint64{fb}}.of("x")), CodeLocked)
		r.want(b.do(want{reentrant: true, holding: []uint64{f}}.of("x")), CodeLocked)
	}
}

func TestSharedLocksAreNotUpgraded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Minute)
	f := a.got("x", want{mode: Shared})
	for _, w := range []want{{wait: noLimit, holding: []uint64{f}}, {reentrant: true, holding: []uint64{f}}} {
		if got := r.want(a.do(w.of("x")), CodeBadRequest); !strings.Contains(got.Detail.Text, "can't be upgraded: release it first") {
			t.Fatal(got.Detail.Text)
		}
	}
	a.waits(want{wait: noLimit}.of("x")) // without saying what it holds it waits for itself, as two goroutines do
}

func TestDeadlockAnswersWithTheCycle(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("worker-1", time.Minute), r.open("", time.Minute)
	fa, fb := a.lock("a"), b.lock("b")
	a.waits(want{wait: noLimit, holding: []uint64{fa}}.of("b"))
	got := r.want(b.do(want{wait: noLimit, holding: []uint64{fb}}.of("a")), CodeDeadlock)
	cycle := []string{fmt.Sprintf(`worker-1 holds "a" under fence %d and waits for "b"`, fa), fmt.Sprintf(`session 2 holds "b" under fence %d and waits for "a"`, fb)}
	if !slices.Equal(got.Detail.Cycle, cycle) {
		t.Fatalf("%q, want %q", got.Detail.Cycle, cycle)
	}
	if again := r.apply(b.again(b.seq, want{wait: noLimit, holding: []uint64{fb}}.of("a"))); !reflect.DeepEqual(again, got) {
		t.Fatalf("%+v, then %+v", got, again)
	}
	// What the session holds besides does not count: another goroutine may hold it.
	b.waits(want{wait: noLimit}.of("a"))
	a.release("a", fa)
	r.wantHolder("a", b)
}
