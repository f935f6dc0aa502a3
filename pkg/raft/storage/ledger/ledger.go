package ledger

import (
	"fmt"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Ledger is what the writer of a log knows of it, and what it decides from that. Begin checks a batch; each part of
// it is a Plan, which the caller carries out and reports with Wrote. CatchUp, Witness and Settle name slots to be
// written, which the caller reports with WroteSlot. After an error of a write nothing that it remembers counts.
type Ledger struct {
	Dir    string // for refusals
	Record Record // as stored, but for HardState.Commit, which may be ahead
	Slot   Slot   // the latest one that is durable
	// LazyCommit: Record.HardState.Commit is not stored yet.
	LazyCommit bool
	// Recovering is the mark that the log has to reach before the member may trust itself; nil: it may.
	Recovering *raft.Mark

	configs   []ConfigAt
	unsettled bool // the record in store is not what was judged
}

// Plan is one durable write: the record, which goes into one transaction with the entries, and the slot beside it.
type Plan struct {
	Record Record
	Slot   Slot
	// SlotFirst: the slot has to be durable before the transaction begins, because its mark goes back.
	SlotFirst bool

	base, next raft.Mark
}

// Begin checks a batch before anything is touched. at is the mark of the log at b.TruncateAfter, or its end. The mark
// that it returns is where the batch's entries begin; write tells whether there is anything to make durable now. A
// refusal (RefusedError) is final; after an ErrBadBatch the log is as it was.
func (g *Ledger) Begin(b *storage.Batch, at raft.Mark) (base raft.Mark, write bool, err error) {
	r := &g.Record
	if err := b.Check(r.First, r.End.Last, r.HardState.Commit, at.LastTerm); err != nil {
		return at, false, err
	}
	if err := storage.CheckHardState(r.HardState, b.HardState); err != nil {
		return at, false, err
	}
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Kind == raft.EntryConfig {
			if _, err := raft.DecodeConfiguration(e.Data); err != nil {
				return at, false, fmt.Errorf("%w: configuration at %d: %w", storage.ErrBadBatch, e.Index, err)
			}
		}
	}
	b.HardState.Commit = max(b.HardState.Commit, r.HardState.Commit)
	if b.Base != nil {
		if err := g.agrees(*b.Base, at); err != nil {
			return at, false, err
		}
		b.HardState.Commit = max(b.HardState.Commit, b.Base.Last)
		return *b.Base, true, nil
	}
	stored := r.HardState
	stored.Commit = b.HardState.Commit
	if len(b.Entries) > 0 || b.TruncateAfter != r.End.Last || b.HardState != stored {
		return at, true, nil
	}
	g.LazyCommit = g.LazyCommit || r.HardState.Commit != stored.Commit
	r.HardState.Commit = stored.Commit
	return at, false, nil
}

// agrees fails where a snapshot says of a position that this log knows something else than the log: one of the
// two is not what the cluster has. own is the log's mark at the snapshot's index, or its end.
func (g *Ledger) agrees(base, own raft.Mark) error {
	known := []raft.Mark{own, g.Record.Base, g.Record.End, g.Slot.Mark}
	if g.Recovering != nil {
		known = append(known, *g.Recovering)
	}
	for _, m := range known {
		if differ(m, base) {
			return Refuse(g.Dir, ErrDiverged, AdviceReplace, "a snapshot up to entry %d of term %d", base.Last, base.LastTerm)
		}
	}
	return nil
}

// Reaches fails where the chain of a batch reaches, with m, the mark that the member is recovering to with another hash:
// then something before it is not what it was.
func (g *Ledger) Reaches(m raft.Mark) error {
	if g.Recovering != nil && differ(m, *g.Recovering) {
		return Refuse(g.Dir, ErrDiverged, AdviceReplace, "entry %d of term %d", m.Last, m.LastTerm)
	}
	return nil
}

// Plan decides how one part of a batch is made durable: its entries behind base, the last of which gives the mark next,
// with the batch's hard state, and where it has a Base, that and nothing before it.
func (g *Ledger) Plan(b *storage.Batch, base, next raft.Mark) Plan {
	r := &g.Record
	before, cut := r.End, b.Base != nil || base.Last < r.End.Last
	if b.Base != nil {
		r.Base, r.First, r.Cluster = *b.Base, b.Base.Last+1, b.ClusterID
		g.configs = nil
	}
	r.HardState, r.End = b.HardState, next
	mark := g.markBehind(before, cut)
	return Plan{Record: *r, Slot: g.nextSlot(mark), SlotFirst: mark.Before(g.Slot.Mark) && !canary.Broken(canary.MarkGoesBackFirst), base: base, next: next}
}

