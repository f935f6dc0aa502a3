package storagetest

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

func positions(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := append(Entries(1, 6, 1, 20), Entries(7, 9, 3, 0)...)
	es = append(es, Config(10, 3, raft.ClusterID{7}))
	Append(t, l, hs(3, 1, 4), es...)
	want := func(base raft.Mark, es []raft.Entry) {
		t.Helper()
		for n := range len(es) + 1 {
			index := base.Last + uint64(n)
			if got, err := l.Position(index); err != nil || got != Chain(base, es[:n]) {
				t.Fatalf("position %d: %+v (%v), want %+v", index, got, err, Chain(base, es[:n]))
			}
		}
		last := base.Last + uint64(len(es))
		if _, err := l.Position(last + 1); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("position %d behind the last: %v, want ErrUnavailable", last+1, err)
		}
		if base.Last == 0 {
			return
		}
		if _, err := l.Position(base.Last - 1); !errors.Is(err, storage.ErrCompacted) {
			t.Fatalf("position %d before the base: %v, want ErrCompacted", base.Last-1, err)
		}
	}
	want(raft.Mark{}, es)
	// Another entry is another position, and so is every one behind it.
	es = append(es[:7:7], Entries(8, 10, 4, 3)...)
	Append(t, l, hs(4, 1, 4), es[7:]...)
	want(raft.Mark{}, es)
	l = reopen(t, open, l)
	want(raft.Mark{}, es)
	base := Chain(raft.Mark{}, es[:4])
	if err := l.Compact(4); err != nil {
		t.Fatal(err)
	}
	want(base, es[4:])
	l = reopen(t, open, l)
	want(base, es[4:])
	// A log that got the front as a snapshot comes to the same position as one that has had all the entries.
	base = Chain(raft.Mark{}, es[:9])
	if err := l.Append(storage.Batch{HardState: hs(4, 1, 9), TruncateAfter: 9, Base: &base, Entries: es[9:]}); err != nil {
		t.Fatal(err)
	}
	want(base, es[9:])
}

func bytesCounted(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	if _, ok := l.(storage.Sizer); !ok {
		t.Fatal("no storage.Sizer: a policy of compaction needs one")
	}
	es := append(Entries(1, 40, 1, 100), Entries(41, 50, 1, 0)...)
	want := func(es []raft.Entry) {
		t.Helper()
		n := int64(0)
		for i := range es {
			n += int64(es[i].Size())
		}
		if got := l.(storage.Sizer).Bytes(); got != n {
			t.Fatalf("%d bytes, want %d", got, n)
		}
	}
	want(nil)
	Append(t, l, hs(1, 1, 20), es...)
	want(es)
	es = append(es[:45:45], Entry(46, 2, 1000))
	Append(t, l, hs(2, 1, 20), es[45])
	want(es)
	if err := l.Compact(20); err != nil {
		t.Fatal(err)
	}
	want(es[20:])
	l = reopen(t, open, l)
	want(es[20:])
	Append(t, l, hs(2, 1, 20), Entry(47, 2, 7))
	want(append(es[20:], Entry(47, 2, 7)))
	if err := l.Append(storage.Batch{HardState: hs(9, 1, 0), TruncateAfter: 90, Base: &raft.Mark{Last: 90, LastTerm: 8}}); err != nil {
		t.Fatal(err)
	}
	want(nil)
	Append(t, l, hs(9, 1, 90), Entry(91, 9, 5))
	want(Entries(91, 91, 9, 5))
}

