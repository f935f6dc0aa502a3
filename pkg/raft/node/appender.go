package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

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
	queue    *queue[pipeline.Item]
	writer   pipeline.Writer
	send     func([]raft.Message)
	report   func(written)
	fail     func(error)
	observer Observer
	now      func() time.Duration

	wrote     bell          // rings after each write
	committed atomic.Uint64 // the commit index that the log knows
}

// run writes until the queue is closed and empty, or a write failed: then nothing is written any more
// (raft.md, rule 14). A refusal for want of room is no failure: the log has touched nothing.
func (a *appender) run() {
	var spare []pipeline.Item
	for range a.queue.ready {
		items, closed := a.queue.take(spare)
		for rest := items; len(rest) > 0; {
			n, err := a.write(rest)
			if errors.Is(err, errEnded) {
				return // as after a crash before the write: nobody was told of it
			}
			if err != nil {
				a.fail(err)
			}
			if err != nil && !canary.Broken(canary.FailedWriteIsTheLast) {
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
func (a *appender) write(items []pipeline.Item) (count int, err error) {
	joined, count, err := a.writer.Join(items)
	if err != nil {
		return count, err
	}
	if joined.Any {
		took, err := a.store(&joined.Write)
		if err != nil {
			return count, fmt.Errorf("appending to the log behind index %d: %w", joined.Write.TruncateAfter, err)
		}
		raise(&a.committed, joined.Committed())
		a.wrote.ring()
		a.observer.Appended(took.Seconds(), len(joined.Write.Entries), joined.Bytes)
	}
	if len(joined.Send) > 0 {
		a.send(joined.Send)
	}
	a.report(written{seq: joined.Seq, term: joined.Term, last: joined.Last, probed: joined.Probed})
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
