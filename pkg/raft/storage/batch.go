package storage

import (
	"fmt"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
)

// Check reports why a batch does not continue a log of the entries first to last whose stored commit index is
// commit, or, with Base, why it may not take its place; nil: it does. base is the term of the entry at
// b.TruncateAfter, and is not read with Base. Every error is an ErrBadBatch.
func (b *Batch) Check(first, last, commit, base uint64) error {
	switch {
	case b.Base != nil:
		if err := b.checkBase(commit); err != nil {
			return err
		}
		base = b.Base.LastTerm
	case b.TruncateAfter > last:
		return fmt.Errorf("%w: it begins behind %d, the log ends at %d", ErrBadBatch, b.TruncateAfter, last)
	case b.TruncateAfter+1 < first:
		return fmt.Errorf("%w: it begins behind %d, the log begins at %d", ErrBadBatch, b.TruncateAfter, first)
	case b.TruncateAfter < last && b.TruncateAfter < commit && !canary.Broken(canary.CommittedIsNotCut):
		return fmt.Errorf("%w: it cuts behind %d, %d is committed", ErrBadBatch, b.TruncateAfter, commit)
	}
	term := base
	for i := range b.Entries {
		e := &b.Entries[i]
		if want := b.TruncateAfter + 1 + uint64(i); e.Index != want {
			return fmt.Errorf("%w: entry %d where %d has to follow", ErrBadBatch, e.Index, want)
		}
		if e.Term < term {
			return fmt.Errorf("%w: entry %d of term %d behind term %d", ErrBadBatch, e.Index, e.Term, term)
		}
		term = e.Term
	}
	if b.HardState.Term < term {
		return fmt.Errorf("%w: hard state of term %d beside an entry of term %d", ErrBadBatch, b.HardState.Term, term)
	}
	return nil
}

// checkBase: a snapshot holds something, and all that is committed; then it may replace whatever the log has.
func (b *Batch) checkBase(commit uint64) error {
	switch {
	case b.Base.Last == 0 || b.Base.LastTerm == 0:
		return fmt.Errorf("%w: a base at index %d of term %d", ErrBadBatch, b.Base.Last, b.Base.LastTerm)
	case b.TruncateAfter != b.Base.Last:
		return fmt.Errorf("%w: it begins behind %d, its base is %d", ErrBadBatch, b.TruncateAfter, b.Base.Last)
	case b.Base.Last < commit:
		return fmt.Errorf("%w: its base is %d, %d is committed", ErrBadBatch, b.Base.Last, commit)
	}
	return nil
}

// CheckCompact reports why a log of the entries first to last may not lose those up to index; nil: it may. The last
// entry stays: it has the cluster time from which the next leader goes on. Every error is an ErrBadBatch.
func CheckCompact(index, last, commit uint64) error {
	switch {
	case index > commit:
		return fmt.Errorf("%w: compacting up to %d, %d is committed", ErrBadBatch, index, commit)
	case index >= last:
		return fmt.Errorf("%w: compacting up to %d, the log ends at %d and keeps its last entry", ErrBadBatch, index, last)
	}
	return nil
}

// CheckHardState reports why next may not replace prev: a term that goes back, or a second vote in one term.
func CheckHardState(prev, next raft.HardState) error {
	switch {
	case next.Term < prev.Term:
		return fmt.Errorf("%w: term %d goes back to %d", ErrBadBatch, prev.Term, next.Term)
	case next.Term == prev.Term && prev.Vote != 0 && next.Vote != prev.Vote:
		return fmt.Errorf("%w: vote for %s in term %d, %s had it", ErrBadBatch, next.Vote, next.Term, prev.Vote)
	}
	return nil
}
