package raft

import (
	"fmt"
	"slices"
	"sort"

	"github.com/coordd/coordd/internal/canary"
)

// raftLog is the log as a core knows it: the terms of all entries, the last entries themselves, and how
// far each has come. Positions ascend:
//
//	base ≤ snapshot                                 (what is gone, what a snapshot has)
//	base ≤ applying ≤ commit ≤ last, applied ≤ applying   (what the state machine was given, may get, has)
//	durable ≤ handed ≤ last                         (what storage has, was given, will get)
//	base < tailFirst ≤ last + 1                     (what is in memory)
//
// What is at or below base is committed, so it is the same in the log of every leader to come.
//
// Slices of tail are handed out in batches, messages and Apply, so an entry is never changed in place:
// a cut limits the capacity, and the next append goes to fresh memory.
type raftLog struct {
	base     uint64 // the log begins behind it
	baseTerm uint64
	last     uint64
	lastTerm uint64
	runs     []TermRun // of the entries behind base; ascending in First and in Term

	tail      []Entry
	tailFirst uint64 // index of tail[0]; last + 1 where tail is empty
	tailBytes int

	handed  uint64 // given to storage in a batch
	durable uint64 // known to be durable, and not cut since

	commit   uint64
	applying uint64 // given out to be applied
	applied  uint64
}

// restoreLog takes over what storage found.
func restoreLog(r *Restored) (raftLog, error) {
	l := raftLog{base: r.Base.Last, baseTerm: r.Base.LastTerm, last: r.Last, lastTerm: r.LastTerm, handed: r.Last,
		durable: r.Last, tailFirst: r.Last + 1}
	if err := checkBase(r); err != nil {
		return l, err
	}
	if r.Last == l.base {
		if len(r.Tail) > 0 || len(r.Runs) > 0 || r.LastTerm != l.baseTerm {
			return l, fmt.Errorf("a log without entries, with a tail, a term run, or a last term %d that is not its base's", r.LastTerm)
		}
	} else if err := l.restoreEntries(r); err != nil {
		return l, err
	}
	if r.HardState.Commit > r.Last && r.Recovering == nil {
		return l, fmt.Errorf("commit index %d is beyond the last index %d", r.HardState.Commit, r.Last)
	}
	applied := r.Applied
	if s := r.Snapshot; s != nil {
		applied = max(applied, s.Index)
	}
	if applied > r.Last {
		return l, fmt.Errorf("applied index %d is beyond the last index %d", applied, r.Last)
	}
	l.commit = max(min(r.HardState.Commit, r.Last), applied)
	l.applied, l.applying = applied, applied
	return l, nil
}

// checkBase checks that a log which does not begin at 1 goes on behind a snapshot.
func checkBase(r *Restored) error {
	switch s := r.Snapshot; {
	case (r.Base.Last == 0) != (r.Base.LastTerm == 0):
		return fmt.Errorf("the log's base is index %d of term %d", r.Base.Last, r.Base.LastTerm)
	case r.Last < r.Base.Last:
		return fmt.Errorf("the last index %d is below the base %d", r.Last, r.Base.Last)
	case r.Last > r.Base.Last && r.First != r.Base.Last+1:
		return fmt.Errorf("the log begins at index %d, not behind its base %d", r.First, r.Base.Last)
	case s == nil && r.Base.Last > 0:
		return fmt.Errorf("the log begins behind index %d, and there is no snapshot", r.Base.Last)
	case s != nil && (s.Index < r.Base.Last || s.Index > r.Last):
		return fmt.Errorf("the snapshot at index %d is outside the log, %d to %d", s.Index, r.Base.Last, r.Last)
	}
	return nil
}

