package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// retrySave is how long after a save that found no room the next one is tried.
const retrySave = 10 * time.Second

// errOvertaken says that another member's snapshot took the place of the state that was to be saved.
var errOvertaken = errors.New("overtaken by a snapshot of the leader's")

// taken is a view on its way into a file. Without a view there is nothing new: what the newest snapshot allows to be
// cut is cut. done is called once, with what became of it.
type taken struct {
	view SnapshotView
	meta raft.SnapshotMeta // but for its hash
	done func(error)
}

// snapshotter saves the views that the applier took, one after the other, cuts the log behind them and removes the
// snapshots that are of no use any more.
type snapshotter struct {
	n     *Node
	queue *queue[taken]
	sizes logSizes

	newest  atomic.Pointer[storage.SnapshotInfo] // nil: none
	saving  atomic.Bool                          // the policy has one under way
	retryAt atomic.Int64                         // monotonic; the policy takes none before
}

func newSnapshotter(n *Node, newest *storage.SnapshotInfo, applied uint64) *snapshotter {
	s := &snapshotter{n: n, queue: newQueue[taken]()}
	s.newest.Store(newest)
	s.sizes.restart(applied)
	return s
}

// stats is what the policy decides by.
func (s *snapshotter) stats(applied uint64) LogStats {
	index, size := uint64(0), int64(0)
	if info := s.newest.Load(); info != nil {
		index, size = info.Meta.Index, info.Size
	}
	return LogStats{Entries: applied - min(index, applied), Bytes: s.sizes.behind(index), SnapshotBytes: size}
}

// mayTake reports whether the policy may take one now.
func (s *snapshotter) mayTake() bool {
	return !s.saving.Load() && int64(s.n.clock.now()) >= s.retryAt.Load()
}

// run works until the queue is closed, then lets go of what was not saved.
func (s *snapshotter) run() {
	s.prune()
	var spare []taken
	for range s.queue.ready {
		items, closed := s.queue.take(spare)
		for i := range items {
			s.handle(&items[i])
		}
		spare = items
		if closed {
			return
		}
	}
}

// handle does one thing. A failure ends the node, but for a want of room: what is not saved now is saved later, and
// until then the log grows.
func (s *snapshotter) handle(t *taken) {
	err := s.keep(t)
	switch {
	case err == nil, errors.Is(err, errOvertaken), errors.Is(err, errEnded):
	case isNoSpace(err):
		s.retryAt.Store(int64(s.n.clock.now() + retrySave))
		s.n.cfg.Logger.Warn("no room for a snapshot: the log is not cut until there is", "error", err)
	default:
		s.n.halt(err)
	}
	if t.done != nil {
		t.done(err)
	}
}

func isNoSpace(err error) bool {
	return errors.Is(err, storage.ErrNoSpace) || errors.Is(err, syscall.ENOSPC)
}

func (s *snapshotter) keep(t *taken) error {
	if t.view != nil {
		if err := s.save(t); err != nil {
			return err
		}
	}
	if err := s.cut(); err != nil {
		return err
	}
	s.prune()
	return nil
}

// save makes a durable file of a view and tells the core of it.
func (s *snapshotter) save(t *taken) error {
	defer t.view.Release()
	start := s.n.clock.now()
	mark, err := s.n.settled(t.meta.Index, t.meta.Term)
	if errors.Is(err, storage.ErrCompacted) {
		return errOvertaken
	}
	if err != nil {
		return fmt.Errorf("looking for entry %d, up to which a snapshot was taken: %w", t.meta.Index, err)
	}
	t.meta.Hash = mark.Hash
	info, err := s.write(t)
	if err != nil {
		return fmt.Errorf("saving a snapshot at index %d: %w", t.meta.Index, err)
	}
	took := s.n.clock.now() - start
	s.advance(info)
	s.n.cfg.Observer.SnapshotSaved(took.Seconds(), info.Size)
	s.n.cfg.Logger.Info("snapshot saved", "index", info.Meta.Index, "term", info.Meta.Term, "bytes", info.Size, "took", took)
	return s.inLoop(func(now time.Duration) { s.n.loop.core.SetSnapshot(info.Meta, now) })
}

func (s *snapshotter) write(t *taken) (storage.SnapshotInfo, error) {
	w, err := s.n.cfg.Snapshots.Create(t.meta)
	if err != nil {
		return storage.SnapshotInfo{}, err
	}
	defer w.Abort()
	if err := t.view.Save(untilHalted{w, s.n.halted}); err != nil {
		return storage.SnapshotInfo{}, err
	}
	return w.Commit()
}

// untilHalted is a writer that fails once the node ends, so that a large save does not hold it.
type untilHalted struct {
	io.Writer
	halted <-chan struct{}
}

func (w untilHalted) Write(p []byte) (int, error) {
	select {
	case <-w.halted:
		return 0, errEnded
	default:
		runtime.Gosched() // a save has time; whoever applies has not
		return w.Writer.Write(p)
	}
}

