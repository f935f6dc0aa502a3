package badgerlog

import (
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// ballot is a term and the vote in it.
type ballot struct {
	term uint64
	vote raft.MemberID
}

// combine is the effective one of several ballots: the highest term, and in it a vote beats none. Two votes in
// one term can't be, whichever of them is older: something answered for this member that was not this directory.
func combine(ballots ...ballot) (ballot, error) {
	var best ballot
	for i, b := range ballots {
		for _, o := range ballots[:i] {
			if o.term == b.term && o.vote != 0 && b.vote != 0 && o.vote != b.vote {
				return best, fmt.Errorf("for %s and for %s in term %d", o.vote, b.vote, b.term)
			}
		}
		if b.term > best.term || b.term == best.term && b.vote != 0 {
			best = b
		}
	}
	return best, nil
}

// target is the mark that a member has to reach again before it trusts itself: what the sidecar remembers, and
// where the log is broken also what the log itself once had. nil: the log has all of it.
func target(f *found, rec *record, mark raft.Mark) *raft.Mark {
	if f.broken != nil && mark.Before(rec.end) {
		mark = rec.end
	}
	if f.end.Before(mark) {
		return &mark
	}
	return nil
}

// slotMark is the mark that the slot beside a batch carries: the mark of the batch before it, or where the batch
// leaves the log behind that, its own; and while recovering never less than what was lost.
func slotMark(before, after raft.Mark, truncates bool, recovering *raft.Mark) raft.Mark {
	m := before
	if truncates && after.Before(before) {
		m = after
	}
	if recovering != nil && m.Before(*recovering) {
		m = *recovering
	}
	return m
}
