package pipeline

import (
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// Joined is one durable write made of several batches, and what is to follow it. It leaves what the batches would have
// left one after the other: a crash during it is then a crash before the first of them, and what they let be said
// afterwards was true at the end of each.
type Joined struct {
	Write storage.Batch
	Any   bool // there is something to write
	Bytes int  // of Write.Entries
	// Send may leave once Write is durable, and what was written before it; in this order.
	Send []raft.Message
	// Seq, Term and Last are what Core.AppendDone is to be given then: of the last batch; Seq 0: there was none.
	Seq, Term, Last uint64
	Probed          bool // a probe was among what is written

	owned bool // Write.Entries is this batch's own memory, not the core's
}

// add joins b behind what is there. A gap is an error: it would break the log. A snapshot in the place of the log
// comes first in its batch.
func (j *Joined) add(b *raft.AppendBatch) error {
	w := &j.Write
	switch {
	case b.Snapshot != nil && j.Any:
		return fmt.Errorf("batch %d puts a snapshot behind what is written with it: %w", b.Seq, ErrGap)
	case w.Base != nil && b.TruncateAfter < w.TruncateAfter:
		return fmt.Errorf("batch %d begins behind index %d, before the snapshot at %d: %w", b.Seq, b.TruncateAfter, w.TruncateAfter, ErrGap)
	case !j.Any || b.TruncateAfter < w.TruncateAfter:
		j.Any, j.owned, j.Bytes = true, false, EntriesBytes(b.Entries)
		j.Write = storage.Batch{HardState: b.HardState, TruncateAfter: b.TruncateAfter, Entries: b.Entries}
		if m := b.Snapshot; m != nil {
			base := m.Mark()
			j.Write.Base, j.Write.ClusterID = &base, m.Config.ClusterID
		}
		return nil
	}
	keep := b.TruncateAfter - w.TruncateAfter
	if keep > uint64(len(w.Entries)) {
		return fmt.Errorf("batch %d begins behind index %d, the batches before it end at %d: %w",
			b.Seq, b.TruncateAfter, w.TruncateAfter+uint64(len(w.Entries)), ErrGap)
	}
	w.HardState = b.HardState
	if keep < uint64(len(w.Entries)) {
		w.Entries = w.Entries[:keep:keep]
		j.owned = false // what lies behind keep may still be the core's
		j.Bytes = EntriesBytes(w.Entries)
	}
	if len(b.Entries) == 0 {
		return nil
	}
	if !j.owned {
		own := make([]raft.Entry, 0, 2*(len(w.Entries)+len(b.Entries)))
		w.Entries, j.owned = append(own, w.Entries...), true
	}
	w.Entries = append(w.Entries, b.Entries...)
	j.Bytes += EntriesBytes(b.Entries)
	return nil
}

// hardState makes sure that something is written, even if it is this hard state alone.
func (j *Joined) hardState(hs raft.HardState, last uint64) {
	if !j.Any {
		j.Write, j.Any = storage.Batch{HardState: hs, TruncateAfter: last}, true
	}
	j.Write.HardState.Commit = max(j.Write.HardState.Commit, hs.Commit)
}

// Committed is the commit index that a log knows once the write is durable; 0 where nothing is written.
func (j *Joined) Committed() uint64 {
	if base := j.Write.Base; base != nil {
		return max(j.Write.HardState.Commit, base.Last)
	}
	return j.Write.HardState.Commit
}

// EntriesBytes is the size of entries as every bound counts it.
func EntriesBytes(es []raft.Entry) (n int) {
	for i := range es {
		n += es[i].Size()
	}
	return n
}
