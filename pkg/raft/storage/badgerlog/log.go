package badgerlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

const (
	// markDelay is how long the mark of a batch waits for another batch to carry it.
	markDelay = 5 * time.Millisecond
	// sizeInterval is how often the files are measured for Observer.DBSize.
	sizeInterval = 10 * time.Second
	// closeLimit bounds how long a close after a failure waits for the sweeper: Badger may hold it for ever.
	closeLimit = 5 * time.Second
)

// Log is a storage.Log, a storage.Witness and a storage.Sizer in a directory. Its verbs: Open, State, Append,
// Entries, Position, Compact, Bytes, Mark, Witnessed, Close.
type Log struct {
	opt    Options
	logger hclog.Logger
	badger *badgerLogger
	owner  *owner
	space  space
	limits limits
	state  storage.State // as found at open

	// inUse is held while Badger is read, and taken whole by Close.
	inUse sync.RWMutex
	db    *badger.DB
	open  bool

	appended atomic.Int64 // when the last batch was, by clock
	bytes    atomic.Int64 // of the entries, as Bytes returns it
	sweeper  *sweeper

	told   atomic.Pointer[told]  // what Mark returns
	failed atomic.Pointer[error] // the first failure; it sticks

	// mu guards what the appender owns; the timer, Witnessed and Close write beside it.
	mu      sync.Mutex
	sidecar *sidecar
	ledger  *ledger.Ledger
	timer   *time.Timer
	sized   time.Time
	buf     batchBuffer

	// both runs the two writes of a batch; tests put crashes between them.
	both func(slotFirst bool, slot, txn func() error) error
}

// told is a slot number with its mark.
type told struct {
	slot uint64
	mark raft.Mark
}

// together runs both writes at once, where it may: each waits for the disk, and neither for the other.
func together(slotFirst bool, slot, txn func() error) error {
	if slotFirst {
		if err := slot(); err != nil {
			return err
		}
		return txn()
	}
	var g errgroup.Group
	g.Go(slot)
	err := txn()
	return errors.Join(err, g.Wait())
}

// State implements storage.Log.
func (l *Log) State() storage.State { return l.state }

// Mark implements storage.Log.
func (l *Log) Mark() (uint64, raft.Mark) {
	t := l.told.Load()
	return t.slot, t.mark
}

// MaxDataBytes is the size of the largest Entry.Data that Append takes.
func (l *Log) MaxDataBytes() int { return l.limits.data }

// err is the failure that sticks, or nil.
func (l *Log) err() error {
	if p := l.failed.Load(); p != nil && !canary.Broken(canary.FailureOfLogSticks) {
		return *p
	}
	return nil
}

// fail remembers the first failure and returns it.
func (l *Log) fail(err error) error {
	l.failed.CompareAndSwap(nil, &err)
	return l.err()
}

// failBeside is fail for what happens while no Append is there to return it.
func (l *Log) failBeside(err error) {
	if l.failed.CompareAndSwap(nil, &err) {
		l.logger.Error("the log failed", "dir", l.opt.Dir, "err", err)
		if l.opt.Fatal != nil {
			go l.opt.Fatal(err)
		}
	}
}

// put makes a slot durable, for which the ledger has its word.
func (l *Log) put(s ledger.Slot) error {
	if err := l.sidecar.write(s); err != nil {
		return err
	}
	l.told.Store(&told{slot: s.Number, mark: s.Mark})
	return nil
}

// putAlone is put for a slot without a batch beside it.
func (l *Log) putAlone(s ledger.Slot) error {
	err := l.put(s)
	if err == nil {
		l.ledger.WroteSlot(s)
	}
	return err
}

// idle runs markDelay after the last batch: the mark catches up, and now and then the files are measured.
func (l *Log) idle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil || l.err() != nil { // closed, or failed
		return
	}
	if err := l.catchUp(); err != nil {
		l.failBeside(err)
		return
	}
	l.measure()
}

// catchUp writes the mark of the last batch, if the sidecar does not have it yet.
func (l *Log) catchUp() error {
	slot, behind := l.ledger.CatchUp()
	if !behind {
		return nil
	}
	return l.putAlone(slot)
}

func (l *Log) measure() {
	if l.opt.Observer == nil || time.Since(l.sized) < sizeInterval {
		return
	}
	l.sized = time.Now()
	if n, err := sizeOf(filepath.Join(l.opt.Dir, badgerDir)); err == nil {
		l.opt.Observer.DBSize(n)
	}
}

func (l *Log) observeRecovering() {
	if l.opt.Observer != nil {
		l.opt.Observer.Recovering(l.ledger.Recovering != nil)
	}
}

// Witnessed implements storage.Witness: a peer saw this mark beside this slot of ours. A slot that we don't
// know means that this directory is an older copy of the one that wrote it.
func (l *Log) Witnessed(number uint64, mark raft.Mark) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return false, storage.ErrClosed
	}
	if err := l.err(); err != nil {
		return false, err
	}
	slot, news, err := l.ledger.Witness(number, mark)
	if err != nil {
		return false, err
	}
	if news {
		if err := l.putAlone(slot); err != nil {
			return false, l.fail(fmt.Errorf("keeping a witnessed mark: %w", err))
		}
		l.observeRecovering()
	}
	return l.ledger.Recovering != nil, nil
}

// Close implements storage.Log. After a failure it writes nothing more of its own.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return nil
	}
	l.timer.Stop()
	l.timer = nil
	var errs []error
	errs = append(errs, l.sweeper.end(l.err() != nil))
	if l.err() == nil {
		if l.ledger.LazyCommit {
			errs = append(errs, l.storeRecord())
		}
		errs = append(errs, l.catchUp())
	}
	l.inUse.Lock()
	l.open = false
	l.inUse.Unlock()
	errs = append(errs, l.closeBadger(), l.sidecar.close(), l.owner.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the log in %s: %w", l.opt.Dir, err)
	}
	return nil
}

// closeBadger closes Badger, unless something has failed: closing flushes the memtable and removes its write-ahead
// log, on the word of files whose sync may have failed before. What is there is left as a crash would leave it, and
// Badger's goroutines end with the process.
func (l *Log) closeBadger() error {
	l.badger.onError(nil)
	var refused *RefusedError // of a batch: nothing failed on the disk
	if err := l.err(); err != nil && !errors.As(err, &refused) {
		l.badger.left.Store(true)
		return nil
	}
	return l.db.Close()
}

var (
	_ storage.Log     = (*Log)(nil)
	_ storage.Witness = (*Log)(nil)
	_ storage.Sizer   = (*Log)(nil)
)
