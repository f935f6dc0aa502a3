package badgerlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

const badgerDir = "badger"

// Open opens the directory of a member, or makes it. A directory that it does not trust is refused with a
// RefusedError and left as it is. What is found is in State.
func Open(opt Options) (*Log, error) { return open(opt, writePID) }

// open is Open with the way to write the process ID, which a test lets fail.
func open(opt Options, writePID func(*os.File) error) (*Log, error) {
	if err := opt.complete(); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	opt.Dir = dir
	l := &Log{
		opt:    opt,
		logger: opt.Logger,
		badger: &badgerLogger{log: opt.Logger},
		space:  space{dir: dir, reserve: opt.ReserveBytes, free: opt.free},
		limits: limitsFor(opt.MemTableBytes),
		both:   together,
	}
	if err := l.start(writePID); err != nil {
		l.abandon()
		var refused *RefusedError
		if errors.As(err, &refused) {
			return nil, refused
		}
		if errors.Is(err, os.ErrPermission) || isReadOnly(err) {
			return nil, ledger.Refuse(dir, ErrNotWritable, adviceWritable, "%v", err)
		}
		return nil, fmt.Errorf("opening the log in %s: %w", dir, err)
	}
	return l, nil
}

// start does it all, in an order in which a crash at any point leaves a directory that opens again.
func (l *Log) start(writePID func(*os.File) error) error {
	if err := makeDir(l.opt.Dir); err != nil {
		return err
	}
	var err error
	if l.owner, err = takeDirectory(l.opt.Dir, writePID); err != nil {
		return err
	}
	slots, err := l.openSidecar()
	if err != nil {
		return err
	}
	path := filepath.Join(l.opt.Dir, badgerDir)
	wals, err := sizeOfWALs(path)
	if err != nil {
		return err
	}
	// At open Badger makes a table of each write-ahead log that it finds.
	if err := l.space.prepare(l.opt.BallastBytes, wals+l.opt.MemTableBytes/4, l.logger.Warn); err != nil {
		return err
	}
	if err := l.owner.sign(); err != nil {
		return err
	}
	if err := l.openBadger(path); err != nil {
		return err
	}
	if err := l.recover(&slots); err != nil {
		return err
	}
	l.badger.onError(l.failBeside)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = true
	l.sweeper = startSweeper(l)
	l.timer = time.AfterFunc(time.Hour, l.idle)
	l.timer.Reset(markDelay)
	l.observeRecovering()
	return nil
}

// abandon gives back what a failed start took.
func (l *Log) abandon() {
	l.badger.onError(nil)
	if l.db != nil {
		_ = l.db.Close()
	}
	if l.sidecar != nil {
		_ = l.sidecar.close()
	}
	if l.owner != nil {
		_ = l.owner.release()
	}
}

// makeDir makes the directory and the way to it durable.
func makeDir(dir string) error {
	have, err := exists(dir)
	if have || err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return disk.SyncDir(filepath.Dir(dir))
}

func sizeOfWALs(path string) (int64, error) {
	files, err := filesIn(path, walEnding)
	var n int64
	for _, f := range files {
		n += disk.UsedBytes(f)
	}
	return n, err
}

// openSidecar opens or makes the sidecar and checks whose directory this is.
func (l *Log) openSidecar() (ledger.Slots, error) {
	dir, path := l.opt.Dir, filepath.Join(l.opt.Dir, badgerDir)
	want := Identity{ClusterName: l.opt.ClusterName, Member: l.opt.Member, MemberName: l.opt.MemberName}
	files, err := lookAt(path)
	if err != nil {
		return ledger.Slots{}, err
	}
	sc, slots, err := openSidecar(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := ledger.CheckNew(dir, files); err != nil {
			return slots, err
		}
		if _, err := rand.Read(want.Incarnation[:]); err != nil {
			return slots, fmt.Errorf("drawing an incarnation: %w", err)
		}
		l.sidecar, slots, err = createSidecar(dir, want)
		if err == nil {
			l.logger.Info("made a data directory", "dir", dir, "member", want.Member, "incarnation", want.Incarnation)
			l.told.Store(&told{slot: slots.Latest.Number})
		}
		return slots, err
	}
	if err != nil {
		return slots, err
	}
	l.sidecar = sc
	if slots.Damage != nil {
		l.logger.Warn("one slot of the sidecar can't be read, the other one counts", "dir", dir, "err", slots.Damage)
	}
	now := &slots.Latest
	l.told.Store(&told{slot: now.Number, mark: now.Mark})
	if err := ledger.CheckOwner(dir, now.Owner, want); err != nil {
		return slots, err
	}
	now.Owner.MemberName = want.MemberName
	return slots, ledger.CheckFiles(dir, badger.ManifestFilename, files, now.Mark)
}

// lookAt sees what Badger has in its directory. Without its manifest it takes that for an empty log, and deletes its
// own tables.
func lookAt(path string) (ledger.Files, error) {
	files, err := filesIn(path, "")
	f := ledger.Files{Path: path, All: len(files)}
	for _, file := range files {
		switch filepath.Ext(file.Name()) {
		case ".sst", walEnding:
			f.Data++
		}
		f.Index = f.Index || file.Name() == badger.ManifestFilename
	}
	return f, err
}

