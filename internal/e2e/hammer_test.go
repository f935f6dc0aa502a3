//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/coordd/coordd/pkg/client"
)

var flagHammer = flag.Duration("e2e.hammer", 5*time.Second, "how long the locks are hammered")

const (
	hammerProcesses  = 3
	hammerGoroutines = 4 // in each process, at each lock
	// oneWriter is what a writer adds to the number of those inside, where a reader adds 1.
	oneWriter = 1 << 16
)

// ground is memory that all processes share. Nothing in it is guarded by anything but the locks under test, besides the two
// numbers of those who are inside, which tell whether the locks do.
type ground struct {
	mutexInside atomic.Int64
	mutexCount  int64 // plain on purpose: it is right only if additions exclude each other

	rwInside  atomic.Int64 // readers, and oneWriter for each writer
	rwCount   int64        // plain
	rwAgain   int64        // plain: the same, written a moment later
	mostReads atomic.Int64 // readers inside at once, at the most
	started   atomic.Int64 // processes that are at work
}

// tally is what one process did.
type tally struct {
	Locks, Writes, Reads, TriedAway int64
	Wrong                           []string // what must never be
}

// mapGround maps a file of the right size.
func mapGround(path string) (*ground, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*ground)(unsafe.Pointer(&b[0])), nil
}

// testHammer has three processes, each with several goroutines, lock and unlock as fast as they can: one lock as a sync.Mutex
// (HammerMutex) and one as a sync.RWMutex (HammerRWMutex), in the middle of which the leader is killed. Never is anybody beside a
// writer, and no addition to a plain counter gets lost.
func testHammer(t *testing.T, c *cluster) {
	path := filepath.Join(t.TempDir(), "ground")
	if err := os.WriteFile(path, make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := mapGround(path)
	if err != nil {
		t.Fatal(err)
	}
	var children []*child
	for range hammerProcesses {
		children = append(children, startChild(t, task{Role: "hammer", URLs: c.urls(), Name: "hammer", File: path, Goroutines: hammerGoroutines, Millis: int(flagHammer.Milliseconds())}))
	}
	for begin := time.Now(); g.started.Load() < hammerProcesses; pause(t.Context(), 5*time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%d of %d processes are at work", g.started.Load(), hammerProcesses)
		}
	}
	pause(t.Context(), *flagHammer/2)
	t.Logf("the leader is killed in the middle; another one led after %v", c.changeLeader(t.Context(), "killed"))

	var sum tally
	for _, p := range children {
		lines := p.finish(t)
		i := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, "{") })
		if i < 0 {
			t.Fatalf("a process told nothing: %q\n%s", lines, p.err)
		}
		var one tally
		if err := json.Unmarshal([]byte(lines[i]), &one); err != nil {
			t.Fatal(err)
		}
		for _, wrong := range one.Wrong {
			t.Error(wrong)
		}
		if one.Locks == 0 || one.Writes == 0 || one.Reads == 0 {
			t.Errorf("a process was left out: %+v", one)
		}
		sum.Locks, sum.Writes, sum.Reads, sum.TriedAway = sum.Locks+one.Locks, sum.Writes+one.Writes, sum.Reads+one.Reads, sum.TriedAway+one.TriedAway
	}
	t.Logf("HammerMutex: %d processes × %d goroutines, %d times locked, the plain counter is at %d", hammerProcesses, hammerGoroutines, sum.Locks, g.mutexCount)
	t.Logf("HammerRWMutex: %d writes, the plain counter is at %d; %d reads, at most %d readers at once; %d tries in vain", sum.Writes, g.rwCount, sum.Reads, g.mostReads.Load(), sum.TriedAway)
	if g.mutexCount != sum.Locks || g.rwCount != sum.Writes || g.rwAgain != sum.Writes {
		t.Error("additions were lost")
	}
	if g.mostReads.Load() < 2 {
		t.Error("no two readers were ever inside together")
	}
	if n, m := g.mutexInside.Load(), g.rwInside.Load(); n != 0 || m != 0 {
		t.Errorf("%d and %d are still inside", n, m)
	}
}

