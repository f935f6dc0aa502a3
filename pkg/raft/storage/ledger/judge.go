package ledger

import (
	"errors"
	"fmt"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// CheckOwner refuses the directory of somebody else.
func CheckOwner(dir string, have, want Identity) error {
	const advice = "check --data-dir, --cluster and --name; a new member needs an empty directory"
	if canary.Broken(canary.OtherOwnerRefused) {
		return nil
	}
	if have.ClusterName != want.ClusterName {
		return Refuse(dir, ErrForeign, advice, "it is of cluster %q, this is cluster %q", have.ClusterName, want.ClusterName)
	}
	if have.Member != want.Member {
		return Refuse(dir, ErrForeign, advice, "it is of member %q (%s), this is member %q (%s)",
			have.MemberName, have.Member, want.MemberName, want.Member)
	}
	return nil
}

// Files is what can be seen of a log's key space before it is opened.
type Files struct {
	Path  string
	Index bool // the file that names all others is there; without it the key space opens empty
	Data  int  // files with keys in them
	All   int
}

// CheckNew refuses to make a sidecar beside a log: it is made before the log, so it was there once.
func CheckNew(dir string, f Files) error {
	if f.All == 0 || canary.Broken(canary.LogWithoutSidecar) {
		return nil
	}
	return Refuse(dir, ErrNoSidecar, "put the file `sidecar` back as it was; otherwise "+AdviceReplace, "%s has %d files", f.Path, f.All)
}

// CheckFiles refuses a key space that would open as an empty one though there was something in it.
func CheckFiles(dir, index string, f Files, m raft.Mark) error {
	if f.Index || f.Data == 0 && m == (raft.Mark{}) || canary.Broken(canary.LogWithoutManifest) {
		return nil
	}
	return Refuse(dir, ErrLogLost, AdviceReplace, "no %s in %s, which has %d data files; acknowledged up to entry %d of term %d",
		index, f.Path, f.Data, m.Last, m.LastTerm)
}

// ReadRecord reads the record of a log and checks whose it is.
func ReadRecord(value []byte, member raft.MemberID, incarnation raft.Incarnation) (Record, error) {
	rec, err := ParseRecord(value)
	switch {
	case err != nil:
		return rec, fmt.Errorf("the hard state: %w: %w", err, ErrDamaged)
	case !rec.valid():
		return rec, fmt.Errorf("the hard state contradicts itself: %w", ErrDamaged)
	case rec.Incarnation != incarnation:
		return rec, fmt.Errorf("the log is of incarnation %s, the sidecar of %s: %w", rec.Incarnation, incarnation, ErrMismatch)
	case rec.Member != member:
		return rec, fmt.Errorf("the log is of member %s, the sidecar of %s: %w", rec.Member, member, ErrMismatch)
	}
	return rec, nil
}

// NoRecord is the record of a log without one: it is empty, unless there are entries.
func NoRecord(entries bool) (Record, error) {
	if entries {
		return Record{}, fmt.Errorf("entries without their bounds: %w", ErrDamaged)
	}
	return Record{First: 1}, nil
}

// RefuseUnread makes a refusal of what ReadRecord and NoRecord object to, and leaves other errors as they are.
func RefuseUnread(dir string, err error) error {
	for _, cause := range []error{ErrDamaged, ErrMismatch} {
		if errors.Is(err, cause) {
			return Refuse(dir, cause, AdviceReplace, "%v", err)
		}
	}
	return err
}

// Judge compares a log with its sidecar. It returns the ledger to go on with, from which the caller makes durable
// what Settle says; unless the directory is refused.
func Judge(dir string, slots *Slots, rec *Record, have bool, s *Scan) (*Ledger, error) {
	now := slots.Latest
	ballots := []ballot{{rec.HardState.Term, rec.HardState.Vote}, {now.Term, now.Vote}}
	promise := max(rec.HardState.Promise, now.Promise)
	if o := slots.Older; o != nil {
		ballots = append(ballots, ballot{o.Term, o.Vote})
		promise = max(promise, o.Promise)
	}
	if canary.Broken(canary.HigherBallotCounts) {
		ballots = ballots[:1]
	}
	best, err := combine(ballots...)
	if err != nil {
		return nil, Refuse(dir, ErrVoteConflict, AdviceReplace, "%v", err)
	}
	if differ(rec.Base, now.Mark) {
		return nil, Refuse(dir, ErrDiverged, AdviceReplace, "the log begins behind entry %d of term %d", rec.Base.Last, rec.Base.LastTerm)
	}
	recovering := target(s, rec, now.Mark)
	if s.End.Last == 0 && recovering != nil && !canary.Broken(canary.EmptyLogRefused) {
		return nil, Refuse(dir, ErrLogLost, AdviceReplace, "nothing of it can be read; acknowledged up to entry %d of term %d",
			recovering.Last, recovering.LastTerm)
	}
	hs := raft.HardState{Term: best.term, Vote: best.vote, Promise: promise, Commit: min(rec.HardState.Commit, s.End.Last)}
	if s.Broken != nil {
		// What lies before the break may be stale, too: let the leader say again what is committed.
		hs.Commit = rec.Base.Last
	}
	g := &Ledger{Dir: dir, Record: *rec, Slot: now, Recovering: recovering, configs: s.Configs,
		unsettled: !have || hs != rec.HardState || s.End != rec.End}
	g.Record.HardState, g.Record.End = hs, s.End
	g.Record.Member, g.Record.Incarnation = now.Owner.Member, now.Owner.Incarnation
	return g, nil
}

// State is what a log that was opened says of itself.
func (g *Ledger) State(s *Scan) storage.State {
	r := &g.Record
	st := storage.State{
		HardState: r.HardState, Base: r.Base, First: r.First, Last: r.End.Last, LastTerm: r.End.LastTerm,
		Runs: s.Runs, Config: s.Config, ConfigPrev: s.ConfigPrev,
		Incarnation: r.Incarnation, ClusterID: g.clusterID(g.markBehind(r.End, false)),
	}
	if g.Recovering != nil {
		m := *g.Recovering
		st.Recovering = &m
	}
	return st
}

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
			if o.term == b.term && o.vote != 0 && b.vote != 0 && o.vote != b.vote && !canary.Broken(canary.TwoVotesRefused) {
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
func target(s *Scan, rec *Record, mark raft.Mark) *raft.Mark {
	if s.Broken != nil && mark.Before(rec.End) {
		mark = rec.End
	}
	if s.End.Before(mark) && !canary.Broken(canary.MarkMakesRecovering) {
		return &mark
	}
	return nil
}

// slotMark is the mark that the slot beside a batch carries: the mark of the batch before it, or where the batch
// leaves the log behind that, its own; and while recovering never less than what was lost.
func slotMark(before, after raft.Mark, truncates bool, recovering *raft.Mark) raft.Mark {
	m := before
	if (truncates && after.Before(before) && !canary.Broken(canary.MarkCoversTruncation)) || canary.Broken(canary.MarkLags) {
		m = after
	}
	if recovering != nil && m.Before(*recovering) && !canary.Broken(canary.MarkKeptInRecovery) {
		m = *recovering
	}
	return m
}

// differ reports that two marks are of one entry and don't have the same log before it.
func differ(a, b raft.Mark) bool {
	return a.Last == b.Last && a.LastTerm == b.LastTerm && a.Hash != b.Hash && !canary.Broken(canary.HashCompared)
}
