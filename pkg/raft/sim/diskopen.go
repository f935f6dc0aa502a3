package sim

import (
	"errors"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// errLostState refuses a start without what the log begins behind, as package node does.
var errLostState = errors.New("no snapshot that the log goes on from can be read")

// causes are why a directory may be refused, with what the report calls that.
var causes = []struct {
	err  error
	name string
}{
	{ledger.ErrForeign, "refused: another member's directory"},
	{ledger.ErrNoSidecar, "refused: no sidecar"},
	{ledger.ErrBadSidecar, "refused: no slot can be read"},
	{ledger.ErrLogLost, "refused: the log is gone"},
	{ledger.ErrMismatch, "refused: log and sidecar of two directories"},
	{ledger.ErrVoteConflict, "refused: two votes in one term"},
	{ledger.ErrDamaged, "refused: the hard state can't be read"},
	{errLostState, "refused: no snapshot"},
}

// verifyAll is that one opening of so many reads every entry from its encoding, also those that nothing has touched.
const verifyAll = 8

// open opens the directory and checks the judgement against what the checker knows. False: it is refused, and the node
// stays down until an operator does something about it.
func (n *node) open() (st storage.State, ok bool) {
	d, w := &n.disk, n.w
	d.owner = ledger.Identity{ClusterName: "sim", Member: n.id, Incarnation: n.incarnation}
	had := d.recorded
	g, st, err := d.directory.open(d.rnd.chance(verifyAll))
	if err != nil && had && !d.recorded {
		w.fail("node %d refuses its directory after it emptied it: %v", n.id, err)
	}
	if err == nil {
		err = d.checkSnapshot(&st)
	}
	if err != nil {
		n.refuse(err)
		return st, false
	}
	d.ledger, d.markAt = g, w.now+markDelay
	n.checkOpened(&st)
	d.hard = st.HardState
	d.segment = segment{base: st.Base.Last}
	if st.Base.Last > 0 {
		d.baseRef = w.truth.committed[st.Base.Last-1].ref
	}
	for i := st.First; i <= st.Last; i++ {
		d.refs = append(d.refs, d.key(i).ref)
	}
	if d.mark != nil && !d.end().Before(*d.mark) {
		d.mark, d.unaware = nil, false
	}
	if st.Recovering != nil && d.harm != nil {
		w.operated("recovering")
		n.crashAgain()
	}
	d.harm = nil
	if d.backup == nil || d.rnd.chance(4) {
		d.backUp()
	}
	return st, true
}

// crashAgain crashes a node now and then before it has again what it lost. It has to remember what that was.
func (n *node) crashAgain() {
	d, w := &n.disk, n.w
	if !w.faulty || !d.rnd.chance(2) {
		return
	}
	again := d.rnd.between(20*time.Millisecond, time.Second)
	n.later(d.rnd.between(0, 150*time.Millisecond), func() {
		if d.mark != nil {
			w.happened("crash while recovering")
			n.stop()
			w.after(again, n.start)
		}
	})
}

// checkSnapshot looks for a snapshot that the log goes on from, as package node does at its start. One that is damaged,
// reaches beyond the log or is of another one is set aside.
func (d *disk) checkSnapshot(st *storage.State) error {
	if s := d.snap; s != nil && (d.broken || s.meta.Index < st.Base.Last || s.meta.Index > st.Last || d.hashAt(st, s.meta.Index) != s.meta.Hash) {
		d.snap = nil
	}
	d.broken = false
	if d.snap == nil && st.Base.Last > 0 {
		return errLostState
	}
	return nil
}

// hashAt is the chain hash at an index of the log that was opened.
func (d *disk) hashAt(st *storage.State, index uint64) storage.Hash {
	if index == st.Base.Last {
		return st.Base.Hash
	}
	return d.key(index).hash
}

// refuse leaves the node down.
func (n *node) refuse(err error) {
	d, w := &n.disk, n.w
	cause := -1
	for i := range causes {
		if errors.Is(err, causes[i].err) {
			cause = i
		}
	}
	if cause < 0 {
		w.fail("node %d does not open its directory, without a clear cause: %v", n.id, err)
	}
	if d.harm == nil || !d.harm.allows(causes[cause].err) {
		w.fail("node %d refuses its directory, which %s: %v", n.id, d.harm, err)
	}
	w.operated(causes[cause].name)
	w.note("node %d refuses its directory: %v", n.id, err)
	n.refused = err
	n.soft = raft.SoftState{}
}

// checkOpened checks what an opening found: whole only where nothing is missing, recovering only where something is, and
// what is there is what was written.
func (n *node) checkOpened(st *storage.State) {
	d, w := &n.disk, n.w
	end := raft.Mark{LastTerm: st.LastTerm, Last: st.Last}
	lacks := d.mark != nil && end.Before(*d.mark)
	switch r := st.Recovering; {
	case st.Incarnation != n.incarnation:
		w.fail("node %d is incarnation %s and opens a directory of %s", n.id, n.incarnation, st.Incarnation)
	case r != nil && st.Last == 0:
		w.fail("node %d opens an empty log that once went up to %d/%d", n.id, r.Last, r.LastTerm)
	case r != nil && d.mark == nil:
		w.fail("node %d believes that it lost what it had up to %d/%d; it lost nothing", n.id, r.Last, r.LastTerm)
	case r != nil && r.Before(*d.mark) && !d.unaware:
		w.fail("node %d lost what it had up to %d/%d and is content with %d/%d", n.id, d.mark.Last, d.mark.LastTerm, r.Last, r.LastTerm)
	case r == nil && lacks && !d.unaware:
		w.fail("node %d opens as whole up to %d/%d, and had acknowledged up to %d/%d; it %s", n.id, end.Last, end.LastTerm, d.mark.Last, d.mark.LastTerm, d.harm)
	case d.harm != nil && r == nil && !d.harm.whole:
		w.fail("node %d opens as whole up to %d/%d, though it %s", n.id, end.Last, end.LastTerm, d.harm)
	case d.harm != nil && r != nil && !d.harm.recovering:
		w.fail("node %d is recovering up to %d/%d, though it only %s", n.id, r.Last, r.LastTerm, d.harm)
	case st.HardState.Term < d.hard.Term && !d.unaware,
		st.HardState.Term == d.hard.Term && d.hard.Vote != 0 && st.HardState.Vote != d.hard.Vote && !d.unaware,
		st.HardState.Promise < d.hard.Promise && !d.unaware:
		w.fail("node %d forgot %+v: it opens with %+v", n.id, d.hard, st.HardState)
	}
	if d.harm == nil && (st.Base.Last != d.base || st.Last != d.segment.last()) {
		w.fail("node %d opens with the entries %d to %d; durable are %d to %d", n.id, st.First, st.Last, d.base+1, d.segment.last())
	}
	for i := st.First; i <= st.Last; i++ {
		it := d.key(i)
		if it == nil || it.raw != nil || it.entry.Index != i {
			w.fail("node %d opens with an entry %d that is not there", n.id, i)
		}
		if at, known := d.segment.at(i); known && at != it.ref && (d.harm == nil || !d.harm.older) {
			w.fail("node %d opens with another entry %d than it had; it %s", n.id, i, d.harm)
		}
	}
}

// checkAcknowledged checks, before anything is said on the strength of a write, that both of its parts are durable.
func (n *node) checkAcknowledged() {
	d := &n.disk
	g := d.ledger
	if s := d.latest(); s.Number != g.Slot.Number || s.Term != g.Record.HardState.Term || s.Vote != g.Record.HardState.Vote {
		n.w.fail("node %d acknowledges a write beside which the slot %d of the sidecar says %d/%s; durable is %d/%s",
			n.id, s.Number, s.Term, s.Vote, g.Record.HardState.Term, g.Record.HardState.Vote)
	}
	if stored := &d.record.HardState; d.recorded && (stored.Term != d.hard.Term || stored.Vote != d.hard.Vote) || d.recorded && d.record.End.Last != d.segment.last() {
		n.w.fail("node %d acknowledges a write of which the log has %+v up to %d", n.id, *stored, d.record.End.Last)
	}
}
