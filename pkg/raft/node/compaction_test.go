package node

import (
	"fmt"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func TestThePolicyKeepsTheLogShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, func(cfg *Config) {
			short(cfg)
			cfg.CompactionPolicy = LogSize{Bytes: 1 << 40, Entries: 100}
			cfg.Observer = &savings{}
		})
		defer k.kill()
		for i := range 20 {
			k.put(t, 100*i, 100*i+100)
			synctest.Wait()
		}
		if got := k.Status(); got.Last-got.First > 400 {
			t.Errorf("the log has entries %d to %d", got.First, got.Last)
		}
		if n := len(k.shelf.List()); n > 2 {
			t.Errorf("%d snapshots are kept", n)
		}
		w := k.cfg.Observer.(*savings)
		if w.saved == 0 || w.cut == 0 {
			t.Errorf("the observer heard of %d snapshots and %d entries cut", w.saved, w.cut)
		}
		if _, _, open := k.vault.counts(); open != 0 {
			t.Errorf("%d views are not released", open)
		}
	})
}

type savings struct {
	NoObserver
	saved, cut int
}

func (s *savings) SnapshotSaved(float64, int64) { s.saved++ }
func (s *savings) Compacted(_ uint64, n int)    { s.cut += n }

func TestLogSizeWaitsForTheSizeOfTheLastSnapshot(t *testing.T) {
	t.Parallel()
	p := LogSize{Bytes: 1000, Entries: 10}
	for _, c := range []struct {
		stats LogStats
		due   bool
	}{
		{LogStats{Entries: 9, Bytes: 999}, false},
		{LogStats{Entries: 9, Bytes: 1000}, true},
		{LogStats{Entries: 10, Bytes: 1}, true},
		{LogStats{Entries: 10, Bytes: 4999, SnapshotBytes: 5000}, false},
		{LogStats{Entries: 1, Bytes: 5000, SnapshotBytes: 5000}, true},
	} {
		if got := p.Due(c.stats); got != c.due {
			t.Errorf("Due(%+v) is %v", c.stats, got)
		}
	}
}

func TestLogSizes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s logSizes
		start := uint64(rapid.IntRange(0, 100).Draw(t, "start"))
		s.restart(start)
		ends := []int64{0} // bytes noted up to start + i
		for range rapid.IntRange(0, 50).Draw(t, "entries") {
			size := rapid.IntRange(1, 3*sampleBytes).Draw(t, "size")
			ends = append(ends, ends[len(ends)-1]+int64(size))
			s.note(start+uint64(len(ends)-1), size)
		}
		last := len(ends) - 1
		i := rapid.IntRange(0, last).Draw(t, "index")
		exact := ends[last] - ends[i]
		if got := s.behind(start + uint64(i)); got < exact || got > exact+4*sampleBytes {
			t.Fatalf("%d bytes behind %d, want %d", got, i, exact)
		}
		budget := int64(rapid.IntRange(0, 10*sampleBytes).Draw(t, "budget"))
		from := s.within(start+uint64(i), budget)
		if from < start || from > start+uint64(i) {
			t.Fatalf("within gave %d, of %d to %d", from, start, start+uint64(i))
		}
		if between := ends[i] - ends[from-start]; between > budget+4*sampleBytes {
			t.Fatalf("%d bytes between %d and %d, want at most %d", between, from-start, i, budget)
		}
	})
}

func TestWhatWaitsWhileASnapshotIsSaved(t *testing.T) {
	t.Parallel()
	for mode, waits := range map[CompactionMode]bool{CompactionBackground: false, CompactionForeground: true, CompactionSequential: true} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, func(cfg *Config) { cfg.Compaction, cfg.CompactionPolicy = mode, every(20) })
				defer k.kill()
				gate := make(chan struct{})
				k.vault.gate = gate
				done := make(chan error, 100)
				for i := range 100 {
					k.Submit(fmt.Appendf(nil, "c%d", i), func(_ Result, err error) { done <- err })
					synctest.Wait()
				}
				if at, _ := k.vault.state(); (at < 25) != waits {
					t.Errorf("applied up to %d of %d while a snapshot was being saved", at, k.Status().Last)
				}
				close(gate)
				for range 100 {
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

func TestConsensusOnlyKeepsTheLogShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, func(cfg *Config) {
			short(cfg)
			cfg.StateMachine = ConsensusOnly{}
			cfg.CompactionPolicy = LogSize{Bytes: 1 << 40, Entries: 100}
		})
		defer k.kill()
		k.put(t, 0, 1000)
		synctest.Wait()
		if s := k.Status(); s.Last-s.First > 500 { // the snapshotter may lag
			t.Errorf("the log has entries %d to %d", s.First, s.Last)
		}
	})
}

func TestTwoSnapshotsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, nil) // the log reaches them all
		defer k.kill()
		for i := range 5 {
			k.put(t, 10*i, 10*i+10)
			if err := k.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		list := k.shelf.List()
		if len(list) != 2 || list[0].Meta.Index != k.Status().Applied || list[1].Meta.Index != list[0].Meta.Index-10 {
			t.Errorf("kept: %+v", list)
		}
	})
}

func TestASnapshotAheadOfTheStateIsNotPruned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, nil)
		defer k.kill()
		k.put(t, 0, 20)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		ahead := k.shelf.files[0]
		ahead.info.Meta.Index += 5 // as one that a leader has just sent
		k.shelf.add(ahead.info, ahead.raw)
		k.put(t, 20, 22)
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := k.shelf.List(); list[0].Meta.Index != ahead.info.Meta.Index {
			t.Errorf("left: %+v", list)
		}
		k.put(t, 22, 30) // nothing came of it
		if err := k.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, info := range k.shelf.List() {
			if info.Meta.Index == ahead.info.Meta.Index {
				t.Errorf("it is still there: %+v", info)
			}
		}
	})
}
