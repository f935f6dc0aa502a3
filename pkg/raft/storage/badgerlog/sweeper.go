package badgerlog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// sweepKeys is how many keys go in one transaction: an Append that comes meanwhile waits for one of them.
	sweepKeys = 500
	// flattenIdle is how long no batch comes before Badger is told to merge its tables.
	flattenIdle = 2 * time.Second
	// flattenKeys is how many removed keys make that worth it.
	flattenKeys = 50_000
	// flattenBytes bounds what is merged. Badger does nothing else meanwhile: batches that come again would fill
	// level 0 and have to wait for a merge that takes long.
	flattenBytes = 128 << 20
	// spaceRetry is how often the sweeper looks for room on a full disk.
	spaceRetry = time.Second
)

var processStart = time.Now()

// clock is monotonic time.
func clock() time.Duration { return time.Since(processStart) }

// sweeper removes, beside everything else, the keys that lie in front of the log: those that Compact or an install
// left, and after a crash those that an earlier sweeper did not come to. What it removes nobody reads or writes
// any more, since the base never goes back; so it needs no lock, and a crash at any point leaves keys for the next.
//
// A removed key is a tombstone first, and tombstones are written like entries. So it stops while one more table
// would make Badger hold up all writes, batches among them. Beyond that it does not spare the disk: a sweeper that is
// slower than the appender lets the directory grow (docs/decisions/0003).
type sweeper struct {
	log  *Log
	base atomic.Uint64 // index up to which keys go
	wake chan struct{} // holds one
	stop chan struct{}
	done chan struct{}
}

func startSweeper(l *Log) *sweeper {
	s := &sweeper{log: l, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if base := l.ledger.Record.Base.Last; base > 0 {
		s.kick(base)
	}
	go s.run()
	return s
}

// kick says that the base has moved, durably.
func (s *sweeper) kick(base uint64) {
	s.base.Store(base)
	select {
	case s.wake <- struct{}{}:
	default: // it will see this one, too
	}
}

// end stops the sweeper and waits for it; after a failure not for ever, because Badger may be stuck.
func (s *sweeper) end(failed bool) error {
	close(s.stop)
	var limit <-chan time.Time
	if failed {
		limit = time.After(closeLimit)
	}
	select {
	case <-s.done:
		return nil
	case <-limit:
		return errors.New("the removal of old entries does not end")
	}
}

// errStopped ends the sweeper.
var errStopped = errors.New("stopped")

func (s *sweeper) run() {
	defer close(s.done)
	var next uint64 // no key is left below it
	removed := 0    // since Badger's tables were merged
	for {
		select {
		case <-s.stop:
			return
		case <-s.wake:
		case <-s.idle(removed):
			if s.busyFor() > 0 {
				continue
			}
			s.flatten()
			removed = 0
			continue
		}
		n, err := s.sweep(&next)
		removed += n
		if err != nil {
			if !errors.Is(err, errStopped) {
				s.log.failBeside(fmt.Errorf("removing old entries: %w", err))
			}
			return
		}
	}
}

// flatten has Badger merge its tables, so that tombstones and what they stand for go.
func (s *sweeper) flatten() {
	size := int64(0)
	for _, level := range s.log.db.Levels() {
		size += level.Size
	}
	if size > flattenBytes {
		return
	}
	if err := s.log.db.Flatten(1); err != nil {
		s.log.logger.Warn("merging tables", "dir", s.log.opt.Dir, "err", err)
	}
}

// busyFor is how long it takes at least until the log counts as idle.
func (s *sweeper) busyFor() time.Duration {
	return flattenIdle - (clock() - time.Duration(s.log.appended.Load()))
}

// idle fires when the log may be idle and there is something to merge.
func (s *sweeper) idle(removed int) <-chan time.Time {
	if removed < flattenKeys {
		return nil
	}
	return time.After(max(s.busyFor(), time.Millisecond))
}

// sweep removes all keys in front of the log, in small transactions.
func (s *sweeper) sweep(next *uint64) (removed int, err error) {
	l := s.log
	for {
		if err := s.mayWrite(); err != nil {
			return removed, err
		}
		base := s.base.Load()
		n, after, err := sweepSome(l.db, *next, base, min(sweepKeys, l.limits.entries/2))
		if err != nil {
			return removed, err
		}
		if removed, *next = removed+n, after; n == 0 {
			*next = base + 1
			return removed, nil
		}
	}
}

// mayWrite waits until there is room on the disk and Badger keeps up.
func (s *sweeper) mayWrite() error {
	for {
		if err := s.log.err(); err != nil {
			return errStopped // it was told already
		}
		wait := time.Duration(0)
		if levels := s.log.db.Levels(); levels[0].NumTables >= levelZeroStall-1 {
			wait = 2 * time.Millisecond
		}
		if err := s.log.space.roomToShrink(); err != nil {
			wait = spaceRetry
		}
		if wait == 0 {
			return nil
		}
		if err := s.pause(wait); err != nil {
			return err
		}
	}
}

func (s *sweeper) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.stop:
		return errStopped
	case <-timer.C:
		return nil
	}
}
