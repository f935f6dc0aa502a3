package badgerlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

const lockName = "LOCK"

// owner is the hold of this process on a directory. The lock decides; the process ID in the file is there for
// the message that a second process prints.
type owner struct {
	f        *os.File
	writePID func(*os.File) error
	signed   bool // the process ID is in the file
}

// takeDirectory takes the lock. On a full disk the process ID may be missing from the file: the ballast, which
// makes room for it, is given back only by who has the lock. Call sign again then.
func takeDirectory(dir string, writePID func(*os.File) error) (*owner, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory %s: %w", dir, err)
	}
	ok, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory %s: %w", dir, err)
	}
	if !ok {
		defer f.Close()
		return nil, inUse(dir, readPID(f.Name()))
	}
	o := &owner{f: f, writePID: writePID}
	if err := o.sign(); err != nil {
		f.Close()
		return nil, err
	}
	return o, nil
}

// sign writes the process ID into the file unless it is there. It does without where there is no room.
func (o *owner) sign() error {
	if o.signed {
		return nil
	}
	err := o.writePID(o.f)
	switch {
	case err == nil:
		o.signed = true
	case isFull(err):
		err = o.f.Truncate(0) // better no process ID than that of a process that has ended
	}
	if err != nil {
		return fmt.Errorf("writing the process ID to %s: %w", o.f.Name(), err)
	}
	return nil
}

func inUse(dir string, pid int) error {
	detail := "its process ID is not known"
	if pid > 0 {
		detail = fmt.Sprintf("process ID %d", pid)
	}
	return ledger.Refuse(dir, ErrInUse, "stop that process, or use another --data-dir", "%s", detail)
}

func writePID(f *os.File) error {
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := f.WriteAt(pid, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(pid)))
}

// readPID returns the process ID in a file, 0 where there is none of a living process: the owner may not have
// written its own yet.
func readPID(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 || !processLives(pid) {
		return 0
	}
	return pid
}

// release empties the file and lets it go; it stays, because a file that is removed and made again can be
// locked twice. The lock is given up by name: closing leaves it to whoever has a copy of the open file, as a child of
// this process has between fork and exec.
func (o *owner) release() error {
	err := errors.Join(o.f.Truncate(0), unlock(o.f))
	if closeErr := o.f.Close(); err == nil {
		err = closeErr
	}
	return err
}
