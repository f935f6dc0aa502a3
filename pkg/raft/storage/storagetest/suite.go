package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Opener opens one store; it is called again only after the log that it returned was closed.
type Opener func(t testing.TB) storage.Log

// Run runs the whole suite; fresh makes a new, empty store.
func Run(t *testing.T, fresh func(t testing.TB) Opener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"a new log is empty", empty},
		{"entries come back as they were", comeBack},
		{"every kind of payload, every kind of reader", payloads},
		{"empty entries", emptyEntries},
		{"entries larger than a block", largeEntries},
		{"term and vote survive reopening", hardState},
		{"reopen sees only committed", reopenCommitted},
		{"the commit index may be stored late", lazyCommit},
		{"overwrite truncates", truncates},
		{"cutting alone truncates", cutsAlone},
		{"truncated terms and configurations roll back", rollsBack},
		{"committed overwrite refused", committed},
		{"batches that do not follow are refused", refused},
		{"a batch larger than a transaction", large},
		{"reads are bounded", bounded},
		{"reads beside appends see one log", besides},
		{"closing twice, and using it afterwards", closed},
		{"the incarnation stays", incarnation},
		{"positions are the chain", positions},
		{"bytes are counted", bytesCounted},
		{"snapshot then entries", snapshotThenEntries},
		{"a snapshot takes the place of the log", installs},
		{"snapshots that contradict the log are refused", installsRefused},
		{"compacting removes the front", compacts},
		{"compacting too much is refused", compactsRefused},
		{"compacting keeps the cluster, not the configurations", compactsConfigs},
		{"compacting beside appends and reads", compactsBesides},
		{"it does what a model does", model},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, fresh(t))
		})
	}
}

func reopen(t testing.TB, open Opener, l storage.Log) storage.Log {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t)
}

func hs(term uint64, vote raft.MemberID, commit uint64) raft.HardState {
	return raft.HardState{Term: term, Vote: vote, Commit: commit}
}

func empty(t *testing.T, open Opener) {
	l := open(t)
	for range 2 {
		got := l.State()
		got.Incarnation = raft.Incarnation{}
		if d := cmp.Diff(storage.State{First: 1}, got); d != "" {
			t.Fatalf("state (-want +got):\n%s", d)
		}
		Want(t, l, nil)
		l = reopen(t, open, l)
	}
	l.Close()
}

func comeBack(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := append(Entries(1, 5, 1, 20), Entries(6, 9, 3, 0)...)
	es[3].Kind = raft.EntryNoOp
	es[4].Time, es[4].Wall = math.MaxInt64, -1
	Append(t, l, hs(1, 1, 0), es[:5]...)
	Append(t, l, hs(3, 2, 4), es[5:7]...)
	Append(t, l, hs(3, 2, 6), es[7:]...)
	Want(t, l, es)
	l = reopen(t, open, l)
	Want(t, l, es)
	want := storage.State{HardState: hs(3, 2, 6), First: 1, Last: 9, LastTerm: 3,
		Runs: []raft.TermRun{{First: 1, Term: 1}, {First: 6, Term: 3}}, Incarnation: l.State().Incarnation}
	if d := cmp.Diff(want, l.State()); d != "" {
		t.Fatalf("state (-want +got):\n%s", d)
	}
	es = append(es, Entry(10, 4, 3))
	Append(t, l, hs(4, 0, 9), es[9])
	Want(t, l, es)
}

func payloads(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	var es []raft.Entry
	for _, size := range []int{0, 1, 127, 4096, 5000, 65537} {
		for range 3 {
			es = append(es, Entry(uint64(len(es))+1, 1, size))
		}
	}
	Append(t, l, hs(1, 1, 0), es...)
	for range 2 {
		for i := range es {
			lo := es[i].Index
			got, err := l.Entries(lo, lo+1, 0) // the first
			if err := errors.Join(err, Equal(es[i:i+1], got)); err != nil {
				t.Fatalf("entry %d: %v", lo, err)
			}
			got, err = l.Entries(lo, uint64(len(es))+1, math.MaxInt32) // all
			if err := errors.Join(err, Equal(es[i:], got)); err != nil {
				t.Fatalf("entries from %d: %v", lo, err)
			}
			if _, err := l.Entries(lo, lo, 1); err == nil { // none
				t.Fatalf("an empty range at %d is no error", lo)
			}
		}
		l = reopen(t, open, l)
	}
}