// Wrote takes note that both parts of a plan are durable. es are the entries. It reports whether the log has again what
// it once acknowledged.
func (g *Ledger) Wrote(p *Plan, es []raft.Entry) (recovered bool) {
	g.Slot = p.Slot
	g.LazyCommit = false
	g.follow(p.base, es)
	if g.Recovering == nil || p.next.Before(*g.Recovering) {
		return false
	}
	g.Recovering = nil
	return true
}

// WroteSlot takes note that a slot is durable.
func (g *Ledger) WroteSlot(s Slot) { g.Slot = s }

// WroteRecord takes note that the record as it is now is durable.
func (g *Ledger) WroteRecord() { g.LazyCommit, g.unsettled = false, false }

// follow keeps the list of configurations in step with the log.
func (g *Ledger) follow(base raft.Mark, es []raft.Entry) {
	for n := len(g.configs); n > 0 && g.configs[n-1].Index > base.Last; n-- {
		g.configs = g.configs[:n-1]
	}
	for i := range es {
		if e := &es[i]; e.Kind == raft.EntryConfig {
			c, _ := raft.DecodeConfiguration(e.Data) // Begin has read it
			g.configs = append(g.configs, ConfigAt{Index: e.Index, ClusterID: c.ClusterID})
		}
	}
}

// markBehind is the mark for a slot, where the log ended at before and ends at Record.End now.
func (g *Ledger) markBehind(before raft.Mark, cut bool) raft.Mark {
	return slotMark(before, g.Record.End, cut, g.Recovering)
}

// nextSlot is the one to be written with this mark and everything else as it is now.
func (g *Ledger) nextSlot(mark raft.Mark) Slot {
	return Slot{
		Number:    g.Slot.Number + 1,
		Owner:     g.Slot.Owner,
		ClusterID: g.clusterID(mark),
		Term:      g.Record.HardState.Term,
		Vote:      g.Record.HardState.Vote,
		Promise:   g.Record.HardState.Promise,
		Mark:      mark,
	}
}

// clusterID is the one of the last configuration that the mark covers, or that of the base. A log that was cut by
// damage does not make the sidecar forget which cluster it was.
func (g *Ledger) clusterID(mark raft.Mark) raft.ClusterID {
	for i := len(g.configs) - 1; i >= 0; i-- {
		if g.configs[i].Index <= mark.Last {
			return g.configs[i].ClusterID
		}
	}
	if !g.Record.Cluster.IsZero() {
		return g.Record.Cluster
	}
	if g.Recovering != nil {
		return g.Slot.ClusterID
	}
	return raft.ClusterID{}
}

// CatchUp is the slot with the mark of the last batch; false: the sidecar has it already.
func (g *Ledger) CatchUp() (Slot, bool) {
	mark := g.markBehind(g.Record.End, false)
	return g.nextSlot(mark), mark != g.Slot.Mark
}

// Settle says what is to be made durable of what Judge decided: the slot first, because it says what is missing, and
// then the record.
func (g *Ledger) Settle() (s Slot, slot, record bool) {
	s, behind := g.CatchUp()
	hs, now := &g.Record.HardState, &g.Slot
	return s, behind || now.Term != hs.Term || now.Vote != hs.Vote || now.Promise != hs.Promise, g.unsettled
}

// Witness takes the word of a peer that saw this mark beside this slot of ours. A slot that we don't know means that
// this directory is an older copy of the one that wrote it; then it returns the slot to be written, which keeps that.
func (g *Ledger) Witness(number uint64, mark raft.Mark) (s Slot, news bool, err error) {
	if number >= 1<<63 {
		return s, false, fmt.Errorf("storage: slot number %d was never given out", number)
	}
	if number <= g.Slot.Number || canary.Broken(canary.WitnessBelieved) {
		return s, false, nil
	}
	if g.Record.End.Before(mark) && (g.Recovering == nil || g.Recovering.Before(mark)) {
		g.Recovering = &mark
	}
	// Go on behind the witnessed number, so that peers take our marks again, and over the older slot's place.
	if number%2 != g.Slot.Number%2 {
		number++
	}
	s = g.nextSlot(g.markBehind(g.Record.End, false))
	s.Number = number + 1
	return s, true, nil
}

// Compactable reports whether there is something to remove up to index.
func (g *Ledger) Compactable(index uint64) (bool, error) {
	if index <= g.Record.Base.Last {
		return false, nil
	}
	return true, storage.CheckCompact(index, g.Record.End.Last, g.Record.HardState.Commit)
}

// Compact moves the base, which is a position of the log, on. The record is to be stored.
func (g *Ledger) Compact(base raft.Mark) {
	g.Record.Cluster = g.clusterID(base)
	g.Record.Base, g.Record.First = base, base.Last+1
	// The base covers these configurations: its cluster ID is in the record.
	n := 0
	for n < len(g.configs) && g.configs[n].Index <= base.Last {
		n++
	}
	g.configs = append([]ConfigAt(nil), g.configs[n:]...)
}
