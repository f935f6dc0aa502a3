package machine

import (
	"math"
	"testing"
	"time"
)

func createCommand(name string, s SeqCreate) Command {
	return Command{Kind: KindSeqCreate, Name: name, Create: &s}
}

func allocCommand(name string, count, atLeast int64) Command {
	return Command{Kind: KindSeqAlloc, Name: name, Alloc: &SeqAlloc{Count: count, MinCount: atLeast}}
}

func advanceCommand(name string, to int64) Command {
	return Command{Kind: KindSeqAdvance, Name: name, Advance: &SeqAdvance{To: to}}
}

func TestSequenceDefaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	got := *r.want(a.do(createCommand("s", SeqCreate{})), OK).Seq
	want := SeqInfo{Name: "s", SequenceID: 1, Generation: 1, Next: 1, Remaining: math.MaxInt64, Min: 1, Max: math.MaxInt64, Step: 1, Start: 1,
		MaxRange: 1_000_000}
	if got != want {
		t.Fatalf("%+v", got)
	}
	got = *r.want(a.do(createCommand("zero", SeqCreate{HasMin: true, HasMax: true, Min: -5})), OK).Seq
	if got.Min != -5 || got.Max != 0 || got.Start != -5 {
		t.Fatalf("%+v", got)
	}
	got = *r.want(a.do(createCommand("down", SeqCreate{Step: -1, Max: 10})), OK).Seq
	if got.Start != 10 {
		t.Fatalf("%+v", got)
	}
	r.want(a.do(createCommand("bad", SeqCreate{Min: 5, HasMin: true, Max: 4})), CodeBadRequest)
	r.want(a.do(createCommand("bad", SeqCreate{Start: 4, Max: 3})), CodeBadRequest)
	r.want(a.do(createCommand("bad", SeqCreate{MaxRange: -1})), CodeBadRequest)
	r.want(a.do(createCommand("a\nb", SeqCreate{})), CodeBadName)
}

func TestSequenceMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	r.want(a.do(createCommand("s", SeqCreate{Max: 100})), OK)
	r.want(a.do(allocCommand("s", 10, 0)), OK)
	if got := r.want(a.do(createCommand("s", SeqCreate{Max: 100, Step: 1})), OK).Seq; got.Next != 11 {
		t.Fatalf("%+v", got)
	}
	r.want(a.do(createCommand("s", SeqCreate{Max: 101})), CodeSeqConflict)
	r.want(a.do(createCommand("s", SeqCreate{Max: 100, Strict: true})), CodeSeqConflict)
	r.want(a.do(Command{Kind: KindSeqDelete, Name: "s"}), OK)
	r.want(a.do(Command{Kind: KindSeqDelete, Name: "s"}), CodeSeqNotFound)
	if got := r.want(a.do(createCommand("s", SeqCreate{Max: 101})), OK).Seq; got.SequenceID != 2 || got.Next != 1 {
		t.Fatalf("a deleted sequence came back: %+v", got)
	}
}

func TestAllocGivesDisjointRanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", time.Hour), r.open("b", time.Hour)
	r.want(a.do(createCommand("s", SeqCreate{})), OK)
	x := r.want(a.do(allocCommand("s", 100, 10)), OK)
	y := r.want(b.do(allocCommand("s", 50, 0)), OK)
	if *x.Range != (RangeReply{Lo: 1, Count: 100, Step: 1, SequenceID: 1, Generation: 1, Domain: 7}) || y.Range.Lo != 101 || y.Range.Count != 50 {
		t.Fatalf("%+v %+v", x.Range, y.Range)
	}
	again := r.want(r.apply(a.again(a.seq, allocCommand("s", 100, 10))), OK)
	if *again.Range != *x.Range || again.Index != x.Index {
		t.Fatalf("a repeat got %+v", again.Range)
	}
	r.want(r.apply(a.again(a.seq, allocCommand("s", 101, 10))), CodeRequestReused)
	if c := r.m.Live().Counts(); c.IDsAllocated != 150 || c.IDRanges != 2 || c.Sequences != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestAllocWithoutASession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	r.want(a.do(createCommand("s", SeqCreate{})), OK)
	c := allocCommand("s", 5, 0)
	c.Namespace = "ns"
	x, y := r.want(r.apply(c), OK).Range, r.want(r.apply(c), OK).Range
	if x.Lo != 1 || y.Lo != 6 {
		t.Fatalf("%+v %+v", x, y) // a repeat is a new range
	}
	c.Name = "none"
	r.want(r.apply(c), CodeSeqNotFound)
	c.Namespace = "?"
	r.want(r.apply(c), CodeBadName)
}

func TestAllocRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	r.want(a.do(allocCommand("none", 1, 0)), CodeSeqNotFound)
	r.want(a.do(advanceCommand("none", 1)), CodeSeqNotFound)
	r.want(a.do(createCommand("s", SeqCreate{Max: 10, MaxRange: 8})), OK)
	r.want(a.do(allocCommand("s", 9, 0)), CodeCountTooLarge)
	r.want(a.do(allocCommand("s", 0, 0)), CodeBadRequest)
	r.want(a.do(allocCommand("s", -1, 0)), CodeBadRequest)
	r.want(a.do(allocCommand("s", 2, 3)), CodeBadRequest)
	r.want(a.do(allocCommand("s", 8, 0)), OK)
	r.want(a.do(allocCommand("s", 3, 0)), CodeSeqExhausted)
	r.want(a.do(allocCommand("s", 2, 0)), OK)
	r.want(a.do(allocCommand("s", 1, 0)), CodeSeqExhausted)
	if got, _ := r.m.Live().Sequence("ns", "s"); !got.IsExhausted || got.Remaining != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestAdvanceOnlyGoesForward(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	r.want(a.do(createCommand("s", SeqCreate{Max: 100})), OK)
	if got := r.want(a.do(advanceCommand("s", 50)), OK).Seq; got.Next != 50 || got.Remaining != 51 {
		t.Fatalf("%+v", got)
	}
	r.want(a.do(advanceCommand("s", 50)), OK)
	r.want(a.do(advanceCommand("s", 49)), CodeSeqBackward)
	r.want(a.do(advanceCommand("s", 101)), CodeBadRequest)
	if got := r.want(a.do(allocCommand("s", 1, 0)), OK).Range; got.Lo != 50 {
		t.Fatalf("%+v", got)
	}
}

func TestDomainIsSetOnceAndNeededForRanges(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, m: New(), told: map[uint64]uint64{}}
	r.elect()
	for _, d := range []uint16{0, 1 << 15, 1<<16 - 1} {
		r.want(r.apply(Command{Kind: KindInit, Init: &Init{Domain: d}}), CodeBadRequest)
	}
	a := r.open("a", time.Hour)
	r.want(a.do(createCommand("s", SeqCreate{})), OK)
	r.want(a.do(allocCommand("s", 1, 0)), CodeInternal)
	r.want(r.apply(Command{Kind: KindInit, Init: &Init{Domain: 1<<15 - 1}}), OK)
	r.want(r.apply(Command{Kind: KindInit, Init: &Init{Domain: 5}}), OK)
	if got := r.want(a.do(allocCommand("s", 1, 0)), OK).Range.Domain; got != 1<<15-1 || r.m.Live().Domain() != got {
		t.Fatalf("domain %d", got)
	}
}

func TestSequenceListings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	for _, n := range []string{"b/2", "a", "b/1", "b/3", "c"} {
		r.want(a.do(createCommand(n, SeqCreate{Max: 4})), OK)
	}
	names := func(prefix, after string, limit int) (s string) {
		for _, q := range r.m.Live().Sequences("ns", prefix, after, limit) {
			s += q.Name + " "
		}
		return s
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 0, "a b/1 b/2 b/3 c "}, {"b/", "", 0, "b/1 b/2 b/3 "}, {"b/", "b/1", 1, "b/2 "}, {"", "b/3", 5, "c "}, {"", "b/25", 5, "b/3 c "},
		{"b/", "c", 5, ""}, {"b/", "a", 5, "b/1 b/2 b/3 "}, {"x", "", 5, ""},
	} {
		if got := names(c.prefix, c.after, c.limit); got != c.want {
			t.Errorf("prefix %q after %q limit %d: %q, want %q", c.prefix, c.after, c.limit, got, c.want)
		}
	}
	if got := r.m.Live().LowestRemainingRatio(); got != 1 {
		t.Errorf("ratio %g", got)
	}
	r.want(a.do(allocCommand("a", 3, 0)), OK)
	if got := r.m.Live().LowestRemainingRatio(); got != 0.25 {
		t.Errorf("ratio %g", got)
	}
}

func TestSequenceQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.open("a", time.Hour)
	r.m.space("ns").seqs = MaxSequencesPerNamespace
	data, _ := EncodeCommands([]Command{a.fill(createCommand("s", SeqCreate{}))})
	res := r.m.Apply(Entry{Index: r.index + 1, Term: r.term, Time: int64(r.now), Command: true, Data: data})
	if res.Replies[0].Code != CodeQuota {
		t.Fatalf("%+v", res.Replies[0])
	}
}
