package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeBytes is the space that is left on the file system of a directory.
func freeBytes(dir string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}
