package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// cutStep is how many entries go at once where a long log is cut in the background, so that a step is short.
const cutStep = 65536

// cut removes what the newest snapshot holds from the log, but for the tail that slow followers are left. The core
// is told first, so that it asks for nothing that is about to go.
func (s *snapshotter) cut() error {
	info := s.newest.Load()
	if info == nil {
		return nil
	}
	target := s.cutAt(info.Meta.Index)
	base := s.n.base.Load()
	if target <= base {
		return nil
	}
	if err := s.commitDurably(target); err != nil {
		return err
	}
	for to := base; to < target; {
		if to = min(to+cutStep, target); s.n.cfg.Compaction != CompactionBackground {
			to = target
		}
		if err := s.inLoop(func(now time.Duration) { s.n.loop.compacted(to, now) }); err != nil {
			return err
		}
		if err := s.n.cfg.Log.Compact(to); err != nil && !errors.Is(err, storage.ErrClosed) {
			return fmt.Errorf("cutting the log up to index %d: %w", to, err)
		}
		raise(&s.n.base, to)
	}
	s.sizes.forget(target)
	s.n.cfg.Observer.Compacted(target, int(target-base))
	s.n.cfg.Logger.Debug("log cut", "first", target+1, "entries", target-base)
	return nil
}

// compacted tells the core where the log will begin, unless an install was faster.
func (l *loop) compacted(index uint64, now time.Duration) {
	if meta := l.core.Status().Snapshot; meta >= index {
		l.core.Compacted(index, now)
	}
}

// cutAt is the index up to which the log may go where a snapshot at an index is durable.
func (s *snapshotter) cutAt(index uint64) uint64 {
	lim := &s.n.cfg.Limits
	tail := pipeline.Tail{Snapshot: index, Commit: s.n.commit.Load(),
		Trailing: max(pipeline.Behind(index, lim.TrailingEntries), s.sizes.within(index, int64(max(lim.TrailingBytes, 0)))),
		Reach:    max(pipeline.Behind(index, lim.CatchUpEntries), s.sizes.within(index, int64(max(lim.CatchUpBytes, 0))))}
	if lim.TrailingEntries < 0 || lim.TrailingBytes < 0 {
		tail.Trailing = index
	}
	if lim.CatchUpEntries >= 0 && lim.CatchUpBytes >= 0 {
		tail.Needed, tail.Waited = s.n.neededFrom()
	}
	return tail.CutAt()
}

// neededFrom returns the lowest index behind which some follower that answers, or is being given a snapshot, has yet
// to be sent entries.
func (n *Node) neededFrom() (index uint64, ok bool) {
	status := n.Status()
	for _, p := range status.Peers {
		has := p.Match
		switch {
		case p.SnapshotIndex > 0:
			has = p.SnapshotIndex
		case p.LastContact < 0 || p.LastContact > awayAfter*n.cfg.ElectionTimeoutMax || has == 0:
			continue // away, or so new that nothing is known of it
		}
		if !ok || has < index {
			index, ok = has, true
		}
	}
	return index, ok
}

// awayAfter is how many election timeouts of silence make a follower one that is away.
const awayAfter = 10

// commitDurably waits until the log knows that the entries up to an index are committed: it cuts no others. A commit
// index that moved on since the last write is written for that.
func (s *snapshotter) commitDurably(index uint64) error {
	for {
		rung := s.n.append.wrote.wait()
		if s.n.append.committed.Load() >= index {
			return nil
		}
		if !s.n.append.queue.push(pipeline.Item{Commit: index}) {
			return errEnded
		}
		select {
		case <-rung:
		case <-s.n.halted:
			return errEnded
		}
	}
}

// prune removes the snapshots that are of no use: those that the log does not go on from. The newest of the others
// stays, and the one before it for as long as the log reaches it. One that is ahead of what is applied may be about to
// take the place of the log, whatever the log has there; otherwise it will be seen to be of no use later.
func (s *snapshotter) prune() {
	kept := 0
	for _, info := range s.n.cfg.Snapshots.List() {
		if info.Meta.Index > s.n.apply.applied.Load() {
			continue
		}
		switch err := belongs(s.n.cfg.Log, &info.Meta); {
		case err == nil && kept < 2:
			kept++
			continue
		case errors.Is(err, storage.ErrUnavailable):
			continue
		case errors.Is(err, storage.ErrClosed):
			return
		}
		if err := s.n.cfg.Snapshots.Remove(info.Meta.Index, info.Meta.Term); err != nil {
			s.n.cfg.Logger.Warn("a snapshot can't be removed", "index", info.Meta.Index, "error", err)
		}
	}
}

// errOtherLog says that a snapshot is not of this log.
var errOtherLog = errors.New("the log has another entry there")

// belongs reports why a snapshot is none that the log goes on from: storage.ErrCompacted, storage.ErrUnavailable (the
// log ends before it), or another entry at its index; nil: it is one.
func belongs(log storage.Log, m *raft.SnapshotMeta) error {
	at, err := log.Position(m.Index)
	switch {
	case err != nil:
		return err
	case at != m.Mark():
		return errOtherLog
	}
	return nil
}
