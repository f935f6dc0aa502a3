package storage_test

import (
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(testing.TB) storagetest.Opener {
		var m *storage.Memory
		return func(testing.TB) storage.Log {
			if m == nil {
				m = storage.NewMemory()
			} else {
				m = m.Reopen()
			}
			return m
		}
	})
}

func TestMemoryForgetsWithItsProcess(t *testing.T) {
	t.Parallel()
	if a, b := storage.NewMemory(), storage.NewMemory(); a.State().Incarnation == b.State().Incarnation {
		t.Fatal("two logs with one incarnation")
	}
}
