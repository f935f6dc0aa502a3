package decide

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

type one struct{ id, commands, bytes int }

func (c one) Commands() int { return c.commands }
func (c one) Bytes() int    { return c.bytes }

var bounds = Bounds{Commands: 4, Bytes: 100, Entries: 2, Join: 100 * time.Millisecond}

func ids(calls []one) (ids []int) {
	for _, c := range calls {
		ids = append(ids, c.id)
	}
	return ids
}

func TestWhatWaitsIsTheNextEntry(t *testing.T) {
	t.Parallel()
	var j Joiner[one]
	for i := range 9 {
		j.Put(one{i, 1, 30}, false)
	}
	first, _ := j.Next(0, bounds)
	second, _ := j.Next(0, bounds)
	if !slices.Equal(ids(first), []int{0, 1, 2}) || !slices.Equal(ids(second), []int{3, 4, 5}) {
		t.Errorf("entries of %v and %v, want three calls of 30 bytes each", ids(first), ids(second))
	}
	if more, _ := j.Next(0, bounds); more != nil {
		t.Errorf("a third entry %v beside two that are under way", ids(more))
	}
	j.Left()
	if more, _ := j.Next(0, bounds); !slices.Equal(ids(more), []int{6, 7, 8}) {
		t.Errorf("then %v", ids(more))
	}
}

func TestACallThatIsTooBigForAnEntryHasItsOwn(t *testing.T) {
	t.Parallel()
	var j Joiner[one]
	j.Put(one{1, 9, 1000}, false)
	j.Put(one{2, 1, 1}, false)
	if got, _ := j.Next(0, bounds); !slices.Equal(ids(got), []int{1}) {
		t.Errorf("the entry has %v", ids(got))
	}
}

func TestEntriesKeepTheirBounds(t *testing.T) {
	t.Parallel()
	var j Joiner[one]
	for i, bytes := range []int{100, 100, 900, 50, 5000, 10} {
		j.Put(one{i, 1, bytes}, false)
	}
	var got []int
	for range 4 {
		calls, _ := j.Next(0, Bounds{Commands: 3, Bytes: 1000, Entries: 1})
		got = append(got, len(calls))
		j.Left()
	}
	if !slices.Equal(got, []int{2, 2, 1, 1}) {
		t.Errorf("entries of %v calls", got)
	}
}

func TestKeepalivesShareAnEntryAndGoFirst(t *testing.T) {
	t.Parallel()
	var j Joiner[one]
	j.Put(one{1, 1, 1}, true)
	if got, _ := j.Next(5, bounds); !slices.Equal(ids(got), []int{1}) {
		t.Errorf("a lone keepalive does not leave at once: %v", ids(got))
	}
	j.Put(one{2, 1, 1}, true)
	if got, again := j.Next(5+40*time.Millisecond, bounds); got != nil || again != 60*time.Millisecond {
		t.Errorf("%v leaves, look again in %v; want nothing and 60ms", ids(got), again)
	}
	j.Put(one{3, 1, 1}, true)
	j.Put(one{4, 1, 1}, false)
	if got, _ := j.Next(5+100*time.Millisecond, bounds); !slices.Equal(ids(got), []int{2, 3}) {
		t.Errorf("the entry has %v, want both keepalives", ids(got))
	}
	if got := j.Close(); !slices.Equal(ids(got), []int{4}) || j.Put(one{5, 1, 1}, false) {
		t.Errorf("left at the end: %v", ids(got))
	}
	if got, _ := j.Next(time.Hour, bounds); got != nil {
		t.Errorf("%v leaves after the end", ids(got))
	}
}

func TestATickIsProposedWhenSomethingIsDueAndOnlyWhileServing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		due, now         int64
		leading, serving bool
		propose          bool
		again            time.Duration
	}{
		{100, 50, true, true, false, 50},
		{100, 100, true, true, true, 0},
		{100, 200, true, true, true, 0},
		{100, 200, true, false, false, 0},
		{100, 200, false, true, false, 0},
		{NoDue, 200, true, true, false, 0},
	} {
		if p, again := Tick(c.due, c.now, c.leading, c.serving); p != c.propose || again != c.again {
			t.Errorf("%+v: %v, %v", c, p, again)
		}
	}
}

func TestALeaderWithoutNATSStopsTimeAndThenHandsOver(t *testing.T) {
	t.Parallel()
	var w Watch
	for i, c := range []struct {
		at               time.Duration
		healthy, serving bool
		want             Act
	}{
		{0, true, false, Serve}, {1, true, true, Nothing}, {2, false, true, Stop}, {3, false, false, HandOver},
		{4, false, false, Nothing}, {3 + HandOverPause, false, false, Nothing}, {4 + HandOverPause, false, false, HandOver}, {5 + HandOverPause, true, false, Serve},
	} {
		if got := w.Look(c.at, c.healthy, c.serving); got != c.want {
			t.Errorf("look %d: %d, want %d", i, got, c.want)
		}
	}
}

func TestANodeInDoubtStaysSilent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		leased bool
		want   Refusal
	}{
		{fmt.Errorf("propose: %w", raft.ErrBusy), true, Busy}, {raft.ErrTransferring, true, Busy}, {raft.ErrTooLarge, true, TooLarge},
		{raft.ErrBusy, false, Silence}, {raft.ErrNotLeader, true, Silence}, {errors.New("lost"), true, Silence},
	} {
		if got := Refuse(c.err, c.leased); got != c.want {
			t.Errorf("%v, leased %v: %d, want %d", c.err, c.leased, got, c.want)
		}
	}
}