func (l *raftLog) restoreEntries(r *Restored) error {
	if n := len(r.Tail); n == 0 || r.Tail[n-1].Index != r.Last || r.Tail[n-1].Term != r.LastTerm {
		return fmt.Errorf("the tail does not end with the last entry, index %d of term %d", r.Last, r.LastTerm)
	}
	l.runs = slices.Clone(r.Runs)
	l.tail = slices.Clone(r.Tail)
	l.tailFirst = l.tail[0].Index
	if len(l.runs) == 0 && l.tailFirst == l.base+1 {
		for i := range l.tail {
			l.noteTerm(l.tail[i].Index, l.tail[i].Term)
		}
	}
	if len(l.runs) == 0 || l.runs[0].First != l.base+1 || l.runs[0].Term < l.baseTerm ||
		l.runs[len(l.runs)-1].Term != r.LastTerm || l.runs[len(l.runs)-1].First > r.Last {
		return fmt.Errorf("the term runs %v do not cover the log from %d to %d", l.runs, l.base+1, r.Last)
	}
	for i := 1; i < len(l.runs); i++ {
		if l.runs[i].First <= l.runs[i-1].First || l.runs[i].Term <= l.runs[i-1].Term {
			return fmt.Errorf("the term runs %v do not ascend", l.runs)
		}
	}
	for i := range l.tail {
		e := &l.tail[i]
		if e.Index != l.tailFirst+uint64(i) || e.Index <= l.base || e.Term != l.term(e.Index) {
			return fmt.Errorf("the tail has index %d of term %d at index %d of term %d", e.Index, e.Term,
				l.tailFirst+uint64(i), l.term(l.tailFirst+uint64(i)))
		}
		l.tailBytes += e.Size()
	}
	if s := r.Snapshot; s != nil && l.term(s.Index) != s.Term {
		return fmt.Errorf("the snapshot at index %d is of term %d, the log has term %d there", s.Index, s.Term, l.term(s.Index))
	}
	return nil
}

// term returns the term of the entry at an index: 0 for those above last, and for those below base, which are
// not known any more.
func (l *raftLog) term(index uint64) uint64 {
	switch {
	case index == l.last:
		return l.lastTerm
	case index == l.base:
		return l.baseTerm
	case index < l.base || index > l.last:
		return 0
	}
	n := len(l.runs)
	// The last run is nearly always the one.
	if l.runs[n-1].First <= index {
		return l.runs[n-1].Term
	}
	i := sort.Search(n, func(i int) bool { return l.runs[i].First > index })
	return l.runs[i-1].Term
}

// matches reports whether the entry at an index is known to be of a term. Index 0 matches term 0.
func (l *raftLog) matches(index, term uint64) bool {
	return index >= l.base && index <= l.last && l.term(index) == term
}

// upToDate reports whether a log that ends with (index, term) is at least as new as this one: the term
// decides, then the index (dissertation, section 3.6.1; rule 5).
func (l *raftLog) upToDate(index, term uint64) bool {
	switch {
	case canary.Broken(canary.VoteComparesLogs):
		return index >= l.last
	case canary.Broken(canary.TermBeforeIndex):
		return term >= l.lastTerm && index >= l.last
	}
	return term > l.lastTerm || (term == l.lastTerm && index >= l.last)
}

// mayMatch returns the highest index, at most upTo, whose term is at most a term, with its own term. Above
// it nothing can agree with a log that has that term at upTo: terms ascend, so whole terms are skipped
// (rule 11). It stops at the base, which agrees with every leader's log; below it nothing is known.
func (l *raftLog) mayMatch(upTo, term uint64) (index, termAt uint64) {
	index = min(upTo, l.last)
	for i := len(l.runs) - 1; i >= 0 && index > l.base; i-- {
		if l.runs[i].First > index {
			continue
		}
		if l.runs[i].Term <= term {
			return index, l.runs[i].Term
		}
		if canary.Broken(canary.RejectionSkipsTerms) {
			return index - 1, l.term(index - 1)
		}
		index = l.runs[i].First - 1
	}
	return index, l.term(index)
}

func (l *raftLog) noteTerm(index, term uint64) {
	if n := len(l.runs); n == 0 || l.runs[n-1].Term != term {
		l.runs = append(l.runs, TermRun{First: index, Term: term})
	}
}

// append adds entries behind last.
func (l *raftLog) append(es ...Entry) {
	for i := range es {
		e := &es[i]
		if e.Index != l.last+1 || e.Term < l.lastTerm {
			broken("append of index %d, term %d behind index %d, term %d", e.Index, e.Term, l.last, l.lastTerm)
		}
		l.noteTerm(e.Index, e.Term)
		l.last, l.lastTerm = e.Index, e.Term
		l.tailBytes += e.Size()
	}
	if need := len(l.tail) + len(es); need > cap(l.tail) {
		// Entries leave at the front, so the memory moves all the time; half as much again keeps that rare.
		l.tail = append(make([]Entry, 0, need+need/2), l.tail...)
	}
	l.tail = append(l.tail, es...)
}

