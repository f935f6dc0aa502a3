package badgerlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
)

const sidecarName = "sidecar"

// sidecar is the file of the two slots. It never changes its size, so that a write needs no more than its own
// page and one flush of the disk.
type sidecar struct {
	f    *os.File
	slot slot // the latest one that is durable
	page []byte
}

// createSidecar makes the file with both slots alike, in a way that leaves either nothing or all of it.
func createSidecar(dir string, id identity) (*sidecar, error) {
	path := filepath.Join(dir, sidecarName)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the sidecar: %w", err)
	}
	sc := &sidecar{f: f, page: make([]byte, slotBytes)}
	for number := uint64(1); number <= 2 && err == nil; number++ {
		err = sc.write(slot{number: number, id: id})
	}
	if err == nil {
		err = f.Sync() // its size, too
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = disk.SyncDir(dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making the sidecar: %w", err)
	}
	return sc, nil
}

// openSidecar reads both slots. With one that can't be read, which a crash in the middle of its write leaves,
// the other one counts; warn is told. The second result is the slot that is not the latest one, if readable.
func openSidecar(dir string, warn func(number int, err error)) (*sidecar, *slot, error) {
	f, err := os.OpenFile(filepath.Join(dir, sidecarName), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	sc := &sidecar{f: f, page: make([]byte, slotBytes)}
	var slots []slot
	var causes []error
	for i := range 2 {
		clear(sc.page)
		_, err := f.ReadAt(sc.page, int64(i)*slotBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			f.Close()
			return nil, nil, fmt.Errorf("reading slot %d of the sidecar: %w", i, err)
		}
		s, err := parseSlot(sc.page)
		if err == nil && s.number%2 != uint64(i) {
			err = fmt.Errorf("number %d in the wrong place", s.number)
		}
		if err != nil {
			causes = append(causes, fmt.Errorf("slot %d: %w", i, err))
			continue
		}
		slots = append(slots, s)
	}
	if len(slots) == 0 {
		f.Close()
		return nil, nil, refuse(dir, ErrBadSidecar, adviceReplace, "%v", errors.Join(causes...))
	}
	for _, err := range causes {
		warn(len(causes), err)
	}
	sc.slot = slots[0]
	if len(slots) == 1 {
		return sc, nil, nil
	}
	other := slots[1]
	if other.number > sc.slot.number {
		sc.slot, other = other, sc.slot
	}
	return sc, &other, nil
}

// put writes s as the next slot and returns when it is durable.
func (sc *sidecar) put(s slot) error {
	s.number = sc.slot.number + 1
	return sc.write(s)
}

// write makes s durable over the slot that is not the latest one.
func (sc *sidecar) write(s slot) error {
	s.encode(sc.page)
	if _, err := sc.f.WriteAt(sc.page, int64(s.number%2)*slotBytes); err != nil {
		return fmt.Errorf("writing the sidecar: %w", err)
	}
	if err := disk.SyncData(sc.f); err != nil {
		return fmt.Errorf("syncing the sidecar: %w", err)
	}
	sc.slot = s
	return nil
}

func (sc *sidecar) close() error { return sc.f.Close() }

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
