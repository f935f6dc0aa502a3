package node

import (
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// joinedBatch is one durable write made of several batches. It leaves what the batches would have left one
// after the other: a crash during it is then a crash before the first of them, and what they let be said
// afterwards was true at the end of each.
type joinedBatch struct {
	write storage.Batch
	bytes int  // of write.Entries
	any   bool // there is something to write
	owned bool // write.Entries is this batch's own memory, not the core's
}

// add joins b behind what is there. A gap is an error: it would break the log. A snapshot in the place of the log
// comes first in its batch.
func (j *joinedBatch) add(b *raft.AppendBatch) error {
	w := &j.write
	switch {
	case b.Snapshot != nil && j.any:
		return fmt.Errorf("batch %d puts a snapshot behind what is written with it: %w", b.Seq, errGap)
	case w.Base != nil && b.TruncateAfter < w.TruncateAfter:
		return fmt.Errorf("batch %d begins behind index %d, before the snapshot at %d: %w", b.Seq, b.TruncateAfter, w.TruncateAfter, errGap)
	case !j.any || b.TruncateAfter < w.TruncateAfter:
		*j = joinedBatch{any: true, bytes: entriesBytes(b.Entries)}
		j.write = storage.Batch{HardState: b.HardState, TruncateAfter: b.TruncateAfter, Entries: b.Entries}
		if m := b.Snapshot; m != nil {
			base := m.Mark()
			j.write.Base, j.write.ClusterID = &base, m.Config.ClusterID
		}
		return nil
	}
	keep := b.TruncateAfter - w.TruncateAfter
	if keep > uint64(len(w.Entries)) {
		return fmt.Errorf("batch %d begins behind index %d, the batches before it end at %d: %w",
			b.Seq, b.TruncateAfter, w.TruncateAfter+uint64(len(w.Entries)), errGap)
	}
	w.HardState = b.HardState
	if keep < uint64(len(w.Entries)) {
		w.Entries = w.Entries[:keep:keep]
		j.owned = false // what lies behind keep may still be the core's
		j.bytes = entriesBytes(w.Entries)
	}
	if len(b.Entries) == 0 {
		return nil
	}
	if !j.owned {
		own := make([]raft.Entry, 0, 2*(len(w.Entries)+len(b.Entries)))
		w.Entries, j.owned = append(own, w.Entries...), true
	}
	w.Entries = append(w.Entries, b.Entries...)
	j.bytes += entriesBytes(b.Entries)
	return nil
}

// hardState makes sure that something is written, even if it is this hard state alone.
func (j *joinedBatch) hardState(hs raft.HardState, last uint64) {
	if !j.any {
		j.write, j.any = storage.Batch{HardState: hs, TruncateAfter: last}, true
	}
	j.write.HardState.Commit = max(j.write.HardState.Commit, hs.Commit)
}

func entriesBytes(es []raft.Entry) (n int) {
	for i := range es {
		n += es[i].Size()
	}
	return n
}
