package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// keeper is a lone node with a vault, on a log and a shelf that outlive it.
type keeper struct {
	*Node
	log   *storage.Memory
	shelf *shelf
	vault *vault
}

func keep(t *testing.T, change func(*Config)) *keeper {
	k := &keeper{log: storage.NewMemory(), shelf: &shelf{}}
	k.again(t, change)
	return k
}

// again starts a node on the log and the shelf.
func (k *keeper) again(t *testing.T, change func(*Config)) {
	t.Helper()
	if err := k.try(change); err != nil {
		t.Fatal(err)
	}
	<-k.Ready()
}

func (k *keeper) try(change func(*Config)) (err error) {
	k.vault = &vault{}
	cfg := Config{ID: 1, Name: "n1", Members: []raft.Member{{ID: 1, Name: "n1"}}, Log: k.log, Snapshots: k.shelf, StateMachine: k.vault}
	if change != nil {
		change(&cfg)
	}
	k.Node, err = Start(cfg)
	return err
}

func (k *keeper) kill() {
	k.halt(ErrStopped)
	<-k.Done()
	k.log = k.log.Reopen()
	k.shelf.reopen()
}

func (k *keeper) put(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := k.Propose(t.Context(), fmt.Appendf(nil, "c%d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func counted(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("c%d", i))
	}
	return out
}

func short(cfg *Config) { cfg.Limits.TrailingEntries = 10 }

func TestCompactCutsTheLogAndARestartGoesOnFromTheSnapshot(t *testing.T) {
	t.Parallel()
	for _, mode := range []CompactionMode{CompactionBackground, CompactionForeground, CompactionSequential} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				change := func(cfg *Config) { short(cfg); cfg.Compaction = mode }
				k := keep(t, change)
				k.put(t, 0, 100)
				if err := k.Compact(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * statusPeriod) // virtual
				s := k.Status()
				if s.Snapshot == nil || s.Snapshot.Index != s.Applied || s.First != s.Applied-9 || s.LogBytes == 0 {
					t.Fatalf("after the compaction: %+v", s)
				}
				if _, err := k.log.Entries(s.First-1, s.First, 1); !errors.Is(err, storage.ErrCompacted) {
					t.Errorf("the entry before the first: %v", err)
				}
				k.put(t, 100, 120)
				term := k.Status().Term
				k.kill()
				k.again(t, change)
				defer k.kill()
				if at, kept := k.vault.state(); !slices.Equal(kept, counted(120)) || at <= s.Applied {
					t.Errorf("%d commands at index %d after a restart", len(kept), at)
				}
				if applied, restored, _ := k.vault.counts(); restored != 1 || applied > 30 {
					t.Errorf("restored %d times, %d entries applied after it", restored, applied)
				}
				if s := k.Status(); s.Term <= term || s.Snapshot == nil {
					t.Errorf("after a restart: %+v", s)
				}
				k.put(t, 120, 130)
			})
		})
	}
}

func TestADamagedSnapshotGivesWayToAnOlderOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		long := func(cfg *Config) { cfg.Limits.TrailingEntries = 60 }
		k := keep(t, long)
		k.put(t, 0, 100)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		older := k.Status().Snapshot.Index
		k.put(t, 100, 150)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(k.shelf.List()); n != 2 {
			t.Fatalf("%d snapshots, want the newest and the one that the log reaches", n)
		}
		k.kill()
		k.shelf.flip(0)
		k.again(t, long)
		if _, kept := k.vault.state(); !slices.Equal(kept, counted(150)) {
			t.Errorf("%d commands from the older snapshot and the log", len(kept))
		}
		if s := k.Status(); s.Snapshot.Index != older {
			t.Errorf("the snapshot at %d was used, want %d", s.Snapshot.Index, older)
		}
		if n := len(k.shelf.files); n != 2 {
			t.Errorf("%d files, the damaged one among them, want 2", n)
		}
		k.put(t, 150, 200)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := k.shelf.List(); len(k.shelf.files) != len(list) || list[0].Meta.Index != k.Status().Snapshot.Index {
			t.Errorf("%d files and %d listed with a newer snapshot", len(k.shelf.files), len(list))
		}
		k.kill()
	})
}

