package storage

import (
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// Check reports why a batch does not continue a log of the entries first to last whose stored commit index is
// commit; nil: it does. base is the term of the entry at b.TruncateAfter. Every error is an ErrBadBatch.
func (b *Batch) Check(first, last, commit, base uint64) error {
	switch {
	case b.TruncateAfter > last:
		return fmt.Errorf("%w: it begins behind %d, the log ends at %d", ErrBadBatch, b.TruncateAfter, last)
	case b.TruncateAfter+1 < first:
		return fmt.Errorf("%w: it begins behind %d, the log begins at %d", ErrBadBatch, b.TruncateAfter, first)
	case b.TruncateAfter < last && b.TruncateAfter < commit:
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