// emptyEntries: no data is no entry's end; the kinds tell entries of a leader from those of a client that had nothing
// to say.
func emptyEntries(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	var es []raft.Entry
	for i := uint64(1); i <= 20; i++ {
		es = append(es, raft.Entry{Index: i, Term: 1 + i/7, Kind: raft.EntryKind(i % 2)})
	}
	es[9].Data = []byte{} // as good as nil
	Append(t, l, hs(3, 1, 0), es[:1]...)
	Append(t, l, hs(3, 1, 0), es[1:]...)
	m := &Model{HardState: hs(3, 1, 0), Log: es}
	for range 2 {
		m.CheckContent(t, l)
		l = reopen(t, open, l)
	}
	if s := l.State(); s.Last != 20 || len(s.Runs) != 3 {
		t.Fatalf("state %+v", s)
	}
	base := m.Position(20)
	if err := l.Append(storage.Batch{HardState: hs(3, 1, 20), TruncateAfter: 20, Base: &base}); err != nil {
		t.Fatal(err)
	}
	Append(t, l, hs(3, 1, 20), raft.Entry{Index: 21, Term: 3})
	l = reopen(t, open, l)
	WantBehind(t, l, 20, []raft.Entry{{Index: 21, Term: 3}})
}

// largeEntries: whatever a store cuts its files into, an entry may be more than that.
func largeEntries(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	m := &Model{}
	for i, n := range []int{4095, 4096, 4097, 1, 32 << 10, 64 << 10, 100_000, 120_000, 0, 120_000} {
		b := storage.Batch{HardState: hs(1, 1, 0), TruncateAfter: uint64(i), Entries: []raft.Entry{Entry(uint64(i)+1, 1, n)}}
		if err := l.Append(b); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		m.Append(b)
		m.CheckContent(t, l)
	}
	l = reopen(t, open, l)
	m.Check(t, l)
}

// reopenCommitted: a restart knows nothing as committed that was not stored as such, and what it knows it has and
// keeps, whatever the next leader makes of the rest.
func reopenCommitted(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 10, 1, 20)
	Append(t, l, hs(1, 1, 0), es[:4]...)
	Append(t, l, hs(1, 1, 3), es[4:]...)
	l = reopen(t, open, l)
	if got := l.State().HardState.Commit; got != 3 {
		t.Fatalf("%d committed, 3 was stored", got)
	}
	Append(t, l, hs(1, 1, 6), Entry(11, 1, 20))
	for range 2 {
		l = reopen(t, open, l)
		s := l.State()
		if s.HardState.Commit != 6 {
			t.Fatalf("%d committed, 6 was stored", s.HardState.Commit)
		}
		if err := l.Append(storage.Batch{HardState: hs(2, 1, 0), TruncateAfter: 5, Entries: Entries(6, 6, 2, 1)}); !errors.Is(err, storage.ErrBadBatch) {
			t.Fatalf("overwriting entry 6: %v, want ErrBadBatch", err)
		}
	}
	// What was not committed is another leader's to overwrite, and then it is gone.
	Append(t, l, hs(2, 1, 6), Entry(7, 2, 20))
	l = reopen(t, open, l)
	Want(t, l, append(es[:6:6], Entry(7, 2, 20)))
	if s := l.State(); s.HardState.Commit != 6 || s.Last != 7 {
		t.Fatalf("state %+v", s)
	}
}