// openBadger opens the database once it is durable and its tables are sound. Whatever Badger objects to is
// damage: nothing else writes there.
func (l *Log) openBadger(path string) (err error) {
	damaged := func(err error) error { return ledger.Refuse(l.opt.Dir, ErrDamaged, ledger.AdviceReplace, "%v", err) }
	opt := l.opt.badgerOptions(path, l.badger)
	if err := settle(path); err != nil {
		return err
	}
	if err := checkTables(path, opt); err != nil {
		return damaged(err)
	}
	defer func() {
		if r := recover(); r != nil {
			err = damaged(fmt.Errorf("badger: %v", r))
		}
	}()
	var logged error
	db, err := l.openUnlocked(path, func() (*badger.DB, error) {
		logged = nil
		l.badger.onError(func(err error) { logged = errors.Join(logged, err) })
		return badger.Open(opt)
	})
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, ErrInUse):
		return err
	case err != nil:
		return damaged(err)
	}
	l.badger.onError(nil)
	l.db = db
	if logged != nil {
		return damaged(logged)
	}
	return nil
}

// recover compares log and sidecar, cuts what is not sound, and makes durable what was decided.
func (l *Log) recover(slots *ledger.Slots) error {
	rec, have, scan, err := l.read(&slots.Latest)
	if err != nil {
		return err
	}
	if l.ledger, err = ledger.Judge(l.opt.Dir, slots, &rec, have, scan); err != nil {
		return err
	}
	l.bytes.Store(scan.Bytes)
	if r := l.ledger.Recovering; r != nil {
		l.logger.Warn("the log lacks what this member once acknowledged: recovering", "dir", l.opt.Dir,
			"last", scan.End.Last, "term", scan.End.LastTerm, "mark", r.Last, "mark_term", r.LastTerm, "cause", scan.Broken)
	}
	slot, putSlot, putRecord := l.ledger.Settle()
	if putSlot {
		if err := l.putAlone(slot); err != nil {
			return err
		}
	}
	if putRecord {
		if err := l.storeRecord(); err != nil {
			return err
		}
	}
	swept, err := sweep(l.db, scan.End.Last+1, math.MaxUint64, l.limits.entries/2)
	if err != nil {
		return fmt.Errorf("removing entries behind the log's end: %w", err)
	}
	if swept > 0 {
		l.logger.Debug("removed entries behind the log's end", "entries", swept)
	}
	l.state = l.ledger.State(scan)
	return nil
}

// read reads the record and walks over the log.
func (l *Log) read(s *ledger.Slot) (rec ledger.Record, have bool, scan *ledger.Scan, err error) {
	err = l.db.View(func(txn *badger.Txn) (err error) {
		rec, have, err = readRecord(txn, s.Owner.Member, s.Owner.Incarnation)
		if err == nil && !have {
			rec, err = ledger.NoRecord(anyEntry(txn))
		}
		return err
	})
	if err == nil {
		scan, err = walk(l.db, &rec, s.Mark)
	}
	return rec, have, scan, ledger.RefuseUnread(l.opt.Dir, err)
}

func anyEntry(txn *badger.Txn) bool {
	it := newEntryIterator(txn)
	defer it.Close()
	it.Rewind()
	return it.Valid()
}

// readRecord reads the hard state and the bounds; without one, the log is empty.
func readRecord(txn *badger.Txn, member raft.MemberID, incarnation raft.Incarnation) (rec ledger.Record, have bool, err error) {
	item, err := txn.Get(ledger.RecordKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		rec, err = ledger.NoRecord(false)
		return rec, false, err
	}
	if err != nil {
		return rec, true, fmt.Errorf("the hard state: %w: %w", err, ErrDamaged)
	}
	err = item.Value(func(value []byte) (err error) {
		rec, err = ledger.ReadRecord(value, member, incarnation)
		return err
	})
	return rec, true, err
}

// lingering is how long Badger's lock is waited for. Our own lock is held by then, so that no other coordd has it: it
// is a Badger tool's, which stays, or that of a log of this process which was closed a moment ago. Badger gives
// its lock up by closing the file, and a child that was started meanwhile has a copy of that until its exec is over; the
// kernel lets the parent go on before it closes the copies.
const lingering = 2 * time.Second

// openUnlocked opens the database, again and again while somebody has Badger's lock.
func (l *Log) openUnlocked(path string, open func() (*badger.DB, error)) (*badger.DB, error) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		db, err := open()
		if err == nil || errors.Is(err, os.ErrPermission) {
			return db, err
		}
		locked, _ := l.lockedBy(path)
		if locked == nil && !strings.Contains(err.Error(), "directory lock") {
			return nil, err
		}
		switch late := time.Since(began) > lingering; {
		case late && locked != nil:
			return nil, locked
		case late:
			return nil, err
		}
	}
}

// lockedBy tells whether a process that does not know our lock, a Badger tool perhaps, has the database open.
func (l *Log) lockedBy(path string) (error, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if free, err := tryLock(f); free || err != nil {
		return nil, err
	}
	return inUse(path, readPID(filepath.Join(path, "LOCK"))), nil
}
