package badgerlog

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/skl"
	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Options say which directory to open and for whom. Dir, ClusterName and Member are needed.
type Options struct {
	Dir         string // made if it does not exist
	ClusterName string
	Member      raft.MemberID
	MemberName  string // for messages; a member may be renamed

	Logger   hclog.Logger     // nil: nothing is logged
	Observer storage.Observer // nil: nobody is told
	// Fatal is called at most once, on a goroutine of its own, when something in the background failed: Badger
	// can't flush, or the sidecar can't be written while no batch is under way. The next Append returns the same
	// error; a member without traffic would not learn of it otherwise. nil: nobody is told.
	Fatal func(error)

	// ReserveBytes is the free space below which batches are refused with ErrNoSpace; 0: 4 × MemTableBytes.
	ReserveBytes int64
	// BallastBytes is the size of the file that is given back when the disk is full at Open; 0: 2 ×
	// MemTableBytes, negative: none.
	BallastBytes int64
	// MemTableBytes is Badger's memtable size; 0: 4 MiB. The largest entry is about 15 % of it.
	MemTableBytes int64

	free func(dir string) (int64, error) // nil: the file system's; tests fill the disk
}

const (
	defaultMemTableBytes = 4 << 20
	minMemTableBytes     = 256 << 10
	maxMemTableBytes     = 512 << 20 // Badger maps twice as much and counts in 32 bits
)

// How many tables Badger lets lie before it merges them, and before it lets writes wait for that.
const (
	levelZeroTables = 2
	levelZeroStall  = 4
)

func (o *Options) complete() error {
	switch {
	case o.Dir == "":
		return errors.New("no data directory given")
	case o.Member == 0:
		return errors.New("no member ID given")
	case o.ClusterName == "" || len(o.ClusterName) > ledger.MaxNameBytes:
		return fmt.Errorf("cluster name of %d bytes: it needs 1 to %d", len(o.ClusterName), ledger.MaxNameBytes)
	case len(o.MemberName) > ledger.MaxNameBytes:
		return fmt.Errorf("member name of %d bytes: at most %d", len(o.MemberName), ledger.MaxNameBytes)
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.MemTableBytes < minMemTableBytes || o.MemTableBytes > maxMemTableBytes {
		return fmt.Errorf("memtable of %d bytes: it needs %d to %d", o.MemTableBytes, minMemTableBytes, maxMemTableBytes)
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 4 * o.MemTableBytes
	}
	if o.BallastBytes == 0 {
		o.BallastBytes = 2 * o.MemTableBytes
	}
	if o.free == nil {
		o.free = disk.FreeBytes
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// limits are Badger's bounds on one transaction; it has no way to ask for them (db.go, checkAndSetOptions).
type limits struct {
	bytes   int // estimated as costBytes does
	entries int
	data    int // of one entry
}

func limitsFor(memTableBytes int64) limits {
	batch := 15 * memTableBytes / 100
	record := costBytes(len(ledger.RecordKey), ledger.RecordBytes)
	l := limits{
		bytes:   int(batch) - record - 256, // Badger's own end mark, and "at the limit" is over it
		entries: int(batch/int64(skl.MaxNodeSize)) - 4,
	}
	l.data = l.bytes - costBytes(ledger.EntryKeyBytes, ledger.EntryValueBytes(0))
	return l
}

// costBytes is an upper bound on what Badger counts for a key and its value.
func costBytes(key, value int) int { return key + value + 24 }

// badgerOptions are those that storage.md measured.
func (o *Options) badgerOptions(dir string, logger badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(logger).
		WithSyncWrites(!canary.Broken(canary.EveryWriteIsSynced)).
		WithDetectConflicts(false). // one writer
		WithNumVersionsToKeep(1).
		WithChecksumVerificationMode(options.OnTableRead). // the only mode in which damage is an error of Open
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(4 << 20).
		WithMemTableSize(o.MemTableBytes).
		WithNumMemtables(2).
		WithNumLevelZeroTables(levelZeroTables).
		WithNumLevelZeroTablesStall(levelZeroStall).
		WithNumCompactors(2).
		WithValueThreshold(15 * o.MemTableBytes / 100). // no value ever goes to the value log
		WithValueLogFileSize(16 << 20).
		WithMetricsEnabled(false)
}