// snapshotThenEntries is what a follower sees that was away for long: a snapshot, and on the same connection the
// entries behind it.
func snapshotThenEntries(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	Append(t, l, hs(1, 1, 3), Entries(1, 5, 1, 9)...)
	base, cluster := raft.Mark{Last: 1000, LastTerm: 4, Hash: storage.Hash{5}}, raft.ClusterID{6}
	if err := l.Append(storage.Batch{HardState: hs(4, 2, 0), TruncateAfter: 1000, Base: &base, ClusterID: cluster}); err != nil {
		t.Fatal(err)
	}
	es := append(Entries(1001, 1020, 4, 9), Entries(1021, 1024, 5, 9)...)
	Append(t, l, hs(4, 2, 1000), es[:20]...)
	Append(t, l, hs(5, 2, 1004), es[20:]...)
	WantBehind(t, l, 1000, es)
	l = reopen(t, open, l)
	WantBehind(t, l, 1000, es)
	want := storage.State{HardState: hs(5, 2, 1004), Base: base, First: 1001, Last: 1024, LastTerm: 5,
		Runs: []raft.TermRun{{First: 1001, Term: 4}, {First: 1021, Term: 5}}, Incarnation: l.State().Incarnation, ClusterID: cluster}
	if d := cmp.Diff(want, l.State()); d != "" {
		t.Fatalf("state (-want +got):\n%s", d)
	}
}

func installs(t *testing.T, open Opener) {
	for _, c := range []struct {
		name   string
		have   []raft.Entry
		commit uint64
		base   raft.Mark
		es     []raft.Entry
	}{
		{name: "into an empty log", base: raft.Mark{Last: 7, LastTerm: 3}},
		{name: "into an empty log, with entries", base: raft.Mark{Last: 7, LastTerm: 3}, es: Entries(8, 30, 3, 9)},
		{name: "at index 1", base: raft.Mark{Last: 1, LastTerm: 1}},
		{name: "beyond the end", have: Entries(1, 20, 2, 9), commit: 20, base: raft.Mark{Last: 3000, LastTerm: 3}, es: Entries(3001, 3002, 5, 9)},
		{name: "right behind the end", have: Entries(1, 20, 2, 9), base: raft.Mark{Last: 21, LastTerm: 2}, es: Entries(22, 23, 4, 9)},
		// The keys 13 to 40 are still there, and what comes behind the base is something else.
		{name: "inside a log of lower terms", have: Entries(1, 40, 2, 30), commit: 5, base: raft.Mark{Last: 12, LastTerm: 3}},
		{name: "inside, with entries", have: Entries(1, 40, 2, 30), commit: 12, base: raft.Mark{Last: 12, LastTerm: 3}, es: Entries(13, 15, 4, 9)},
		{name: "inside a log of higher terms", have: append(Entries(1, 5, 1, 9), Entries(6, 40, 4, 9)...), commit: 5, base: raft.Mark{Last: 12, LastTerm: 2}, es: Entries(13, 13, 3, 9)},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t)
			defer func() { l.Close() }()
			// One store for all of these, one after the other: each begins behind the one before.
			shift, terms := l.State().Last, l.State().HardState.Term
			move := func(es []raft.Entry) (out []raft.Entry) {
				for _, e := range es {
					out = append(out, Entry(e.Index+shift, e.Term+terms, len(e.Data)))
				}
				return out
			}
			have, es, base := move(c.have), move(c.es), c.base
			base.Last, base.LastTerm, base.Hash = base.Last+shift, base.LastTerm+terms, storage.Hash{byte(shift), 1}
			term, commit := terms+6, uint64(0)
			if c.commit > 0 {
				commit = c.commit + shift
			}
			if len(have) > 0 {
				Append(t, l, hs(term, 1, commit), have...)
			}
			cluster := raft.ClusterID{byte(term)}
			b := storage.Batch{HardState: hs(term, 1, 0), TruncateAfter: base.Last, Base: &base, ClusterID: cluster, Entries: es}
			if err := l.Append(b); err != nil {
				t.Fatal(err)
			}
			want := (&Model{HardState: hs(term, 1, base.Last), Base: base, Cluster: cluster, Log: es})
			want.CheckContent(t, l)
			l = reopen(t, open, l)
			want.Check(t, l)
			// What lay there before must not come back when the log grows over it.
			next := Entry(base.Last+uint64(len(es))+1, term, 4)
			Append(t, l, hs(term, 1, base.Last), next)
			want.Log = append(want.Log, next)
			want.CheckContent(t, l)
			l = reopen(t, open, l)
			want.Check(t, l)
		})
	}
}

