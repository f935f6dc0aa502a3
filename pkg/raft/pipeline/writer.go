package pipeline

import (
	"errors"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// ErrGap says that batches do not follow each other, which no core does.
var ErrGap = errors.New("batches leave a gap in the log")

// Item is one thing for the writer of a log to do: what is set first of Probe, Commit and Batch.
type Item struct {
	Batch  raft.AppendBatch
	Probe  bool   // write the hard state again, to see how long the disk takes
	Commit uint64 // write the hard state with this commit index, so that the log may be cut up to there; 0: don't
}

// Writer decides what the one writer of a log does: it joins all items that have queued into one durable write, and lets
// be said what waited for any of them only then. The items are those of one core, in their order, and each write is
// durable before the next one is asked for; after a write that failed nothing is asked for any more (raft.md, rule 14).
type Writer struct {
	maxBytes  int // of entries in one write, beyond the first batch
	hardState raft.HardState
	last      uint64 // index of the log's last entry as of the last batch
	probes    uint64
}

// NewWriter makes the writer of a log that has this hard state and this last index. A write holds no more than maxBytes
// of entries, but for a first batch that is larger.
func NewWriter(hs raft.HardState, last uint64, maxBytes int) Writer {
	return Writer{maxBytes: maxBytes, hardState: hs, last: last}
}

// Join makes one write of as many of the items as fit into it, and returns their number. What was written before a
// snapshot took the log's place is no part of the snapshot's write. The error is [ErrGap].
func (w *Writer) Join(items []Item) (j Joined, count int, err error) {
	for i := range items {
		b := &items[i].Batch
		if count > 0 && (j.Bytes+EntriesBytes(b.Entries) > w.maxBytes || b.Snapshot != nil) {
			break
		}
		count++
		switch {
		case items[i].Probe:
			j.hardState(w.probe(), w.last)
			j.Probed = true
			continue
		case items[i].Commit > 0:
			if commit := min(items[i].Commit, w.last); commit > w.hardState.Commit {
				w.hardState.Commit = commit
				j.hardState(w.hardState, w.last)
			}
			continue
		case b.MustWrite:
			b.HardState.Commit = max(b.HardState.Commit, w.hardState.Commit)
			if err := j.add(b); err != nil {
				return j, count, err
			}
			w.hardState, w.last = b.HardState, b.Last
		}
		j.Send = append(j.Send, b.ThenSend...)
		j.Seq, j.Term, j.Last = b.Seq, b.LastTerm, b.Last
	}
	return j, count, nil
}

// probe returns a hard state that says what the last one said and yet differs from it and from the last probe's,
// because a log may leave out a write that changes nothing. A promise that is longer by a nanosecond binds
// nobody else.
func (w *Writer) probe() raft.HardState {
	hs := w.hardState
	w.probes++
	hs.Promise += time.Duration(1 + w.probes%2)
	return hs
}
