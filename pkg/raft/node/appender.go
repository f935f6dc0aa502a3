package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// toWrite is one thing for the appender to do.
type toWrite struct {
	batch  raft.AppendBatch
	probe  bool   // write the hard state again, to see how long the disk takes
	commit uint64 // write the hard state with this commit index, so that the log may be cut up to there; 0: don't
}

// retryFull is how often a write that the log refused for want of room is tried again.
const retryFull = 200 * time.Millisecond

// errEnded says that the node ended while a write waited for room.
var errEnded = errors.New("ended while the disk was full")

// written tells the loop what is durable: this batch and all before it. Or, with full set, that nothing more is
// until the disk has room.
type written struct {
	seq, term, last uint64 // of the last batch; seq 0: there was none
	probed          bool   // a probe was among what was written
	full            error  // the log has refused the next write for want of room; it is being tried again
}

// appender is the one writer of the log. It joins all batches that have queued into one durable write, and
// only then sends what waited for any of them.
type appender struct {
	log      storage.Log
	queue    *queue[toWrite]
	maxBytes int // of entries in one write, beyond the first batch
	send     func([]raft.Message)
	report   func(written)
	fail     func(error)
	observer Observer
	now      func() time.Duration

	hardState raft.HardState // of the last batch
	last      uint64         // index of the log's last entry as of the last batch
	probes    uint64

	wrote     bell          // rings after each write
	committed atomic.Uint64 // the commit index that the log knows
}

// run writes until the queue is closed and empty, or a write failed: then nothing is written any more
// (raft.md, rule 14). A refusal for want of room is no failure: the log has touched nothing.
func (a *appender) run() {
	var spare []toWrite
	for range a.queue.ready {
		items, closed := a.queue.take(spare)
		for rest := items; len(rest) > 0; {
			n, err := a.write(rest)
			if errors.Is(err, errEnded) {
				return // as after a crash before the write: nobody was told of it
			}
			if err != nil {
				a.fail(err)
				return
			}
			rest = rest[n:]
		}
		spare = items
		if closed {
			return
		}
	}
}

// write carries out as many of the items as fit into one write, sends their ThenSend in order and reports
// them. It returns their number.
func (a *appender) write(items []toWrite) (count int, err error) {
	var joined joinedBatch
	var messages []raft.Message
	var done written
	for i := range items {
		b := &items[i].batch
		if count > 0 && (joined.bytes+entriesBytes(b.Entries) > a.maxBytes || b.Snapshot != nil) {
			break // what was written before a snapshot took the log's place is no part of that write
		}
		count++
		switch {
		case items[i].probe:
			joined.hardState(a.probe(), a.last)
			done.probed = true
			continue
		case items[i].commit > 0:
			if commit := min(items[i].commit, a.last); commit > a.hardState.Commit {
				a.hardState.Commit = commit
				joined.hardState(a.hardState, a.last)
			}
			continue
		case b.MustWrite:
			b.HardState.Commit = max(b.HardState.Commit, a.hardState.Commit)
			if err := joined.add(b); err != nil {
				return count, err
			}
			a.hardState, a.last = b.HardState, b.Last
		}
		messages = append(messages, b.ThenSend...)
		done.seq, done.term, done.last = b.Seq, b.LastTerm, b.Last
	}
	if joined.any {
		took, err := a.store(&joined.write)
		if err != nil {
			return count, fmt.Errorf("appending to the log behind index %d: %w", joined.write.TruncateAfter, err)
		}
		raise(&a.committed, joined.write.HardState.Commit)
		if base := joined.write.Base; base != nil {
			raise(&a.committed, base.Last)
		}
		a.wrote.ring()
		a.observer.Appended(took.Seconds(), len(joined.write.Entries), joined.bytes)
	}
	if len(messages) > 0 {
		a.send(messages)
	}
	a.report(done)
	return count, nil
}

// store writes one batch and returns how long that took. Without room on the disk it waits for room, so that the
// node goes on with what needs no disk, and what waits for the write stays unsaid.
func (a *appender) store(b *storage.Batch) (took time.Duration, err error) {
	for waited := false; ; waited = true {
		start := a.now()
		err := a.log.Append(*b)
		if !errors.Is(err, storage.ErrNoSpace) {
			return a.now() - start, err
		}
		if !waited {
			a.report(written{full: err})
		}
		if a.endedWithin(retryFull) {
			return 0, errEnded
		}
	}
}

// endedWithin waits for so long, or until the queue is closed: then it returns true.
func (a *appender) endedWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	defer wake(a.queue.ready) // for run: what was pushed meanwhile is still there
	for {
		if a.queue.isClosed() {
			return true
		}
		select {
		case <-a.queue.ready:
		case <-timer.C:
			return false
		}
	}
}

// isClosed reports whether nothing comes any more.
func (q *queue[T]) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// probe returns a hard state that says what the last one said and yet differs from it and from the last probe's,
// because a log may leave out a write that changes nothing. A promise that is longer by a nanosecond binds
// nobody else.
func (a *appender) probe() raft.HardState {
	hs := a.hardState
	a.probes++
	hs.Promise += time.Duration(1 + a.probes%2)
	return hs
}
