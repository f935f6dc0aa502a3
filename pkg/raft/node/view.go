package node

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// taker is what the applier needs in order to take snapshots of its machine and to restore it from one.
type taker struct {
	snaps  *snapshotter     // nil: the machine has no snapshots, or there is nowhere to keep them
	policy CompactionPolicy // nil: none but those that are asked for
	mode   CompactionMode
	// settled waits until the log durably has an entry.
	settled func(index, term uint64) (raft.Mark, error)
	open    func(*raft.SnapshotMeta) (storage.SnapshotReader, error)
	now     func() time.Duration
	base    func(index uint64) // is told that the log begins behind an index
	// lagging is true for a machine that must not be ahead of the log.
	lagging bool
	waitFor <-chan struct{} // closed when the snapshot is done for which the next entries wait; nil: none
}

func (t *taker) note(index uint64, bytes int) {
	if t.snaps != nil {
		t.snaps.sizes.note(index, bytes)
	}
}

// awaitBefore waits for what has to be done before entries up to last are applied.
func (a *applier) awaitBefore(last *raft.Entry) {
	t := &a.taker
	if t.waitFor != nil {
		a.await(t.waitFor)
		t.waitFor = nil
	}
	if t.lagging && !a.broken {
		if _, err := t.settled(last.Index, last.Term); err != nil && !errors.Is(err, errEnded) {
			a.broken = true
			a.fail(fmt.Errorf("looking for entry %d before it is applied: %w", last.Index, err))
		}
	}
}

func (a *applier) await(c <-chan struct{}) {
	select {
	case <-c:
	case <-a.halted:
	}
}

// takeIfDue takes a snapshot if the policy says so.
func (a *applier) takeIfDue() {
	t := &a.taker
	if t.policy == nil || a.broken || !t.snaps.mayTake() || !t.policy.Due(t.snaps.stats(a.at.Index)) {
		return
	}
	done := make(chan struct{})
	t.snaps.saving.Store(true)
	a.take(func(error) {
		t.snaps.saving.Store(false)
		close(done)
	})
	switch t.mode {
	case CompactionSequential:
		a.await(done)
	case CompactionForeground:
		t.waitFor = done
	case CompactionBackground:
	}
}

// take takes a view and hands it to the snapshotter. Where nothing was applied since the newest snapshot, the log is
// cut behind that one.
func (a *applier) take(done func(error)) {
	order := taken{meta: a.at.Meta(), done: done}
	newest := a.taker.snaps.newest.Load()
	switch {
	case a.broken:
		done(ErrStopped)
		return
	case a.at.Index == 0, newest != nil && newest.Meta.Index >= a.at.Index:
	default:
		view, err := a.machine.(Snapshotter).Snapshot()
		if err != nil {
			a.broken = true
			a.fail(fmt.Errorf("taking a snapshot at index %d: %w", a.at.Index, err))
			done(ErrStopped)
			return
		}
		order.view = view
	}
	if !a.taker.snaps.queue.push(order) {
		if order.view != nil {
			order.view.Release()
		}
		done(errEnded)
	}
}

// restore puts a leader's snapshot in the place of the machine's state. It waits until the log durably begins behind
// it: a machine that keeps its own state would else be ahead of the log after a crash.
func (a *applier) restore(m *raft.SnapshotMeta) {
	if a.broken || a.isHalted() {
		return
	}
	start := a.taker.now()
	size, err := a.restoreFrom(m)
	if errors.Is(err, errEnded) {
		return
	}
	if err != nil {
		a.broken = true
		a.fail(fmt.Errorf("restoring the state from the snapshot at index %d: %w", m.Index, err))
		return
	}
	a.at = pipeline.PositionOf(m)
	a.applied.Store(m.Index)
	a.taker.snaps.installed(storage.SnapshotInfo{Meta: *m, Size: size})
	a.taker.base(m.Index)
	a.observer.SnapshotInstalled((a.taker.now() - start).Seconds(), size)
	a.advanced()
}

func (a *applier) restoreFrom(m *raft.SnapshotMeta) (size int64, err error) {
	if a.taker.snaps == nil {
		return 0, ErrNoSnapshots
	}
	if _, err := a.taker.settled(m.Index, m.Term); err != nil {
		return 0, err
	}
	r, err := a.taker.open(m)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return r.Info().Size, readInto(a.machine.(Snapshotter), r)
}

// readInto restores a machine from a snapshot and sees to it that all of the file is verified.
func readInto(machine Snapshotter, r io.Reader) error {
	if err := machine.Restore(r); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}