// cut removes the entries above an index. What was handed out stays as it is in its receivers' hands.
func (l *raftLog) cut(after uint64) {
	if after < l.commit {
		broken("cut after %d below the commit index %d", after, l.commit)
	}
	if after >= l.last {
		return
	}
	lastTerm := l.term(after)
	keep := 0
	if after >= l.tailFirst {
		keep = int(after - l.tailFirst + 1)
	} else {
		l.tailFirst = after + 1
	}
	for i := keep; i < len(l.tail); i++ {
		l.tailBytes -= l.tail[i].Size()
	}
	l.tail = l.tail[:keep:keep]
	for n := len(l.runs); n > 0 && l.runs[n-1].First > after; n-- {
		l.runs = l.runs[:n-1]
	}
	l.last, l.lastTerm = after, lastTerm
	l.handed = min(l.handed, after)
	l.durable = min(l.durable, after)
}

// compact forgets the entries up to an index; the last one stays.
func (l *raftLog) compact(to uint64) {
	if to <= l.base || to >= l.last {
		return
	}
	l.baseTerm = l.term(to)
	l.base = to
	n := 0
	for n+1 < len(l.runs) && l.runs[n+1].First <= to+1 {
		n++
	}
	l.runs = slices.Clone(l.runs[n:])
	l.runs[0].First = to + 1
	if l.tailFirst <= to {
		gone := int(to + 1 - l.tailFirst)
		for i := range gone {
			l.tailBytes -= l.tail[i].Size()
		}
		l.tail = l.tail[gone:]
		l.tailFirst = to + 1
	}
}

// restart puts a snapshot's end in the place of the whole log.
func (l *raftLog) restart(m *SnapshotMeta) {
	*l = raftLog{base: m.Index, baseTerm: m.Term, last: m.Index, lastTerm: m.Term, tailFirst: m.Index + 1,
		handed: m.Index, commit: m.Index, applying: m.Index, applied: l.applied}
}

// slice returns entries lo ≤ index < hi from memory: at least one, then as many as fit in maxBytes, and
// their size. It returns nothing where lo is not in memory or the range is empty.
func (l *raftLog) slice(lo, hi uint64, maxBytes int) ([]Entry, int) {
	hi = min(hi, l.last+1)
	if lo < l.tailFirst || lo >= hi {
		return nil, 0
	}
	from := int(lo - l.tailFirst)
	end, limit := from, int(hi-l.tailFirst)
	bytes := 0
	for end < limit {
		n := l.tail[end].Size()
		if end > from && bytes+n > maxBytes {
			break
		}
		bytes += n
		end++
	}
	return l.tail[from:end:end], bytes
}

// lastEntry returns the last entry, which is always in memory; nil where the log ends with its base.
func (l *raftLog) lastEntry() *Entry {
	if len(l.tail) == 0 {
		return nil
	}
	return &l.tail[len(l.tail)-1]
}

// bytesBetween is the size of the entries above lo up to hi that are in memory.
func (l *raftLog) bytesBetween(lo, hi uint64) int {
	sum := 0
	for i := max(lo+1, l.tailFirst); i <= min(hi, l.last); i++ {
		sum += l.tail[i-l.tailFirst].Size()
	}
	return sum
}

// trim lets go of entries at the front of the tail beyond a bound of bytes. The last committed entry, and
// all that is not applied or not durable, stays.
func (l *raftLog) trim(maxBytes int) {
	n := 0
	limit := min(l.applied, l.durable)
	for l.tailBytes > maxBytes && n < len(l.tail)-1 && l.tail[n].Index <= limit && l.tail[n].Index < l.commit {
		l.tailBytes -= l.tail[n].Size()
		n++
	}
	// The memory behind is let go when append moves the rest: to clear it here would change entries that
	// others may still read.
	l.tail = l.tail[n:]
	l.tailFirst += uint64(n)
}
