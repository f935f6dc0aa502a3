package snapstore

import (
	"errors"
	"fmt"

	"github.com/coordd/coordd/pkg/raft/storage"
)

// FileError says what is wrong with a file, and what an operator can do about it.
type FileError struct {
	Path   string // "": it is in memory
	Cause  error  // storage.ErrSnapshotDamaged or storage.ErrSnapshotVersion
	Detail error  // what was found
	Advice string // what to do
}

func (e *FileError) Error() string {
	path := e.Path
	if path == "" {
		path = "in memory"
	}
	found := e.Detail.Error()
	if !errors.Is(e.Detail, e.Cause) {
		found = fmt.Sprintf("%v: %v", e.Cause, e.Detail)
	}
	return fmt.Sprintf("snapshot %s: %s (%s)", path, found, e.Advice)
}

// Unwrap returns the cause and what was found.
func (e *FileError) Unwrap() []error { return []error{e.Cause, e.Detail} }

const (
	adviceDamaged = "don't use it; take an older snapshot or one of another member"
	adviceVersion = "use a version of coordd that knows it, such as the one that wrote it"
)

// damaged makes a FileError of what a check found.
func damaged(path string, err error) error {
	if errors.Is(err, storage.ErrSnapshotVersion) {
		return &FileError{Path: path, Cause: storage.ErrSnapshotVersion, Detail: err, Advice: adviceVersion}
	}
	return &FileError{Path: path, Cause: storage.ErrSnapshotDamaged, Detail: err, Advice: adviceDamaged}
}
