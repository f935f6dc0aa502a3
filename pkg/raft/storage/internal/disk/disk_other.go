//go:build !linux

package disk

import (
	"errors"
	"math"
	"os"
)

// Elsewhere than on Linux the daemon is for trying out: no free-space check, and a full sync.

// SyncData makes a file's content durable.
func SyncData(f *os.File) error { return f.Sync() }

// FreeBytes is no limit here.
func FreeBytes(string) (int64, error) { return math.MaxInt64, nil }

// Allocate is not supported here.
func Allocate(*os.File, int64) error { return errors.ErrUnsupported }

// UsedBytes is what a file has.
func UsedBytes(info os.FileInfo) int64 { return info.Size() }

// StartWriting does nothing here.
func StartWriting(*os.File, int64, int64) error { return nil }

// WaitWritten syncs the whole file here.
func WaitWritten(f *os.File, _, _ int64) error { return f.Sync() }
