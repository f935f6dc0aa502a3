package badgerlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/coordd/coordd/pkg/raft/storage/internal/disk"
)

const walEnding = ".mem"

// settle makes durable what Badger is going to read. After a process was killed, its write-ahead logs may be
// complete in the page cache and not on the disk; after a failed sync the kernel even calls such pages clean,
// and another sync writes nothing (Rebello et al., 2020). What Open finds is acknowledged later, so each log is
// written over itself before it counts. A log that was closed in order has none left.
//
// Badger empties a log before it removes it, and makes one before it gives it a size. A crash in between leaves
// an empty file, which Badger then refuses to open; there is nothing in it, so it goes.
func settle(dir string) error {
	for _, ending := range []string{walEnding, ".vlog"} {
		logs, err := filesIn(dir, ending)
		if err != nil {
			return err
		}
		for _, info := range logs {
			if info.Size() > 0 {
				continue
			}
			if err := os.Remove(filepath.Join(dir, info.Name())); err != nil {
				return fmt.Errorf("removing an empty file: %w", err)
			}
		}
	}
	logs, err := filesIn(dir, walEnding)
	if err != nil {
		return err
	}
	for _, info := range logs {
		if err := rewrite(filepath.Join(dir, info.Name())); err != nil {
			return fmt.Errorf("making %s durable: %w", info.Name(), err)
		}
	}
	manifest := filepath.Join(dir, badger.ManifestFilename)
	if err := rewrite(manifest); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("making %s durable: %w", manifest, err)
	}
	if ok, err := exists(dir); !ok {
		return err
	}
	return disk.SyncDir(dir)
}

// rewrite writes a file's content over itself and syncs it. Holes stay holes.
func rewrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); ; {
		n, err := f.ReadAt(buf, off)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return f.Sync()
		}
		if err != nil {
			return err
		}
	}
}

// checkTables opens each table that Badger's manifest names and verifies its checksums. Badger does the same at
// open, but in goroutines of its own, where some kinds of damage are a panic that nobody can catch.
func checkTables(dir string, opt badger.Options) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	if err != nil {
		return fmt.Errorf("reading %s: %w", badger.ManifestFilename, err)
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, dir)); err != nil {
			return err
		}
	}
	return nil
}

// checkTable reads the table into memory instead of mapping it: Badger's OpenTable unmaps a file that it refuses,
// and nobody can tell whether it did. A second unmapping would take away whatever was mapped there since.
func checkTable(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("table %s: %.200s", filepath.Base(path), fmt.Sprint(r))
		}
	}()
	id, ok := table.ParseFileID(filepath.Base(path))
	if !ok {
		return fmt.Errorf("table %s: the name is not a table's", filepath.Base(path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a table: %w", err)
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{BlockSize: 4 << 10})
	if err != nil {
		return fmt.Errorf("table %s: %w", filepath.Base(path), err)
	}
	if err := t.VerifyChecksum(); err != nil {
		return fmt.Errorf("table %s: %w", filepath.Base(path), err)
	}
	return nil
}