func hardState(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	for _, want := range []raft.HardState{{Term: 1}, {Term: 1, Vote: 3}, {Term: 7, Vote: 2, Promise: 300 * time.Millisecond}, {Term: 8, Promise: time.Second}} {
		if err := l.Append(storage.Batch{HardState: want}); err != nil {
			t.Fatalf("append: %v", err)
		}
		l = reopen(t, open, l)
		if got := l.State().HardState; got != want {
			t.Fatalf("hard state %+v, want %+v", got, want)
		}
	}
	for name, bad := range map[string]raft.HardState{"lower term": {Term: 7}} {
		if err := l.Append(storage.Batch{HardState: bad}); !errors.Is(err, storage.ErrBadBatch) {
			t.Fatalf("%s: %v, want ErrBadBatch", name, err)
		}
	}
	if err := l.Append(storage.Batch{HardState: raft.HardState{Term: 8, Vote: 2}}); err != nil {
		t.Fatalf("append: %v", err)
	}
	if err := l.Append(storage.Batch{HardState: raft.HardState{Term: 8, Vote: 3}}); !errors.Is(err, storage.ErrBadBatch) {
		t.Fatalf("a second vote: %v, want ErrBadBatch", err)
	}
}

func lazyCommit(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 6, 2, 4)
	Append(t, l, hs(2, 1, 0), es...)
	if err := l.Append(storage.Batch{HardState: hs(2, 1, 5), TruncateAfter: 6}); err != nil {
		t.Fatal(err)
	}
	// Stored or not, it counts from now on, and an orderly end keeps it.
	if err := l.Append(storage.Batch{HardState: hs(2, 1, 5), TruncateAfter: 3}); !errors.Is(err, storage.ErrBadBatch) {
		t.Fatalf("cutting committed entries: %v, want ErrBadBatch", err)
	}
	l = reopen(t, open, l)
	if got := l.State().HardState; got != hs(2, 1, 5) {
		t.Fatalf("hard state %+v", got)
	}
	Want(t, l, es)
}

func truncates(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := append(Entries(1, 8, 2, 30), Entries(9, 20, 4, 30)...)
	Append(t, l, hs(4, 0, 0), es...)
	es = append(es[:10:10], Entries(11, 12, 5, 10)...)
	Append(t, l, hs(5, 0, 4), es[10:]...)
	Want(t, l, es)
	l = reopen(t, open, l)
	Want(t, l, es)
	// What was behind the cut must not come back when the log grows past it.
	es = append(es, Entries(13, 15, 6, 10)...)
	Append(t, l, hs(6, 0, 4), es[12:]...)
	Want(t, l, es)
	l = reopen(t, open, l)
	Want(t, l, es)
	// A later leader may have entries of a lower term there (figure 7 of the Raft paper).
	es = append(es[:8:8], Entry(9, 3, 99))
	Append(t, l, hs(7, 0, 4), es[8])
	Want(t, l, es)
	l = reopen(t, open, l)
	Want(t, l, es)
	if s := l.State(); s.LastTerm != 3 || s.Recovering != nil {
		t.Fatalf("state %+v", s)
	}
}

func cutsAlone(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 8, 1, 8)
	Append(t, l, hs(1, 0, 0), es...)
	for _, to := range []uint64{5, 5, 0} {
		if err := l.Append(storage.Batch{HardState: hs(2, 0, 0), TruncateAfter: to}); err != nil {
			t.Fatalf("cut behind %d: %v", to, err)
		}
		Want(t, l, es[:to])
		l = reopen(t, open, l)
		Want(t, l, es[:to])
		if s := l.State(); s.Last != to || s.Recovering != nil {
			t.Fatalf("state %+v", s)
		}
	}
	Append(t, l, hs(2, 0, 0), Entry(1, 2, 5))
	Want(t, l, []raft.Entry{Entry(1, 2, 5)})
}