func installsRefused(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := Entries(1, 9, 2, 8)
	Append(t, l, hs(3, 0, 5), es...)
	mark := func(last, term uint64) *raft.Mark { return &raft.Mark{Last: last, LastTerm: term} }
	for name, b := range map[string]storage.Batch{
		"committed entries missing":   {HardState: hs(3, 0, 0), TruncateAfter: 4, Base: mark(4, 3)},
		"a base of nothing":           {HardState: hs(3, 0, 0), Base: mark(0, 0)},
		"a base of no term":           {HardState: hs(3, 0, 0), TruncateAfter: 20, Base: mark(20, 0)},
		"another place":               {HardState: hs(3, 0, 0), TruncateAfter: 9, Base: mark(20, 3)},
		"a gap behind it":             {HardState: hs(3, 0, 0), TruncateAfter: 20, Base: mark(20, 3), Entries: Entries(22, 22, 3, 1)},
		"a term that goes back":       {HardState: hs(3, 0, 0), TruncateAfter: 20, Base: mark(20, 3), Entries: Entries(21, 21, 2, 1)},
		"a term behind its own":       {HardState: hs(3, 0, 0), TruncateAfter: 20, Base: mark(20, 4)},
		"a hard state that goes back": {HardState: hs(2, 0, 0), TruncateAfter: 20, Base: mark(20, 2)},
	} {
		if err := l.Append(b); !errors.Is(err, storage.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
	}
	Want(t, l, es) // none of it did any harm
	l = reopen(t, open, l)
	Want(t, l, es)
}

func compacts(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	es := append(Entries(1, 3000, 1, 9), Entries(3001, 3100, 3, 9)...)
	Append(t, l, hs(3, 1, 3050), es...)
	m := &Model{HardState: hs(3, 1, 3050), Log: es}
	for _, index := range []uint64{1, 1, 0, 2, 2500, 2500, 3000, 2999, 3050} {
		if err := l.Compact(index); err != nil {
			t.Fatalf("compact up to %d: %v", index, err)
		}
		m.Compact(index)
		m.CheckContent(t, l)
		if index%2 == 0 {
			l = reopen(t, open, l)
			m.Check(t, l)
		}
	}
	// The log goes on, and may still be cut behind what is committed.
	for _, b := range []storage.Batch{
		{HardState: hs(5, 1, 3050), TruncateAfter: 3050, Entries: Entries(3051, 3060, 4, 7)},
		{HardState: hs(5, 1, 3060), TruncateAfter: 3060, Entries: Entries(3061, 3064, 5, 7)},
	} {
		if err := l.Append(b); err != nil {
			t.Fatal(err)
		}
		m.Append(b)
		m.CheckContent(t, l)
	}
	if err := l.Compact(3060); err != nil {
		t.Fatal(err)
	}
	m.Compact(3060)
	l = reopen(t, open, l)
	m.Check(t, l)
}

func compactsRefused(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	if err := l.Compact(1); !errors.Is(err, storage.ErrBadBatch) {
		t.Errorf("an empty log up to 1: %v, want ErrBadBatch", err)
	}
	es := Entries(1, 9, 2, 8)
	Append(t, l, hs(2, 0, 5), es...)
	for _, index := range []uint64{6, 9, 10, math.MaxUint64} {
		if err := l.Compact(index); !errors.Is(err, storage.ErrBadBatch) {
			t.Errorf("up to %d: %v, want ErrBadBatch: 5 is committed", index, err)
		}
	}
	if err := l.Append(storage.Batch{HardState: hs(2, 0, 9), TruncateAfter: 9}); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(9); !errors.Is(err, storage.ErrBadBatch) {
		t.Errorf("the last entry: %v, want ErrBadBatch", err)
	}
	Want(t, l, es)
	if err := l.Compact(7); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]storage.Batch{
		"a cut before the base": {HardState: hs(3, 0, 0), TruncateAfter: 5, Entries: Entries(6, 6, 3, 1)},
		"a cut of all":          {HardState: hs(3, 0, 0)},
	} {
		if err := l.Append(b); !errors.Is(err, storage.ErrBadBatch) {
			t.Errorf("%s: %v, want ErrBadBatch", name, err)
		}
	}
	WantBehind(t, l, 7, es[7:])
}

