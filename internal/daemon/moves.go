package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A directory that is being made stands inside the one that it will be: that one may be a mount point, which can't be
// renamed. What was begun and not ended is told by these names, and keeps a node from starting.
const (
	unfinishedRestore = "unfinished-restore"
	unfinishedRecover = "unfinished-recover"
	backupPrefix      = "before-recover-"
	// sidecarFile is the file without which a directory is nobody's: moved first on the way out, last on the way in.
	sidecarFile = "sidecar"
)

// refuseUnfinished keeps a node from starting on what a restore or a recovery left half done.
func refuseUnfinished(dir string) error {
	for name, what := range map[string]string{
		unfinishedRestore: "`coordd snapshot restore` was interrupted: remove the directory and repeat it",
		unfinishedRecover: "`coordd member recover` was interrupted: run it again, it goes on where it ended",
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return bad("data-dir", "%s holds %s: %s", dir, name, what)
		}
	}
	return nil
}

// names lists what is in a directory, besides what keep says.
func names(dir string, keep func(string) bool) (out []string, err error) {
	found, err := os.ReadDir(dir)
	for _, f := range found {
		if keep == nil || !keep(f.Name()) {
			out = append(out, f.Name())
		}
	}
	return out, err
}

// moveIn moves all of a made directory to where it belongs, the sidecar last: a crash leaves nothing that opens.
func moveIn(from, to string) error {
	list, err := names(from, nil)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b string) int { return last(a) - last(b) })
	return move(list, from, to)
}

// moveOut moves what a directory held into a backup inside it, the sidecar first.
func moveOut(dir, backup string) error {
	list, err := names(dir, func(n string) bool { return n == unfinishedRecover || strings.HasPrefix(n, backupPrefix) })
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b string) int { return last(b) - last(a) })
	return move(list, dir, backup)
}

func last(name string) int {
	if name == sidecarFile {
		return 1
	}
	return 0
}

// move renames files, in order, and makes that durable.
func move(list []string, from, to string) error {
	for _, n := range list {
		if n == sidecarFile { // all else is durable before and after it
			if err := syncBoth(from, to); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(from, n), filepath.Join(to, n)); err != nil {
			return fmt.Errorf("moving %s: %w", n, err)
		}
	}
	return syncBoth(from, to)
}

func syncBoth(a, b string) error {
	if err := syncDir(a); err != nil {
		return err
	}
	return syncDir(b)
}