func rollsBack(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	one, two := raft.ClusterID{1}, raft.ClusterID{2}
	es := []raft.Entry{Config(1, 1, one), Entry(2, 1, 3), Config(3, 2, one), Entry(4, 2, 3), Config(5, 4, two)}
	Append(t, l, hs(4, 0, 0), es...)
	want := func(last, config, prev uint64, cluster raft.ClusterID, runs ...raft.TermRun) {
		t.Helper()
		l = reopen(t, open, l)
		s := l.State()
		if s.Last != last || !cmp.Equal(s.Runs, runs) || s.ClusterID != cluster {
			t.Fatalf("last %d, runs %v, cluster %v", s.Last, s.Runs, s.ClusterID)
		}
		for i, c := range []*raft.Entry{s.Config, s.ConfigPrev} {
			switch index := []uint64{config, prev}[i]; {
			case index == 0 && c == nil:
			case c == nil || !cmp.Equal(*c, es[index-1]):
				t.Fatalf("configuration %d: %+v", index, c)
			}
		}
	}
	run := func(first, term uint64) raft.TermRun { return raft.TermRun{First: first, Term: term} }
	want(5, 5, 3, two, run(1, 1), run(3, 2), run(5, 4))
	cut := func(after uint64) {
		t.Helper()
		if err := l.Append(storage.Batch{HardState: hs(5, 0, 0), TruncateAfter: after}); err != nil {
			t.Fatal(err)
		}
	}
	cut(4)
	want(4, 3, 1, one, run(1, 1), run(3, 2))
	cut(2)
	want(2, 1, 0, one, run(1, 1))
	cut(0)
	want(0, 0, 0, raft.ClusterID{})
}

func committed(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 6, 1, 8)
	Append(t, l, hs(1, 0, 4), es...)
	for range 2 {
		for _, bad := range [][]raft.Entry{{Entry(3, 2, 8)}, {Entry(4, 2, 8)}} {
			err := l.Append(storage.Batch{HardState: hs(2, 0, 4), TruncateAfter: bad[0].Index - 1, Entries: bad})
			if !errors.Is(err, storage.ErrBadBatch) {
				t.Fatalf("overwriting %d: %v, want ErrBadBatch", bad[0].Index, err)
			}
		}
		Want(t, l, es)
		l = reopen(t, open, l)
	}
	Append(t, l, hs(2, 0, 4), Entry(5, 2, 8))
	Want(t, l, append(es[:4:4], Entry(5, 2, 8)))
}

func refused(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 3, 2, 8)
	Append(t, l, hs(2, 0, 0), es...)
	for name, b := range map[string]storage.Batch{
		"a gap":                   {HardState: hs(2, 0, 0), TruncateAfter: 4, Entries: Entries(5, 5, 2, 1)},
		"a wrong index":           {HardState: hs(2, 0, 0), TruncateAfter: 3, Entries: Entries(5, 5, 2, 1)},
		"a gap inside":            {HardState: hs(2, 0, 0), TruncateAfter: 3, Entries: []raft.Entry{Entry(4, 2, 1), Entry(6, 2, 1)}},
		"a term that goes back":   {HardState: hs(2, 0, 0), TruncateAfter: 3, Entries: Entries(4, 4, 1, 1)},
		"a term behind the entry": {HardState: hs(2, 0, 0), TruncateAfter: 3, Entries: Entries(4, 4, 3, 1)},
		"no configuration":        {HardState: hs(2, 0, 0), TruncateAfter: 3, Entries: []raft.Entry{{Index: 4, Term: 2, Kind: raft.EntryConfig, Data: []byte{99}}}},
	} {
		if err := l.Append(b); !errors.Is(err, storage.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
	}
	Append(t, l, hs(2, 0, 0), Entry(4, 2, 8)) // none of it did any harm
	Want(t, l, append(es, Entry(4, 2, 8)))
}

