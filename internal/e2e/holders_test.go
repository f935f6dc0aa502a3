//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestEndToEndHolders shows what those have of a lock who hold it and who wait for it, on one cluster.
func TestEndToEndHolders(t *testing.T) {
	dir := t.TempDir()
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, filepath.Join(dir, fmt.Sprintf("n%d", i+1)))
	}
	c := newCluster(t, buildBinary(t), dirs)
	c.startAll()
	t.Run("PausedHolder", func(t *testing.T) { testPausedHolder(t, c) })
	t.Run("Fairness", func(t *testing.T) { testFairness(t, c) })
	t.Run("Hammer", func(t *testing.T) { testHammer(t, c) })
}
