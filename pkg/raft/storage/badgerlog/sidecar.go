package badgerlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

const sidecarName = "sidecar"

// sidecar is the file of the two slots. It never changes its size, so that a write needs no more than its own
// page and one flush of the disk.
type sidecar struct {
	f    *os.File
	page []byte
}

// createSidecar makes the file with both slots alike, in a way that leaves either nothing or all of it.
func createSidecar(dir string, owner Identity) (*sidecar, ledger.Slots, error) {
	path := filepath.Join(dir, sidecarName)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, ledger.Slots{}, fmt.Errorf("making the sidecar: %w", err)
	}
	sc := &sidecar{f: f, page: make([]byte, ledger.SlotBytes)}
	slots := ledger.FirstSlots(owner)
	for _, s := range []ledger.Slot{*slots.Older, slots.Latest} {
		if err == nil {
			err = sc.write(s)
		}
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
		return nil, ledger.Slots{}, fmt.Errorf("making the sidecar: %w", err)
	}
	return sc, slots, nil
}

// openSidecar opens the file and reads both slots.
func openSidecar(dir string) (*sidecar, ledger.Slots, error) {
	f, err := os.OpenFile(filepath.Join(dir, sidecarName), os.O_RDWR, 0)
	if err != nil {
		return nil, ledger.Slots{}, err
	}
	var pages [2][]byte
	for i := range pages {
		pages[i] = make([]byte, ledger.SlotBytes)
		_, err := f.ReadAt(pages[i], int64(i)*ledger.SlotBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			f.Close()
			return nil, ledger.Slots{}, fmt.Errorf("reading slot %d of the sidecar: %w", i, err)
		}
	}
	slots, err := ledger.ReadSlots(dir, pages)
	if err != nil {
		f.Close()
		return nil, ledger.Slots{}, err
	}
	return &sidecar{f: f, page: pages[0]}, slots, nil
}

// write makes s durable in its place, over the slot that is not the latest one.
func (sc *sidecar) write(s ledger.Slot) error {
	s.Encode(sc.page)
	if _, err := sc.f.WriteAt(sc.page, int64(s.Number%2)*ledger.SlotBytes); err != nil {
		return fmt.Errorf("writing the sidecar: %w", err)
	}
	if err := disk.SyncData(sc.f); err != nil {
		return fmt.Errorf("syncing the sidecar: %w", err)
	}
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
