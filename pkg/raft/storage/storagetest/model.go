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
	Base      raft.Mark
	Cluster   raft.ClusterID // as of the base
	Log       []raft.Entry   // behind the base
}

// Terms are the terms that have had entries. A Raft term has one leader, who makes one entry for an index, so an
// index and a term always come with the same entry behind the same log; Draw keeps to that.
type Terms map[uint64]bool

// Append does what storage.Log.Append does with a batch that it takes.
func (m *Model) Append(b storage.Batch) {
	b.HardState.Commit = max(b.HardState.Commit, m.HardState.Commit)
	if b.Base != nil {
		b.HardState.Commit = max(b.HardState.Commit, b.Base.Last)
		m.Base, m.Cluster, m.Log = *b.Base, b.ClusterID, nil
	}
	m.HardState = b.HardState
	keep := b.TruncateAfter - m.Base.Last
	m.Log = append(m.Log[:keep:keep], b.Entries...)
}

// Compact does what storage.Log.Compact does with an index that it takes.
func (m *Model) Compact(index uint64) {
	if index <= m.Base.Last {
		return
	}
	gone := m.Log[:index-m.Base.Last]
	base := m.Position(index)
	for i := range gone {
		if e := &gone[i]; e.Kind == raft.EntryConfig {
			c, _ := raft.DecodeConfiguration(e.Data)
			m.Cluster = c.ClusterID
		}
	}
	m.Base, m.Log = base, m.Log[len(gone):]
}

// Last is the index of the last entry.
func (m *Model) Last() uint64 { return m.Base.Last + uint64(len(m.Log)) }

// Position is the mark of an entry, or of the base.
func (m *Model) Position(index uint64) raft.Mark {
	return Chain(m.Base, m.Log[:index-m.Base.Last])
}

// Chain is the position at the end of entries that follow base.
func Chain(base raft.Mark, es []raft.Entry) raft.Mark {
	for i := range es {
		e := &es[i]
		base = raft.Mark{LastTerm: e.Term, Last: e.Index, Hash: storage.HashLink(storage.AppendLink(nil, base.Hash, e))}
	}
	return base
}

// Copy is a model that lives on by itself.
func (m *Model) Copy() *Model {
	c := *m
	return &c
}

// Draw draws a batch that continues the log, or takes its place, of the kinds that a Raft member writes.
func (m *Model) Draw(t *rapid.T, used Terms) storage.Batch {
	h := m.HardState
	if rapid.IntRange(0, 3).Draw(t, "new term") == 0 {
		h.Term += rapid.Uint64Range(1, 4).Draw(t, "terms") // gaps, from which entries of old terms come later
		h.Vote = 0
	}
	if h.Vote == 0 {
		h.Vote = raft.MemberID(rapid.Uint64Range(0, 3).Draw(t, "vote"))
	}
	last := m.Last()
	after := last
	var base *raft.Mark
	var cluster raft.ClusterID
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1:
		after = rapid.Uint64Range(min(h.Commit, last), last).Draw(t, "after")
	case 2:
		if base = m.drawBase(t, used, h); base != nil {
			after, cluster = base.Last, raft.ClusterID{0xba, byte(base.Last)}
			h.Commit = max(h.Commit, after)
		}
	}
	term := m.Position(min(after, last)).LastTerm
	if base != nil {
		term = base.LastTerm
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
	return storage.Batch{HardState: h, TruncateAfter: after, Entries: es, Base: base, ClusterID: cluster}
}

// drawBase draws what a snapshot may end at: an entry of this log, or one that it never had, of a term that had no
// entries. nil: there is none. All that is committed is in a snapshot, so it is not before that.
func (m *Model) drawBase(t *rapid.T, used Terms, h raft.HardState) *raft.Mark {
	commit := max(h.Commit, m.Base.Last)
	if known := max(commit, 1); known <= m.Last() && rapid.Bool().Draw(t, "known") {
		b := m.Position(rapid.Uint64Range(known, m.Last()).Draw(t, "base"))
		return &b
	}
	var terms []uint64
	for c := m.Position(min(commit, m.Last())).LastTerm + 1; c <= h.Term; c++ {
		if !used[c] {
			terms = append(terms, c)
		}
	}
	if len(terms) == 0 {
		return nil
	}
	b := raft.Mark{LastTerm: rapid.SampledFrom(terms).Draw(t, "base term")}
	used[b.LastTerm] = true
	b.Last = commit + rapid.Uint64Range(1, 12).Draw(t, "base")
	b.Hash = storage.Hash{0xba, byte(b.Last), byte(b.LastTerm)}
	return &b
}

// DrawCompact draws an index to compact up to; false: there is none.
func (m *Model) DrawCompact(t *rapid.T) (uint64, bool) {
	hi := min(m.HardState.Commit, m.Last()-1)
	if len(m.Log) == 0 || hi < m.Base.Last {
		return 0, false
	}
	return rapid.Uint64Range(m.Base.Last, hi).Draw(t, "compact"), true
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
	s := storage.State{HardState: m.HardState, Base: m.Base, First: m.Base.Last + 1, Last: m.Last(),
		LastTerm: m.Base.LastTerm, ClusterID: m.Cluster}
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
	m.CheckContent(t, l)
}

// CheckContent compares what a log says of its content with the model.
func (m *Model) CheckContent(t testing.TB, l storage.Log) {
	t.Helper()
	WantBehind(t, l, m.Base.Last, m.Log)
	for _, index := range []uint64{m.Base.Last, m.Base.Last + uint64(len(m.Log))/2, m.Last()} {
		if got, err := l.Position(index); err != nil || got != m.Position(index) {
			t.Fatalf("position %d: %+v (%v), want %+v", index, got, err, m.Position(index))
		}
	}
	if s, ok := l.(storage.Sizer); ok {
		want := int64(0)
		for i := range m.Log {
			want += int64(m.Log[i].Size())
		}
		if got := s.Bytes(); got != want {
			t.Fatalf("%d bytes, want %d", got, want)
		}
	}
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
			m.CheckContent(t, l)
			if rapid.IntRange(0, 3).Draw(rt, "compacts") == 0 {
				if index, ok := m.DrawCompact(rt); ok {
					if err := l.Compact(index); err != nil {
						rt.Fatalf("compact up to %d: %v", index, err)
					}
					m.Compact(index)
					m.CheckContent(t, l)
				}
			}
		}
		if rapid.IntRange(0, 9).Draw(rt, "restarts") == 0 {
			l = reopen(t, open, l)
			m.Check(t, l)
		}
	})
}
