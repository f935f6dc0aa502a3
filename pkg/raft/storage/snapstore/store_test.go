package snapstore

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	t.Parallel()
	storagetest.RunSnapshots(t, func(t testing.TB) storagetest.SnapshotsOpener {
		dir := t.TempDir()
		return func(t testing.TB) storage.Snapshots { return mustOpen(t, Options{Dir: dir}) }
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	storagetest.RunSnapshots(t, func(testing.TB) storagetest.SnapshotsOpener {
		var m *Memory
		return func(testing.TB) storage.Snapshots {
			if m == nil {
				m = NewMemory()
			} else {
				m = m.Reopen()
			}
			return m
		}
	})
}

func mustOpen(t testing.TB, opt Options) *Store {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}
