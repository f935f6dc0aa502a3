package disk

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// SyncData makes a file's content durable without its times.
func SyncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// FreeBytes is what an ordinary process may still write on the directory's file system.
func FreeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Allocate reserves the first n bytes of f on the disk; errors.ErrUnsupported where the file system can't.
func Allocate(f *os.File, n int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("fallocate", err)
}

// UsedBytes is what a file takes on the disk; Badger's files are larger than that.
func UsedBytes(info os.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// StartWriting has the kernel begin to write n bytes of f at off, and does not wait.
func StartWriting(f *os.File, off, n int64) error {
	return writeback(f, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// WaitWritten waits until what StartWriting began is with the disk. That is no sync: neither the file's size nor
// the disk's own cache is made durable. A sync of it all has less to do then, and so have those of other files,
// which a journal lets wait for it.
func WaitWritten(f *os.File, off, n int64) error {
	return writeback(f, off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}

// writeback passes on errors: whoever was told of one is not told again, not even by a sync.
func writeback(f *os.File, off, n int64, flags int) error {
	for {
		err := unix.SyncFileRange(int(f.Fd()), off, n, flags)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE):
			return nil // a hint that nobody takes
		}
		return os.NewSyscallError("sync_file_range", err)
	}
}
