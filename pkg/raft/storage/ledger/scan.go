package ledger

import (
	"fmt"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Scan takes the entries of a log in order, from the first to the last that its record names, and ends at the first
// one that is missing, is damaged, does not continue the chain, or is not what the mark remembers. What it found up to
// there is the log. Its verbs: More, Want, Add, AddKnown, Finish.
type Scan struct {
	record Record
	mark   raft.Mark

	End     raft.Mark
	Runs    []raft.TermRun
	Configs []ConfigAt
	// Config and ConfigPrev are the last two configurations, whole.
	Config, ConfigPrev *raft.Entry
	Bytes              int64 // of the entries, as Entry.Size counts them
	// Broken says why the sound part ends before the log does; nil: it does not.
	Broken error
}

// ConfigAt is a configuration entry of a log; truncation goes back to the one before it.
type ConfigAt struct {
	Index     uint64
	ClusterID raft.ClusterID
}

// NewScan begins behind the record's base. mark is that of the sidecar.
func NewScan(r *Record, mark raft.Mark) *Scan { return &Scan{record: *r, mark: mark, End: r.Base} }

// More reports whether the scan waits for another entry.
func (s *Scan) More() bool { return s.Broken == nil && s.End.Last < s.record.End.Last }

// Want reports whether the next key, in the order of keys, is that of the next entry.
func (s *Scan) Want(key []byte) bool {
	want := s.End.Last + 1
	index, ok := EntryKeyIndex(key)
	if !ok || index != want {
		s.Broken = fmt.Errorf("entry %d is missing", want)
		return false
	}
	return true
}

// Finish ends the scan when there are no more keys.
func (s *Scan) Finish() {
	if s.More() {
		s.Broken = fmt.Errorf("entry %d is missing", s.End.Last+1)
	}
}

// Add takes the value of the next entry, or notes why it ends the sound part. An error is one that no recovery mends.
// The value is not kept.
func (s *Scan) Add(value []byte) error {
	e, prev, link, err := ParseEntryValue(value)
	if err != nil {
		s.Broken = fmt.Errorf("entry %d: %w", s.End.Last+1, err)
		return nil
	}
	if e.Kind == raft.EntryConfig {
		e.Data = append([]byte(nil), e.Data...)
	}
	return s.AddKnown(&e, prev, storage.HashLink(link))
}

// AddKnown is Add for an entry whose value was read before and can't have changed since. e's Data is kept where it is
// a configuration.
func (s *Scan) AddKnown(e *raft.Entry, prev, hash storage.Hash) error {
	index, end, last := s.End.Last+1, &s.End, &s.record.End
	switch {
	case e.Index != index:
		s.Broken = fmt.Errorf("entry %d says that it is %d", index, e.Index)
	case e.Term < end.LastTerm || e.Term > last.LastTerm:
		s.Broken = fmt.Errorf("entry %d has term %d between terms %d and %d", index, e.Term, end.LastTerm, last.LastTerm)
	case prev != end.Hash && !canary.Broken(canary.ChainVerified):
		s.Broken = fmt.Errorf("entry %d does not continue the chain", index)
	}
	if s.Broken != nil {
		return nil
	}
	next := raft.Mark{LastTerm: e.Term, Last: index, Hash: hash}
	for _, m := range [...]raft.Mark{*last, s.mark} {
		// An entry of another term at the mark's position is a later truth; one of the same term can't differ.
		if differ(next, m) {
			s.Broken = fmt.Errorf("entry %d has another hash than was acknowledged", index)
			return nil
		}
	}
	if index == last.Last && e.Term != last.LastTerm {
		s.Broken = fmt.Errorf("entry %d has term %d, the bounds say %d", index, e.Term, last.LastTerm)
		return nil
	}
	if e.Kind == raft.EntryConfig {
		c, err := raft.DecodeConfiguration(e.Data)
		if err != nil {
			return fmt.Errorf("configuration at %d: %w", index, err)
		}
		s.Configs = append(s.Configs, ConfigAt{Index: index, ClusterID: c.ClusterID})
		own := *e
		s.ConfigPrev, s.Config = s.Config, &own
	}
	s.Bytes += int64(e.Size())
	if n := len(s.Runs); n == 0 || s.Runs[n-1].Term != e.Term {
		s.Runs = append(s.Runs, raft.TermRun{First: index, Term: e.Term})
	}
	s.End = next
	return nil
}
