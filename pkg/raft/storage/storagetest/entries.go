package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Entry makes a command of n bytes that depend on index and term.
func Entry(index, term uint64, n int) raft.Entry {
	e := raft.Entry{Index: index, Term: term, Time: int64(index) * 1000, Wall: int64(index) + 5, Kind: raft.EntryCommand}
	if n > 0 {
		e.Data = bytes.Repeat([]byte{byte(index*7 + term)}, n)
	}
	return e
}

// Entries makes the commands lo to hi of one term, inclusive.
func Entries(lo, hi, term uint64, n int) []raft.Entry {
	var es []raft.Entry
	for i := lo; i <= hi; i++ {
		es = append(es, Entry(i, term, n))
	}
	return es
}

// Config makes a configuration entry.
func Config(index, term uint64, cluster raft.ClusterID) raft.Entry {
	c := raft.Configuration{ClusterID: cluster, Members: []raft.Member{{ID: 1, Name: "a", Address: "127.0.0.1:1"}}}
	return raft.Entry{Index: index, Term: term, Kind: raft.EntryConfig, Data: c.Encode()}
}

// Append appends entries behind the first one's index less one.
func Append(t testing.TB, l storage.Log, hs raft.HardState, es ...raft.Entry) {
	t.Helper()
	if err := l.Append(storage.Batch{HardState: hs, TruncateAfter: es[0].Index - 1, Entries: es}); err != nil {
		t.Fatalf("append %d to %d: %v", es[0].Index, es[len(es)-1].Index, err)
	}
}

// Want checks that the log, of which the front was never removed, holds exactly these entries.
func Want(t testing.TB, l storage.Log, es []raft.Entry) {
	t.Helper()
	WantBehind(t, l, 0, es)
}

// WantBehind checks that the log holds exactly these entries, which follow the one at base.
func WantBehind(t testing.TB, l storage.Log, base uint64, es []raft.Entry) {
	t.Helper()
	last := base + uint64(len(es))
	if len(es) > 0 {
		got, err := l.Entries(base+1, last+1, math.MaxInt32)
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		if err := Equal(es, got); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Entries(last+1, last+2, 1); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("entry %d behind the last: %v, want ErrUnavailable", last+1, err)
	}
	if _, err := l.Entries(base, last+1, 1); !errors.Is(err, storage.ErrCompacted) {
		t.Fatalf("entry %d before the first: %v, want ErrCompacted", base, err)
	}
}

// Equal tells where two runs of entries differ.
func Equal(want, got []raft.Entry) error {
	for i := range min(len(want), len(got)) {
		w, g := &want[i], &got[i]
		if w.Index != g.Index || w.Term != g.Term || w.Time != g.Time || w.Wall != g.Wall || w.Kind != g.Kind || !bytes.Equal(w.Data, g.Data) {
			return fmt.Errorf("entry %d (-want +got):\n%.2000s", w.Index, cmp.Diff(*w, *g))
		}
	}
	if len(want) != len(got) {
		return fmt.Errorf("%d entries, want %d", len(got), len(want))
	}
	return nil
}
