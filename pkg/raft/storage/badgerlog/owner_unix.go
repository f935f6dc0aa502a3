//go:build unix

package badgerlog

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock of an open file, or reports that another open file has it.
func tryLock(f *os.File) (bool, error) {
	// A child that another goroutine starts has copies of files until its exec, and with them Badger's lock of a log that
	// was closed meanwhile: wait for that.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("flock", err)
}

// unlock gives the lock up, also for copies of the open file.
func unlock(f *os.File) error {
	return os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_UN))
}

func processLives(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// isFull reports whether a write failed because the disk, or the user's share of it, is full.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isReadOnly reports whether a write failed because the file system takes none.
func isReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