func compactsConfigs(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	one, two := raft.ClusterID{1}, raft.ClusterID{2}
	es := []raft.Entry{Config(1, 1, one), Entry(2, 1, 3), Config(3, 2, two), Entry(4, 2, 3), Config(5, 2, two), Entry(6, 2, 1), Entry(7, 2, 1)}
	Append(t, l, hs(2, 0, 7), es...)
	for _, c := range []struct{ upTo, config, prev uint64 }{{1, 5, 3}, {3, 5, 0}, {4, 5, 0}, {5, 0, 0}, {6, 0, 0}} {
		if err := l.Compact(c.upTo); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			l = reopen(t, open, l)
			s := l.State()
			if s.ClusterID != two {
				t.Errorf("compacted up to %d: cluster %v", c.upTo, s.ClusterID)
			}
			for i, got := range []*raft.Entry{s.Config, s.ConfigPrev} {
				if want := []uint64{c.config, c.prev}[i]; (got != nil) != (want > 0) || got != nil && !cmp.Equal(*got, es[want-1]) {
					t.Errorf("compacted up to %d: configuration %+v, want the one at %d", c.upTo, got, want)
				}
			}
		}
	}
}

// compactsBesides: one goroutine appends, one compacts, one reads; what is read is right or refused as compacted.
func compactsBesides(t *testing.T, open Opener) {
	l := open(t)
	defer l.Close()
	const rounds, length = 80, 50
	Append(t, l, hs(1, 0, length), Entries(1, length, 1, 10)...)
	stop, results := make(chan struct{}), make(chan error, 2)
	loop := func(step func(n uint64) error) {
		for n := uint64(1); ; n++ {
			if err := step(n); err != nil {
				results <- fmt.Errorf("step %d: %w", n, err)
				return
			}
			select {
			case <-stop:
				results <- nil
				return
			default:
			}
		}
	}
	var upTo uint64
	go loop(func(uint64) error {
		for { // as far as it goes
			err := l.Compact(upTo + 7)
			if errors.Is(err, storage.ErrBadBatch) {
				return nil
			}
			if err != nil {
				return err
			}
			upTo += 7
		}
	})
	read := uint64(1)
	go loop(func(uint64) error {
		es, err := l.Entries(read, math.MaxUint64, 3000)
		for i := range es {
			if want := Entry(read+uint64(i), 1, 10); Equal([]raft.Entry{want}, es[i:i+1]) != nil {
				return fmt.Errorf("entry %d is %+v", want.Index, es[i])
			}
		}
		switch {
		case errors.Is(err, storage.ErrCompacted):
			read += length
			return nil
		case errors.Is(err, storage.ErrUnavailable):
			return nil
		}
		if _, posErr := l.Position(read); posErr != nil && !errors.Is(posErr, storage.ErrCompacted) {
			return posErr
		}
		read += uint64(len(es))
		return err
	})
	for g := uint64(1); g < rounds; g++ {
		Append(t, l, hs(1, 0, g*length), Entries(g*length+1, (g+1)*length, 1, 10)...)
	}
	close(stop)
	if err := errors.Join(<-results, <-results); err != nil {
		t.Fatal(err)
	}
	if upTo == 0 {
		t.Error("nothing was compacted")
	}
	from := upTo
	want := Entries(from+1, rounds*length, 1, 10)
	WantBehind(t, l, from, want)
}
