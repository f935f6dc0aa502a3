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

// Append does what storage.Log.Append does with a batch that it takes.
func (m *Model) Append(b storage.Batch) {
	b.HardState.Commit = max(b.HardState.Commit, m.HardState.Commit)
	m.HardState = b.HardState
	m.Log = append(m.Log[:b.TruncateAfter:b.TruncateAfter], b.Entries...)
}

// Draw draws a batch that continues the log, of the kinds that a Raft member writes.
func (m *Model) Draw(t *rapid.T) storage.Batch {
	h := m.HardState
	if rapid.IntRange(0, 3).Draw(t, "new term") == 0 {
		h.Term += rapid.Uint64Range(1, 2).Draw(t, "terms")
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
		term = rapid.Uint64Range(min(term, h.Term), h.Term).Draw(t, "term")
		if term == 0 {
			break
		}
		index := after + 1 + uint64(i)
		e := Entry(index, term, rapid.SampledFrom([]int{0, 1, 40, 150, 3000}).Draw(t, "size"))
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			e = Config(index, term, raft.ClusterID{byte(term)})
		}
		es = append(es, e)
	}
	h.Commit = max(h.Commit, rapid.Uint64Range(0, after+uint64(len(es))).Draw(t, "commit"))
	h.Commit = min(h.Commit, after+uint64(len(es)))
	return storage.Batch{HardState: h, TruncateAfter: after, Entries: es}
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
	m := &Model{}
	rapid.Check(t, func(rt *rapid.T) {
		// One long life for all runs: a log that has seen much is the better test.
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			b := m.Draw(rt)
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
