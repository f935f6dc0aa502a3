package badgerlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
)

const ballastName = "ballast"

// space watches the room on the disk. Badger writes through mapped files: without room that is a SIGBUS, and
// again at each reopen, so a batch is refused while there is still a reserve for flushes and compactions.
type space struct {
	dir     string
	reserve int64
	free    func(dir string) (int64, error)
}

// room fails with ErrNoSpace if a write of n bytes would go into the reserve. A batch is written to Badger's
// write-ahead log now and to a table soon, so it counts twice.
func (s *space) room(n int) error {
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("asking for the free space: %w", err)
	}
	if need := s.reserve + 2*int64(n); free < need && !canary.Broken(canary.SpaceIsChecked) {
		return fmt.Errorf("%w: %d bytes free under %s, %d needed", storage.ErrNoSpace, free, s.dir, need)
	}
	return nil
}

// roomToShrink is room for what gives space back: it may go into the reserve, which is there for it, and leaves
// half of it to Badger's flushes.
func (s *space) roomToShrink() error {
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("asking for the free space: %w", err)
	}
	if free < s.reserve/2 {
		return fmt.Errorf("%w: %d bytes free under %s, removing entries needs %d", storage.ErrNoSpace, free, s.dir, s.reserve/2)
	}
	return nil
}

// prepare is called before Badger opens: on a full disk it gives the ballast back, and it refuses where even
// what Badger does at open would not fit; otherwise it sees to it that there is a ballast.
func (s *space) prepare(ballast, openBytes int64, warn func(msg string, args ...any)) error {
	free, err := s.free(s.dir)
	if err != nil {
		return fmt.Errorf("asking for the free space: %w", err)
	}
	path := filepath.Join(s.dir, ballastName)
	have, err := exists(path)
	if err != nil {
		return err
	}
	if free < s.reserve && have {
		warn("the disk is almost full: the ballast is given back; make room, batches are refused until then",
			"dir", s.dir, "free", free, "reserve", s.reserve)
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("giving the ballast back: %w", err)
		}
		have = false
		if free, err = s.free(s.dir); err != nil {
			return fmt.Errorf("asking for the free space: %w", err)
		}
	}
	if free < openBytes {
		return fmt.Errorf("%w: %d bytes free under %s, opening the log needs %d; make room and start again",
			storage.ErrNoSpace, free, s.dir, openBytes)
	}
	if !have && ballast > 0 && free >= s.reserve+2*ballast {
		if err := makeBallast(path, ballast); err != nil {
			warn("no ballast", "err", err) // a service that runs without it is better than one that does not run
		}
	}
	return nil
}

func makeBallast(path string, n int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = disk.Allocate(f, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
		for chunk := make([]byte, 1<<20); n > 0 && err == nil; n -= int64(len(chunk)) {
			_, err = f.Write(chunk[:min(n, int64(len(chunk)))])
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// filesIn lists the regular files of a directory with an ending ("": all). None, if there is no directory.
func filesIn(dir, ending string) ([]os.FileInfo, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []os.FileInfo
	for _, d := range list {
		if !d.Type().IsRegular() || !strings.HasSuffix(d.Name(), ending) {
			continue
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // Badger removed it
		}
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// sizeOf is what the files of a directory take on the disk.
func sizeOf(dir string) (int64, error) {
	files, err := filesIn(dir, "")
	var n int64
	for _, f := range files {
		n += disk.UsedBytes(f)
	}
	return n, err
}
