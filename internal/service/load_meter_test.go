//go:build load

package service

import (
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// loadMembers is how many there are.
const loadMembers = 3

// stallTarget is the longest that nothing may be applied because of a snapshot.
const stallTarget = 20 * time.Millisecond

// applies is what one member's applier did within a window.
type applies struct {
	mu      sync.Mutex
	count   int
	longest time.Duration // one Apply
	gap     time.Duration // the longest between the ends of two applies: a stall, whatever its cause
	over    int           // gaps beyond stallTarget
	write   time.Duration // the longest write of the log: what can't be committed can't be applied
	last    time.Time     // the end of the last Apply, or the window's beginning
}

func (a *applies) until(now time.Time) {
	gap := now.Sub(a.last)
	a.gap, a.last = max(a.gap, gap), now
	if gap > stallTarget {
		a.over++
	}
}

// window is a time in which figures are taken.
type window struct {
	began   time.Time
	took    time.Duration
	members [loadMembers]applies
	latency histogram
	answers atomic.Int64
	memory  memory // peaks
}

func (w *window) rate() float64 { return float64(w.answers.Load()) / w.took.Seconds() }

// meter gives figures to the window that is open.
type meter struct{ open atomic.Pointer[window] }

func newMeter() *meter { return new(meter) }

// during takes the figures of the time in which f runs.
func (m *meter) during(f func()) *window {
	w := &window{began: time.Now()}
	for i := range w.members {
		w.members[i].last = w.began
	}
	end := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { w.memory.watch(end) })
	m.open.Store(w)
	f()
	m.open.Store(nil)
	now := time.Now()
	w.took = now.Sub(w.began)
	for i := range w.members {
		a := &w.members[i]
		a.mu.Lock()
		a.until(now)
		a.mu.Unlock()
	}
	close(end)
	watch.Wait()
	return w
}

func (m *meter) applied(member int, start, end time.Time) {
	if w := m.open.Load(); w != nil {
		a := &w.members[member]
		a.mu.Lock()
		a.count++
		a.longest = max(a.longest, end.Sub(start))
		a.until(end)
		a.mu.Unlock()
	}
}

func (m *meter) wrote(member int, took time.Duration) {
	if w := m.open.Load(); w != nil {
		a := &w.members[member]
		a.mu.Lock()
		a.write = max(a.write, took)
		a.mu.Unlock()
	}
}

func (m *meter) answered(took time.Duration) {
	if w := m.open.Load(); w != nil {
		w.answers.Add(1)
		w.latency.note(took)
	}
}

// timedMachine is a member's state machine, whose work is measured.
type timedMachine struct {
	*StateMachine
	meter  *meter
	member int
	view   atomic.Int64 // nanoseconds of the last Snapshot
}

var _ node.Snapshotter = (*timedMachine)(nil)

// Apply implements node.StateMachine.
func (m *timedMachine) Apply(e raft.Entry) (any, error) {
	start := time.Now()
	value, err := m.StateMachine.Apply(e)
	m.meter.applied(m.member, start, time.Now())
	return value, err
}

// Snapshot implements node.Snapshotter.
func (m *timedMachine) Snapshot() (node.SnapshotView, error) {
	start := time.Now()
	v := m.machine.View()
	m.view.Store(int64(time.Since(start)))
	return loadView{v}, nil
}

// Restore implements node.Snapshotter.
func (m *timedMachine) Restore(r io.Reader) error {
	restored, err := machine.Restore(r)
	if err == nil {
		m.machine = restored
	}
	return err
}

type loadView struct{ *machine.View }

func (loadView) Release() {}

// observed counts what a node told, over its restarts.
type observed struct {
	node.NoObserver
	meter  *meter
	member int

	mu       sync.Mutex
	saves    []snapshotSeen
	installs []snapshotSeen
	led      int // terms
}

type snapshotSeen struct {
	took  time.Duration
	bytes int64
}

// SnapshotSaved implements node.Observer.
func (o *observed) SnapshotSaved(seconds float64, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.saves = append(o.saves, snapshotSeen{inSeconds(seconds), bytes})
}

// SnapshotInstalled implements node.Observer.
func (o *observed) SnapshotInstalled(seconds float64, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.installs = append(o.installs, snapshotSeen{inSeconds(seconds), bytes})
}

// Appended implements node.Observer.
func (o *observed) Appended(seconds float64, _, _ int) { o.meter.wrote(o.member, inSeconds(seconds)) }

// RoleChanged implements node.Observer.
func (o *observed) RoleChanged(role raft.Role, _ uint64) {
	if role == raft.Leader {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.led++
	}
}

func (o *observed) counts() (saves, installs []snapshotSeen, led int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.saves), slices.Clone(o.installs), o.led
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// histogram counts times in steps of 3.5 %.
type histogram struct{ steps [640]atomic.Int64 }

func (h *histogram) note(d time.Duration) {
	h.steps[min(int(20*math.Log2(float64(d.Microseconds()+1))), len(h.steps)-1)].Add(1)
}

// quantile is the time that a share of all don't exceed.
func (h *histogram) quantile(share float64) time.Duration {
	all := int64(0)
	for i := range h.steps {
		all += h.steps[i].Load()
	}
	seen := int64(0)
	for i := range h.steps {
		if seen += h.steps[i].Load(); float64(seen) >= share*float64(all) {
			return time.Duration(math.Exp2(float64(i+1)/20)-1) * time.Microsecond
		}
	}
	return 0
}

// memory is that of this process, with all three members in it, in bytes.
type memory struct{ heap, resident int64 }

func memoryNow() (m memory) {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}} // it stops nobody, as ReadMemStats would
	metrics.Read(s)
	m.heap = int64(s[0].Value.Uint64())
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			m.resident = kib << 10
		}
	}
	return m
}

// watch keeps the peaks.
func (m *memory) watch(end <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now := memoryNow()
		m.heap, m.resident = max(m.heap, now.heap), max(m.resident, now.resident)
		select {
		case <-end:
			return
		case <-tick.C:
		}
	}
}

// diskOf is the space that a directory takes, not counting holes. Files come and go meanwhile.
func diskOf(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}

// loadAverage is the machine's, of the last minute: figures of a busy machine are not this program's.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median is the middle one; of an even number, the lower of the two.
func median[T interface {
	~int | ~int64 | ~float64
}](all []T) T {
	s := slices.Clone(all)
	slices.Sort(s)
	return s[(len(s)-1)/2]
}
