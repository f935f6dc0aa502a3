// Package disk has what the logs and snapshots of this member ask of a file system beyond package os. It gives no
// promise of its own: what a sync means is up to the file system.
package disk

import "os"

// SyncDir makes the entries of a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
