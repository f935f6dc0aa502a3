//go:build disk

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/covered"
)

var (
	flagCuts         = flag.Int("disk.cuts", 3, "power cuts of one node")
	flagCutsMajority = flag.Int("disk.cuts-majority", 1, "power cuts of two of three nodes at once")
	flagCutsAll      = flag.Int("disk.cuts-all", 1, "power cuts of all nodes at once")
	flagCorruptions  = flag.Int("disk.corruptions", 12, "corruptions of a stopped node's directory")
	flagSyncErrors   = flag.Int("disk.sync-errors", 3, "failed syncs")
	flagFull         = flag.Bool("disk.full", true, "fill a disk")
	flagStall        = flag.Bool("disk.stall", true, "stall a disk")
	flagDiskSeed     = flag.Uint64("disk.seed", 0, "seed of what is done to the disks; 0: a random one")
)

// TestDisk maltreats the disks of real nodes under load. After each fault a node is whole, or recovers through its
// peers, or refuses to serve and says what to do; and nothing that was acknowledged is lost.
func TestDisk(t *testing.T) {
	seed := *flagDiskSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: %d (-disk.seed, DISK_SEED)", seed)
	var parts []string
	totals := map[string]uint64{}
	if *flagCuts+*flagCutsMajority+*flagCutsAll > 0 {
		t.Run("PowerCuts", func(t *testing.T) {
			p := testPowerCuts(t, seed, *flagCuts, *flagCutsMajority, *flagCutsAll)
			all := uint64(0)
			for _, kind := range cutKinds {
				all += p.cuts[kind]
				totals["power cuts of "+kind] += p.cuts[kind]
			}
			totals["power cuts while a snapshot was saved"] += uint64(p.saving)
			totals["memtable rotations under power cuts"] += uint64(p.rotations)
			for outcome, n := range p.outcomes {
				totals["nodes after a power cut: "+outcome] += n
			}
			parts = append(parts, fmt.Sprintf("%d power cuts (%d one, %d majority, %d all): %d whole, %d recovering, %d refused", all,
				p.cuts["one"], p.cuts["majority"], p.cuts["all"], p.outcomes[whole], p.outcomes[recovered], p.outcomes[refused]))
		})
	}
	if *flagCorruptions > 0 {
		t.Run("Corruptions", func(t *testing.T) {
			c := testCorruptions(t, seed, *flagCorruptions)
			totals["corruptions"] += c.count
			for outcome, n := range c.total {
				totals["corruptions: "+outcome] += n
			}
			parts = append(parts, fmt.Sprintf("%d corruptions: %d whole, %d recovering, %d refused", c.count,
				c.total[whole], c.total[recovered], c.total[refused]))
		})
	}
	if *flagFull {
		t.Run("Full", func(t *testing.T) {
			n := testFullDisk(t)
			totals["full disks"] += uint64(n)
			parts = append(parts, fmt.Sprintf("%d full disks", n))
		})
	}
	if *flagSyncErrors > 0 {
		t.Run("SyncErrors", func(t *testing.T) {
			got := testSyncErrors(t, seed, *flagSyncErrors)
			n := uint64(0)
			for outcome, times := range got {
				n += times
				totals["sync errors: "+outcome] += times
			}
			totals["sync errors"] += n
			parts = append(parts, fmt.Sprintf("%d sync errors: %d whole, %d recovering, %d refused", n, got[whole], got[recovered], got[refused]))
		})
	}
	if *flagStall {
		t.Run("Stalls", func(t *testing.T) {
			n := testStalls(t)
			totals["stalled disks"] += uint64(n)
			parts = append(parts, fmt.Sprintf("%d stalled disks", n))
		})
	}
	lost := "lost 0"
	if t.Failed() {
		lost = "FAILED"
	}
	t.Logf("disk: %s; %s", strings.Join(parts, "; "), lost)
	if !t.Failed() {
		if err := covered.Add("real disks", totals); err != nil {
			t.Error(err)
		}
	}
}
