package storagetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Model is what a log has to do, as plainly as it can be said. Other tests run their logs against it, too.
type Model struct {
	HardState raft.HardState
	Log       []raft.Entry
}

// Terms are the terms that have had entries. A Raft term has one leader, who makes one entry for an index, so an
// index and a term always come with the same entry behind the same log; Draw keeps to that.
type Terms map[uint64]bool

// Append does what storage.Log.Append does with a batch that it takes.
func (m *Model) Append(b storage.Batch) {
	b.HardState.Commit = max(b.HardState.Commit, m.HardState.Commit)
	m.HardState = b.HardState
	m.Log = append(m.Log[:b.TruncateAfter:b.TruncateAfter], b.Entries...)
}

// Draw draws a batch that continues the log, of the kinds that a Raft member writes.
func (m *Model) Draw(t *rapid.T, used Terms) storage.Batch {
	h := m.HardState
	if rapid.IntRange(0, 3).Draw(t, "new term") == 0 {
		h.Term += rapid.Uint64Range(1, 4).Draw(t, "terms") // gaps, from which entries of old terms come later
		h.Vote = 0
	}
	if h.Vote == 0 {
		h.Vote = raft.MemberID(rapid.Uint64Range(0, 3).Draw(t, "vote"))
	}
	after := uint64(len(m.Log))
	if rapid.IntRange(0, 4).Draw(t, "truncates") == 0 {
		after = rapid.Uint64Range(min(h.Commit, after), after).Draw(t, "after")
	}
	term := uint64(0)
	if after > 0 {
		term = m.Log[after-1].Term
	}
	var es []raft.Entry
	for i := range rapid.IntRange(0, 6).Draw(t, "entries") {
		var terms []uint64
		if term > 0 {
			terms = append(terms, term)
		}
		for c := term + 1; c <= h.Term; c++ {
			if !used[c] {
				terms = append(terms, c)
			}
		}
		if len(terms) == 0 {
			break
		}
		term = rapid.SampledFrom(terms).Draw(t, "term")
		used[term] = true
		es = append(es, theEntry(after+1+uint64(i), term))
	}
	h.Commit = max(h.Commit, rapid.Uint64Range(0, after+uint64(len(es))).Draw(t, "commit"))
	h.Commit = min(h.Commit, after+uint64(len(es)))
	return storage.Batch{HardState: h, TruncateAfter: after, Entries: es}
}

// theEntry is the one entry of an index and a term.
func theEntry(index, term uint64) raft.Entry {
	switch k := (index*31 + term*17) % 10; {
	case k == 0:
		return Config(index, term, raft.ClusterID{byte(term)})
	case k == 1:
		return raft.Entry{Index: index, Term: term, Kind: raft.EntryNoOp}
	default:
		return Entry(index, term, []int{0, 1, 40, 150, 150, 150, 3000, 60}[k-2])
	}
}

// State is what State has to say after a restart that lost nothing.
func (m *Model) State() storage.State {
	s := storage.State{HardState: m.HardState, First: 1, Last: uint64(len(m.Log))}
	for i := range m.Log {
		e := m.Log[i]
		s.LastTerm = e.Term
		if n := len(s.Runs); n == 0 || s.Runs[n-1].Term != e.Term {
			s.Runs = append(s.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == raft.EntryConfig {
			s.ConfigPrev, s.Config = s.Config, &e
			c, _ := raft.DecodeConfiguration(e.Data)
			s.ClusterID = c.ClusterID
		}
	}
	return s
}

// Check compares a log that was just opened with the model.
func (m *Model) Check(t testing.TB, l storage.Log) {
	t.Helper()
	got, want := l.State(), m.State()
	want.Incarnation = got.Incarnation
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("state (-want +got):\n%s", d)
	}
	Want(t, l, m.Log)
}

func model(t *testing.T, open Opener) {
	l := open(t)
	defer func() { l.Close() }()
	m, used := &Model{}, Terms{}
	rapid.Check(t, func(rt *rapid.T) {
		// One long life for all runs: a log that has seen much is the better test.
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			b := m.Draw(rt, used)
			if err := l.Append(b); err != nil {
				rt.Fatalf("append: %v", err)
			}
			m.Append(b)
			Want(t, l, m.Log)
		}
		if rapid.IntRange(0, 9).Draw(rt, "restarts") == 0 {
			l = reopen(t, open, l)
			m.Check(t, l)
		}
	})
}
