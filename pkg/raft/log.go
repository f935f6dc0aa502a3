package raft

import (
	"fmt"
	"slices"
	"sort"
)

// raftLog is the log as a core knows it: the terms of all entries, the last entries themselves, and how
// far each has come. Positions ascend:
//
//	1 ≤ … applied ≤ applying ≤ commit ≤ last        (what the state machine has, was given, may get)
//	    durable ≤ handed ≤ last                     (what storage has, was given, will get)
//	    tail begins at tailFirst ≤ last             (what is in memory)
//
// Slices of tail are handed out in batches, messages and Apply, so an entry is never changed in place:
// a cut limits the capacity, and the next append goes to fresh memory.
type raftLog struct {
	last     uint64
	lastTerm uint64
	runs     []TermRun // ascending in First and in Term

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
	l := raftLog{last: r.Last, lastTerm: r.LastTerm, handed: r.Last, durable: r.Last, tailFirst: r.Last + 1}
	if r.Last == 0 {
		if len(r.Tail) > 0 || r.LastTerm != 0 || r.HardState.Commit > 0 || r.Applied > 0 {
			return l, fmt.Errorf("an empty log with entries, a term, a commit index or something applied")
		}
		return l, nil
	}
	if r.First != 1 {
		return l, fmt.Errorf("the log begins at index %d, not 1, and there is no snapshot", r.First)
	}
	if n := len(r.Tail); n == 0 || r.Tail[n-1].Index != r.Last || r.Tail[n-1].Term != r.LastTerm {
		return l, fmt.Errorf("the tail does not end with the last entry, index %d of term %d", r.Last, r.LastTerm)
	}
	l.runs = slices.Clone(r.Runs)
	l.tail = slices.Clone(r.Tail)
	l.tailFirst = l.tail[0].Index
	if len(l.runs) == 0 && l.tailFirst == 1 {
		for i := range l.tail {
			l.noteTerm(l.tail[i].Index, l.tail[i].Term)
		}
	}
	if len(l.runs) == 0 || l.runs[0].First != 1 || l.runs[len(l.runs)-1].Term != r.LastTerm || l.runs[len(l.runs)-1].First > r.Last {
		return l, fmt.Errorf("the term runs %v do not cover the log from 1 to %d", l.runs, r.Last)
	}
	for i := 1; i < len(l.runs); i++ {
		if l.runs[i].First <= l.runs[i-1].First || l.runs[i].Term <= l.runs[i-1].Term {
			return l, fmt.Errorf("the term runs %v do not ascend", l.runs)
		}
	}
	for i := range l.tail {
		e := &l.tail[i]
		if e.Index != l.tailFirst+uint64(i) || e.Term != l.term(e.Index) {
			return l, fmt.Errorf("the tail has index %d of term %d at index %d of term %d", e.Index, e.Term,
				l.tailFirst+uint64(i), l.term(l.tailFirst+uint64(i)))
		}
		l.tailBytes += e.Size()
	}
	if r.HardState.Commit > r.Last && r.Recovering == nil {
		return l, fmt.Errorf("commit index %d is beyond the last index %d", r.HardState.Commit, r.Last)
	}
	if r.Applied > r.Last {
		return l, fmt.Errorf("applied index %d is beyond the last index %d", r.Applied, r.Last)
	}
	l.commit = max(min(r.HardState.Commit, r.Last), r.Applied)
	l.applied, l.applying = r.Applied, r.Applied
	return l, nil
}

// term returns the term of the entry at an index, 0 for index 0 and for those above last.
func (l *raftLog) term(index uint64) uint64 {
	switch {
	case index == 0 || index > l.last:
		return 0
	case index == l.last:
		return l.lastTerm
	}
	n := len(l.runs)
	// The last run is nearly always the one.
	if l.runs[n-1].First <= index {
		return l.runs[n-1].Term
	}
	i := sort.Search(n, func(i int) bool { return l.runs[i].First > index })
	return l.runs[i-1].Term
}

// matches reports whether the entry at an index is of a term. Index 0 matches term 0.
func (l *raftLog) matches(index, term uint64) bool {
	return index <= l.last && l.term(index) == term
}

// upToDate reports whether a log that ends with (index, term) is at least as new as this one: the term
// decides, then the index (dissertation, section 3.6.1; rule 5).
func (l *raftLog) upToDate(index, term uint64) bool {
	return term > l.lastTerm || (term == l.lastTerm && index >= l.last)
}

// mayMatch returns the highest index, at most upTo, whose term is at most a term, with its own term. Above
// it nothing can agree with a log that has that term at upTo: terms ascend, so whole terms are skipped
// (rule 11).
func (l *raftLog) mayMatch(upTo, term uint64) (index, termAt uint64) {
	index = min(upTo, l.last)
	for i := len(l.runs) - 1; i >= 0 && index > 0; i-- {
		if l.runs[i].First > index {
			continue
		}
		if l.runs[i].Term <= term {
			return index, l.runs[i].Term
		}
		index = l.runs[i].First - 1
	}
	return 0, 0
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

// lastEntry returns the last entry, which is always in memory.
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