// hammer is one of the processes.
func (k task) hammer(t *testing.T) {
	g, err := mapGround(k.File)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(context.Background(), k.URLs, client.WithTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	h := &hammering{g: g}
	mutex, rw := c.Locker(k.Name+"/mutex"), c.RWLocker(k.Name+"/rw")
	if err := c.Do(context.Background(), k.Name+"/start", func(context.Context, *client.Lock) error { return nil }); err != nil {
		t.Fatal(err) // each process has its session before the time begins
	}
	g.started.Add(1)
	end := time.Now().Add(time.Duration(k.Millis) * time.Millisecond)
	var wg sync.WaitGroup
	for i := range k.Goroutines {
		wg.Go(func() {
			for time.Now().Before(end) {
				h.mutex(mutex)
			}
		})
		wg.Go(func() {
			for n := i; time.Now().Before(end); n++ {
				h.rwMutex(rw, n)
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	text, err := json.Marshal(h.done)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
}

// hammering is what the goroutines of a process share.
type hammering struct {
	g *ground

	mu   sync.Mutex
	done tally
}

func (h *hammering) wrong(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.done.Wrong) < 10 {
		h.done.Wrong = append(h.done.Wrong, fmt.Sprintf(format, args...))
	}
}

func (h *hammering) count(n *int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
}

// mutex is one turn of HammerMutex.
func (h *hammering) mutex(m sync.Locker) {
	m.Lock()
	if n := h.g.mutexInside.Add(1); n != 1 {
		h.wrong("HammerMutex: %d inside at once", n)
	}
	h.g.mutexCount = slowlyAfter(h.g.mutexCount) + 1
	h.g.mutexInside.Add(-1)
	m.Unlock()
	h.count(&h.done.Locks)
}

// rwMutex is one turn of HammerRWMutex: most are reads, some of either are only tried.
func (h *hammering) rwMutex(rw *client.RWLocker, turn int) {
	write := turn%4 == 0
	switch {
	case turn%7 == 3 && write:
		if !rw.TryLock() {
			h.count(&h.done.TriedAway)
			return
		}
	case turn%7 == 3:
		if !rw.TryRLock() {
			h.count(&h.done.TriedAway)
			return
		}
	case write:
		rw.Lock()
	default:
		rw.RLock()
	}
	if write {
		h.write()
		rw.Unlock()
		return
	}
	h.read()
	rw.RUnlock()
}

func (h *hammering) write() {
	if n := h.g.rwInside.Add(oneWriter); n != oneWriter {
		h.wrong("HammerRWMutex: a writer with %d writers and %d readers inside", n/oneWriter, n%oneWriter)
	}
	h.g.rwCount = slowlyAfter(h.g.rwCount) + 1
	h.g.rwAgain = slowlyAfter(h.g.rwAgain) + 1
	h.g.rwInside.Add(-oneWriter)
	h.count(&h.done.Writes)
}

func (h *hammering) read() {
	n := h.g.rwInside.Add(1)
	if n >= oneWriter {
		h.wrong("HammerRWMutex: a reader beside %d writers", n/oneWriter)
	}
	for most := h.g.mostReads.Load(); n < oneWriter && n > most && !h.g.mostReads.CompareAndSwap(most, n); most = h.g.mostReads.Load() {
	}
	if a, b := slowlyAfter(h.g.rwCount), h.g.rwAgain; a != b {
		h.wrong("HammerRWMutex: a reader sees a write that is half done: %d and %d", a, b)
	}
	h.g.rwInside.Add(-1)
	h.count(&h.done.Reads)
}

// slowlyAfter returns a number a moment later, so that others have the time to come in between.
func slowlyAfter(n int64) int64 {
	time.Sleep(100 * time.Microsecond)
	return n
}
