package badgerlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Identity says whose a data directory is.
type Identity = ledger.Identity

// ErrNoDirectory says that a directory is not a member's.
var ErrNoDirectory = errors.New("badgerlog: not a member's data directory")

// Identify reads whose directory dir is, without opening or changing anything in it. It may be in use.
func Identify(dir string) (Identity, error) {
	page, err := os.ReadFile(filepath.Join(dir, sidecarName))
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("%w: %s has no file %q", ErrNoDirectory, dir, sidecarName)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("reading the sidecar: %w", err)
	}
	var pages [2][]byte
	for i := range pages {
		pages[i] = page[min(i*ledger.SlotBytes, len(page)):min((i+1)*ledger.SlotBytes, len(page))]
	}
	slots, err := ledger.ReadSlots(dir, pages)
	return slots.Latest.Owner, err // what both slots say of the owner never changes
}
