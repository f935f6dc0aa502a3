package node

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// fetched is the answer to a FetchRequest; no entries: they are not to be had.
type fetched struct {
	to      raft.MemberID
	lo      uint64
	entries []raft.Entry
}

// fetcher reads entries that the core no longer has in memory, so that the loop never waits for a disk.
type fetcher struct {
	log    storage.Log
	queue  *queue[raft.FetchRequest]
	report func(fetched)
	fail   func(error)
	logger hclog.Logger
}

func (f *fetcher) run() {
	var spare []raft.FetchRequest
	for range f.queue.ready {
		requests, closed := f.queue.take(spare)
		if closed {
			return // nobody listens any more
		}
		for _, r := range requests {
			es, err := f.log.Entries(r.Lo, r.Hi, r.MaxBytes)
			switch {
			case errors.Is(err, storage.ErrCompacted), errors.Is(err, storage.ErrUnavailable):
				// A truncation was faster, or the entries are gone for good: the core decides what follows.
				f.logger.Debug("entries are not in the log", "from", r.Lo, "to", r.Hi, "peer", r.To, "error", err)
				es = nil
			case err != nil:
				f.fail(fmt.Errorf("reading entries %d to %d: %w", r.Lo, r.Hi, err))
				return
			}
			f.report(fetched{r.To, r.Lo, es})
		}
		spare = requests
	}
}

// loadTail reads the last entries of a log, about maxBytes of them, so that the core begins with what its
// peers are most likely to ask for.
func loadTail(log storage.Log, first, last uint64, maxBytes int) ([]raft.Entry, error) {
	const step = 64
	var chunks [][]raft.Entry
	count := 0
	for hi := last + 1; hi > first && maxBytes > 0; {
		lo := first
		if hi-first > step {
			lo = hi - step
		}
		var chunk []raft.Entry
		for next := lo; next < hi; {
			es, err := log.Entries(next, hi, 1<<30)
			if err != nil {
				return nil, fmt.Errorf("reading the log's last entries, %d to %d: %w", next, hi, err)
			}
			chunk = append(chunk, es...)
			next += uint64(len(es))
		}
		chunks = append(chunks, chunk)
		count += len(chunk)
		maxBytes -= pipeline.EntriesBytes(chunk)
		hi = lo
	}
	tail := make([]raft.Entry, 0, count)
	for i := len(chunks) - 1; i >= 0; i-- {
		tail = append(tail, chunks[i]...)
	}
	return tail, nil
}
