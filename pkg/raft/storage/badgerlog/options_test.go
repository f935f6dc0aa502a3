package badgerlog

import (
	"testing"

	"github.com/dgraph-io/badger/v4/options"
)

// What power cuts and flipped bytes showed: without one sync a transaction, acknowledged entries are missing after a cut;
// only tables that are read at open tell of damage; and an error of the value log is never returned.
func TestWhatBadgerIsAskedFor(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir(), ClusterName: "c", Member: 1}
	if err := opt.complete(); err != nil {
		t.Fatal(err)
	}
	b := opt.badgerOptions(opt.Dir, nil)
	if !b.SyncWrites || b.ChecksumVerificationMode != options.OnTableRead {
		t.Errorf("synced %v, checksums %v", b.SyncWrites, b.ChecksumVerificationMode)
	}
	if largest := limitsFor(opt.MemTableBytes).data; b.ValueThreshold <= int64(largest) {
		t.Errorf("values from %d bytes on go to the value log, entries have up to %d", b.ValueThreshold, largest)
	}
}