// The last snapshot that has what the log does not is never removed: somebody may have a copy of it, or mend it.
func TestARefusedStartLeavesTheDamagedSnapshotAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		k.put(t, 0, 100)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.kill()
		k.shelf.flip(0)
		raw := k.shelf.files[0].raw
		for range 2 { // the second start finds what the first one did
			err := k.try(short)
			if err == nil {
				t.Fatal("started without its state")
			}
			for _, want := range []string{"put the file back", "member replace", "snapshot restore", storage.ErrSnapshotDamaged.Error()} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said: %v", want, err)
				}
			}
			if !errors.Is(err, storage.ErrSnapshotDamaged) {
				t.Errorf("%v, want ErrSnapshotDamaged", err)
			}
			if len(k.shelf.files) != 1 || !bytes.Equal(k.shelf.files[0].raw, raw) {
				t.Fatalf("of the damaged snapshot %d files are left", len(k.shelf.files))
			}
			k.shelf.reopen()
			k.log = k.log.Reopen()
		}
		k.shelf.flip(0)
		k.again(t, short)
		defer k.kill()
		if _, kept := k.vault.state(); !slices.Equal(kept, counted(100)) {
			t.Errorf("%d commands after the file was put back", len(kept))
		}
	})
}

func TestARefusedStartNamesTheSnapshotsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		k.put(t, 0, 50)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.kill()
		k.shelf.files = nil
		k.shelf.unusable = []error{
			fmt.Errorf("snapshot 1-50.snap: torn: %w", storage.ErrSnapshotDamaged), fmt.Errorf("snapshot 1-40.snap: %w", storage.ErrSnapshotVersion)}
		err := k.try(short)
		if !errors.Is(err, storage.ErrSnapshotDamaged) || !errors.Is(err, storage.ErrSnapshotVersion) {
			t.Fatalf("a start on snapshots that can't be used: %v", err)
		}
		for _, want := range []string{"1-50.snap: torn", "1-40.snap", "member replace"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not said: %v", want, err)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: a log and a shell want one line", err)
		}
	})
}

func TestASnapshotOfAnotherLogIsNotUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		k.put(t, 0, 50)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.kill()
		strange := k.shelf.files[0]
		strange.info.Meta.Hash[0]++
		k.shelf.files[0] = strange
		if err := k.try(short); err == nil || !strings.Contains(err.Error(), "no snapshot that reaches it") {
			t.Errorf("a start on a snapshot with another hash: %v", err)
		}
	})
}

func TestApplyGoesOnWhileASnapshotIsSaved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		defer k.kill()
		k.put(t, 0, 50)
		gate := make(chan struct{})
		k.vault.gate = gate
		saved := make(chan error, 1)
		go func() { saved <- k.Compact(t.Context()) }()
		synctest.Wait()
		k.put(t, 50, 100)
		if s := k.Status(); s.Snapshot != nil {
			t.Error("the snapshot is there before it was saved")
		}
		close(gate)
		if err := <-saved; err != nil {
			t.Fatal(err)
		}
		// The snapshot is that of the moment at which it was taken.
		fresh := &vault{}
		r, err := k.openNewest()
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.Restore(r); err != nil {
			t.Fatal(err)
		}
		if _, kept := fresh.state(); !slices.Equal(kept, counted(50)) {
			t.Errorf("the snapshot holds %d commands", len(kept))
		}
	})
}

func TestNoRoomForASnapshotStopsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, func(cfg *Config) { short(cfg); cfg.CompactionPolicy = LogSize{Bytes: 1 << 40, Entries: 50} })
		defer k.kill()
		k.shelf.err = storage.ErrNoSpace
		k.put(t, 0, 200)
		if err := k.Compact(t.Context()); !errors.Is(err, storage.ErrNoSpace) {
			t.Errorf("Compact without room: %v", err)
		}
		if k.Err() != nil || len(k.shelf.List()) != 0 {
			t.Fatalf("the node: %v, %d snapshots", k.Err(), len(k.shelf.List()))
		}
		k.shelf.err = nil
		time.Sleep(retrySave) // virtual
		k.put(t, 200, 300)
		synctest.Wait()
		if len(k.shelf.List()) == 0 {
			t.Error("no snapshot was taken once there was room")
		}
	})
}

func TestAFailedSaveStopsTheNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		k.put(t, 0, 50)
		k.vault.saveErr = errDisk
		if err := k.Compact(t.Context()); !errors.Is(err, errDisk) {
			t.Errorf("Compact: %v", err)
		}
		<-k.Done()
		if !errors.Is(k.Err(), errDisk) {
			t.Errorf("cause %v", k.Err())
		}
		if _, _, open := k.vault.counts(); open != 0 {
			t.Errorf("%d views are not released", open)
		}
	})
}

func TestSaveSnapshotGivesTheWholeFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, short)
		defer k.kill()
		k.put(t, 0, 50)
		var file bytes.Buffer
		info, err := k.SaveSnapshot(t.Context(), &file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size != int64(file.Len()) || info.Meta.Index != k.Status().Applied || info.Meta.Config.ClusterID.IsZero() {
			t.Errorf("%+v, %d bytes", info, file.Len())
		}
		other := &shelf{}
		r, err := other.Receive(info.Meta, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(file.Bytes()); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Commit(); err != nil || got.Meta.Mark() != info.Meta.Mark() {
			t.Errorf("the copy: %+v, %v", got, err)
		}
	})
}

func TestAMachineWithoutSnapshotsHasNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1).start()
		defer c.stop()
		l := c.leader()
		c.propose(l, "x")
		if err := l.Compact(c.ctx()); !errors.Is(err, ErrNoSnapshots) {
			t.Errorf("Compact: %v", err)
		}
	})
}

// A machine that keeps its own state is given what follows what it has.
type durableVault struct {
	*vault
}

func (d durableVault) LastApplied() uint64 { return d.at }

func TestADurableMachineGoesOnBehindWhatItHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		own := durableVault{&vault{}}
		change := func(cfg *Config) { short(cfg); cfg.StateMachine = own }
		k := keep(t, change)
		k.put(t, 0, 50)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.put(t, 50, 70)
		k.kill()
		before, _, _ := own.counts()
		k.again(t, change)
		if n, restored, _ := own.counts(); restored != 0 || n-before > 5 {
			t.Errorf("restored %d times, %d entries applied again", restored, n-before)
		}
		if _, kept := own.state(); !slices.Equal(kept, counted(70)) {
			t.Errorf("%d commands", len(kept))
		}
		// A snapshot that it takes now knows the configuration, which the log no longer has.
		k.put(t, 70, 80)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := k.Status().Snapshot; m.ConfigIndex == 0 || len(m.Config.Members) != 1 {
			t.Errorf("the snapshot: %+v", m)
		}
		k.kill()
		// One that lost its state is restored.
		own.vault = &vault{}
		k.again(t, change)
		defer k.kill()
		if _, restored, _ := own.counts(); restored != 1 {
			t.Errorf("restored %d times", restored)
		}
		if _, kept := own.state(); !slices.Equal(kept, counted(80)) {
			t.Errorf("%d commands", len(kept))
		}
	})
}

// A machine that keeps its own state must not have what the log could lose: after a crash they would not fit.
func TestADurableMachineIsNotAheadOfTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.also = func(cfg *Config) {
			cfg.StateMachine = durableVault{v.vaults[cfg.ID]}
			cfg.Snapshots = v.shelves[cfg.ID]
		}
		v.wrap = func(_ raft.MemberID, l storage.Log) storage.Log { return &faultyLog{Log: l} }
		v.start()
		defer v.stop()
		l := v.leader()
		v.load(l, 10)
		v.agree(10)
		resume := l.log.(*faultyLog).stall()
		done := make(chan error, 1)
		l.Submit([]byte("x"), func(_ Result, err error) { done <- err })
		for _, f := range v.others(l) {
			if err := f.WaitApplied(v.ctx(), l.Status().Last); err != nil { // the others are a quorum
				t.Fatal(err)
			}
		}
		synctest.Wait()
		at, _ := v.vaults[l.id].state()
		if _, err := l.log.Position(at); err != nil {
			t.Errorf("the machine holds entry %d, which the log does not: %v", at, err)
		}
		resume()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
