//go:build unix

package badgerlog

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// pidOnFull writes the process ID as a file system does that is full while there is a ballast.
func pidOnFull(f *os.File) error {
	if have, err := exists(filepath.Join(filepath.Dir(f.Name()), ballastName)); have || err != nil {
		return &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return writePID(f)
}

func TestOpenOnADiskWithoutAByte(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	opt.BallastBytes = 4 << 20
	ballast, lock := filepath.Join(opt.Dir, ballastName), filepath.Join(opt.Dir, lockName)
	opt.free = func(string) (int64, error) { return 1 << 40, nil }
	l := mustOpen(t, opt)
	es := storagetest.Entries(1, 1, 1, 100)
	storagetest.Append(t, l, hs(1, 1, 0), es...)
	l.Close()

	opt.free = func(string) (int64, error) {
		if have, err := exists(ballast); have || err != nil {
			return 0, err
		}
		return opt.BallastBytes, nil
	}
	l, err := open(opt, pidOnFull)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	storagetest.Want(t, l, es)
	if b, err := os.ReadFile(lock); err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(os.Getpid()) {
		t.Errorf("the lock says %q (%v)", b, err)
	}
}

// TestBadgersLockMayLinger opens a log whose Badger directory is still locked by an open file, as of a log that was
// closed while a child was started.
func TestBadgersLockMayLinger(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	mustOpen(t, opt).Close()
	lock := func() *os.File {
		f, err := os.Open(filepath.Join(opt.Dir, badgerDir))
		if err != nil {
			t.Fatal(err)
		}
		if free, err := tryLock(f); !free || err != nil {
			t.Fatal(free, err)
		}
		return f
	}
	lingers := lock()
	time.AfterFunc(lingering/10, func() { lingers.Close() })
	l, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()

	stays := lock()
	defer stays.Close()
	if _, err := Open(opt); !errors.Is(err, ErrInUse) {
		t.Fatalf("while Badger's lock is another's: %v", err)
	}
}

func TestADirectoryThatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		opt := testOptions(t, t.TempDir())
		_, err := open(opt, func(f *os.File) error { return &os.PathError{Op: "write", Path: f.Name(), Err: cause} })
		var refused *RefusedError
		if !errors.As(err, &refused) || !errors.Is(err, ErrNotWritable) || refused.Dir != opt.Dir || refused.Advice == "" {
			t.Errorf("%v: %v: not a refusal that says what to do", cause, err)
			continue
		}
		if !strings.Contains(err.Error(), filepath.Join(opt.Dir, lockName)) {
			t.Errorf("%v: the file is not named", err)
		}
	}
}

func TestNoRoomForTheProcessID(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	full := func(*os.File) error { return syscall.ENOSPC }
	if err := os.WriteFile(filepath.Join(opt.Dir, lockName), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := open(opt, full)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// The lock holds without it, and nobody is blamed for it.
	if _, err := Open(opt); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("a second time: %v", err)
	}
	other := testOptions(t, t.TempDir())
	if _, err := open(other, func(*os.File) error { return syscall.EIO }); !errors.Is(err, syscall.EIO) || errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("with a failing disk: %v", err)
	}
}

// TestACopyOfTheFileKeepsNoLock closes a log while a copy of its lock's file is open, as a child has it that another
// goroutine started and that has not reached its exec.
func TestACopyOfTheFileKeepsNoLock(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	fd, err := syscall.Dup(int(l.owner.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o, err := takeDirectory(opt.Dir, writePID)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.release(); err != nil {
		t.Error(err)
	}
}
