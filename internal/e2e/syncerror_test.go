//go:build disk

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// syncCalls are the system calls by which something is made durable: the sidecar, snapshots and tables, Badger's logs.
var syncCalls = []string{"fdatasync", "fsync", "msync"}

// testSyncErrors has one of the first syncs of a thread fail with EIO, n times. The process has to end and say so, and
// no sync of the same file may be tried again. The next start finds the node whole, or recovering; or refuses, where
// Badger removed the tables that a MANIFEST names whose sync failed.
func testSyncErrors(t *testing.T, seed uint64, n int) map[string]uint64 {
	rnd := rand.New(rand.NewPCG(seed, 3))
	outcomes := map[string]uint64{}
	d := newDrill(t, 1200, 1200, 1200)
	d.load(8)
	for i := range n {
		nd, call, when := d.c.nodes[rnd.IntN(3)], syncCalls[i%len(syncCalls)], 1+rnd.IntN(6)
		nd.terminate(t)
		record := filepath.Join(os.TempDir(), "strace")
		// -D: the node stays our child, and strace is a process beside it.
		nd.wrap = []string{"strace", "-D", "-f", "-qq", "-y", "-o", record, "-e", "trace=" + strings.Join(syncCalls, ","),
			"-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, when)}
		err := nd.start(d.c.bin)
		nd.wrap = nil
		if err != nil {
			t.Fatal(err)
		}
		d.eventually(nd.name+" ends after a failed "+call, func() bool { return nd.pid() == 0 })
		said := nd.said()
		if err := errors.Join(checkTrace(said), checkSyncError(nd, said), checkNoRetry(record)); err != nil {
			t.Errorf("%s, %d. %s failed: %v", nd.name, when, call, err)
			d.keep(fmt.Sprintf("sync-%d", i+1), record)
		}
		began := time.Now()
		if err := nd.start(d.c.bin); err != nil {
			t.Fatal(err)
		}
		v, err := d.judge(nd, began)
		if err != nil {
			t.Errorf("%s after a failed %s: %v", nd.name, call, err)
		}
		if err != nil || v.outcome == refused {
			if err := d.replace(nd); err != nil {
				t.Fatal(err)
			}
		}
		outcomes[v.outcome]++
		t.Logf("sync error %d of %d, %d. %s of a thread of %s: ended%s; then %s after %v", i+1, n, when, call, nd.name,
			lastWords(&verdict{outcome: refused, says: said}), v.outcome+lastWords(&v), v.took.Round(time.Millisecond))
		d.c.waitReady(hangLimit, d.c.nodes...)
	}
	d.end()
	return outcomes
}

// checkSyncError checks the end of a process whose disk failed: an error's exit code, and the cause.
func checkSyncError(nd *node, said string) error {
	nd.mu.Lock()
	code := nd.cmd.ProcessState.ExitCode()
	nd.mu.Unlock()
	last := lastWords(&verdict{outcome: refused, says: said})
	if code != 1 || !strings.Contains(last, "coordd: ") || !strings.Contains(last, syscall.EIO.Error()) {
		return fmt.Errorf("it ended with exit code %d%s", code, last)
	}
	return nil
}

// syncLine is one line of strace's: thread, call, what stands between the brackets, or that an earlier one goes on.
var syncLine = regexp.MustCompile(`^(\d+)\s+(?:(\w+)\(([^,)]*)|<\.\.\. \w+ resumed>)`)

// checkNoRetry reads what strace recorded: once a sync failed, none of the same file or memory may begin.
func checkNoRetry(record string) error {
	f, err := os.Open(record)
	if err != nil {
		return err
	}
	defer f.Close()
	begun := map[string]string{} // by thread
	failed := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := syncLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if m[2] != "" {
			what, _, _ := strings.Cut(m[3], " <unfinished")
			begun[m[1]] = m[2] + " " + what
			if failed[begun[m[1]]] {
				return fmt.Errorf("tried again: %s", lines.Text())
			}
		}
		if strings.Contains(lines.Text(), "(INJECTED)") {
			failed[begun[m[1]]] = true
		}
	}
	if len(failed) == 0 {
		return errors.New("no sync failed")
	}
	return nil
}