func large(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	many, wide := Entries(1, 12000, 1, 3), Entries(12001, 12020, 2, 64<<10)
	es := append(many, wide...)
	Append(t, l, hs(2, 1, 0), es...)
	Want(t, l, es)
	l = reopen(t, open, l)
	Want(t, l, es)
	es = append(es[:11000:11000], Entries(11001, 24000, 3, 5)...)
	Append(t, l, hs(3, 1, 9), es[11000:]...)
	l = reopen(t, open, l)
	Want(t, l, es)
}

func bounded(t *testing.T, open Opener) {
	l := open(t)
	defer l.Close()
	es := Entries(1, 50, 1, 52) // 100 bytes each, with what an entry counts beyond its data
	Append(t, l, hs(1, 0, 0), es...)
	for _, c := range []struct {
		lo, hi uint64
		bytes  int
		want   int
	}{{1, 51, 0, 1}, {1, 51, -1, 1}, {1, 51, 99, 1}, {1, 51, 100, 1}, {1, 51, 199, 1}, {1, 51, 200, 2}, {7, 51, 1000, 10}, {7, 9, 1000, 2}, {50, 99, 1000, 1}, {45, math.MaxUint64, 1 << 20, 6}} {
		got, err := l.Entries(c.lo, c.hi, c.bytes)
		if err := errors.Join(err, Equal(es[c.lo-1:int(c.lo)-1+c.want], got)); err != nil {
			t.Errorf("entries %d to %d within %d bytes: %v", c.lo, c.hi, c.bytes, err)
		}
	}
	if _, err := l.Entries(0, 5, 10); !errors.Is(err, storage.ErrCompacted) {
		t.Errorf("entry 0: %v, want ErrCompacted", err)
	}
	for _, c := range [][2]uint64{{51, 52}, {52, 60}, {3, 3}, {4, 3}} {
		if _, err := l.Entries(c[0], c[1], 10); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("entries %v: %v, want ErrUnavailable", c, err)
		}
	}
}

// besides: the appender writes generations of the same indexes, each in its own term; a reader never sees two
// generations whose order is wrong, nor a gap.
func besides(t *testing.T, open Opener) {
	l := open(t)
	defer l.Close()
	const generations, length = 60, 40
	Append(t, l, hs(1, 0, 0), Entries(1, length, 1, 10)...)
	stop, result := make(chan struct{}), make(chan error, 1)
	go func() {
		var reads int
		defer func() { result <- nil }()
		for {
			select {
			case <-stop:
				if reads > 0 {
					return
				}
			default:
			}
			reads++
			es, err := l.Entries(1, length+1, math.MaxInt32)
			if err != nil {
				result <- fmt.Errorf("read %d: %w", reads, err)
				return
			}
			for i := range es {
				if es[i].Index != uint64(i)+1 || !bytes.Equal(es[i].Data, Entry(es[i].Index, es[i].Term, 10).Data) || i > 0 && es[i].Term < es[i-1].Term {
					result <- fmt.Errorf("read %d: entry %d is %+v", reads, i, es[i])
					return
				}
			}
			l.Mark()
			l.State()
		}
	}()
	for g := uint64(2); g <= generations; g++ {
		from := g%length + 1
		Append(t, l, hs(g, 0, 0), Entries(from, from+g%7, g, 10)...)
	}
	close(stop)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func closed(t *testing.T, open Opener) {
	l := open(t)
	Append(t, l, hs(1, 0, 0), Entry(1, 1, 1))
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if err := l.Append(storage.Batch{HardState: hs(1, 0, 0), TruncateAfter: 1}); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	if _, err := l.Entries(1, 2, 1); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("entries: %v, want ErrClosed", err)
	}
	l.State()
	l.Mark()
}

func incarnation(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	first := l.State().Incarnation
	if first.IsZero() {
		t.Fatal("no incarnation")
	}
	Append(t, l, hs(1, 0, 0), Entry(1, 1, 1))
	l = reopen(t, open, l)
	if got := l.State().Incarnation; got != first {
		t.Fatalf("incarnation %v, was %v", got, first)
	}
}
