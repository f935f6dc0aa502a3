//go:build !linux

package badgerlog

import (
	"errors"
	"math"
	"os"
)

// Elsewhere than on Linux the daemon is for trying out: no free-space check, and a full sync.

func syncData(f *os.File) error { return f.Sync() }

func freeBytes(string) (int64, error) { return math.MaxInt64, nil }

func allocate(*os.File, int64) error { return errors.ErrUnsupported }

func usedBytes(info os.FileInfo) int64 { return info.Size() }
