package badgerlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
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
	older, err := l.openSidecar()
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
	if err := l.recover(older); err != nil {
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

// openSidecar opens or makes the sidecar and checks whose directory this is. It returns the slot that is not
// the latest, if it can be read.
func (l *Log) openSidecar() (*slot, error) {
	dir, path := l.opt.Dir, filepath.Join(l.opt.Dir, badgerDir)
	want := identity{clusterName: l.opt.ClusterName, member: l.opt.Member, memberName: l.opt.MemberName}
	files, err := filesIn(path, "")
	if err != nil {
		return nil, err
	}
	sc, older, err := openSidecar(dir, func(_ int, err error) {
		l.logger.Warn("one slot of the sidecar can't be read, the other one counts", "dir", dir, "err", err)
	})
	if errors.Is(err, os.ErrNotExist) {
		// The sidecar is made before Badger's directory, so it was there once.
		if len(files) > 0 {
			return nil, refuse(dir, ErrNoSidecar, "put the file `sidecar` back as it was; otherwise "+adviceReplace,
				"%s has %d files", path, len(files))
		}
		if _, err := rand.Read(want.incarnation[:]); err != nil {
			return nil, fmt.Errorf("drawing an incarnation: %w", err)
		}
		l.sidecar, err = createSidecar(dir, want)
		if err == nil {
			l.logger.Info("made a data directory", "dir", dir, "member", want.member, "incarnation", want.incarnation)
			l.told.Store(&told{slot: l.sidecar.slot.number})
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	l.sidecar = sc
	l.told.Store(&told{slot: sc.slot.number, mark: sc.slot.mark})
	if err := checkIdentity(dir, sc.slot.id, want); err != nil {
		return nil, err
	}
	sc.slot.id.memberName = want.memberName
	return older, l.checkFiles(path, files)
}

func checkIdentity(dir string, have, want identity) error {
	const advice = "check --data-dir, --cluster and --name; a new member needs an empty directory"
	if have.clusterName != want.clusterName {
		return refuse(dir, ErrForeign, advice, "it is of cluster %q, this is cluster %q", have.clusterName, want.clusterName)
	}
	if have.member != want.member {
		return refuse(dir, ErrForeign, advice, "it is of member %q (%s), this is member %q (%s)",
			have.memberName, have.member, want.memberName, want.member)
	}
	return nil
}

// checkFiles refuses what Badger would take for an empty log: without its manifest it deletes its own tables.
func (l *Log) checkFiles(path string, files []os.FileInfo) error {
	manifest, data := false, 0
	for _, f := range files {
		switch filepath.Ext(f.Name()) {
		case ".sst", walEnding:
			data++
		}
		manifest = manifest || f.Name() == badger.ManifestFilename
	}
	if manifest || data == 0 && l.sidecar.slot.mark == (raft.Mark{}) {
		return nil
	}
	m := l.sidecar.slot.mark
	return refuse(l.opt.Dir, ErrLogLost, adviceReplace, "no %s in %s, which has %d data files; acknowledged up to entry %d of term %d",
		badger.ManifestFilename, path, data, m.Last, m.LastTerm)
}

// openBadger opens the database once it is durable and its tables are sound. Whatever Badger objects to is
// damage: nothing else writes there.
func (l *Log) openBadger(path string) (err error) {
	damaged := func(err error) error { return refuse(l.opt.Dir, ErrDamaged, adviceReplace, "%v", err) }
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
	l.badger.onError(func(err error) { logged = errors.Join(logged, err) })
	db, err := badger.Open(opt)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return err
		}
		if locked, _ := l.lockedBy(path); locked != nil {
			return locked
		}
		return damaged(err)
	}
	l.badger.onError(nil)
	l.db = db
	if logged != nil {
		return damaged(logged)
	}
	return nil
}

// recover compares log and sidecar, cuts what is not sound, and makes durable what it decided.
func (l *Log) recover(older *slot) error {
	now := l.sidecar.slot
	rec, have, f, err := l.read()
	if err != nil {
		return err
	}
	ballots := []ballot{{rec.hs.Term, rec.hs.Vote}, {now.term, now.vote}}
	promise := max(rec.hs.Promise, now.promise)
	if older != nil {
		ballots = append(ballots, ballot{older.term, older.vote})
		promise = max(promise, older.promise)
	}
	best, err := combine(ballots...)
	if err != nil {
		return refuse(l.opt.Dir, ErrVoteConflict, adviceReplace, "%v", err)
	}
	if differ(rec.base, now.mark) {
		return refuse(l.opt.Dir, ErrDiverged, adviceReplace, "the log begins behind entry %d of term %d", rec.base.Last, rec.base.LastTerm)
	}
	l.recovering = target(&f, &rec, now.mark)
	if f.end.Last == 0 && l.recovering != nil {
		return refuse(l.opt.Dir, ErrLogLost, adviceReplace, "nothing of it can be read; acknowledged up to entry %d of term %d",
			l.recovering.Last, l.recovering.LastTerm)
	}
	hs := raft.HardState{Term: best.term, Vote: best.vote, Promise: promise, Commit: min(rec.hs.Commit, f.end.Last)}
	if f.broken != nil {
		// What lies before the break may be stale, too: let the leader say again what is committed.
		hs.Commit = rec.base.Last
	}
	if l.recovering != nil {
		l.logger.Warn("the log lacks what this member once acknowledged: recovering", "dir", l.opt.Dir,
			"last", f.end.Last, "term", f.end.LastTerm, "mark", l.recovering.Last, "mark_term", l.recovering.LastTerm,
			"cause", f.broken)
	}
	changed := !have || hs != rec.hs || f.end != rec.end
	l.rec, l.configs = rec, f.configs
	l.rec.hs, l.rec.end = hs, f.end
	l.bytes.Store(f.bytes)
	l.rec.member, l.rec.incarnation = now.id.member, now.id.incarnation
	return l.settleState(&f, changed)
}

// settleState makes durable what recover decided, the sidecar first, because it says what is missing.
func (l *Log) settleState(f *found, changed bool) error {
	mark := slotMark(l.rec.end, l.rec.end, false, l.recovering)
	s := l.sidecar.slot
	if mark != s.mark || s.term != l.rec.hs.Term || s.vote != l.rec.hs.Vote || s.promise != l.rec.hs.Promise {
		if err := l.put(mark); err != nil {
			return err
		}
	}
	if changed {
		if err := l.storeRecord(); err != nil {
			return err
		}
	}
	swept, err := sweep(l.db, l.rec.end.Last+1, math.MaxUint64, l.limits.entries/2)
	if err != nil {
		return fmt.Errorf("removing entries behind the log's end: %w", err)
	}
	if swept > 0 {
		l.logger.Debug("removed entries behind the log's end", "entries", swept)
	}
	l.state = storage.State{
		HardState: l.rec.hs, Base: l.rec.base, First: l.rec.first, Last: l.rec.end.Last, LastTerm: l.rec.end.LastTerm,
		Runs: f.runs, Config: f.config, ConfigPrev: f.configPrev,
		Incarnation: l.rec.incarnation, ClusterID: l.clusterID(mark),
	}
	if r := l.recovering; r != nil {
		m := *r
		l.state.Recovering = &m
	}
	return nil
}

// read reads the record and walks over the log.
func (l *Log) read() (rec record, have bool, f found, err error) {
	id := l.sidecar.slot.id
	err = l.db.View(func(txn *badger.Txn) (err error) {
		rec, have, err = readRecord(txn, id.member, id.incarnation)
		if err == nil && !have && anyEntry(txn) {
			err = fmt.Errorf("entries without their bounds: %w", ErrDamaged)
		}
		return err
	})
	if err == nil {
		f, err = walk(l.db, &rec, l.sidecar.slot.mark)
	}
	for _, cause := range []error{ErrDamaged, ErrMismatch} {
		if errors.Is(err, cause) {
			err = refuse(l.opt.Dir, cause, adviceReplace, "%v", err)
		}
	}
	return rec, have, f, err
}

func anyEntry(txn *badger.Txn) bool {
	it := newEntryIterator(txn)
	defer it.Close()
	it.Rewind()
	return it.Valid()
}

// readRecord reads the hard state and the bounds; without one, the log is empty.
func readRecord(txn *badger.Txn, member raft.MemberID, incarnation raft.Incarnation) (rec record, have bool, err error) {
	item, err := txn.Get(recordKey)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return record{first: 1}, false, nil
	}
	if err == nil {
		err = item.Value(func(value []byte) (err error) {
			rec, err = parseRecord(value)
			return err
		})
	}
	switch {
	case err != nil:
		return rec, true, fmt.Errorf("the hard state: %w: %w", err, ErrDamaged)
	case !rec.valid():
		return rec, true, fmt.Errorf("the hard state contradicts itself: %w", ErrDamaged)
	case rec.incarnation != incarnation:
		return rec, true, fmt.Errorf("the log is of incarnation %s, the sidecar of %s: %w", rec.incarnation, incarnation, ErrMismatch)
	case rec.member != member:
		return rec, true, fmt.Errorf("the log is of member %s, the sidecar of %s: %w", rec.member, member, ErrMismatch)
	}
	return rec, true, nil
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
