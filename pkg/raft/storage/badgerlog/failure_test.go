package badgerlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// Badger logs a compaction that failed as a warning and runs it again, 50 ms later, with a MANIFEST whose sync failed.
func TestAFailedCompactionIsAFailure(t *testing.T) {
	t.Parallel()
	noRoom := fmt.Errorf("while creating table: 7.sst err: %+v", unix.ENOSPC) // as Badger wraps errors
	for _, c := range []struct {
		say    func(*badgerLogger)
		failed bool
	}{
		{func(l *badgerLogger) { l.Warningf("While running doCompact: %v\n", unix.EIO) }, true},
		{func(l *badgerLogger) {
			l.Warningf("[Compactor: %d] LOG Compact FAILED with error: %+v: %+v", 0, unix.EIO, "a plan")
		}, true},
		{func(l *badgerLogger) { l.Errorf("error flushing memtable to disk: %v, retrying", noRoom) }, true},
		// A full disk is no failed sync: the table that was begun is removed, and the reserve is kept for another try.
		{func(l *badgerLogger) { l.Warningf("While running doCompact: %v\n", noRoom) }, false},
		{func(l *badgerLogger) {
			l.Warningf("While running doCompact: %v\n", errors.New("Unable to fill tables"))
		}, false},
		{func(l *badgerLogger) { l.Warningf("MANIFEST delete: table %d has already been removed", 7) }, false},
	} {
		var got error
		l := &badgerLogger{log: hclog.NewNullLogger()}
		l.onError(func(err error) { got = err })
		if c.say(l); (got != nil) != c.failed {
			t.Errorf("told of %v, want a failure: %v", got, c.failed)
		}
	}
}

// After a failed sync nothing is written any more, by Badger neither: a flush at its end would remove the write-ahead
// log on the word of a MANIFEST that may never have come to the disk.
func TestAfterAFailureNothingIsFlushed(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	es := storagetest.Entries(1, 20, 1, 100)
	storagetest.Append(t, l, hs(1, 1, 0), es...)
	settled(t, l)
	l.failBeside(unix.EIO)
	path := filepath.Join(opt.Dir, badgerDir)
	logs := files(t, path, "*"+walEnding)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	tables, err := filepath.Glob(filepath.Join(path, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	if now := files(t, path, "*"+walEnding); len(now) != len(logs) || len(tables) > 0 {
		t.Errorf("write-ahead logs %v, then %v and tables %v", logs, now, tables)
	}
	opt.Dir = copyDir(t, opt.Dir) // as the next process finds it
	again := mustOpen(t, opt)
	defer again.Close()
	storagetest.Want(t, again, es)
}