// inLoop has the loop run f and waits until it did.
func (s *snapshotter) inLoop(f func(now time.Duration)) error {
	ran := make(chan struct{})
	if !s.n.in.call(func(now time.Duration) { f(now); close(ran) }) {
		return errEnded
	}
	select {
	case <-ran:
		return nil
	case <-s.n.halted:
		return errEnded
	}
}

// settled waits until the log durably has the entry at an index with its term, and returns its position. The applier
// may be ahead of this member's own disk, where the others have made up a quorum.
func (n *Node) settled(index, term uint64) (raft.Mark, error) {
	for {
		rung := n.append.wrote.wait()
		mark, err := n.cfg.Log.Position(index)
		switch {
		case err == nil && mark.LastTerm == term:
			return mark, nil
		case err != nil && !errors.Is(err, storage.ErrUnavailable):
			return raft.Mark{}, err
		}
		select { // not written yet, or an entry of an old leader's is about to be overwritten
		case <-rung:
		case <-n.halted:
			return raft.Mark{}, errEnded
		}
	}
}

// takeSnapshot has a snapshot taken now, saved and the log cut, whatever the policy says, and returns when all of it
// is done. Where nothing was applied since the newest one, that one stays.
func (n *Node) takeSnapshot(ctx context.Context) error {
	if n.snaps == nil {
		return ErrNoSnapshots
	}
	result := make(chan error, 1)
	if !n.apply.queue.push(job{snapshot: func(err error) { result <- err }}) {
		return ErrStopped
	}
	select {
	case err := <-result:
		if errors.Is(err, errEnded) {
			return ErrStopped
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.done:
		return ErrStopped
	}
}

// Compact takes a snapshot now, whatever the policy says, and cuts the log behind it; what slow followers need stays.
// Errors: [ErrNoSnapshots], storage.ErrNoSpace (the node goes on, and tries again later), [ErrStopped] and the
// context's, after which the compaction goes on.
func (n *Node) Compact(ctx context.Context) error {
	if err := n.takeSnapshot(ctx); err != nil && !errors.Is(err, errOvertaken) {
		return fmt.Errorf("compacting the log: %w", err)
	}
	return nil
}

// SaveSnapshot takes a snapshot now, unless nothing was applied since the newest one, and writes its whole file to w:
// what storage.Snapshots of another member can receive. It returns what the file holds. Errors: as of Compact;
// storage.ErrNoSnapshot where nothing was ever applied; and those of w.
func (n *Node) SaveSnapshot(ctx context.Context, w io.Writer) (storage.SnapshotInfo, error) {
	if err := n.takeSnapshot(ctx); err != nil && !errors.Is(err, errOvertaken) {
		return storage.SnapshotInfo{}, fmt.Errorf("saving a snapshot: %w", err)
	}
	r, err := n.openNewest()
	if err != nil {
		return storage.SnapshotInfo{}, fmt.Errorf("saving a snapshot: %w", err)
	}
	defer r.Close()
	info := r.Info()
	src := io.NewSectionReader(r, 0, info.Size)
	for chunk := int64(1 << 20); ; {
		if _, err := io.CopyN(w, src, chunk); errors.Is(err, io.EOF) {
			return info, nil
		} else if err != nil {
			return info, fmt.Errorf("copying the snapshot at index %d: %w", info.Meta.Index, err)
		}
		if err := ctx.Err(); err != nil {
			return info, fmt.Errorf("copying the snapshot at index %d: %w", info.Meta.Index, err)
		}
	}
}

// openNewest opens the newest snapshot that belongs to this member's log.
func (n *Node) openNewest() (storage.SnapshotReader, error) {
	info := n.snaps.newest.Load()
	if info == nil {
		return nil, storage.ErrNoSnapshot
	}
	return n.cfg.Snapshots.Open(info.Meta.Index, info.Meta.Term)
}

// installed notes that a leader's snapshot took the place of the log and of the state.
func (s *snapshotter) installed(info storage.SnapshotInfo) {
	s.advance(info)
	s.sizes.restart(info.Meta.Index)
	s.queue.push(taken{})
	s.n.cfg.Logger.Info("snapshot installed", "index", info.Meta.Index, "term", info.Meta.Term, "bytes", info.Size)
}

// advance makes a snapshot the newest one, unless there is a newer one: a save and an install may overlap.
func (s *snapshotter) advance(info storage.SnapshotInfo) {
	for {
		old := s.newest.Load()
		if (old != nil && old.Meta.Index >= info.Meta.Index) || s.newest.CompareAndSwap(old, &info) {
			return
		}
	}
}

// disown forgets a snapshot that proved to be damaged and has another one taken.
func (s *snapshotter) disown(index uint64) {
	if old := s.newest.Load(); old != nil && old.Meta.Index == index {
		s.newest.CompareAndSwap(old, nil)
	}
	s.n.apply.queue.push(job{snapshot: func(err error) {
		if err != nil {
			s.n.cfg.Logger.Warn("no snapshot in the place of the damaged one", "error", err)
		}
	}})
}
